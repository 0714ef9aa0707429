"""What a training step costs on one machine, and shared by two workers.

Random baskets over a catalogue without texts: what is measured is the two towers, the
negatives of the whole batch, the exchange and Adam. Both workers run on this machine
and talk over loopback: where they get half of the cores each, they cannot be faster
than one process, and what they need more of is what sharing costs.

    python benchmarks/shared_steps.py
    python benchmarks/shared_steps.py --items 200000 --batch 1024

Told are the time of a step, the CPU time of a step summed over the processes, which
hardly depends on what else the machine does, and the most memory of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from printed import machine, own_peak_gib, write_json

import tfrs_decay as td

import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

EXAMPLE = Path(__file__).parents[1] / "examples" / "many_machines.py"
HISTORY, TARGETS, NOW = 20, 2, 1_700_000_000
WARM_UP = 3
"""Steps before the clock starts: the first one traces the graph."""


def random_batches(items: int, batch: int, steps: int) -> tf.data.Dataset:
    """Batches of histories and baskets of items drawn evenly."""
    draw = np.random.default_rng(5)
    rows = batch * steps
    drawn = np.char.mod("%d", draw.integers(items, size=(rows, HISTORY + TARGETS)))
    features = {
        "history_item": drawn[:, :HISTORY],
        "history_time": NOW - draw.integers(90 * 86_400, size=(rows, HISTORY)),
        "history_length": np.full(rows, HISTORY),
        "query_time": np.full(rows, NOW),
        "target_item": drawn[:, HISTORY:],
        "target_length": np.full(rows, TARGETS),
    }
    return tf.data.Dataset.from_tensor_slices(features).batch(batch)


def measure(items: int, dim: int, batch: int, steps: int) -> dict[str, float]:
    """This process' part of some steps."""
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy()
        if "TF_CONFIG" in os.environ
        else tf.distribute.get_strategy()
    )
    with strategy.scope():
        tf_keras.utils.set_random_seed(3)
        model = td.models.DecayRetrieval(
            td.layers.ItemTower(
                td.data.Items([str(one) for one in range(items)]), dim=dim
            ),
            td.layers.TimeDecayPooling(td.decay.Exponential("7d", trainable=True)),
        )
        model.compile(tf_keras.optimizers.Adam(0.01))
    model.fit(random_batches(items, batch, WARM_UP), verbose=0)
    data = random_batches(items, batch, steps)
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(data, verbose=0)
    return {
        "seconds": (time.perf_counter() - start) / steps,
        "cpu": (time.process_time() - cpu) / steps,
        "gib": own_peak_gib(),
    }


def measured(n: int, arguments: Sequence[str]) -> dict[str, float]:
    """The figures of n processes: those of the slowest, and the CPU of all."""
    addresses = runpy.run_path(str(EXAMPLE))["free_addresses"](n)
    started = []
    for index in range(n):
        environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
        if n > 1:
            environment["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            )
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, "--worker", *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    found = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
    return {
        "seconds": max(one["seconds"] for one in found),
        "cpu": sum(one["cpu"] for one in found),
        "gib": max(one["gib"] for one in found),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=512, help="queries of a step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes = {
        name: getattr(options, name) for name in ("items", "dim", "batch", "steps")
    }
    if options.worker:
        print(json.dumps(measure(**sizes)))
        return
    print(machine())
    print(", ".join(f"{name} {size:,}" for name, size in sizes.items()))
    passed = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    figures = {}
    for n in (1, 2):
        figures[f"{n}"] = one = measured(n, passed)
        who = "1 process" if n == 1 else f"{n} workers"
        print(
            f"{who}: {one['seconds'] * 1e3:.0f} ms a step, {one['cpu'] * 1e3:.0f} ms "
            f"of CPU, {one['gib']:.2f} GiB a process",
            flush=True,
        )
    write_json(options.json, {"machine": machine(), **sizes, **figures})


if __name__ == "__main__":
    main()
