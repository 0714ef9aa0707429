"""Two lists as one: fair to both, and won by the one with the better items."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_traffic import ITEMS, mixed_traffic

from tfrs_decay.experiments import interleaved, sign_test, team_draft


@given(st.permutations(ITEMS), st.permutations(ITEMS), st.integers(0, 9), st.data())
def test_a_draft_is_the_lists_in_turn(one, other, seed, data):
    k = data.draw(st.integers(1, len(ITEMS)))
    draft = team_draft(one, other, k=k, seed=seed)
    assert len(draft.items) == len(set(draft.items)) == len(draft.teams) == k
    # Of every two places each team has one.
    for start in range(0, k - 1, 2):
        assert sorted(draft.teams[start : start + 2]) == [0, 1]
    # A place has the best of its team's list that is not above it.
    for place, (item, team) in enumerate(zip(*draft, strict=True)):
        left = [each for each in (one, other)[team] if each not in draft.items[:place]]
        assert item == left[0]


def test_who_begins_is_left_to_a_coin_in_each_round():
    rng = np.random.default_rng(0)
    teams = [
        tuple(team_draft(ITEMS, ITEMS[::-1], k=4, seed=rng).teams) for _ in range(4000)
    ]
    count = Counter(teams)
    assert len(count) == 4
    assert stats.chisquare([*count.values()]).pvalue > 0.001


def test_a_seed_makes_the_draft_again():
    assert team_draft(ITEMS, ITEMS, seed=4) == team_draft(ITEMS, ITEMS, seed=4)
    # The shorter list says how many places there are.
    assert len(team_draft(ITEMS[:3], ITEMS, seed=4).items) == 3


@pytest.mark.parametrize(
    ("one", "other", "k", "message"),
    [
        (["a", "a"], ["a", "b"], None, r"one=\['a', 'a'\] has an item twice"),
        (["a", "b"], ["b", "b"], None, r"other=\['b', 'b'\] has an item twice"),
        (["a"], ["b", "c"], 2, r"one has 1 items and k=2: a list that ends early"),
        (["a"], ["b"], 0, r"k=0 must be 1 or more"),
        ([], ["b"], None, r"k=0 must be 1 or more, and neither list be empty"),
    ],
)
def test_lists_that_cannot_be_interleaved_are_refused(one, other, k, message):
    with pytest.raises(ValueError, match=message):
        team_draft(one, other, k=k, seed=0)


def test_the_better_list_wins():
    rng = np.random.default_rng(1)
    appeal = {item: 0.4 - 0.05 * number for number, item in enumerate(ITEMS)}
    found = interleaved(mixed_traffic(rng, ITEMS[::-1], ITEMS, appeal), ["A", "B"])
    assert found.overall.differences["click-through"]["B"].verdict == "better"
    assert found.verdict == "B is better than A in click-through."
    assert found.sign_test.wins > 2 * found.sign_test.losses
    assert found.sign_test.p < 0.001
    rates = found.overall.rates["click-through"]
    # Each has every other place.
    assert rates["A"].impressions == rates["B"].impressions == 150 * 4 * 2
    back = interleaved(mixed_traffic(rng, ITEMS, ITEMS[::-1], appeal), ["A", "B"])
    assert back.overall.differences["click-through"]["B"].verdict == "worse"


def test_the_same_list_twice_is_called_as_seldom_as_it_should_be():
    rng = np.random.default_rng(2)
    appeal = dict.fromkeys(ITEMS, 0.3)
    called, signs, differences = 0, 0, []
    for _ in range(100):
        rows = mixed_traffic(rng, ITEMS, ITEMS, appeal, users=40, visits=2, k=3)
        found = interleaved(rows, ["A", "B"], resamples=300)
        one = found.overall.differences["click-through"]["B"]
        called += one.significant
        signs += found.sign_test.p < 0.05
        differences.append(one.difference)
    assert called <= 12 and signs <= 12  # 5 of 100 are expected
    assert stats.ttest_1samp(differences, 0).pvalue > 0.01


def test_credit_goes_to_the_place_that_was_clicked():
    # Each of ten users clicks both places of B, and of the first one also A's.
    rows = {
        "user": np.repeat(np.arange(10), 3),
        "arm": ["A", "B", "B"] * 10,
        "item": ["a", "b", "c"] * 10,
        "position": [1, 2, 3] * 10,
        "time": np.repeat(np.arange(10) * 60, 3),
        "click": [1, 1, 1] + [0, 1, 1] * 9,
    }
    found = interleaved(rows, ["A", "B"])
    rates = found.overall.rates["click-through"]
    assert rates["A"].value == 0.1 and rates["B"].value == 1
    # 1 - 2 < 0 for every user.
    assert (found.sign_test.wins, found.sign_test.losses) == (10, 0)
    assert found.sign_test.p == pytest.approx(2 / 2**10)
    assert "Users: 10 won, 0 lost, 0 tied; p = 0.0020 by a sign test" in found.report()
    other = interleaved(rows, ["A", "B"], control="B")
    assert (other.sign_test.wins, other.sign_test.losses) == (0, 10)
    with pytest.raises(ValueError, match=r"arms=\['A', 'B', 'C'\]: two lists are"):
        interleaved(rows, ["A", "B", "C"])


@pytest.mark.parametrize(
    ("wins", "losses"),
    [(0, 0), (1, 0), (3, 9), (9, 3), (7, 7), (480, 520), (9000, 8700)],
)
def test_the_sign_test_is_scipys(wins, losses):
    values = np.array([2.5] * wins + [-0.5] * losses + [0] * 4)
    found = sign_test(values)
    assert (found.wins, found.losses, found.ties) == (wins, losses, 4)
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1
    assert found.p == pytest.approx(expected, rel=1e-9)


def test_the_sign_test_refuses_what_has_no_sign():
    with pytest.raises(ValueError, match=r"differences holds nan \(1 of 2 are not"):
        sign_test([np.nan, 1])
    with pytest.raises(ValueError, match=r"differences is of shape \(1, 1\): give one"):
        sign_test([[1]])
