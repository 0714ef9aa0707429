"""The newsroom's scenario: items that live a day, known by their text alone."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tfrs_decay as td

EXAMPLES = Path(__file__).parents[2] / "examples"
DAY = 86_400
SMALL = ("--sample", "30", "--days", "5", "--test", "1d", "--passes", "1")


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "news.py"))


def test_readers_click_what_is_new_and_then_like_it(example):
    log = example["simulated_newsroom"](users=20, days=5, seed=3)
    again = example["simulated_newsroom"](users=20, days=5, seed=3)
    pd.testing.assert_frame_equal(log.events, again.events)
    room = example["published"](5, np.random.default_rng(3))
    assert room.titles == log.items["text"].tolist()
    place = log.events["item"].str.removeprefix("item-").astype(int)
    clicks = log.events[log.events["action"] == "click"]
    visit = clicks["time"] - room.published[place[clicks.index]]
    assert visit.min() >= 0 and visit.max() < DAY + 4 * 90
    assert not clicks.duplicated(["user", "item"]).any()
    others = log.events[log.events["action"] != "click"]
    after = others.merge(clicks, on=["user", "item"], suffixes=("", "_click"))
    assert len(after) == len(others) > 0
    assert (after["time"] > after["time_click"]).all()


@pytest.mark.integration  # slow
def test_new_items_are_recommended_by_their_text(example, tiny_encoder, tmp_path):
    encoder = ("--encoder", str(tiny_encoder.encoder.parent))
    answer = example["main"]([*SMALL, *encoder, "--cache", str(tmp_path)])
    events = td.data.clean(example["simulated_newsroom"](30, 5, 0)).events
    first = np.full(len(events.items), 2**62)
    np.minimum.at(first, events.item, events.time)
    (now,), (had,) = (answer.request[one] for one in ("query_time", "history_item"))
    assert answer.ids and not {*answer.ids} & {*had}
    age = now - first[events.items.codes(answer.ids)]
    assert age.min() >= 0 and age.max() <= DAY
    # A like weighs twice a click, and what is older weighs less.
    (times,), (actions,) = (
        answer.request[f"history_{one}"] for one in ("time", "action")
    )
    by_hand = np.array([example["WEIGHTS"][one] for one in actions])
    by_hand *= 2.0 ** (-(now - np.array(times)) / answer.decay.half_life)
    np.testing.assert_allclose(
        answer.weight / answer.weight.sum(), by_hand / by_hand.sum(), atol=1e-4
    )
