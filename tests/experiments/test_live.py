"""Live figures by hand, intervals that hold the truth, and rows that are not clear."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from simulated_traffic import ARMS, by_hand, split_traffic

from tfrs_decay.experiments import live


def test_figures_by_hand():
    found = live(by_hand(segment=["new", "old"] * 12), ARMS)
    assert found.kind == "live" and found.control == "control"
    rates = found.overall.rates["click-through"]
    assert rates["control"].value == 3 / 12 and rates["decay"].value == 6 / 12
    # Every user of decay clicked one of two: drawing others changes nothing.
    assert (rates["decay"].low, rates["decay"].high) == (0.5, 0.5)
    assert rates["control"].low < 0.25 < rates["control"].high
    assert (rates["decay"].users, rates["decay"].impressions) == (6, 12)
    difference = found.overall.differences["click-through"]["decay"]
    assert difference.difference == 0.25
    assert [part.name for part in found.by_day] == ["1970-01-01", "1970-01-02"]
    first, second = (part.rates["click-through"] for part in found.by_day)
    assert (first["control"].value, first["decay"].value) == (0.5, 1)
    assert (second["control"].value, second["decay"].value) == (0, 0)
    assert [part.impressions for part in found.cumulative] == [12, 24]
    assert found.cumulative[1].rates["click-through"]["control"].value == 0.25
    assert [part.name for part in found.by_segment] == ["new", "old"]
    assert found.by_segment[0].rates["click-through"]["decay"].value == 1
    assert found.dropped == {} and found.sample_ratio.fits
    assert (
        "only 6 users in an arm: below 30 the intervals are too short." in found.notes
    )
    json.dumps(found.to_dict())


@pytest.mark.integration  # slow
def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    held, called, runs = 0, 0, 200
    for run in range(runs):
        rates = {"control": 0.3, "decay": 0.36 if run % 2 else 0.3}
        table = split_traffic(rng, rates, users=80, alike=2.0)
        found = live(table, ARMS, rewards=["click"], resamples=400)
        one = found.overall.differences["click-through"]["decay"]
        held += one.low <= rates["decay"] - rates["control"] <= one.high
        called += one.significant and not run % 2
    assert 0.90 <= held / runs <= 0.99
    assert called / (runs / 2) <= 0.12


def test_an_interval_that_takes_impressions_for_users_would_be_too_short():
    table = split_traffic(np.random.default_rng(4), dict.fromkeys(ARMS, 0.3), alike=0.5)
    clusters = live(table, ARMS).overall.differences["click-through"]["decay"]
    table["user"] = np.arange(len(table))
    each = live(table, ARMS).overall.differences["click-through"]["decay"]
    assert clusters.high - clusters.low > 1.3 * (each.high - each.low)


def test_a_better_arm_is_found_and_a_metric_more_asks_for_more():
    table = split_traffic(np.random.default_rng(5), {"control": 0.2, "decay": 0.3})
    found = live(table, {"control": 1, "decay": 1})
    assert found.verdict == (
        "decay is better than control in click-through; decay is better than control "
        "in conversion."
    )
    click, conversion = (
        found.overall.differences[metric]["decay"]
        for metric in ("click-through", "conversion")
    )
    assert min(click.p, conversion.p) * 2 == min(
        click.adjusted_p, conversion.adjusted_p
    )
    alone = live(table, ARMS, rewards=["click"])
    one = alone.overall.differences["click-through"]["decay"]
    assert one.adjusted_p == one.p
    other = live(table, ARMS, control="decay")
    assert other.overall.differences["click-through"]["control"].difference < 0


def test_users_of_two_arms_are_left_out_and_counted():
    table = pd.DataFrame(by_hand())
    both = table.iloc[[0]].assign(arm="decay", item="z")
    found = live(pd.concat([table, both]), ARMS)
    # Their two other impressions go with them.
    assert found.dropped == {"the user was shown more than one arm": 3}
    assert found.overall.impressions == 22
    assert found.overall.users == {"control": 5, "decay": 6}
    assert "3 impressions left out: the user was shown more than one arm" in (
        found.report()
    )
    with pytest.raises(ValueError, match=r"every user was shown more than one arm"):
        live(by_hand(arm=["control", "decay"] * 12), ARMS)


def test_impressions_that_stand_twice_are_refused_or_counted():
    table = pd.DataFrame(by_hand())
    twice = pd.concat([table, table.iloc[[3]]])
    with pytest.raises(
        ValueError,
        match=r"traffic has 1 rows that stand twice, the first of them row 24 .*"
        r"'user': '1', 'item': 'b'.*duplicates='drop'",
    ):
        live(twice, ARMS)
    found = live(twice, ARMS, duplicates="drop")
    assert found.dropped == {"it stands twice": 1}
    assert found.overall == live(table, ARMS).overall
    with pytest.raises(ValueError, match=r"duplicates='keep' must be 'refuse' or 'dro"):
        live(table, ARMS, duplicates="keep")


def test_errors_name_the_row_of_the_log_whatever_stands_twice():
    table = pd.DataFrame(by_hand()).astype({"user": object})
    table = pd.concat([table.iloc[:1], table])
    table.iloc[20, table.columns.get_loc("user")] = ""
    with pytest.raises(ValueError, match=r"\['user'\] holds '' in row 20 "):
        live(table, ARMS, duplicates="drop")


def test_arms_that_lost_users_are_told_before_anything_else():
    table = split_traffic(np.random.default_rng(6), {"control": 0.1, "decay": 0.3})
    lost = table[(table["arm"] == "control") | (table["click"])]
    found = live(lost, ARMS)
    assert not found.sample_ratio.fits
    assert found.verdict.startswith("These numbers cannot be trusted")
    # As many as were meant, by other weights.
    arms = {"control": 400, "decay": lost[lost["arm"] == "decay"]["user"].nunique()}
    assert live(lost, arms).sample_ratio.p == 1
    few = live(by_hand(), {"control": 9, "decay": 1})
    assert few.sample_ratio is None and few.notes[0].startswith(
        "12 users are too few to test whether the arms have the users"
    )


def test_a_part_with_too_few_users_says_nothing():
    segment = np.where(np.arange(24) < 2, "rare", "usual")
    found = live(by_hand(segment=segment), ARMS)
    rare, usual = found.by_segment
    assert not rare.told and rare.users == {"control": 1, "decay": 0}
    assert usual.told


def test_what_is_text_is_read_as_a_file_has_it():
    table = by_hand()
    written = {
        name: np.asarray(values).astype(str) for name, values in table.items()
    } | {
        "click": np.where(table["click"], "True", "false"),
        "time": np.array(["1970-01-01", "1970-01-02 00:00:00+00:00"] * 12),
        "user": table["user"].astype(float),
    }
    assert live(written, ARMS).overall == live(table, ARMS).overall


def test_a_number_may_be_a_reward():
    money = np.tile([2.5, 0.0], 12)
    found = live(by_hand(revenue=money), ARMS, rewards=["click", "revenue"])
    assert found.metrics == {"click-through": True, "revenue": False}
    assert found.overall.rates["revenue"]["decay"].value == 1.25


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"click": [2] + [0] * 23},
            r"\['click'\] holds 2 in row 0 .*: 0 or 1 is expec",
        ),
        ({"click": [np.nan] * 24}, r"\['click'\] holds nan in row 0 .*24 of 24 rows"),
        (
            {"time": ["soon"] * 24},
            r"\['time'\] holds 'soon' in row 0 .*: a date or sec",
        ),
        (
            {"user": [None, *range(23)]},
            r"\['user'\] holds .* in row 0 .*: a name that is",
        ),
        ({"position": [0] * 24}, r"\['position'\] holds 0 in row 0 .*from 1 on is"),
        ({"position": [1.5] * 24}, r"\['position'\] holds 1.5 .*: a whole number is"),
        ({"arm": ["control"] * 23 + ["new"]}, r"\['arm'\] holds 'new' in 1 of 24 rows"),
        ({"arm": ["control"] * 24}, r"arm 'decay' has impressions of 0 users among 24"),
        ({"click": [1]}, r"traffic has columns of other lengths: .*'click': 1"),
        (
            {"revenue": [np.inf] * 24},
            r"\['revenue'\] holds inf in row 0 .*a finite num",
        ),
    ],
)
def test_what_is_not_clear_is_refused(columns, message):
    rewards = ["revenue"] if "revenue" in columns else None
    with pytest.raises(ValueError, match=message):
        live(by_hand(**columns), ARMS, rewards=rewards)


@pytest.mark.parametrize("missing", ["user", "arm", "item", "time"])
def test_a_column_that_is_missing_is_named(missing):
    table = pd.DataFrame(by_hand()).drop(columns=missing)
    with pytest.raises(ValueError, match=rf"traffic has no column '{missing}'; its"):
        live(table, ARMS)


def test_nothing_to_count_is_refused():
    table = pd.DataFrame(by_hand())
    with pytest.raises(ValueError, match=r"traffic has no rows below its columns"):
        live(table.iloc[:0], ARMS)
    with pytest.raises(ValueError, match=r"says nowhere what came of an impression"):
        live(table.drop(columns="click"), ARMS)
    with pytest.raises(ValueError, match=r"rewards='click': give a list"):
        live(table, ARMS, rewards="click")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"arms": ["control"]}, r"arms=\['control'\]: give two arms or more"),
        ({"arms": ["decay", "decay"]}, r"give two arms or more, each once"),
        ({"arms": {0: 1, 1: 1}}, r"arms=\[0, 1\]: 0 is no name; give text"),
        ({"control": "other"}, r"control='other' is not among the arms"),
        ({"level": 1}, r"level=1 must lie between 0 and 1"),
        ({"resamples": 0}, r"resamples=0 must be 1 or more"),
    ],
)
def test_arguments_are_checked(told, message):
    with pytest.raises(ValueError, match=message):
        live(by_hand(), **{"arms": ARMS, **told})
