"""Return times: the mixture that made the gaps is found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data import RawLog, clean
from tfrs_decay.return_times import fit_return_times

DAY = 86_400


def log_of(gaps_by_item, seed=0):
    """One user for each gap, with two events of the item that far apart."""
    rows = []
    for item, gaps in gaps_by_item.items():
        for n, gap in enumerate(gaps):
            rows += [(f"{item}{n}", item, 10**9 + t) for t in (0, int(gap))]
    table = pd.DataFrame(rows, columns=["user", "item", "time"])
    return clean(RawLog(table.sample(frac=1, random_state=seed), None, {})).events


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    soap = np.where(
        rng.random(4_000) < 0.3,
        rng.exponential(3 * DAY, 4_000),
        rng.normal(60 * DAY, 6 * DAY, 4_000),
    )
    return log_of({"soap": soap.clip(2 * DAY / 24), "bread": rng.normal(7, 1, 3) * DAY})


def test_the_mixture_is_found_again(events):
    fitted = fit_return_times(events)
    soap = events.items.codes(["soap"])[0]
    assert fitted.share[soap] == pytest.approx(0.3, abs=0.03)
    assert fitted.scale[soap] == pytest.approx(3 * DAY, rel=0.1)
    assert fitted.peak[soap] == pytest.approx(60 * DAY, rel=0.02)
    assert fitted.width[soap] == pytest.approx(6 * DAY, rel=0.1)
    assert fitted.gaps.tolist() == [3, 4_000]


def test_how_long_usually_and_how_many_come_back(events):
    weak, strong = (fit_return_times(events, prior=one) for one in (1e9, 1e-9))
    bread, soap = events.items.codes(["bread", "soap"])
    assert strong.usual[bread] == pytest.approx(np.log1p(7), abs=0.2)
    assert strong.usual[soap] > 3
    np.testing.assert_allclose(strong.again, 1)  # each user of this log came back
    assert abs(weak.usual[bread] - weak.usual[soap]) < 1e-4
    rest = events.user % 2 == 0
    first = np.r_[True, np.diff(events.user) != 0]
    half = events.where(rest | first)  # every second user has one event alone
    found = fit_return_times(half, prior=1e-9)
    assert found.again[soap] == pytest.approx(0.5, abs=0.01)


def test_few_gaps_leave_an_item_near_the_log(events):
    bread, soap = events.items.codes(["bread", "soap"])
    weak, strong = (fit_return_times(events, prior=one) for one in (100.0, 0.01))
    assert abs(weak.peak[bread] - weak.peak[soap]) < 2 * DAY
    mean = strong.share * strong.scale + (1 - strong.share) * strong.peak
    assert mean[bread] == pytest.approx(7 * DAY, rel=0.15)
    assert mean[soap] > 30 * DAY


def test_interest_fades_and_comes_back(events):
    fitted = fit_return_times(events)
    soap = events.items.codes(["soap"])[0]
    days = np.array([0.0, 20, 60, 120])
    now, later, again, gone = fitted.kernel(soap, days * DAY)
    assert now == pytest.approx(0.3, abs=0.05)
    assert later < 0.01 and gone < 0.01
    assert again == pytest.approx(0.7, abs=0.05)


def test_shuffled_rows_and_later_events_change_nothing(events):
    rng = np.random.default_rng(1)
    gaps = {"a": rng.exponential(DAY, 50) + DAY, "b": rng.normal(9, 1, 40) * DAY}
    one, other = (fit_return_times(log_of(gaps, seed)) for seed in (1, 2))
    np.testing.assert_allclose(one.peak, other.peak)
    middle = 10**9 + 30 * DAY
    before = fit_return_times(events.where(events.time <= middle))
    np.testing.assert_array_equal(
        before.peak, fit_return_times(events, until=middle).peak
    )


def test_what_cannot_be_fitted():
    events = log_of({"a": [60, 600]})
    with pytest.raises(ValueError, match="'1h' or more apart: there are no return"):
        fit_return_times(events)
    assert fit_return_times(events, least="1s").gaps.sum() == 2
    with pytest.raises(ValueError, match="prior=0 must be above 0"):
        fit_return_times(events, prior=0)
