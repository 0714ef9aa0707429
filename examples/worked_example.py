"""An article's worked example, with the numbers that its formulas give.

"Dynamic interest decay models for recommender systems driven by large models" (in
Chinese), section 4.3, is where this package took its problem from.

A user's interest has the features [0.8, 0.6, 0.4] at time 0. Every feature fades by
u_i(t) = u_i(0) e^(-lambda t), lambda = 0.1; at time 1 a new feature arrives with 0.2;
at time 2 four items are scored by s(t) = u(t) . x. The article prints other numbers for
u(1), u(2) and the scores, which do not follow from these formulas; the order of the
items is the same. Both are printed here.

Run it with `python examples/worked_example.py`; it draws two pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tfrs_decay as td

RATE = 0.1
ITEMS = {
    "A": [0.9, 0.7, 0.5, 0.3],
    "B": [0.7, 0.9, 0.5, 0.2],
    "C": [0.5, 0.7, 0.9, 0.2],
    "D": [0.3, 0.2, 0.5, 0.9],
}
PRINTED_INTEREST = {1: [0.729, 0.59, 0.432, 0.2], 2: [0.656, 0.544, 0.387, 0.145]}
PRINTED_SCORES = {"A": 0.933, "B": 0.843, "C": 0.769, "D": 0.615}


def interest(now: int) -> np.ndarray:
    """The user's interest at time `now` (1 or 2), pooled by the layer: [4].

    The history is two events: the first three features at time 0, the fourth at time 1.
    """
    pool = td.layers.TimeDecayPooling(
        td.decay.Exponential.from_rate(RATE), normalize="sum"
    )
    history = np.array([[[0.8, 0.6, 0.4, 0.0], [0.0, 0.0, 0.0, 0.2]]], np.float32)
    pooled = pool(
        history, timestamps=np.array([[0, 1]]), query_time=np.array([now])
    ).numpy()
    return np.asarray(pooled[0])


def main(out: Path) -> dict[str, float]:
    """Prints interest and scores, and draws them.

    Args:
        out: Folder for the pictures.

    Returns:
        The scores at time 2, by item.
    """
    print(f"u(1) = {interest(1).round(4)}  the article prints [0.729 0.590 0.432 0.2]")
    print(
        f"u(2) = {interest(2).round(4)}  the article prints [0.656 0.544 0.387 0.145]"
    )
    scores = {item: float(interest(2) @ x) for item, x in ITEMS.items()}
    for item, score in scores.items():
        print(f"s({item}) = {score:.4f}  the article prints {PRINTED_SCORES[item]}")
    print(
        "The article's numbers do not follow from its formulas (0.8 e^-0.1 is 0.7239, "
        "not 0.729); the order of its items does."
    )
    print(f"recommended: {max(scores, key=scores.__getitem__)}")
    pictures = [
        td.plots.save(
            td.plots.item_scores(list(scores), list(scores.values()), title="s(2)"),
            out / "scores.png",
        ),
        td.plots.save(
            td.plots.decay_curves(
                {
                    "half-life 7 days": td.decay.Exponential("7d"),
                    "half-life 30 days": td.decay.Exponential("30d"),
                    "0.1 a day (the article's rate, in days)": (
                        td.decay.Exponential.from_rate(RATE / 86_400)
                    ),
                    "none": td.decay.Constant(),
                },
                until="60d",
            ),
            out / "decay_curves.png",
        ),
    ]
    print("pictures: " + ", ".join(map(str, pictures)))
    return scores


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/worked_example"))
