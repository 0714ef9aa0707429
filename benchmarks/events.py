"""How fast a log becomes examples: cleaned, and turned into histories, on one core.

Ten million events of a made-up shop, with some of the dirt of a real one (rows without
a user, rows that repeat another), are

  cleaned    `clean`: a table of names to sorted codes, each row left out for a reason
  histories  `basket_queries` and `example_table`: for every moment at which somebody
             acted, up to 50 earlier events and what was done, as lists of names

and, on a part of the log, by the loop over `groupby` that one writes first, which is
given a clean log. The process is kept to one core where the system can do that.

    python benchmarks/events.py
    python benchmarks/events.py --events 1000000 --pandas-events 50000

Keys of the JSON:
  clean_events_per_s    events that are cleaned in a second
  history_events_per_s  events that are turned into histories in a second
  pandas_ratio          history_events_per_s over that of the loop
  peak_gib              the most memory of the process, the raw table included
  waiting_fraction      share of the time of training on files of examples, on all
                        cores, in which the step waits for its batch, beyond what it
                        takes to be handed one that is there; ids alone, the smallest
                        of models
  reading_fraction      share of that time that is gone when the batches are held in
                        memory: cores that read are not there for the step
  waiting_fraction_vectors, reading_fraction_vectors
                        the same with vectors of width 384 beside the ids, which is what
                        a baked text costs
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from printed import machine, own_peak_gib, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it

import numpy as np  # isort: skip
import pandas as pd  # isort: skip
import pyarrow as pa  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

LENGTH = 50
BLOCK = 65_536
WARM_UP, STEPS = 100, 1_500
SPAN = 365 * 86_400


def raw_log(events: int, seed: int) -> td.data.RawLog:
    """A log of names, users and items by Zipf's law, with the dirt of a real one."""
    rng = np.random.default_rng(seed)

    def names(kind: str, count: int) -> np.ndarray:
        weight = 1.0 / np.arange(1, count + 1) ** 0.6
        written = np.array([f"{kind}{n:07d}" for n in range(count)], dtype=object)
        return written[rng.choice(count, events, p=weight / weight.sum())]

    actions = np.array(["browse", "cart", "purchase"], dtype=object)
    user = names("user", max(events // 50, 1))
    item = names("item", max(events // 200, 1))
    action = actions[rng.choice(3, events, p=[0.7, 0.2, 0.1])]
    moment = 1_700_000_000 + rng.integers(0, SPAN, events)
    dirt = rng.random(events)
    user[dirt < 0.01] = None
    again = np.flatnonzero((dirt > 0.01) & (dirt < 0.02))
    for column in (user, item, action, moment):
        column[again] = column[again - 1]
    table = pd.DataFrame(
        {
            "user": pd.Series(user, dtype="str"),
            "item": pd.Series(item, dtype="str"),
            "time": moment,
            "action": pd.Series(action, dtype="str"),
        }
    )
    return td.data.RawLog(table, None, {})


def histories(events: td.data.Events) -> int:
    """Every query with its history and targets, block by block; how many there are."""
    queries = td.data.basket_queries(events)
    for start in range(0, len(queries), BLOCK):
        some = queries.between(start, min(start + BLOCK, len(queries)))
        td.data.example_table(some, events, max_history=LENGTH)
    return len(queries)


def by_groupby(table: pd.DataFrame) -> int:
    """The same by a loop over users and their moments, of a clean table."""
    examples: list[dict[str, Any]] = []
    for user, own in table.groupby("user"):
        for moment, basket in own.groupby("time"):
            earlier = own[own["time"] < moment].tail(LENGTH)
            if len(earlier):
                examples.append(
                    {
                        "user": user,
                        "query_time": moment,
                        "history_item": earlier["item"].tolist(),
                        "history_time": earlier["time"].tolist(),
                        "history_action": earlier["action"].tolist(),
                        "target_item": basket["item"].tolist(),
                    }
                )
    return len(examples)


class Spent(NamedTuple):
    """Seconds of some steps of training."""

    all: float
    waiting: float


def training(events: td.data.Events, *, vectors: bool) -> dict[str, float]:
    """How much of training on files is spent on waiting, and on reading them at all."""
    queries = td.data.basket_queries(events)
    items = events.items
    precomputed = None
    if vectors:
        given = np.random.default_rng(0).normal(size=[len(items), 384])
        precomputed = td.layers.PrecomputedTower(items.ids.tolist(), given, dim=64)
    model = td.models.DecayRetrieval(
        td.layers.ItemTower(items, vectors=precomputed, dim=64),
        td.layers.TimeDecayPooling(),
    )
    optimizer = tf_keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(batch, training=True)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )
        return loss

    def spent(data: Iterable[dict[str, tf.Tensor]]) -> Spent:
        batches = iter(data)
        for _ in range(WARM_UP):  # by then the first block of rows has been decoded
            step(next(batches))
        waiting, start = 0.0, time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waiting += time.perf_counter() - asked
            if batch is None:
                return Spent(time.perf_counter() - start, waiting)
            step(batch)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples"
        td.data.write_examples(queries, events, path, max_history=LENGTH, shards=4)
        files = td.data.read_examples(
            path, batch_size=128, max_targets=1, shuffle_seed=0
        ).take(STEPS)
        held = list(files)
        there = tf.data.Dataset.from_tensors(held[1]).repeat(STEPS)
        spent(held)
        of_files, of_held, of_one = (
            Spent(*np.median(turns, axis=0))
            for turns in zip(
                *((spent(files), spent(held), spent(there)) for _ in range(5)),
                strict=True,
            )
        )
    suffix = "_vectors" if vectors else ""
    return {
        f"waiting_fraction{suffix}": (of_files.waiting - of_one.waiting) / of_files.all,
        f"reading_fraction{suffix}": 1 - of_held.all / of_files.all,
    }


def training_apart(arguments: argparse.Namespace) -> dict[str, float]:
    """The same in a process whose threads have never been kept to one core."""
    told = [f"--train-events={arguments.train_events}", f"--seed={arguments.seed}"]
    done = subprocess.run(
        [sys.executable, __file__, *told, "--training"],
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument(
        "--pandas-events", type=int, default=100_000, help="that the loop is given"
    )
    parser.add_argument(
        "--train-events", type=int, default=500_000, help="that training is fed with"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--training", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.training:
        few = td.data.clean(raw_log(arguments.train_events, arguments.seed)).events
        figures = {**training(few, vectors=False), **training(few, vectors=True)}
        print(json.dumps(figures))
        return
    log = raw_log(arguments.events, arguments.seed)
    part = raw_log(arguments.pandas_events, arguments.seed)
    rows = len(log.events)
    cores = None
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
    pa.set_cpu_count(1)
    print(f"{machine()}; {rows:,} events, seed {arguments.seed}")

    start = time.perf_counter()
    cleaned = td.data.clean(log)
    clean_s = time.perf_counter() - start
    print(cleaned.report())
    start = time.perf_counter()
    made = histories(cleaned.events)
    history_s = time.perf_counter() - start
    peak = own_peak_gib()
    print(f"{made:,} histories of up to {LENGTH} events, in lists")

    few = td.data.clean(part).events
    table = pd.DataFrame(
        {
            "user": few.users[few.user],
            "item": few.items.ids[few.item],
            "time": few.time,
            "action": np.array(few.actions, dtype=object)[few.action],
        }
    )
    start = time.perf_counter()
    looped = by_groupby(table)
    loop_s = time.perf_counter() - start
    if looped != len(td.data.basket_queries(few)):
        raise RuntimeError(f"the loop made {looped} histories: they should be the same")
    if cores is not None:
        os.sched_setaffinity(0, cores)
    figures = {
        "clean_events_per_s": rows / clean_s,
        "history_events_per_s": len(cleaned.events) / history_s,
        "pandas_ratio": (len(cleaned.events) / history_s) / (len(few) / loop_s),
        "peak_gib": peak,
        **training_apart(arguments),
    }
    print("\n" + json.dumps(figures, indent=2))
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
