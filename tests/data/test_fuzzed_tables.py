"""Tables that went wrong: each row is an event or a counted one, or one line says why.

A good table of events is broken in one way or several, drawn by a seed, and is then
read, cleaned and prepared. Rows that nobody touched must come out as they went in.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import decimal
import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_decay.data import Cleaned, RawLog, clean, open_log
from tfrs_decay.data.vectors import read_vectors
from tfrs_decay.preparing import Preparation, prepare

FORMATS = (".csv", ".parquet", ".jsonl", ".xlsx")
NAMES = ["user", "item", "time", "action", "value"]
START = 1_600_000_000
DAY = 86_400

# The end of the calendar, in seconds since the epoch.
YEAR_9999 = 253_402_300_799


def seconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1)) // dt.timedelta(seconds=1)


# What may stand where a time should, and the second that it is; None if it is none.
TIMES: list[tuple[Any, int | None]] = [
    *((moment, seconds(moment)) for moment in (
        dt.datetime(1900, 1, 1, 12),
        dt.datetime(1677, 9, 21),
        dt.datetime(2262, 4, 12),
        dt.datetime(9999, 12, 31, 23, 59, 59),
    )),
    ("1900-01-01", -2_208_988_800),
    ("1677-01-01 00:00:00", -9_246_096_000),
    ("2262-05-01T00:00:00Z", 9_225_014_400),
    ("9999-12-31", YEAR_9999 - DAY + 1),
    ("2023-01-01T00:00:00+02:00", 1_672_524_000),
    ("13/12/2010", 1_292_198_400),
    ("10000-01-01", None),
    ("0001-01-01", None),
    ("2020-02-30", None),
    ("2023-01-01T00:00:00+25:00", None),
    (-DAY, -DAY),
    (-2_208_988_800.5, -2_208_988_801),
    (1_500_000_000.25, 1_500_000_000),
    ("1e9", 1_000_000_000),
    *((number, None) for number in (1e300, 2**63, 2**64 + 5, -(2**63), 10**400)),
    *((gap, None) for gap in (np.nan, np.inf, -np.inf, None, "", "NA", " ", "NaT")),
    *((word, None) for word in ("now", "today", "12:30", "May", "10am", "yesterday")),
    *((mark, None) for mark in (True, [1], {"a": 1}, "1\0", "x" * 5_000, "\ud800")),
]  # fmt: skip
IDS = [
    *(7, 7.0, 7.5, 10**400, True, "a\nb", 'a"b', "a,b", "x" * 5_000, "Zoë", "a\0b"),
    *(None, np.nan, np.inf, "", "  ", "\ud800", [1], {"a": 1}, []),
    dt.datetime(1900, 1, 1),
]
VALUES = [
    *("2.5", "1e309", "inf", "much", "", None, np.nan, np.inf, 10**400, -(10**400)),
    *(2**64, [1], {"a": 1}, dt.datetime(2020, 1, 1), "\ud800", -0.0, "1,5", "0x1"),
]
# Seconds of another unit, or dates that contradict each other: these say so.
REFUSED = [
    [START * 1_000],
    [START * 1_000_000],
    [str(START * 10**9)],
    ["13/12/2010", "12/13/2010"],
]


class Broken(NamedTuple):
    """A table of events of which some cells were replaced.

    rows: By row and column.
    touched: The rows that are not as they were.
    times: What a touched time is, in seconds; None if it is none.
    """

    rows: list[list[Any]]
    touched: set[int]
    times: dict[int, int | None]
    refused: set[int]


def good_rows() -> list[list[Any]]:
    return [
        [f"u{n % 5}", f"i{n % 7}", START + n * DAY + n, ("view", "buy")[n % 2], n / 2]
        for n in range(60)
    ]


def break_cells(rng: np.random.Generator) -> Broken:
    """Replaces up to eight cells, anywhere."""
    broken = Broken(good_rows(), set(), {}, set())
    for _ in range(rng.integers(1, 9)):
        row, column = int(rng.integers(60)), int(rng.integers(5))
        pool = [IDS, IDS, TIMES, IDS, VALUES][column]
        cell = pool[rng.integers(len(pool))]
        if column == 2:
            cell, broken.times[row] = cell
        broken.rows[row][column] = cell
        broken.touched.add(row)
    if rng.random() < 0.15:
        for cell in REFUSED[rng.integers(len(REFUSED))]:
            row = int(rng.integers(60))
            broken.rows[row][2] = cell
            broken.touched.add(row)
            broken.refused.add(row)
            broken.times.pop(row, None)
    return broken


# --- writers -----------------------------------------------------------------------


def as_csv(names: list[str], rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(names: list[str], rows: list[list[Any]]) -> bytes:
    lines = [
        json.dumps(dict(zip(names, row, strict=True)), default=str) for row in rows
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def as_parquet(names: list[str], rows: list[list[Any]]) -> bytes:
    written = io.BytesIO()
    columns = [arrow_column(list(cells)) for cells in zip(*rows, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, names=names), written)
    return written.getvalue()


def arrow_column(cells: list[Any]) -> pa.Array:
    """A column of one type, or as text, bytes that are no UTF-8 among them."""
    try:
        return pa.array(cells)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeError):
        text = [
            None if one is None else str(one).encode("utf-8", "surrogatepass")
            for one in cells
        ]
        array = pa.array(text, pa.binary())
        # As a writer that does not look at its bytes.
        return pa.Array.from_buffers(pa.string(), len(array), array.buffers())


def as_xlsx(names: list[str], rows: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.active.append(names)
    for row in rows:
        book.active.append([excel_cell(one) for one in row])
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def excel_cell(cell: Any) -> Any:
    if isinstance(cell, str):
        # Neither half a character nor a NUL is allowed in XML.
        return re.sub("[\0\ud800]", "?", cell)
    if isinstance(cell, (int, float)) and abs(cell) < 1e15:
        return cell
    # Excel knows no year before 1900, and what is no number to it is text.
    dated = isinstance(cell, dt.datetime) and 1900 < cell.year < 9999
    return cell if cell is None or dated else str(cell)


WRITERS = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet, ".xlsx": as_xlsx}
every_format = pytest.mark.parametrize("suffix", FORMATS)


# --- what must hold ----------------------------------------------------------------


def opened(path: Path) -> tuple[RawLog, Cleaned] | str:
    """The log and its events; or what was said of it, in one line with its name."""
    try:
        with warnings.catch_warnings():
            # openpyxl warns of dates that Excel does not have.
            warnings.filterwarnings("ignore", module="openpyxl")
            log = open_log(str(path))
            return log, clean(log)
    except ValueError as error:
        # What pandas raises is a ValueError by inheritance, and says nothing of a file.
        assert type(error).__module__ in ("builtins", "tfrs_decay.data.tables"), error
        assert type(error) is not UnicodeEncodeError, error
        said = str(error)
        assert path.name in said
        assert "\n" not in said and len(said) < 800 + len(str(path))
        return said


def check_accounted_for(log: RawLog, cleaned: Cleaned) -> None:
    """Each row is an event, or one that was left out for a reason."""
    events = cleaned.events
    assert len(events) + sum(cleaned.rejected.values()) == len(log.events)
    assert (cleaned.reason == 0).sum() == len(events) == len(cleaned.row)
    assert len(cleaned.rejected_rows()) == sum(cleaned.rejected.values())
    assert events.time.dtype == np.int64
    if len(events):
        assert abs(events.time).max() <= YEAR_9999
    if events.value is not None:
        assert np.isfinite(events.value).all()
    assert all(one.strip() and one.encode() for one in events.users)


def check_prepared(
    path: Path, told: tuple[RawLog, Cleaned] | str, runner: str = "local"
) -> None:
    """A folder that is whole and counts the same rows, or none."""
    out = path.parent / "out"
    preparation = Preparation(str(path), test="1d", validation="1d")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="openpyxl")
            report = prepare(preparation, out, runner=runner, say=lambda text: None)
    except ValueError as error:
        if isinstance(told, str):
            # Beam adds which step of its own it was.
            assert str(error).partition(" [while running")[0] == told
        else:
            # Too few events, or all of them in the last days: no fault of a cell.
            assert re.search(
                "no events to split|the log spans|has 0 examples", str(error)
            )
        assert [one.name for one in path.parent.iterdir()] == [path.name]
        return
    assert not isinstance(told, str), told
    written = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert written == report
    for name, count in told[1].to_dict().items():
        assert written[name] == count
    assert pq.read_table(out / "rejected.parquet").num_rows == sum(
        report["rejected"].values()
    )
    assert {one.name for one in path.parent.iterdir()} == {path.name, "out"}


# --- cells -------------------------------------------------------------------------


@every_format
def test_a_table_that_is_whole_loses_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    path.write_bytes(WRITERS[suffix](NAMES, good_rows()))
    told = opened(path)
    assert not isinstance(told, str), told
    assert told[1].rejected == {} and len(told[1].events) == 60
    check_untouched(told[1], set())
    check_prepared(path, told)
    assert (path.parent / "out").is_dir()


def check_untouched(cleaned: Cleaned, touched: set[int]) -> None:
    """Rows that nobody touched are events as they were written."""
    events = cleaned.events
    place = {int(row): at for at, row in enumerate(cleaned.row)}
    for row, (user, item, time, action, value) in enumerate(good_rows()):
        if row in touched:
            continue
        at = place[row]
        assert events.users[events.user[at]] == user
        assert events.items.ids[events.item[at]] == item
        assert events.time[at] == time
        assert events.actions[events.action[at]] == action
        assert events.value is not None and events.value[at] == value


@every_format
@pytest.mark.parametrize("seed", range(30))
def test_broken_cells_cost_their_own_rows_alone(
    tmp_path: Path, suffix: str, seed: int
) -> None:
    broken = break_cells(np.random.default_rng(seed))
    path = tmp_path / f"log{suffix}"
    path.write_bytes(WRITERS[suffix](NAMES, broken.rows))
    told = opened(path)
    if isinstance(told, str):
        if suffix == ".csv" and "write the file in one encoding" in told:
            assert has_two_encodings(path.read_bytes())
            return
        # Cells that speak of their whole column: one of them is named.
        assert broken.refused, told
        named = re.search(r"the column of times, row (\d+) of the log \(", told)
        assert named and int(named[1]) in broken.refused
    else:
        check_accounted_for(*told)
        assert len(told[0].events) == 60
        check_untouched(told[1], broken.touched)
        check_times(told[1], broken)
    if seed % 3 == 0:
        check_prepared(path, told)


def has_two_encodings(content: bytes) -> bool:
    """Whether Zoë is written as UTF-8 is, and half a character as it must not be."""
    return "Zoë".encode() in content and b"\xed\xa0\x80" in content


def check_times(cleaned: Cleaned, broken: Broken) -> None:
    """A time that was replaced is the second that was written, or no time."""
    why = ("", *cleaned.reasons)
    place = {int(row): at for at, row in enumerate(cleaned.row)}
    for row, second in broken.times.items():
        reason = why[cleaned.reason[row]]
        if second is None:
            assert reason in ("no time", "time cannot be read", "no user", "no item")
        elif not reason:
            assert cleaned.events.time[place[row]] == second
        else:
            # Another of its cells was replaced, too.
            assert "time" not in reason.removeprefix("same user, item, time and act")


# --- columns -----------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("column", NAMES)
def test_a_column_that_is_gone_or_misnamed(
    tmp_path: Path, suffix: str, column: str
) -> None:
    path = tmp_path / f"log{suffix}"
    at = NAMES.index(column)
    others = [*NAMES[:at], *NAMES[at + 1 :]]
    rows = [[*row[:at], *row[at + 1 :]] for row in good_rows()]
    misnamed = [*NAMES[:at], f" {column.upper()}", *NAMES[at + 1 :]]
    for names, cells in ((others, rows), (misnamed, good_rows())):
        path.write_bytes(WRITERS[suffix](names, cells))
        told = opened(path)
        if column in ("action", "value"):
            assert not isinstance(told, str) and not told[1].rejected
        else:
            assert isinstance(told, str) and f"has no column {column};" in told
        check_prepared(path, told)
        if not isinstance(told, str):
            return


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
@pytest.mark.parametrize("column", [*NAMES, "note"])
def test_a_column_that_is_there_twice(tmp_path: Path, suffix: str, column: str) -> None:
    path = tmp_path / f"log{suffix}"
    rows = [[*row, "one", "two"] for row in good_rows()]
    path.write_bytes(WRITERS[suffix]([*NAMES, column, "note"], rows))
    told = opened(path)
    if column == "note":  # No one asks for it.
        assert not isinstance(told, str) and not told[1].rejected
        return
    assert isinstance(told, str) and f"more than one column named {column!r}" in told
    if suffix == ".parquet":
        check_prepared(path, told, "DirectRunner")
    with pytest.raises(ValueError, match=f"more than one column named {column!r}"):
        open_log(str(path), sample=2)


@pytest.mark.parametrize("column", NAMES)
def test_text_that_is_no_utf_8_costs_its_rows_by_a_runner_too(
    tmp_path: Path, column: str
) -> None:
    names = ["item", "user"] if column == "item" else [column, "item"]
    rows = good_rows()
    for name in names:
        at = NAMES.index(name)
        for row in rows:
            row[at] = str(row[at])
        rows[50][at] = "\ud800"
    rows[51][2] = "NA"
    path = tmp_path / "log.parquet"
    columns = [arrow_column(list(cells)) for cells in zip(*rows, strict=True)]
    table = pa.Table.from_arrays(columns, names=NAMES)
    pq.write_table(table, path, row_group_size=16)
    told = opened(path)
    assert not isinstance(told, str), told
    assert sum(told[1].rejected.values()) == 2 and told[1].rejected["no time"] == 1
    check_prepared(path, told, "DirectRunner")


@pytest.mark.parametrize("bad", [None, "\ud800"])
def test_ids_as_bytes_are_shortened_by_a_runner_too(
    tmp_path: Path, bad: str | None
) -> None:
    ids = arrow_column([f"{n % 5}.0" for n in range(59)] + [bad])
    columns = {
        name: list(cells)
        for name, cells in zip(NAMES, zip(*good_rows(), strict=True), strict=True)
    }
    path = tmp_path / "log.parquet"
    table = pa.table({**columns, "user": ids, "item": ids.cast(pa.binary())})
    pq.write_table(table, path, row_group_size=16)
    told = opened(path)
    assert not isinstance(told, str), told
    assert told[1].events.users.tolist() == list("01234")
    check_prepared(path, told, "DirectRunner")
    found = pq.read_table(tmp_path / "out" / "training").to_pylist()
    assert {one["user"] for one in found} <= set("01234")
    assert pq.read_table(tmp_path / "out" / "items.parquet")["item"].to_pylist() == (
        list("01234")
    )


NOW = dt.datetime(2020, 9, 14)
# A column of another type, and how many of its three rows can be read; the last is a
# gap in each.
TYPED: list[tuple[str, pa.Array, int]] = [
    ("time", pa.array([NOW, dt.datetime(9999, 1, 1), None], pa.timestamp("us")), 2),
    ("time", pa.array([1, 2**62, None]).cast(pa.timestamp("us", "Asia/Tokyo")), 1),
    ("time", pa.array([2**62, -(2**62), None]).cast(pa.timestamp("ms")), 0),
    ("time", pa.array([NOW.date(), dt.date(1900, 1, 1), None]), 2),
    ("time", pa.array([dt.time(3), dt.time(4), None]), 0),
    ("time", pa.array([dt.timedelta(3), dt.timedelta(4), None]), 0),
    ("time", pa.array([decimal.Decimal("1600000000.5"), decimal.Decimal(-1), None]), 2),
    ("time", pa.array([2**64 - 1, START, None], pa.uint64()), 1),
    ("time", pa.array([b"1600000000", b"\xff", None]), 1),
    ("time", pa.array([str(START), "never", None]).dictionary_encode(), 1),
    ("time", pa.array([[START], [], None]), 0),
    ("time", pa.array([True, False, None]), 0),
    ("time", pa.nulls(3), 0),
    ("value", pa.array([NOW, NOW, None]), 0),
    ("value", pa.array([dt.timedelta(3), dt.timedelta(4), None]), 0),
    ("value", pa.array([decimal.Decimal(10) ** 60, decimal.Decimal(1), None]), 2),
    ("value", pa.array([[1.0], [2.0], None]), 0),
    ("value", pa.array([{"a": 1}, {"a": 2}, None]), 0),
    ("user", pa.array([b"\xff", b"u", None]), 1),
    ("user", pa.array([{"a": 1}, {"a": 2}, None]), 0),
    ("item", pa.array([2**64 - 1, 2**63, None], pa.uint64()), 2),
    ("item", pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())), 0),
]


@pytest.mark.parametrize(
    ("column", "cells", "readable"),
    TYPED,
    ids=[f"{name} {cells.type}" for name, cells, _ in TYPED],
)
def test_a_column_of_another_type(
    tmp_path: Path, column: str, cells: pa.Array, readable: int
) -> None:
    cells_of = zip(*good_rows()[:3], strict=True)
    columns = dict(zip(NAMES, map(list, cells_of), strict=True))
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({**columns, column: cells}), path)
    told = opened(path)
    assert not isinstance(told, str), told
    check_accounted_for(*told)
    assert len(told[1].events) == readable
    assert told[1].rejected[f"no {column}"] >= 1


# --- bytes -------------------------------------------------------------------------


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def other_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changed[rng.integers(len(content))] = rng.integers(256)
    return bytes(changed)


def nothing_in_it(content: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(content)))
    return content[:at] + b"\0" * int(rng.integers(1, 400)) + content[at:]


def twice_the_middle(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(len(content), size=2).tolist())
    return content[:last] + content[first:]


def without_a_middle(content: bytes, rng: np.random.Generator) -> bytes:
    first, last = sorted(rng.integers(len(content), size=2).tolist())
    return content[:first] + content[last:]


@every_format
@pytest.mark.parametrize(
    "broken", [cut, other_bytes, nothing_in_it, twice_the_middle, without_a_middle]
)
@pytest.mark.parametrize("seed", range(4))
def test_broken_bytes_are_named_or_counted(
    tmp_path: Path,
    suffix: str,
    broken: Callable[[bytes, np.random.Generator], bytes],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / f"log{suffix}"
    content = WRITERS[suffix](NAMES, good_rows())
    for attempt in range(8):
        path.write_bytes(broken(content, rng))
        told = opened(path)
        if not isinstance(told, str):
            check_accounted_for(*told)
        if attempt == 0:
            check_prepared(path, told)


def in_line(content: bytes, number: int, old: bytes, new: bytes) -> bytes:
    """The content with a change in one of its lines, the first of which is 1."""
    lines = content.splitlines(keepends=True)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new)
    return b"".join(lines)


CSV = as_csv(NAMES, good_rows())
LINES = as_jsonl(NAMES, good_rows())
BROKEN_TEXTS = {
    "UTF-16": (".csv", CSV.decode().encode("utf-16"), "begins as UTF-16 does"),
    "UTF-16 without a mark": (".csv", CSV.decode().encode("utf-16-le"), "as UTF-16"),
    "UTF-32": (".csv", CSV.decode().encode("utf-32"), "begins as UTF-16 does"),
    "two encodings": (
        ".csv",
        in_line(in_line(CSV, 9, b"u", b"\x93"), 7, b"u", "é".encode()),
        "line 9 holds bytes that are not UTF-8, and line 7",
    ),
    "a field too many": (".csv", in_line(CSV, 5, b"u3", b"u,3"), "line 5, saw 6"),
    "an open quote": (".csv", in_line(CSV, 30, b"u", b'"u'), "starting at row 29"),
    "no comma": (".csv", CSV.replace(b",", b";"), "separated by ';'"),
    "header only": (".csv", CSV.splitlines()[0], "has no rows below its columns"),
    "only a mark": (".csv", codecs.BOM_UTF8, "cannot be read as .csv"),
    "no header": (".csv", CSV.split(b"\n", 1)[1], "has no column user, item, time;"),
    "lines of UTF-16": (".jsonl", LINES.decode().encode("utf-16"), "as UTF-16 does"),
    "a line of latin-1": (
        ".jsonl",
        in_line(LINES, 4, b"u3", b"\xe9"),
        "line 4 holds b",
    ),
    "an array": (".jsonl", LINES + b"[1, 2]\n", "line 61: '[1, 2]' is no JSON object"),
    "a line cut short": (".jsonl", in_line(LINES, 8, b"}", b""), "line 8: "),
    "very deep": (".jsonl", LINES + b"[" * 99_999, "line 61: "),
    "many digits": (".jsonl", in_line(LINES, 2, b"1", b"1" * 9_999), "line 2: "),
    "half a character": (
        ".jsonl",
        LINES.replace(b'"value"', b'"\\ud800"'),
        r"'\ud800' is no name of a column",
    ),
    "nothing in its lines": (".jsonl", b"{}\n{}\n", "has no column user, item, time;"),
    "blank lines": (".jsonl", b"\n\n", "has no line with a JSON object"),
}


@pytest.mark.parametrize("case", BROKEN_TEXTS)
def test_a_broken_text_says_where(tmp_path: Path, case: str) -> None:
    suffix, content, message = BROKEN_TEXTS[case]
    path = tmp_path / f"log{suffix}"
    path.write_bytes(content)
    told = opened(path)
    assert isinstance(told, str) and message in told
    check_prepared(path, told)


WHOLE_TEXTS = {
    "a mark": (".csv", codecs.BOM_UTF8 + CSV),
    "lines end in CR LF": (".csv", CSV.replace(b"\n", b"\r\n")),
    "no end of the last line": (".csv", CSV.rstrip()),
    "blank lines": (".csv", CSV.replace(b"\n", b"\n\n")),
    "a mark before an object": (".jsonl", codecs.BOM_UTF8 + LINES),
    "objects end in CR LF": (".jsonl", LINES.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("case", WHOLE_TEXTS)
def test_what_is_odd_and_whole_loses_nothing(tmp_path: Path, case: str) -> None:
    suffix, content = WHOLE_TEXTS[case]
    path = tmp_path / f"log{suffix}"
    path.write_bytes(content)
    told = opened(path)
    assert not isinstance(told, str), told
    assert told[1].rejected == {}
    check_untouched(told[1], set())


def test_a_note_beside_an_excel_table_and_a_blank_row_above_it(tmp_path: Path) -> None:
    for name, blank in (("note.xlsx", []), ("blank.xlsx", [[None], []])):
        book = openpyxl.Workbook()
        for row in [*blank, NAMES, *good_rows()]:
            book.active.append(row)
        if not blank:
            book.active.cell(5, 9, "checked by Zoë")
        book.save(tmp_path / name)
        told = opened(tmp_path / name)
        if isinstance(told, str):
            assert blank and "has no column user, item, time;" in told
        else:
            check_untouched(told[1], set())


# --- more than there is ------------------------------------------------------------


def varint(number: int) -> bytes:
    """An integer of several bytes as Thrift's compact protocol writes it."""
    number *= 2
    written = bytearray()
    while number > 127:
        written.append(number % 128 + 128)
        number //= 128
    return bytes([*written, number])


