"""MovieLens, from the files of each edition or as TensorFlow Datasets gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import RawLog
from tfrs_decay.data.files import PathLike
from tfrs_decay.data.tables import need, read_delimited, require

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
        ValueError: A file cannot be read, or has other columns; or there are several
            .inter files.

    References:
        F. M. Harper, J. A. Konstan. The MovieLens datasets. ACM TiiS 5(4), 2015. The
        licence forbids redistribution.
    """
    folder = Path(folder)
    found = movielens_files(folder)
    if found is None:
        raise FileNotFoundError(
            f"{folder} holds no MovieLens: expected {MOVIELENS_FILES}."
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


MOVIELENS_FILES = "ratings.csv, ratings.dat, u.data or a .inter file"


def movielens_files(folder: Path) -> tuple[Path, Path] | None:
    """The files of ratings and of films; None where there are no ratings.

    Raises:
        ValueError: There are several that may be the ratings.
    """
    for ratings, films in (
        ("ratings.csv", "movies.csv"),
        ("ratings.dat", "movies.dat"),
        ("u.data", "u.item"),
    ):
        if (folder / ratings).is_file():
            return folder / ratings, folder / films
    found = sorted(folder.glob("*.inter"))
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds {len(found)} .inter files, {found[0].name} and "
            f"{found[1].name} among them: leave one log in a folder."
        )
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


def _from_csv(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    events = read_delimited(ratings).rename(
        columns={
            "userId": "user",
            "movieId": "item",
            "rating": "value",
            "timestamp": "time",
        }
    )
    items = read_delimited(films).rename(columns={"movieId": "item", "title": "text"})
    return events, items


def _from_dat(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    double = {"sep": "::", "engine": "python", "header": None}
    events = read_delimited(ratings, names=["user", "item", "value", "time"], **double)
    items = read_delimited(films, names=["item", "text", "genres"], **double)
    return events, items


_GENRES = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|"
    "Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
).split("|")


def _from_hundred_thousand(
    ratings: Path, films: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    events = read_delimited(
        ratings, sep="\t", header=None, names=["user", "item", "value", "time"]
    )
    columns = ["item", "text", "released", "video", "address", *_GENRES]
    items = read_delimited(films, sep="|", header=None, names=columns, quoting=3)
    of_genre = items[_GENRES].to_numpy() == "1"
    items["genres"] = [
        "|".join(name for name, one in zip(_GENRES, row, strict=True) if one)
        for row in of_genre
    ]
    return events, items


def _from_recbole(ratings: Path, films: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    # A column is written as name:type.
    events = read_delimited(ratings, sep="\t", quoting=3)
    events = events.rename(columns=lambda name: name.partition(":")[0]).rename(
        columns={
            "user_id": "user",
            "item_id": "item",
            "rating": "value",
            "timestamp": "time",
        }
    )
    items = read_delimited(films, sep="\t", quoting=3)
    items = items.rename(columns=lambda name: name.partition(":")[0]).rename(
        columns={"item_id": "item", "class": "genres", "genre": "genres"}
    )
    if "movie_title" in items.columns:
        items["text"] = items["movie_title"]
        if "release_year" in items.columns:
            dated = items["movie_title"] + " (" + items["release_year"] + ")"
            items["text"] = dated.fillna(items["movie_title"])
    return events, items


_MOVIELENS = {
    ".csv": _from_csv,
    ".dat": _from_dat,
    ".data": _from_hundred_thousand,
    ".inter": _from_recbole,
}
