"""The shop's scenario: what came back is no interest, and the answer says what is."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "shopping.py"))


def test_what_was_sent_back_is_in_no_history(example):
    cleaned = example["open_shop"]("simulated", 30, 0)
    assert cleaned.events.actions == ("browse", "cart", "purchase")
    left_out = cleaned.rejected["taken back, and the return of it"]
    assert left_out > 0 and left_out % 2 == 0


def test_a_log_becomes_a_list_with_its_reasons(example, capsys):
    answer = example["main"](["--sample", "40", "--passes", "1"])
    printed = capsys.readouterr().out
    assert len({*answer.ids}) == 10
    (times,), (actions,) = (
        answer.request[f"history_{one}"] for one in ("time", "action")
    )
    age = answer.request["query_time"][0] - np.array(times)
    by_hand = np.array([example["WEIGHTS"][one] for one in actions])
    by_hand *= answer.decay.weight(age)
    np.testing.assert_allclose(
        answer.weight / answer.weight.sum(), by_hand / by_hand.sum(), rtol=1e-3
    )
    *_, before = printed.partition("what each weighs:\n")
    assert before.splitlines()[0].split()[0] == f"{by_hand[-1] / by_hand.sum():.1%}"
    *_, listed = printed.partition("recommended:\n")
    assert [line.split()[1] for line in listed.splitlines()] == answer.ids
    assert "What decay is worth beside mean pooling, Recall@20: " in printed
