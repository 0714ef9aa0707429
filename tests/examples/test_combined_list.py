"""The combined list's example: whose history is asked with, and what comes back."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

import tfrs_decay as td

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "combined_list.py"))


def test_all_that_a_user_did_is_asked_with(example, make_events):
    events = make_events(
        ("ann", 10, "lamp"), ("bob", 20, "mug"), ("ann", 30, "mug"), ("bob", 25, "vase")
    )
    latest = example["history_of"](events, None)
    assert latest["history_item"] == [["lamp", "mug"]]
    assert latest["history_time"] == [[10, 30]]
    assert (latest["history_length"], latest["query_time"]) == ([2], [30])
    assert example["history_of"](events, "bob")["history_item"] == [["mug", "vase"]]
    with pytest.raises(ValueError, match=r"--user eve: the log has no such user; one"):
        example["history_of"](events, "eve")


@pytest.mark.integration  # slow
def test_a_log_becomes_a_list_that_answers(example, capsys):
    log = ["--sample", "40", "--windows", "2", "--queries", "60"]
    ids = example["main"]([*log, "--track", "new"])
    events = td.data.clean(td.data.open_log("simulated", sample=40)).events
    had = example["history_of"](events, None)["history_item"][0]
    assert len({*ids}) == 10
    assert {*ids} <= {*events.items.ids} - {*had}
    printed = capsys.readouterr().out
    assert "chosen: " in printed
    *_, answer = printed.partition("recommended:\n")
    scores = [float(line.split()[0]) for line in answer.splitlines()]
    np.testing.assert_array_equal(scores, sorted(scores, reverse=True))
    assert [line.split()[1] for line in answer.splitlines()] == ids
