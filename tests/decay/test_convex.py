"""The bound between points where convex curves are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.decay.convex import greatest_difference


def test_what_could_be_between_the_points_counts() -> None:
    # Both are 1, 0, 0, 1 at 0, 1, 2, 3. Between 1 and 2 one may follow its chord, at
    # 0, while the other is as low as either of its outer chords allows: the first goes
    # on falling by 1 to the next point. (Both together allow -1/2 only.)
    time = np.array([0.0, 1.0, 2.0, 3.0])
    seen = np.array([[1.0], [0.0], [0.0], [1.0]])
    assert greatest_difference(time, seen, seen) == 1


def test_two_lines_differ_at_an_end() -> None:
    time = np.array([0.0, 1.0, 5.0, 9.0])
    up, down = time[:, None], 2 - time[:, None]
    assert greatest_difference(time, up, down) == pytest.approx(16)
    assert greatest_difference(time, down, up) == pytest.approx(16)
    assert greatest_difference(time, up, up) == pytest.approx(0, abs=1e-15)


@given(
    st.lists(st.floats(0.1, 10), min_size=2, max_size=2),
    st.integers(3, 30),
    st.floats(0.1, 20),
)
def test_never_less_than_the_truth(rates: list[float], points: int, end: float) -> None:
    coarse = np.linspace(0, end, points)
    fine = np.linspace(0, end, 10_001)
    one, other = (np.exp(-rate * coarse)[:, None] for rate in rates)
    truth = np.abs(np.exp(-rates[0] * fine) - np.exp(-rates[1] * fine)).max()
    assert greatest_difference(coarse, one, other) >= truth - 1e-12


def test_four_times_nearer_with_points_twice_as_close() -> None:
    truth = 0.25  # e^-t - e^-2t is greatest at t = ln 2

    def slack(points: int) -> float:
        time = np.linspace(0, 10, points)[:, None]
        return greatest_difference(time[:, 0], np.exp(-time), np.exp(-2 * time)) - truth

    assert slack(2_001) / slack(4_001) == pytest.approx(4, rel=0.1)
