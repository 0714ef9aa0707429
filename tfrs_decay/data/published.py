"""Published logs, read from the files as they are published; nothing is downloaded.

Each gives a `RawLog` for `clean`. What a file's own rules leave out is counted.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import RawLog
from tfrs_decay.data.files import PathLike
from tfrs_decay.data.grouplens import MOVIELENS_FILES, movielens, movielens_files
from tfrs_decay.data.tables import (
    as_numbers,
    read_delimited,
    read_json_lines,
    read_table,
    require,
)

if TYPE_CHECKING:
    import pandas as pd


def mind(folder: PathLike) -> RawLog:
    """Reads MIND, the news that people were shown and what they clicked.

    Each news item of an impression is an event: "click", or "skip" for what was shown
    and left (keep it apart: see `with_actions`). The clicks before the log began have
    an order and no times. They become "earlier_click", one a second up to a second
    before the user's first impression: weigh them by rank, for their ages are not real.

    Args:
        folder: Holds `behaviors.tsv` and `news.tsv`, as published.

    Returns:
        Events with the news items' title and abstract as their texts; category and
        subcategory are further columns of the items. Times carry no zone.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or has other columns.

    References:
        F. Wu et al. MIND: a large-scale dataset for news recommendation. ACL 2020.
    """
    import pandas as pd

    folder = Path(folder)
    behaviours = _read_tsv(
        folder / "behaviors.tsv", ["impression", "user", "time", "history", "shown"]
    )
    news = _read_tsv(
        folder / "news.tsv",
        ["item", "category", "subcategory", "title", "abstract"],
        more=True,
    )
    moment = pd.to_datetime(
        behaviours["time"], format="%m/%d/%Y %I:%M:%S %p", errors="coerce"
    )
    behaviours = behaviours.assign(time=moment)
    shown = behaviours.assign(shown=behaviours["shown"].str.split()).explode("shown")
    shown = shown[shown["shown"].notna()]
    # Test sets have no label, and tell of nothing that was done.
    label = shown["shown"].str.extract(r"^(.+)-([01])$")
    unlabelled = label[1].isna().to_numpy()
    events = pd.DataFrame(
        {
            "user": shown["user"].array,
            "item": label[0].array,
            "time": shown["time"].array,
            "action": np.where(label[1] == "1", "click", "skip"),
        }
    )[~unlabelled]
    # By the clicks as well, so that the order of the rows tells nothing.
    first = behaviours.sort_values(["time", "history"]).drop_duplicates("user")
    earlier = first.assign(item=first["history"].str.split()).explode("item")
    earlier = earlier[earlier["item"].notna()]
    after = earlier.groupby("user").cumcount(ascending=False)
    earlier = pd.DataFrame(
        {
            "user": earlier["user"].array,
            "item": earlier["item"].array,
            "time": (earlier["time"] - pd.to_timedelta(after + 1, unit="s")).array,
            "action": "earlier_click",
        }
    )
    rejected = {"no label": int(unlabelled.sum())} if unlabelled.any() else {}
    return RawLog(
        pd.concat([earlier, events], ignore_index=True),
        news[["item", "title", "abstract", "category", "subcategory"]],
        rejected,
        ("title", "abstract"),
        source=str(folder / "behaviors.tsv"),
    )


def amazon_reviews(reviews: PathLike, products: PathLike | None = None) -> RawLog:
    """Reads a category of Amazon Reviews 2023.

    An item is a `parent_asin`: sizes and colours of one product are one item. Times are
    read as what they are, milliseconds, whatever the rules of `clean` say of others.

    Args:
        reviews: The reviews, `.jsonl` or `.jsonl.gz`, or a table of ratings, `.csv`,
            with the columns user_id, parent_asin, rating and timestamp.
        products: The products (`meta_*.jsonl`), for their texts.

    Returns:
        Events of one action, "review", whose value is the rating. An item has two
        texts, its title and its description; its categories and its store are further
        columns.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or has other columns; a line that is no JSON
            is named.

    References:
        Y. Hou et al. Bridging language and items for retrieval and recommendation.
        arXiv:2403.03952.
    """
    import pandas as pd

    if str(reviews).endswith((".jsonl", ".jsonl.gz")):
        table = read_json_lines(reviews, _REVIEW)
    else:
        table = read_table(reviews)
    require(table, _REVIEW, reviews)
    # As whole numbers or as text.
    milliseconds = as_numbers(table["timestamp"])
    events = pd.DataFrame(
        {
            "user": table["user_id"],
            "item": table["parent_asin"],
            "time": pd.to_datetime(milliseconds, unit="ms", utc=True, errors="coerce"),
            "value": table["rating"],
            "action": "review",
        }
    )
    if products is None:
        return RawLog(events, None, {}, source=str(reviews))
    wanted = ("parent_asin", "title", "description", "categories", "store")
    found = read_json_lines(products, wanted)
    require(found, ("parent_asin", "title"), products)
    items = pd.DataFrame({"item": found["parent_asin"], "title": found["title"]})
    for name in wanted[2:]:
        column = found[name] if name in found.columns else pd.Series("", found.index)
        items[name] = column.map(_joined)
    return RawLog(events, items, {}, ("title", "description"), source=str(reviews))


def open_folder(folder: PathLike) -> RawLog:
    """Reads MIND, a category of Amazon Reviews 2023, or else MovieLens.

    Args:
        folder: Where the files are: `behaviors.tsv`; `NAME.jsonl` beside
            `meta_NAME.jsonl`, each perhaps as .jsonl.gz; or those of `movielens`.

    Raises:
        FileNotFoundError: None of these files is there.
        ValueError: There are several categories, a file cannot be read, or has other
            columns.
    """
    folder = Path(folder)
    if (folder / "behaviors.tsv").is_file():
        return mind(folder)
    categories = _amazon_files(folder)
    if len(categories) > 1:
        (name, (reviews, products)), *_ = sorted(categories.items())
        raise ValueError(
            f"{folder} holds {len(categories)} categories of Amazon Reviews, such as "
            f"{name}: name the files of one, {reviews} and, as items, {products}."
        )
    for reviews, products in categories.values():
        return amazon_reviews(reviews, products)
    if movielens_files(folder) is None:
        raise FileNotFoundError(
            f"{folder} holds no log that is known: expected MovieLens "
            f"({MOVIELENS_FILES}), MIND (behaviors.tsv) or Amazon Reviews 2023 "
            "(NAME.jsonl and meta_NAME.jsonl, or .jsonl.gz)."
        )
    return movielens(folder)


def holds_reviews(path: PathLike) -> bool:
    """Whether a file is of Amazon Reviews 2023, as its first line tells.

    Of a file that cannot be read it is not: what reads it next says what is wrong.
    """
    name = str(path)
    if not name.endswith((".csv", *_JSON_LINES)):
        return False
    opened: Any = gzip.open if name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            first = next((line for line in file if line.strip()), "")
        if name.endswith(".csv"):
            columns = next(csv.reader([first]), [])
        else:
            columns = json.loads(first)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error):
        return False
    return isinstance(columns, (dict, list)) and all(one in columns for one in _REVIEW)


_REVIEW = ("user_id", "parent_asin", "rating", "timestamp")
_JSON_LINES = (".jsonl", ".jsonl.gz")


def _amazon_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Reviews and products of each category that is there with both, by its name."""
    files = {
        one.name.removesuffix(".gz").removesuffix(".jsonl"): one
        for one in folder.iterdir()
        if one.name.endswith(_JSON_LINES)
    }
    return {
        name: (reviews, files[f"meta_{name}"])
        for name, reviews in files.items()
        if f"meta_{name}" in files
    }


def _joined(value: Any) -> str:
    """Lists of sentences, or of categories, in one line."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(str(one) for one in value)
    return value if isinstance(value, str) else ""


def _read_tsv(path: Path, names: Sequence[str], *, more: bool = False) -> pd.DataFrame:
    """A table without a header whose first columns are these."""
    table = read_delimited(path, sep="\t", header=None, quoting=3)
    if len(table.columns) < len(names) or (
        len(table.columns) > len(names) and not more
    ):
        raise ValueError(
            f"{path} has {len(table.columns)} columns: expected {', '.join(names)}."
        )
    return table.rename(columns=dict(enumerate(names)))
