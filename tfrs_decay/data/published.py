"""Published logs, read from the files as they are published; nothing is downloaded.

Each gives a `RawLog` for `clean`. What a file's own rules leave out is counted.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    found = _movielens_files(folder)
    if found is None:
        raise FileNotFoundError(
            f"{folder} holds no MovieLens: expected {_MOVIELENS_FILES}."
        )
    rated, films = found
    ratings, items = _MOVIELENS[rated.suffix](rated, films)
    require(ratings, ("user", "item", "value", "time"), rated)
    require(items, ("item", "text", "genres"), films)
    ratings = ratings[["user", "item", "time", "value"]].assign(action="rating")
    return RawLog(ratings, items[["item", "text", "genres"]], {}, source=str(rated))


def movielens_tfds(
    ratings: Iterable[Mapping[str, Any]], movies: Iterable[Mapping[str, Any]]
) -> RawLog:
    """Reads MovieLens, of any size, as TensorFlow Datasets gives it.

    With that package, which downloads it::

        ratings = tfds.load("movielens/100k-ratings", split="train")
        movies = tfds.load("movielens/100k-movies", split="train")
        log = td.data.movielens_tfds(ratings, movies)

    Args:
        ratings: A `tf.data.Dataset` that is not batched, or dicts of NumPy values as
            `tfds.as_numpy` gives them, with the features `user_id` and `movie_id`
            (bytes), `user_rating` (float) and `timestamp` (seconds); others are not
            read.
        movies: Likewise, with `movie_id`, `movie_title` (bytes) and `movie_genres`
            ([genres] int, the labels' places).

    Returns:
        What `movielens` reads from the files, but for two genres of the older sets that
        TensorFlow Datasets writes as the later ones do: "Children" and "Unknown".

    Raises:
        ValueError: A row is no dict, a feature is missing or of another shape, or a
            genre is none.

    References:
        https://www.tensorflow.org/datasets/catalog/movielens
    """
    need("pandas", "a log", "data")
    import pandas as pd

    rated = _features(
        "ratings", ratings, user_id=0, movie_id=0, timestamp=0, user_rating=0
    )
    films = _features("movies", movies, movie_id=0, movie_title=0, movie_genres=1)
    events = pd.DataFrame(
        {
            "user": _decoded(rated["user_id"]),
            "item": _decoded(rated["movie_id"]),
            "time": rated["timestamp"],
            "value": rated["user_rating"],
            "action": "rating",
        }
    )
    items = pd.DataFrame(
        {
            "item": _decoded(films["movie_id"]),
            "text": _decoded(films["movie_title"]),
            "genres": [_tfds_genres(labels) for labels in films["movie_genres"]],
        }
    )
    return RawLog(events, items, {}, source="ratings")


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

    from tfrs_decay.data.tables import read_table

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
    if _movielens_files(folder) is None:
        raise FileNotFoundError(
            f"{folder} holds no log that is known: expected MovieLens "
            f"({_MOVIELENS_FILES}), MIND (behaviors.tsv) or Amazon Reviews 2023 "
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


_MOVIELENS_FILES = "ratings.csv, ratings.dat, u.data or a .inter file"


def _movielens_files(folder: Path) -> tuple[Path, Path] | None:
    """The files of ratings and of films; None where there are no ratings."""
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
    return None


# In the order of TensorFlow Datasets' labels.
_TFDS_GENRES = (
    "Action|Adventure|Animation|Children|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|IMAX|Musical|Mystery|Romance|Sci-Fi|Thriller|Unknown|War|Western|"
    "(no genres listed)"
).split("|")


def _tfds_genres(labels: Iterable[int]) -> str:
    """Places among the labels to names, as MovieLens joins them."""
    places = [int(one) for one in labels]
    wrong = [one for one in places if not 0 <= one < len(_TFDS_GENRES)]
    if wrong:
        raise ValueError(
            f"movies: movie_genres holds {wrong[0]}; TensorFlow Datasets has the "
            f"genres 0 to {len(_TFDS_GENRES) - 1}."
        )
    return "|".join(_TFDS_GENRES[one] for one in places)


def _features(name: str, rows: Any, **dimensions: int) -> dict[str, list[Any]]:
    """The values of some features in a `tf.data.Dataset` or in dicts, by row.

    Args:
        name: Of the rows, for errors.
        rows: As `movielens_tfds` takes them.
        dimensions: By feature, how many a row's value has.
    """
    found: dict[str, list[Any]] = {feature: [] for feature in dimensions}
    if not hasattr(rows, "element_spec"):
        for row in rows:
            _check_features(name, row, dimensions, np.ndim)
            for feature, values in found.items():
                values.append(row[feature])
        return found
    _check_features(
        name, rows.element_spec, dimensions, lambda spec: int(spec.shape.rank)
    )
    rows = rows.map(lambda row: {feature: row[feature] for feature in dimensions})
    # In batches, which is twenty times as fast as row by row.
    for batch in rows.ragged_batch(_BATCH):
        for feature, some in batch.items():
            found[feature].extend(some.numpy().tolist())
    return found


_BATCH = 10_000


def _check_features(
    name: str,
    row: Any,
    dimensions: Mapping[str, int],
    dimensions_of: Callable[[Any], int],
) -> None:
    """Refuses rows that are not as TensorFlow Datasets gives them.

    Raises:
        ValueError: Naming what was expected.
    """
    if not isinstance(row, Mapping):
        raise ValueError(
            f"{name}: a row is a {type(row).__name__}; expected dicts with "
            f"{', '.join(dimensions)}."
        )
    for feature, wanted in dimensions.items():
        if feature not in row:
            raise ValueError(
                f"{name} has no feature {feature}; its features are "
                f"{', '.join(sorted(row))}."
            )
        if dimensions_of(row[feature]) != wanted:
            raise ValueError(
                f"{name}: {feature} has {dimensions_of(row[feature])} dimensions, and "
                f"{wanted} in TensorFlow Datasets: give rows one by one, not batched."
            )


def _decoded(names: Iterable[Any]) -> list[str]:
    """Text in UTF-8, as TensorFlow holds it, or as it is."""
    return [one.decode("utf-8") if isinstance(one, bytes) else one for one in names]


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
