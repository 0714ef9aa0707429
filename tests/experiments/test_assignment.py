"""Users who find their arm again anywhere, and arms that have the users they should."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tfrs_decay.experiments import assign, hash_of, sample_ratio

ARMS = {"control": 9, "decay": 1}


def test_the_hash_is_what_its_description_says():
    # printf 'basket\00042' | sha256sum
    assert hash_of(42, "basket") == 0x4758BF92B6F6ED75
    digest = hashlib.sha256("Körbe\0Ü".encode()).hexdigest()
    assert hash_of("Ü", "Körbe") == int(digest[:16], 16)


def test_answers_never_change():
    # By what `printf 'basket\000a' | sha256sum` and so on begin with: the first third
    # of all hashes ends at 5555, the second at aaaa.
    users = {
        "a": "second",  # 5f82
        "b": "third",  # b4ab
        "c": "second",  # a9e3
        "d": "second",  # 8c5a
        "h": "second",  # 77d1
        "Ünïcode": "second",  # 86c7
        "0": "second",  # 68bc
        "-7": "third",  # abd9
        "17850": "first",  # 0f51
        "me@example.org": "first",  # 265a
    }
    arms = ["first", "second", "third"]
    assert assign(list(users), "basket", arms).tolist() == [*users.values()]


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2, 30],
        ["1", "2", "30"],
        [b"1", b"2", b"30"],
        np.array([1, 2, 30], np.int32),
        np.array(["1", "2", "30"]),
        np.array([b"1", b"2", b"30"]),
        pd.Series(["1", "2", "30"]),
        pd.Series([1, 2, 30], index=[7, 7, 8]),
        (1, "2", b"30"),
    ],
)
def test_an_id_is_the_same_user_however_it_is_held(ids):
    expected = [assign(one, "x", ARMS) for one in ("1", "2", "30")]
    assert assign(ids, "x", ARMS).tolist() == expected


def test_one_id_gets_one_name():
    assert assign("7", "x", ARMS) == assign(7, "x", ARMS) == assign(b"7", "x", ARMS)
    assert assign(np.int64(7), "x", ARMS) in ARMS
    assert assign([], "x", ARMS).tolist() == []


def test_shares_are_those_of_the_weights():
    users, arms = 200_000, {"a": 0.5, "b": 0.3, "c": 0.2, "never": 0}
    chosen = assign(np.arange(users), "shares", arms)
    for arm, share in arms.items():
        spread = math.sqrt(users * share * (1 - share))
        assert abs((chosen == arm).sum() - users * share) <= 4 * spread
    counts = {arm: int((chosen == arm).sum()) for arm in arms}
    assert sample_ratio(counts, arms).fits


def test_experiments_are_independent_of_each_other():
    users = np.arange(100_000)
    one, other = (assign(users, name, ["a", "b"]) == "a" for name in ("one", "other"))
    table = [[(one & other).sum(), (one & ~other).sum()]]
    table += [[(~one & other).sum(), (~one & ~other).sum()]]
    assert stats.chi2_contingency(table).pvalue > 0.001
    # Where the name ends and the id begins is no matter of luck.
    assert hash_of("1x", "a") != hash_of("x", "a1")


def test_a_growing_last_arm_takes_users_and_gives_none_back():
    users = np.arange(5_000)
    before = assign(users, "ramp", {"control": 95, "decay": 5})
    after = assign(users, "ramp", {"control": 50, "decay": 50})
    assert (after[before == "decay"] == "decay").all()
    assert (after[before == "control"] == "decay").any()


@given(st.one_of(st.text(min_size=1).filter(str.isprintable), st.integers()))
def test_any_id_has_a_place(user):
    assert 0 <= hash_of(user, "x") < 2**64
    assert assign(user, "x", ["all", "others"]) in ("all", "others")


@pytest.mark.parametrize(
    ("user", "error", "message"),
    [
        (1.0, TypeError, r"users holds 1.0, a float: ids are text, bytes or integers"),
        (float("nan"), TypeError, r"users holds nan, a float.* leave the rows"),
        (True, TypeError, r"users holds True, a bool"),
        (None, TypeError, r"users holds None, a NoneType"),
        ("", ValueError, r"users holds '', which is no user: all who have no id"),
        (b"", ValueError, r"users holds b'', which is no user"),
    ],
)
def test_what_is_no_id_is_refused(user, error, message):
    with pytest.raises(error, match=message):
        assign([1, user], "x", ARMS)
    with pytest.raises(error, match=message):
        hash_of(user, "x")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["a"], r"weights={'a': 1}: give two arms or more"),
        ("ab", r"weights='ab': give two arms"),
        (["a", "a", "b"], r"\['a', 'a', 'b'\] names an arm twice"),
        ({"a": 1, "b": -1}, r"weights\['b'\]=-1: a weight is a finite number, 0 or"),
        ({"a": 1, "b": math.nan}, r"weights\['b'\]=nan: a weight is"),
        ({"a": 0, "b": 0}, r"all of them are 0"),
    ],
)
def test_what_is_no_choice_of_arms_is_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        assign([1], "x", weights)


@pytest.mark.parametrize("name", ["", "a\0b", None, 3])
def test_an_experiment_needs_a_name(name):
    with pytest.raises(ValueError, match=r"experiment=.*: give the experiment's name"):
        assign([1], name, ARMS)


def test_a_table_of_users_is_refused():
    with pytest.raises(ValueError, match=r"users is of shape \(2, 2\): give one row"):
        assign([[1, 2], [3, 4]], "x", ARMS)


@pytest.mark.parametrize("counts", [(480, 520), (300, 300, 400), (10, 20, 30, 41)])
def test_the_ratio_is_tested_as_scipy_does(counts):
    names = [f"arm {number}" for number in range(len(counts))]
    found = sample_ratio(dict(zip(names, counts, strict=True)), names)
    expected = stats.chisquare(counts)
    assert found.chi_square == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_mismatch_is_found_and_equal_numbers_fit():
    lost = sample_ratio({"control": 10_000, "decay": 9_500}, ["control", "decay"])
    assert not lost.fits and lost.p == pytest.approx(3.4e-4, rel=0.02)
    assert str(lost).endswith("p = 0.0003: not as it should be")
    assert sample_ratio({"a": 50, "b": 50, "c": 50}, ["a", "b", "c"]).p == 1


@pytest.mark.parametrize(
    ("counts", "weights", "message"),
    [
        ({"a": 9, "z": 9}, ["a", "b"], r"counts has the arms \['a', 'z'\] and weights"),
        ({"a": 9, "b": -1}, ["a", "b"], r"counts\['b'\]=-1: give a whole number"),
        ({"a": 9, "b": 1.5}, ["a", "b"], r"counts\['b'\]=1.5: give a whole number"),
        ({"a": 9, "b": 1}, {"a": 1, "b": 0}, r"counts\['b'\]=1, and the arm's weight"),
        ({"a": 9, "b": 0}, {"a": 99, "b": 1}, r"9 users, of whom 0.1 are expected in"),
    ],
)
def test_what_cannot_be_tested_is_refused(counts, weights, message):
    with pytest.raises(ValueError, match=message):
        sample_ratio(counts, weights)
