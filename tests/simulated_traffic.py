"""Traffic whose truth is known: of live arms, of mixed lists, and of another's log."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tfrs_decay.experiments import team_draft

DAY = 86_400
ARMS = ["control", "decay"]
ITEMS = [f"item {number}" for number in range(8)]

# What two kinds of users click of five items, and how often the log showed each.
CLICK = np.array([[0.10, 0.30, 0.20, 0.05, 0.15], [0.25, 0.05, 0.10, 0.30, 0.15]])
LOGGED = np.array([[0.40, 0.10, 0.20, 0.20, 0.10], [0.10, 0.40, 0.20, 0.10, 0.20]])
SHOP = np.array(["a", "b", "c", "d", "e"])
# One list for each kind: the best two, and what is best for the other kind.
GOOD = [["b", "c"], ["d", "a"]]
BAD = [["d", "a"], ["b", "c"]]


def split_traffic(rng, rates, *, users=400, alike=4.0, days=1):
    """Impressions of users who click more or less readily, as a frame."""
    parts = []
    for arm, rate in rates.items():
        count = rng.integers(1, 9, users)
        # A beta of this mean: the smaller `alike`, the more users differ.
        taste = rng.beta(rate * alike, (1 - rate) * alike, users)
        user = np.repeat(np.arange(users), count)
        click = rng.random(len(user)) < taste[user]
        parts.append(
            pd.DataFrame(
                {
                    "user": [f"{arm} {one}" for one in user],
                    "arm": arm,
                    "item": "i",
                    "position": 1,
                    "time": rng.integers(0, days * DAY, len(user)),
                    "click": click,
                    "conversion": click & (rng.random(len(user)) < 0.5),
                }
            )
        )
    table = pd.concat(parts)
    # Rows come in any order, and impressions are told apart by their times.
    table["time"] = table["time"] // len(table) * len(table)
    table["time"] += np.arange(len(table)) % len(table)
    return table.sample(frac=1, random_state=1)


def by_hand(**columns):
    """Twelve users, of whom each arm has six with two impressions each."""
    user = np.repeat(np.arange(12), 2)
    return {
        "user": user,
        "arm": np.where(user < 6, "control", "decay"),
        "item": ["a", "b"] * 12,
        "position": [1, 2] * 12,
        "time": DAY * (np.arange(24) % 2),
        # Of decay all first places, of control half of them.
        "click": [1, 0] * 3 + [0, 0] * 3 + [1, 0] * 6,
        **columns,
    }


def mixed_traffic(rng, one, other, appeal, *, users=150, visits=4, k=4):
    """Interleaved lists that users click by the items' appeal, and less far down."""
    rows = {name: [] for name in ("user", "arm", "item", "position", "time", "click")}
    for user in range(users):
        taste = rng.uniform(0.5, 1.5)
        for visit in range(visits):
            draft = team_draft(one, other, k=k, seed=rng)
            for place, (item, team) in enumerate(zip(*draft, strict=True), start=1):
                click = rng.random() < taste * appeal[item] / place
                values = (user, ("A", "B")[team], item, place, visit * 86_400, click)
                for name, value in zip(rows, values, strict=True):
                    rows[name].append(value)
    return rows


def logged_traffic(rng, *, users=300, visits=10):
    """Traffic of users of both kinds, as often the one as the other."""
    user = np.repeat(np.arange(users), visits)
    kind = user % 2
    item = np.array([rng.choice(5, p=LOGGED[one]) for one in kind])
    taste = rng.uniform(0.5, 1.5, users)[user]
    table = pd.DataFrame(
        {
            "user": user,
            "item": SHOP[item],
            "time": np.tile(np.arange(visits) * 86_400, users),
            "propensity": LOGGED[kind, item],
            "click": rng.random(len(user)) < CLICK[kind, item] * taste,
        }
    )
    return table, kind


def asked(kind, good=GOOD, bad=BAD):
    return {"bad": [bad[one] for one in kind], "good": [good[one] for one in kind]}
