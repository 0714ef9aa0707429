"""The video site's scenario: a value names the action, and the action has a weight."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

import tfrs_decay as td

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "video.py"))


def test_what_was_a_purchase_is_watched_to_the_end(example):
    log = example["simulated_site"](30, 2)
    shop = td.data.simulated_shop(users=30, seed=2).log.events
    plays = log.events[log.events["action"] == "watch"]
    assert plays[["user", "item", "time"]].equals(shop[["user", "item", "time"]])
    to_the_end = plays["value"] >= example["BANDS"]["watch"]["finished"]
    assert to_the_end.tolist() == (shop["action"] == "purchase").tolist()
    ratings = log.events[log.events["action"] == "rating"]
    assert 0.2 < len(ratings) / len(plays) < 0.4
    assert {*ratings["value"]} == {1, 2, 3, 4, 5}


def test_a_folder_is_read_and_its_ratings_are_actions(example, tmp_path):
    rows = [("u", "a", 9, 5.0), ("u", "b", 8, 0.5), ("v", "a", 7, 3.0)]
    ratings = [f"{user},{item},{value},{time}" for user, item, time, value in rows]
    header = "userId,movieId,rating,timestamp"
    (tmp_path / "ratings.csv").write_text("\n".join([header, *ratings]))
    (tmp_path / "movies.csv").write_text("movieId,title,genres\na,A,x\nb,B,y\n")
    events = td.data.clean(example["open_site"](str(tmp_path), None, 0)).events
    named = example["as_actions"](events)
    assert [named.actions[one] for one in named.action] == ["disliked", "liked", "fine"]


@pytest.mark.integration  # slow
def test_what_was_left_or_disliked_says_little(example):
    answer = example["main"](["--sample", "40", "--passes", "1"])
    (had,), (times,), (actions,) = (
        answer.request[f"history_{one}"] for one in ("item", "time", "action")
    )
    assert len({*answer.ids}) == 10 and not {*answer.ids} & {*had}
    by_hand = np.array([example["WEIGHTS"][one] for one in actions])
    by_hand *= answer.decay.weight(answer.request["query_time"][0] - np.array(times))
    assert (by_hand == 0).any()  # a disliked video
    np.testing.assert_allclose(
        answer.weight / answer.weight.sum(), by_hand / by_hand.sum(), atol=1e-4
    )
