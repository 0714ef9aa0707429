"""One fit by two workers, one of which is killed and comes back.

The same model is trained by one process and by two, which share each batch; the loss of
every step is compared. Both workers run on this machine, over loopback.

    python examples/many_machines.py                   # one process, then two workers
    python examples/many_machines.py --kill-after 2    # kill -9 after the second epoch

On machines of your own, start `--worker` on each, with what TensorFlow reads of the
others in TF_CONFIG and a folder that all of them can read:

    TF_CONFIG='{"cluster": {"worker": ["one:2222", "two:2222"]},
                "task": {"type": "worker", "index": 0}}' \
        python examples/many_machines.py --worker --folder /shared/shop
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

import tfrs_decay as td

BATCH = 103
"""Queries of a step, of all workers together. The last batch of an epoch is smaller."""

STARTS = 3
"""How often the workers are started before it is given up."""


class Losses(tf_keras.callbacks.Callback):
    """Writes the loss of each step, an epoch at its end: a file of its own for each."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._losses: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Nothing of an epoch is there yet."""
        self._losses = []

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Keeps the step's loss, which is that of the whole batch on each worker."""
        assert logs is not None
        self._losses.append(float(logs["loss"]))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes the epoch."""
        (self._folder / f"losses-{epoch}.json").write_text(json.dumps(self._losses))

    def say(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints the epoch, which has been backed up by then."""
        print(f"epoch {epoch + 1}: {np.mean(self._losses):.4f}", flush=True)


def make_model(events: td.data.Events) -> td.models.DecayRetrieval:
    """A small model, compiled."""
    tf_keras.utils.set_random_seed(3)
    model = td.models.DecayRetrieval(
        td.layers.ItemTower(events.items, dim=8),
        td.layers.TimeDecayPooling(td.decay.Exponential("3d", trainable=True)),
        query_tower=tf_keras.layers.Dense(8, kernel_initializer="identity"),
        temperature=0.3,
    )
    model.compile(tf_keras.optimizers.Adam(0.02))
    return model


def train(folder: Path, epochs: int) -> None:
    """What each worker does; and one process by itself, where no TF_CONFIG is set."""
    many = "TF_CONFIG" in os.environ
    # It looks for the others at once: make it before anything else of TensorFlow.
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy()
        if many
        else tf.distribute.get_strategy()
    )
    events = td.data.clean(td.data.simulated_shop(users=60, days=60).log).events
    with strategy.scope():
        model = make_model(events)
    data = td.data.batches(
        td.data.basket_queries(events),
        events,
        batch_size=BATCH,
        shuffle_seed=5,
        passes_made=td.training.passes_backed_up(folder / "backup"),
    )
    callbacks = [tf_keras.callbacks.BackupAndRestore(str(folder / "backup"))]
    if is_first():
        losses = Losses(folder)
        said = tf_keras.callbacks.LambdaCallback(on_epoch_end=losses.say)
        callbacks = [losses, *callbacks, said]
    model.fit(data, epochs=epochs, verbose=0, callbacks=callbacks)
    if is_first():
        model.save_weights(str(folder / "model.weights.h5"))


def is_first() -> bool:
    """Whether this is the worker that writes."""
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    return config.get("task", {}).get("index", 0) == 0


def losses_of(folder: Path, epochs: int) -> np.ndarray:
    """[steps] the loss of each step of a fit that has ended."""
    return np.concatenate(
        [
            json.loads((folder / f"losses-{one}.json").read_text())
            for one in range(epochs)
        ]
    )


def free_addresses(n: int) -> list[str]:
    """Ports of this machine that nobody listens at."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    finally:
        for one in sockets:
            one.close()


def start_workers(folder: Path, epochs: int) -> list[subprocess.Popen[str]]:
    """Starts two workers, each of which knows of the other."""
    addresses = free_addresses(2)
    command = [sys.executable, __file__, "--worker"]
    return [
        subprocess.Popen(
            [*command, "--folder", str(folder), "--epochs", str(epochs)],
            env={
                **os.environ,
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": addresses},
                        "task": {"type": "worker", "index": index},
                    }
                ),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(len(addresses))
    ]


def train_by_two(folder: Path, epochs: int, kill_after: int | None) -> None:
    """Two workers; when one fails, so does the other, and both are started again.

    Raises:
        RuntimeError: They fail again and again.
    """
    for _ in range(STARTS):
        workers = start_workers(folder, epochs)
        try:
            assert workers[0].stdout is not None
            for line in workers[0].stdout:
                print(f"  {line}", end="", flush=True)
                if kill_after is not None and line.startswith(f"epoch {kill_after}:"):
                    workers[1].kill()
                    print("  killed the second worker", flush=True)
                    kill_after = None
            if [one.wait() for one in workers] == [0, 0]:
                return
        finally:
            for one in workers:
                one.kill()
                one.communicate()
        print("  starting both again", flush=True)
    raise RuntimeError(f"the workers failed {STARTS} times: see what they wrote.")


def main(arguments: Sequence[str] | None = None) -> float:
    """Trains both ways; gives the largest difference between the losses of a step."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--kill-after", type=int, help="epoch, as said above")
    parser.add_argument("--folder", type=Path, help="where all is written")
    parser.add_argument("--worker", action="store_true", help="be one, by TF_CONFIG")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if options.worker:
            folder.mkdir(parents=True, exist_ok=True)
            train(folder, options.epochs)
            return 0.0
        alone, together = folder / "alone", folder / "together"
        for one in (alone, together):
            one.mkdir(parents=True, exist_ok=True)
        print("one process:")
        train(alone, options.epochs)
        print("two workers:")
        train_by_two(together, options.epochs, options.kill_after)
        curves = [losses_of(one, options.epochs) for one in (alone, together)]
    difference = float(np.abs(curves[0] - curves[1]).max())
    print(f"{len(curves[0])} steps; the losses differ by {difference:.1e} at most.")
    return difference


if __name__ == "__main__":
    main()
