"""What ranking the whole catalogue costs, beside TFRS's FactorizedTopK.

Both hold the same queries' vectors against the same items, one of which each query
wants, at k = 1, 5, 10, 50 and 100, as FactorizedTopK does unless it is told. They take
their turns in rounds in the same process, and the best turns are compared. On a machine
that is busy with other things a short turn may find it free when a long one can't: the
ratio of processor time, over all cores, is told as well. The hits at every k have to be
the same, or the benchmark fails. Ours also counts precision, NDCG, MRR, hit rate and
coverage.

TFRS's metric is given what its tutorials give it, a dataset of items that goes through
the tower (`FactorizedTopK(candidates=items.batch(128).map(tower))`, which its Streaming
layer reads again for every batch of queries); vectors that are there already, in small
and in large batches; and its BruteForce layer. Its update runs in a graph, over 256 and
over 2,048 queries at a time.

    python benchmarks/evaluation.py --json evaluation.json

Keys of the JSON, of 256 queries at a time, as `evaluate` takes them itself:
  factorized_top_k_ratio      FactorizedTopK over items.batch(128).map(tower), over our
                              `evaluate`
  factorized_top_k_cpu_ratio  the same in processor time
  streaming_vectors_ratio     FactorizedTopK over vectors.batch(128)
  brute_force_ratio           FactorizedTopK over BruteForce
  large_batch_ratio           as the first, of 2,048 queries at a time
  evaluate_queries_per_s      queries a second of ours
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from printed import machine, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip
import tensorflow_recommenders as tfrs  # isort: skip

KS = (1, 5, 10, 50, 100)
BATCHES = (256, 2048)
"""Queries at a time that TFRS's metric is given."""

TOWER = "items.batch(128).map(tower)"
READY = "vectors.batch(128)"
BRUTE_FORCE = "BruteForce"

Hits = dict[int, int]
"""How many queries have what they want among the first k."""


