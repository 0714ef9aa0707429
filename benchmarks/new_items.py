"""What text is worth for items that nobody had bought before.

A tenth of the items is withheld: none of their events before the test cut is there to
train on, or to be history. After the cut they are bought like any other. The model that
reads texts is measured beside the one that knows items by their ids alone, and beside
one that learned to do without ids now and then (`id_dropout`), on those targets.

    python benchmarks/new_items.py                            # groceries, offline
    python benchmarks/new_items.py --data online_retail.xlsx  # the UCI file

Recall@20 is told twice: among all items of the catalogue, and among the withheld ones
alone, each with its ratio to chance, 20 over the number ranked. A model of ids alone
has nothing to say of an item that it never saw: its score is 0, and all are alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from printed import machine

from tfrs_decay import demo, runs
from tfrs_decay.data import Events, basket_queries, clean, open_log, split_by_time
from tfrs_decay.data.histories import Queries
from tfrs_decay.evaluation import Scorer, evaluate
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.families import DEFAULT, named_decay
from tfrs_decay.training import make_model, train

K = 20

Found = dict[tuple[str, str], float]


class _Among:
    """Scores of some items; all others come last."""

    def __init__(self, scores: TwoTowerScores, items: np.ndarray) -> None:
        self._scores = scores
        self._items = items

    def __call__(self, queries: Queries) -> np.ndarray:
        """[queries, items] float32."""
        scores = self._scores(queries)
        return np.where(self._items, scores, -np.inf).astype(np.float32)


def measure(events: Events, encoder: Path, share: float, seed: int) -> Found:
    """Trains and measures each model once: {model, where: Recall@20}."""
    split = split_by_time(events)
    withheld = np.random.default_rng(seed).random(len(events.items)) < share
    known = events.where(~withheld[events.item] | (events.time > split.test))
    queries = basket_queries(known, after=split.test).with_targets_among(
        known, withheld
    )
    print(
        f"Seed {seed}: {withheld.sum():,} of {len(withheld):,} items withheld, "
        f"{len(queries):,} baskets with {len(queries.target):,} of them after the cut"
    )
    models: dict[str, dict[str, Any]] = {
        "ids alone": {},
        "text and ids": {"encoder_directory": encoder},
        "text and ids, id dropout": {"encoder_directory": encoder, "id_dropout": 0.3},
    }
    found: Found = {}
    encoded = None
    for name, options in models.items():
        settings = runs.settings_for(known.actions, seed=seed, **options)
        if settings.encoder is not None and encoded is None:
            encoded = runs.encode_texts(known, settings)
        model = make_model(
            known,
            settings,
            named_decay(DEFAULT, trainable=True),
            encoded=encoded if settings.encoder is not None else None,
        )
        train(model, known, split, settings, verbose=2)
        scores = TwoTowerScores(model, known, max_history=settings.max_history)
        among: dict[str, Scorer] = {
            "all items": scores,
            "withheld items": _Among(scores, withheld),
        }
        for where, figures in evaluate(among, queries, known, k=K).items():
            recall = float(figures.recall().mean())
            found[name, where] = recall
            print(f"  {name:<26} among {where:<15} Recall@20 {recall:.4f}")
    found["chance", "all items"] = K / len(withheld)
    found["chance", "withheld items"] = K / int(withheld.sum())
    return found


def main() -> None:
    """Measures every seed and prints means and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="complete-journey", help="as for `train`")
    parser.add_argument("--sample", type=int, help="only so many users")
    parser.add_argument("--share", type=float, default=0.1, help="of items withheld")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    arguments = parser.parse_args()
    print(machine())
    log = open_log(arguments.data, sample=arguments.sample, seed=0)
    events = clean(log).events
    encoder = demo.text_encoder(arguments.cache).encoder.parent
    each = [
        measure(events, encoder, arguments.share, seed)
        for seed in range(arguments.seeds)
    ]
    print(f"\n{arguments.data}, mean of seeds 0 to {arguments.seeds - 1}, Recall@20:")
    for name, where in each[0]:
        mean = float(np.mean([one[name, where] for one in each]))
        chance = float(np.mean([one["chance", where] for one in each]))
        print(f"  {name:<26} among {where:<15} {mean:.4f}  {mean / chance:.1f}x chance")


if __name__ == "__main__":
    main()