def declaring(path: Path, rows: int, more: int, places: int = -1) -> None:
    """Writes into a Parquet file's footer that it has more rows than it does.

    The first of the places is the file's number, and the others its row group's.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    pages, footer = content[: -8 - length], content[-8 - length : -8]
    # A field of 64 bits that follows the one before it has the mark 0x16.
    old, new = b"\x16" + varint(rows), b"\x16" + varint(more)
    assert footer.count(old) >= 4  # The file's, its row group's, and each column's.
    footer = footer.replace(old, new, places)
    path.write_bytes(pages + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.fixture
def arrow_memory() -> Any:
    """Arrow's memory during a test."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(before)


@pytest.mark.parametrize("places", [-1, 1], ids=["everywhere", "the file"])
@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_file_that_declares_gigabytes_takes_none(
    tmp_path: Path, arrow_memory: Any, compression: str, places: int
) -> None:
    rows = 777
    table = pa.table(
        {
            "user": [f"u{n}" for n in range(rows)],
            "item": ["i"] * rows,
            "time": range(START, START + rows),
        }
    )
    path = tmp_path / "log.parquet"
    pq.write_table(table, path, compression=compression)
    declaring(path, rows, 10**10, places)
    told = opened(path)
    assert told == (
        f"{path} says that it has 10000000000 rows and holds 777: fetch or write it "
        "again."
    )
    check_prepared(path, told)
    check_prepared(path, told, "DirectRunner")
    vectors = tmp_path / "vectors.parquet"
    vectors.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"vectors\.parquet says .* 10000000000 rows"):
        read_vectors(vectors, id_column="user", vector_column=["time"])
    assert arrow_memory.max_memory() < 100e6


def test_an_array_that_declares_terabytes(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    np.savez(path, ids=np.array(["a", "b"]), vectors=np.ones((2, 4), np.float32))
    # Of the same length, so that the archive is whole; its checksum comes too late.
    declared = path.read_bytes().replace(
        b"(2, 4), }             ", b"(9999999999999, 4), } "
    )
    assert declared != path.read_bytes()
    path.write_bytes(declared)
    with pytest.raises(ValueError, match=r"vectors\.npz cannot be read as \.npz"):
        read_vectors(path)
