"""What the combined list costs, beside a bare matmul and top-k in the same process.

The combined list is what `ranking.fit_tables` makes, with as many tables, readings and
candidates, over a catalogue of random neighbours, and all that is served of it: the ids
and times of fifty events in, twenty ids out, the request checked. The peer is the least
that any two-tower model needs: one vector times those of all items, and the best twenty
places. Both are graphs of TensorFlow, one query at a time, in turns.

    python benchmarks/quality_cost.py --json quality_cost.json

Keys of the JSON, vectors being of 64 features:
  combined_ratio_10k   the median time of the combined list over that of the peer, at
                       10,000 items
  combined_ratio_1m    the same at 1,000,000 items
  combined_ms_10k, combined_ms_1m, bare_ms_10k, bare_ms_1m
                       the medians themselves

Random neighbours are the dearest ones: of real items the neighbours of one are often
those of another, so that fewer are touched. At a million items each has fewer of them,
so that the tables fit in memory; `--most-pairs` says how many there are in all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed import machine, own_peak_gib, write_json
from turns import turns

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay import ranking
from tfrs_decay.layers import (
    CandidateFeatures,
    ItemNeighbours,
    RankingHead,
    RecencyPopularity,
    Repeats,
)
from tfrs_decay.neighbours import Neighbours
from tfrs_decay.popularity import PopularityTable, key_of
from tfrs_decay.serving import CombinedRecommender

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip

DIM = 64
EVENTS = 50
K = 20
CALLS = 20
DAY = 86_400
NOW = 1_700_000_000
SIZES = {"10k": 10_000, "1m": 1_000_000}
M = 100


def kinds() -> CandidateFeatures:
    """What `fit_tables` makes of any log: the tables, readings and decays."""
    events = td.data.clean(td.data.simulated_shop(users=200, days=60).log).events
    return ranking.fit_tables(
        events,
        until=int(np.quantile(events.time, 0.8)),
        popularity=PopularityTable.of(events),
        m=M,
    )


def random_neighbours(n: int, m: int, random: np.random.Generator) -> Neighbours:
    """Each item's neighbours lie anywhere, none of them twice."""
    step = n // m
    item = random.integers(0, step, (n, m), np.int32)
    item += np.arange(m, dtype=np.int32) * step
    return Neighbours(item, random.random((n, m), np.float32))


def popularity_of(n: int, random: np.random.Generator) -> PopularityTable:
    """The latest counts of every item, with a long tail."""
    day = NOW // DAY - random.integers(1, 300, n)
    half_lives = len(td.popularity.HALF_LIVES)
    sums = random.pareto(1.0, (n, 1)) * np.linspace(0.5, 1, half_lives)
    return PopularityTable(
        keys=key_of(np.arange(n), day),
        sums=sums,
        first_day=day - random.integers(0, 300, n),
        ids=np.array([f"i{place}" for place in range(n)], object),
        half_lives=td.popularity.checked_half_lives(td.popularity.HALF_LIVES),
        period=DAY,
        until=NOW,
        start=NOW // DAY,
    )


def candidates_of(
    like: CandidateFeatures, n: int, m: int, random: np.random.Generator
) -> CandidateFeatures:
    """As many tables, readings and candidates, of another catalogue."""
    repeats = Repeats(n, like.repeats.decays, return_times=True)
    return CandidateFeatures(
        repeats,
        RecencyPopularity.of(popularity_of(n, random)),
        {name: ItemNeighbours(random_neighbours(n, m, random)) for name in like.tables},
        like.readings,
        own=like.own,
        own_column=like.own_column,
        popular=like.popular,
    )


def combined_list(candidates: CandidateFeatures) -> Callable[..., Any]:
    """The signature that `serving.export_combined` writes."""
    head = RankingHead()
    head.build([None, None, len(candidates.feature_names)])
    items = td.data.Items(names_of(np.arange(candidates.repeats.n_items)))
    recommender = CombinedRecommender(candidates, head, items, k=K)
    return recommender.signatures()["serving_default"]


def names_of(places: np.ndarray) -> list[str]:
    """Ids of items."""
    return [f"item {place}" for place in places.tolist()]


def bare_list(n: int, random: np.random.Generator) -> Callable[..., Any]:
    """A vector in, the best twenty of all items out."""
    vectors = tf.Variable(random.normal(size=(DIM, n)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, DIM], tf.float32)])
    def bare(query: tf.Tensor) -> Any:
        return tf.math.top_k(query @ vectors, K)

    return bare


def measured(
    like: CandidateFeatures, n: int, *, m: int, rounds: int, seed: int
) -> tuple[float, float]:
    """Median seconds of the combined list and of the bare one."""
    random = np.random.default_rng(seed)
    combined = combined_list(candidates_of(like, n, m, random))
    bare = bare_list(n, random)
    asked = [
        {
            "history_item": tf.constant([names_of(random.integers(0, n, EVENTS))]),
            "history_time": tf.constant(
                NOW - random.integers(0, 300 * DAY, [1, EVENTS])
            ),
            "history_action": tf.constant([["purchase"] * EVENTS]),
            "history_length": tf.constant([EVENTS], tf.int64),
            "query_time": tf.constant([NOW], tf.int64),
        }
        for _ in range(64)
    ]
    queries = [tf.constant(random.normal(size=(1, DIM)), tf.float32) for _ in range(64)]
    at = iter(range(10**9))
    spent = turns(
        {
            "combined": lambda: combined(**asked[next(at) % 64]),
            "bare": lambda: bare(queries[next(at) % 64]),
        },
        rounds,
        calls=CALLS,
    )
    return float(np.median(spent["combined"])), float(np.median(spent["bare"]))


def main() -> None:
    """Measures both sizes, and prints them with the machine and the seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="turns of 20 calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--most-pairs",
        type=int,
        default=400_000_000,
        help="neighbours in all tables together, of 8 bytes each",
    )
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="catalogue"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    print(
        f"{machine()}; seed {arguments.seed}, {arguments.rounds} rounds of {CALLS} "
        "calls in turns"
    )
    like = kinds()
    print(
        f"{len(like.tables)} tables read {len(like.readings)} times, up to "
        f"{like.width} candidates of {len(like.feature_names)} features"
    )
    figures: dict[str, float] = {}
    for name in arguments.sizes:
        n = SIZES[name]
        m = min(M, arguments.most_pairs // (n * len(like.tables)))
        combined, bare = measured(
            like, n, m=m, rounds=arguments.rounds, seed=arguments.seed
        )
        figures |= {
            f"combined_ratio_{name}": combined / bare,
            f"combined_ms_{name}": 1e3 * combined,
            f"bare_ms_{name}": 1e3 * bare,
        }
        print(
            f"  {n:>9,} items, {m} neighbours each: p50 {1e3 * combined:.2f} ms "
            f"beside {1e3 * bare:.2f} ms, {combined / bare:.2f} times"
        )
    print(f"  peak memory {own_peak_gib():.1f} GiB")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