class Vectors:
    """An item tower, and queries' vectors, each near to that of one item."""

    def __init__(self, items: int, queries: int, dim: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.items = rng.normal(size=[items, dim]).astype(np.float32)
        self.ids = np.arange(items, dtype=np.int32)
        self.tower = tf_keras.layers.Embedding(items, dim)
        self.tower.build(None)
        self.tower.set_weights([self.items])
        self.wanted = rng.integers(0, items, queries)
        noise = rng.normal(scale=2.5, size=[queries, dim])
        self.queries = (self.items[self.wanted] + noise).astype(np.float32)


def ours(vectors: Vectors) -> Callable[[], Hits]:
    """`evaluate`, and every figure at every k."""
    n, q = len(vectors.items), len(vectors.queries)
    # Each user does something at 0, and what is wanted at 1.
    events = td.data.Events(
        user=np.repeat(np.arange(q), 2),
        time=np.tile([0, 1], q),
        action=np.zeros(2 * q, np.int64),
        item=np.stack([np.zeros(q, np.int64), vectors.wanted], axis=1).ravel(),
        users=np.arange(q).astype(str).astype(object),
        actions=("purchase",),
        items=td.data.Items([str(item) for item in range(n)]),
    )
    queries = td.data.basket_queries(events)

    def run() -> Hits:
        items = vectors.tower(vectors.ids)

        def score(some: td.data.Queries) -> np.ndarray:
            own = vectors.queries[some.user]
            return tf.linalg.matmul(own, items, transpose_b=True).numpy()

        figures = td.evaluation.evaluate({"model": score}, queries, events, k=KS)
        td.evaluation.as_dict({"any": figures})
        return {k: int(figures["model"].recall(k).sum()) for k in KS}

    return run


def factorized_top_k(
    vectors: Vectors, candidates: Any, batch: int
) -> Callable[[], Hits]:
    """TFRS's metric, its update in a graph."""
    metric = tfrs.metrics.FactorizedTopK(candidates=candidates, ks=KS)
    wanted = vectors.wanted.astype(np.int32)
    data = tf.data.Dataset.from_tensor_slices(
        (vectors.queries, vectors.items[vectors.wanted], wanted)
    ).batch(batch)

    @tf.function(reduce_retracing=True)
    def update(query: tf.Tensor, item: tf.Tensor, wanted: tf.Tensor) -> None:
        metric.update_state(query, item, true_candidate_ids=wanted)

    def run() -> Hits:
        metric.reset_states()
        for some in data:
            update(*some)
        return {
            k: round(float(mean) * len(wanted))
            for k, mean in zip(KS, metric.result(), strict=True)
        }

    return run


def contenders(vectors: Vectors) -> dict[str, Callable[[], Hits]]:
    """All that is measured, by name."""
    ids = tf.data.Dataset.from_tensor_slices(vectors.ids)
    dataset = tf.data.Dataset.zip(
        (ids, tf.data.Dataset.from_tensor_slices(vectors.items))
    )
    brute_force = tfrs.layers.factorized_top_k.BruteForce(k=max(KS))
    brute_force.index(vectors.items, vectors.ids)
    every = {"evaluate": ours(vectors)}
    for batch in BATCHES:
        for name, candidates in (
            (TOWER, ids.batch(128).map(lambda some: (some, vectors.tower(some)))),
            (READY, dataset.batch(128)),
            ("vectors.batch(4096)", dataset.batch(4096)),
            (BRUTE_FORCE, brute_force),
        ):
            run = factorized_top_k(vectors, candidates, batch)
            every[f"{name}, {batch:,} queries"] = run
    return every


class Spent(NamedTuple):
    """What a turn takes: seconds by the clock, and of processors."""

    wall: float
    cpu: float


def measure(vectors: Vectors, rounds: int) -> dict[str, Spent]:
    """The best turn of each by either, after one that counts for nothing."""
    every = contenders(vectors)
    hits = every["evaluate"]()
    recall = {k: round(one / len(vectors.queries), 4) for k, one in hits.items()}
    print(f"Recall of all: {recall}")
    spent: dict[str, list[Spent]] = {name: [] for name in every}
    for number in range(rounds + 1):
        for name, run in every.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found = run()
            taken = Spent(time.perf_counter() - wall, time.process_time() - cpu)
            if found != hits:
                raise SystemExit(f"{name} counts {found} hits, and evaluate {hits}.")
            if number:
                spent[name].append(taken)
    return {
        name: Spent(min(one.wall for one in turns), min(one.cpu for one in turns))
        for name, turns in spent.items()
    }


def main() -> None:
    """Measures, and prints seconds and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    arguments = parser.parse_args()
    print(
        f"{machine()}, TFRS {tfrs.__version__}; {arguments.items:,} items, "
        f"{arguments.queries:,} queries, {arguments.dim} features, seed "
        f"{arguments.seed}, the best of {arguments.rounds} rounds"
    )
    vectors = Vectors(arguments.items, arguments.queries, arguments.dim, arguments.seed)
    spent = measure(vectors, arguments.rounds)
    own = spent["evaluate"]
    print(f"  {'':<44} {'seconds':>9} {'ratio':>7} {'CPU s':>9} {'ratio':>7}")
    for name, one in spent.items():
        print(
            f"  {name:<44} {one.wall:>9.3f} {one.wall / own.wall:>6.1f}x "
            f"{one.cpu:>9.3f} {one.cpu / own.cpu:>6.1f}x"
        )
    tower, ready, brute_force, large = (
        spent[f"{name}, {batch:,} queries"]
        for name, batch in (
            (TOWER, BATCHES[0]),
            (READY, BATCHES[0]),
            (BRUTE_FORCE, BATCHES[0]),
            (TOWER, BATCHES[1]),
        )
    )
    ratios = {
        "factorized_top_k_ratio": tower.wall / own.wall,
        "factorized_top_k_cpu_ratio": tower.cpu / own.cpu,
        "streaming_vectors_ratio": ready.wall / own.wall,
        "brute_force_ratio": brute_force.wall / own.wall,
        "large_batch_ratio": large.wall / own.wall,
        "evaluate_queries_per_s": arguments.queries / own.wall,
    }
    print("\n" + json.dumps(ratios, indent=2))
    write_json(arguments.json, ratios)


if __name__ == "__main__":
    main()
