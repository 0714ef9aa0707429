"""Intervals that hold the truth as often as they say, and users who count once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.evaluation import compare, holm, verdicts
from tfrs_decay.evaluation.compare import resampled_sums


def simulated(rng, users, truth, *, alike=1.0):
    """Differences of users with one to six queries, and the user of each query."""
    count = rng.integers(1, 7, users)
    user = np.repeat(np.arange(users), count)
    taste = rng.normal(0, alike, users)
    return truth + taste[user] + rng.normal(0, 0.5, len(user)), user


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(7)
    held, alone = 0, 0
    for _ in range(500):
        difference, user = simulated(rng, 60, truth=0.3)
        found = compare(difference, np.zeros(len(difference)), user, resamples=1000)
        held += found.low <= 0.3 <= found.high
        # As if each query were a user of its own.
        each = np.arange(len(user))
        one = compare(difference, np.zeros(len(difference)), each, resamples=200)
        alone += one.low <= 0.3 <= one.high
    assert 0.92 <= held / 500 <= 0.98
    assert alone / 500 < 0.85


def test_chance_alone_is_called_as_seldom_as_it_says():
    rng = np.random.default_rng(8)
    called = 0
    for _ in range(500):
        difference, user = simulated(rng, 60, truth=0.0)
        called += compare(
            difference, np.zeros(len(difference)), user, resamples=1000
        ).significant
    assert 0.02 <= called / 500 <= 0.08


def test_queries_that_stand_twice_tell_nothing_more():
    difference, user = simulated(np.random.default_rng(1), 200, truth=0.1)
    zeros = np.zeros(len(difference))
    once = compare(difference, zeros, user)
    twice = compare(np.tile(difference, 2), np.tile(zeros, 2), np.tile(user, 2))
    width = once.high - once.low
    assert twice.high - twice.low == pytest.approx(width, rel=0.05)
    assert (once.queries * 2, once.users) == (twice.queries, twice.users)
    # As users of their own they would seem to: by the root of two.
    strangers = compare(
        np.tile(difference, 2), np.tile(zeros, 2), np.concatenate([user, user + 200])
    )
    ratio = (strangers.high - strangers.low) / width
    assert ratio == pytest.approx(1 / math.sqrt(2), rel=0.05)


def test_one_query_a_user_is_the_textbook_interval():
    difference = np.random.default_rng(2).normal(0.05, 1, 4000)
    found = compare(difference, np.zeros(4000), np.arange(4000))
    error = difference.std() / math.sqrt(4000)
    assert found.difference == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - 1.96 * error, abs=error / 10)
    assert found.high == pytest.approx(difference.mean() + 1.96 * error, abs=error / 10)
    z = difference.mean() / error
    assert found.p == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.01)


def test_what_each_query_has_in_common_is_not_chance():
    # Both find much or little together, and one is always a little better.
    both = np.random.default_rng(3).random(50)
    found = compare(both + 0.01, both, np.arange(50))
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    assert found.verdict == "better" and found.p == 2 / 10_001
    assert compare(both, both + 0.01, np.arange(50)).verdict == "worse"


def test_the_same_model_differs_nowhere():
    same = np.random.default_rng(4).random(30)
    found = compare(same, same, np.arange(30))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.verdict == "no difference shown" and not found.significant
    assert str(found) == "+0.0000 [+0.0000, +0.0000], p = 1.0000: no difference shown"


def test_the_other_way_round_is_the_mirror_image():
    rng = np.random.default_rng(5)
    one, other, user = rng.random(300), rng.random(300), rng.integers(0, 90, 300)
    there = compare(one, other, user, resamples=20_000)
    back = compare(other, one, user, resamples=20_000, seed=1)
    assert there.difference == -back.difference
    assert there.low == pytest.approx(-back.high, abs=0.002)
    assert there.p == pytest.approx(back.p, abs=0.03)


def test_a_seed_gives_the_same_answer():
    difference, user = simulated(np.random.default_rng(6), 40, truth=0.0)
    order = np.random.default_rng(0).permutation(len(user))
    zeros = np.zeros(len(user))
    once = compare(difference, zeros, user, resamples=500)
    assert compare(difference, zeros, user, resamples=500) == once
    assert compare(difference, zeros, user, resamples=500, seed=1) != once
    # Nor does it ask in which order the queries come.
    mixed = compare(difference[order], zeros, user[order], resamples=500)
    assert mixed.low == pytest.approx(once.low)


def test_holm_by_hand():
    # By size: .005 x 4, .01 x 3, .03 x 2, and .04, which may not be below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_calls_what_the_steps_call(p_values):
    called, left = set(), sorted(range(len(p_values)), key=lambda at: p_values[at])
    for at, index in enumerate(left):
        if p_values[index] * (len(left) - at) >= 0.05:
            break
        called.add(index)
    adjusted = holm(p_values)
    assert set(np.flatnonzero(adjusted < 0.05)) == called
    assert (adjusted >= p_values).all()


def test_several_models_against_one():
    rng = np.random.default_rng(9)
    base = rng.random(400)
    models = {
        "slightly": base + rng.normal(0.0222, 0.19, 400),
        "base": base,
        "much": base + rng.normal(0.2, 0.2, 400),
        "less": base - rng.normal(0.2, 0.2, 400),
        "other": base + rng.normal(0.0, 0.2, 400),
    }
    found = verdicts(models, np.arange(400), against="base")
    assert list(found) == ["slightly", "much", "less", "other"]
    alone = {name: compare(models[name], base, np.arange(400)) for name in found}
    assert [one.adjusted_p for one in found.values()] == pytest.approx(
        holm([one.p for one in alone.values()])
    )
    assert found["much"].verdict == "better" and found["less"].verdict == "worse"
    assert found["other"].verdict == "no difference shown"
    # Alone it would be called, as one of four it is not.
    assert alone["slightly"].significant and not found["slightly"].significant
    assert (found["much"].low, found["much"].p) == (alone["much"].low, alone["much"].p)
    assert verdicts({"base": base}, np.arange(400), against="base") == {}


NUMBERS = np.array([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compare(NUMBERS, NUMBERS[:2], np.arange(3)),
            r"other is of shape \(2,\): give 3 of them",
        ),
        (
            lambda: compare(NUMBERS[None], NUMBERS, np.arange(3)),
            r"one is of shape \(1, 3\): give one number a query",
        ),
        (
            lambda: compare(NUMBERS, [0.1, np.nan, 0.2], np.arange(3)),
            r"other holds nan \(1 of 3 are not finite\): leave such queries out",
        ),
        (
            lambda: compare(NUMBERS, NUMBERS, np.arange(2)),
            r"users is of shape \(2,\): give the user of each of 3 queries",
        ),
        (
            lambda: compare(NUMBERS, NUMBERS, np.zeros(3, int)),
            r"those of 1 user\(s\): .* takes two or more",
        ),
        (
            lambda: compare(NUMBERS, NUMBERS, np.arange(3), level=95),
            r"level=95 must lie between 0 and 1",
        ),
        (
            lambda: compare(NUMBERS, NUMBERS, np.arange(3), resamples=0),
            r"resamples=0 must be 1 or more",
        ),
        (
            lambda: verdicts({"a": NUMBERS}, np.arange(3), against="b"),
            r"against='b' is not among the models \['a'\]",
        ),
        (lambda: holm([0.1, 1.5]), r"p_values holds 1\.5: a p-value lies in 0 to 1"),
        (lambda: holm([[0.1]]), r"p_values is of shape \(1, 1\): give one row"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_users_who_all_differ_are_drawn_less_often_where_effort_is_limited():
    totals = np.arange(600.0).reshape(300, 2)
    alike = np.ones((300, 2))
    assert len(resampled_sums(totals, 1000, 0)) == 1000
    assert len(resampled_sums(totals, 1000, 0, effort=90_000)) == 300
    assert len(resampled_sums(totals, 1000, 0, effort=1)) == 200
    assert len(resampled_sums(totals, 50, 0, effort=1)) == 50
    # One kind of user is one number to draw.
    assert (resampled_sums(alike, 1000, 0, effort=1000) == 300).all()
    sums = resampled_sums(totals, 4000, 0)
    assert sums.mean(axis=0) == pytest.approx(totals.sum(axis=0), rel=0.01)
    error = totals.std(axis=0) * math.sqrt(300)
    assert sums.std(axis=0) == pytest.approx(error, rel=0.05)
