"""`tfrs_decay.durations`: how people write a duration, in seconds and back."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_decay.durations import to_seconds, to_text


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("36h", 129_600),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1y", 31_536_000),
        ("1.5h", 5_400),
        (".5d", 43_200),
        ("2.m", 120),
        (" 7 d ", 604_800),
        (42, 42),
        (0.25, 0.25),
        (np.int32(5), 5),
        (np.float32(0.5), 0.5),
        (datetime.timedelta(days=1, seconds=1), 86_401),
        (datetime.timedelta(milliseconds=1), 0.001),
        (np.timedelta64(3, "h"), 10_800),
        (np.timedelta64(1_500, "ms"), 1.5),
    ],
)
def test_reads_what_people_write(written: Any, seconds: float) -> None:
    read = to_seconds(written)
    assert read == seconds
    assert type(read) is float


@pytest.mark.parametrize(
    "written",
    ["", "7", "d", "7 days", "7D", "-7d", "1e3d", "7d 2h", "7,5d", "nan", "infd"],
)
def test_refuses_other_writing_and_shows_the_right_one(written: str) -> None:
    with pytest.raises(ValueError, match=f"half_life='{written}' .* as in '7d'"):
        to_seconds(written, "half_life")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("7", "7s"),
        ("7D", "7d"),
        ("7days", "7d"),
        ("7 Days", "7d"),
        ("1 week", "1w"),
        ("1.5 hrs", "1.5h"),
        ("30min", "30m"),
        ("2 years", "2y"),
        ("7M", None),  # minutes, or months
        ("3 months", None),
        ("-7d", None),
        ("soon", None),
        ("", None),
    ],
)
def test_what_was_meant_is_said_where_it_can_be_told(
    written: str, meant: str | None
) -> None:
    with pytest.raises(ValueError, match="as in '7d' or '36h'") as caught:
        to_seconds(written)
    hint = "" if meant is None else f" Did you mean '{meant}'?"
    assert str(caught.value).endswith(f"or '36h'.{hint}")


@pytest.mark.parametrize(
    "nothing",
    [
        "0s",
        0,
        -1.0,
        math.inf,
        math.nan,
        datetime.timedelta(0),
        datetime.timedelta(seconds=-1),
        np.timedelta64("NaT"),
        "9" * 400 + "s",
    ],
)
def test_refuses_what_is_not_finite_and_positive(nothing: Any) -> None:
    with pytest.raises(ValueError, match=r"window=.* finite and longer than nothing"):
        to_seconds(nothing, "window")


@pytest.mark.parametrize(
    ("strange", "its_type"),
    [(None, "NoneType"), (True, "bool"), (["7d"], "list"), (b"7d", "bytes")],
)
def test_refuses_other_types_by_name(strange: Any, its_type: str) -> None:
    with pytest.raises(TypeError, match=f"test is a {its_type}: give .* '7d'"):
        to_seconds(strange, "test")


def test_an_error_names_a_duration_when_no_argument_is_named() -> None:
    with pytest.raises(ValueError, match="duration='soon'"):
        to_seconds("soon")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (604_800.0, "7d"),
        (5_400.0, "1.5h"),
        (90.0, "1.5m"),
        (59.0, "59s"),
        (0.5, "0.5s"),
        (0.0, "0s"),
        (86_400.0, "1d"),
        (86_399.0, "24h"),
        (31_536_000.0, "1y"),
        (-7_200.0, "-2h"),
    ],
)
def test_writes_in_the_largest_unit(seconds: float, text: str) -> None:
    assert to_text(seconds) == text


@given(st.floats(min_value=1e-3, max_value=9_000 * 365 * 86_400.0))
def test_what_is_written_can_be_read_again(seconds: float) -> None:
    # Four digits are written, so a reader is off by at most 5 in the fifth.
    assert to_seconds(to_text(seconds)) == pytest.approx(seconds, rel=5.001e-4)
