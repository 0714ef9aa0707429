"""How fast clicks and purchases find the impressions that they answer, on one core.

A million impressions, some of which were shown again and again, and a million events of
a made-up shop are joined, clicks within 30 minutes and purchases within 3 days,

  ours  `feedback.join`: the impression that each event answers, how many events each
        impression has, and why the others answer none
  peer  `pandas.merge_asof` over integer codes, once for each action, as it takes one
        window; then the number of events an impression by `bincount`. It is not asked
        why an event answers none, nor which of two impressions at one second stands
        higher, which it can't tell

Tables are sorted for the peer beforehand, and its codes are given to it. Both take
their turns in rounds in the same process, and the best turns are compared, in processor
time: one core works, and others may be busy. The same events have to answer, or the
benchmark fails. Reading is told apart: from names and times in a table to what `join`
takes.

    python benchmarks/feedback.py
    python benchmarks/feedback.py --rows 100000

Keys of the JSON:
  join_s                 seconds of ours
  merge_asof_ratio       the peer's seconds over ours
  sorting_ratio          the same with the sorting that the peer needs
  read_s                 seconds of `feedback.Served.of`, names to checked columns
  examination_s          seconds of `feedback.fit_examination` over the same
  report_s               seconds of `feedback.report`
  peak_gib               the most memory of the process
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed import machine, own_peak_gib, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it

import numpy as np  # isort: skip
import pandas as pd  # isort: skip

SPAN = 30 * 86_400
WINDOWS = {"click": 1_800, "purchase": 3 * 86_400}
ROUNDS = 5


def logs(rows: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was shown, and what happened: names and seconds, in no order."""
    rng = np.random.default_rng(seed)
    users, items = max(10, rows // 100), max(10, rows // 200)
    # A user is shown some forty items over and over.
    user = rng.integers(0, users, rows)
    item = (user * 31 + (40 * rng.random(rows) ** 2).astype(int) * 7) % items
    shown = pd.DataFrame(
        {
            "user": np.char.add("user-", user.astype(str)),
            "item": np.char.add("item-", item.astype(str)),
            "time": rng.integers(0, SPAN, rows),
            "position": rng.integers(1, 21, rows),
            "segment": rng.choice(["new", "old"], rows),
        }
    )
    row = rng.integers(0, rows, rows)
    happened = shown.loc[row, ["user", "item"]].reset_index(drop=True)
    later = rng.exponential(1_500, rows).astype(int)
    purchase = rng.random(rows) < 0.1
    later[purchase] *= 100
    happened["time"] = shown["time"].to_numpy()[row] + later - 60
    happened["action"] = np.where(purchase, "purchase", "click")
    # Some of what nobody was shown.
    strange = rng.random(rows) < 0.05
    happened.loc[strange, "item"] = "item-of-a-search"
    return shown, happened


class Peer:
    """merge_asof over codes and sorted tables, which it needs."""

    def __init__(self, served: td.feedback.Served, events: td.data.Events) -> None:
        self.left = pd.DataFrame(
            {
                "time": events.time,
                "user": pd.Index(served.users).get_indexer(events.users)[events.user],
                "item": pd.Index(served.items).get_indexer(events.items.ids)[
                    events.item
                ],
                "action": np.array(events.actions, dtype=object)[events.action],
                "event": np.arange(len(events)),
            }
        )
        self.right = pd.DataFrame(
            {
                "time": served.time,
                "user": served.user,
                "item": served.item,
                "impression": np.arange(len(served)),
            }
        )

    def sort(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both by time."""
        return self.left.sort_values("time"), self.right.sort_values("time")

    def join(
        self, left: pd.DataFrame, right: pd.DataFrame
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The impression of each event, and the number of events of each impression."""
        impression = np.full(len(left), -1)
        count = {}
        for action, window in WINDOWS.items():
            found = pd.merge_asof(
                left[left["action"] == action],
                right,
                on="time",
                by=["user", "item"],
                tolerance=window,
            )
            own = found["impression"].fillna(-1).to_numpy().astype(np.int64)
            impression[found["event"].to_numpy()] = own
            count[action] = np.bincount(own[own >= 0], minlength=len(right))
        return impression, count


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, and what came of it."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{machine()}; {arguments.rows:,} rows each, seed {arguments.seed}")
    shown, happened = logs(arguments.rows, arguments.seed)
    read_s, served = timed(lambda: td.feedback.Served.of(shown))
    events = td.data.clean(td.data.RawLog(happened, None, {})).events
    peer = Peer(served, events)
    turns = []
    for _ in range(ROUNDS):
        ours, joined = timed(
            lambda: td.feedback.join(served, events, window=dict(WINDOWS))
        )
        sorting, (left, right) = timed(peer.sort)
        theirs, (impression, _) = timed(functools.partial(peer.join, left, right))
        if not ((impression >= 0) == (joined.impression >= 0)).all():
            raise RuntimeError("other events answer: they should be the same")
        both = impression >= 0
        apart = served.time[impression[both]] != served.time[joined.impression[both]]
        if apart.any():
            raise RuntimeError(f"{apart.sum()} events answer another moment")
        turns.append((ours, theirs, sorting))
    join_s, theirs_s, sorting_s = np.min(turns, axis=0)
    print(joined.summary())
    examination_s, found = timed(lambda: td.feedback.fit_examination(joined))
    print(found.report())
    report_s, _ = timed(lambda: td.feedback.report(joined))
    figures = {
        "join_s": join_s,
        "merge_asof_ratio": theirs_s / join_s,
        "sorting_ratio": (theirs_s + sorting_s) / join_s,
        "read_s": read_s,
        "examination_s": examination_s,
        "report_s": report_s,
        "peak_gib": own_peak_gib(),
    }
    print("\n" + json.dumps(figures, indent=2))
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
