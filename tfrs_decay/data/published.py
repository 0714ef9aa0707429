"""Published logs, read from the files as they are published; nothing is downloaded.

Each gives a `RawLog` for `clean`. What a file's own rules leave out is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import RawLog
from tfrs_decay.data.tables import (
    Misread,
    PathLike,
    as_numbers,
    encoding_of,
    need,
    read_json_lines,
    require,
    unreadable,
)

if TYPE_CHECKING:
    import pandas as pd


def movielens(folder: PathLike) -> RawLog:
    """Reads MovieLens, of any size, as GroupLens or RecBole publish it.

    Known by their files: `ratings.csv` and `movies.csv` (20M, 25M, 32M, latest),
    `ratings.dat` and `movies.dat` (1M, 10M), `u.data` and `u.item` (100K), or RecBole's
    `*.inter` and `*.item`. Half of the users of the older sets rate everything within
    an hour: days are the wrong unit there.

    Args:
        folder: Where the files are.

    Returns:
        Events of one action, "rating", whose value is the rating; an item's text is the
        film's title with its year, its genres a further column.

    Raises:
        FileNotFoundError: None of these files is there.
        ValueError: A file cannot be read, or has other columns.

    References:
        F. M. Harper, J. A. Konstan. The MovieLens datasets. ACM TiiS 5(4), 2015. The
        licence forbids redistribution.
    """
    folder = Path(folder)
    rated, films = _movielens_files(folder)
    ratings, items = _MOVIELENS[rated.suffix](rated, films)
    require(ratings, ("user", "item", "value", "time"), rated)
    require(items, ("item", "text", "genres"), films)
    ratings = ratings[["user", "item", "time", "value"]].assign(action="rating")
    return RawLog(ratings, items[["item", "text", "genres"]], {})


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
    first = behaviours.sort_values("time", kind="stable").drop_duplicates("user")
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
    )


def amazon_reviews(reviews: PathLike, products: PathLike | None = None) -> RawLog:
    """Reads a category of Amazon Reviews 2023.

    An item is a `parent_asin`: sizes and colours of one product are one item.

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

    from tfrs_decay.data.tables import read_table

    columns = ("user_id", "parent_asin", "rating", "timestamp")
    if str(reviews).endswith((".jsonl", ".jsonl.gz")):
        table = read_json_lines(reviews, columns)
    else:
        table = read_table(reviews)
    require(table, columns, reviews)
    events = pd.DataFrame(
        {
            "user": table["user_id"],
            "item": table["parent_asin"],
            # Milliseconds, as whole numbers or as text.
            "time": as_numbers(table["timestamp"]) // 1_000,
            "value": table["rating"],
            "action": "review",
        }
    )
    if products is None:
        return RawLog(events, None, {})
    wanted = ("parent_asin", "title", "description", "categories", "store")
    found = read_json_lines(products, wanted)
    require(found, ("parent_asin", "title"), products)
    items = pd.DataFrame({"item": found["parent_asin"], "title": found["title"]})
    for name in wanted[2:]:
        column = found[name] if name in found.columns else pd.Series("", found.index)
        items[name] = column.map(_joined)
    return RawLog(events, items, {}, ("title", "description"))


def _joined(value: Any) -> str:
    """Lists of sentences, or of categories, in one line."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(str(one) for one in value)
    return value if isinstance(value, str) else ""


def _movielens_files(folder: Path) -> tuple[Path, Path]:
    for ratings, films in (
        ("ratings.csv", "movies.csv"),
        ("ratings.dat", "movies.dat"),
        ("u.data", "u.item"),
    ):
        if (folder / ratings).is_file():
            return folder / ratings, folder / films
    found = sorted(folder.glob("*.inter"))
    if found:
        return found[0], found[0].with_suffix(".item")
    raise FileNotFoundError(
        f"{folder} holds no MovieLens: expected ratings.csv, ratings.dat, u.data or a "
        ".inter file."
    )


def _read_tsv(path: Path, names: Sequence[str], *, more: bool = False) -> pd.DataFrame:
    """A table without a header whose first columns are these."""
    table = _read(path, sep="\t", header=None, quoting=3)
    if len(table.columns) < len(names) or (
        len(table.columns) > len(names) and not more
    ):
        raise ValueError(
            f"{path} has {len(table.columns)} columns: expected {', '.join(names)}."
        )
    return table.rename(columns=dict(enumerate(names)))


def _read(path: Path, **options: Any) -> pd.DataFrame:
    """A text file of columns, all as text."""
    need("pandas", "a log", "data")
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        return pd.read_csv(
            path,
            dtype=str,
            encoding=encoding_of(path),
            keep_default_na=False,
            na_values=[""],
            **options,
        )
    except Misread:
        raise
    except (ValueError, OSError) as error:
        raise unreadable(path, error) from error


def _from_csv(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    events = _read(ratings).rename(
        columns={
            "userId": "user",
            "movieId": "item",
            "rating": "value",
            "timestamp": "time",
        }
    )
    items = _read(films).rename(columns={"movieId": "item", "title": "text"})
    return events, items


def _from_dat(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    double = {"sep": "::", "engine": "python", "header": None}
    events = _read(ratings, names=["user", "item", "value", "time"], **double)
    items = _read(films, names=["item", "text", "genres"], **double)
    return events, items


_GENRES = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|"
    "Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
).split("|")


def _from_hundred_thousand(
    ratings: Path, films: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    events = _read(
        ratings, sep="\t", header=None, names=["user", "item", "value", "time"]
    )
    columns = ["item", "text", "released", "video", "address", *_GENRES]
    items = _read(films, sep="|", header=None, names=columns, quoting=3)
    of_genre = items[_GENRES].to_numpy() == "1"
    items["genres"] = [
        "|".join(name for name, one in zip(_GENRES, row, strict=True) if one)
        for row in of_genre
    ]
    return events, items


def _from_recbole(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    # A column is written as name:type.
    events = _read(ratings, sep="\t", quoting=3)
    events = events.rename(columns=lambda name: name.partition(":")[0]).rename(
        columns={
            "user_id": "user",
            "item_id": "item",
            "rating": "value",
            "timestamp": "time",
        }
    )
    items = _read(films, sep="\t", quoting=3)
    items = items.rename(columns=lambda name: name.partition(":")[0]).rename(
        columns={"item_id": "item", "class": "genres", "genre": "genres"}
    )
    if "movie_title" in items.columns:
        year = items.get("release_year")
        title = items["movie_title"].fillna("")
        items["text"] = title if year is None else title + " (" + year.fillna("") + ")"
    return events, items


_MOVIELENS = {
    ".csv": _from_csv,
    ".dat": _from_dat,
    ".data": _from_hundred_thousand,
    ".inter": _from_recbole,
}
