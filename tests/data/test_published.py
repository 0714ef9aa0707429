"""Published logs, from small files in their own formats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrs_decay.data import (
    RawLog,
    Rules,
    amazon_reviews,
    clean,
    mind,
    movielens,
    movielens_tfds,
    open_log,
)

# The same three ratings and two films, as each edition writes them.
EDITIONS = {
    "latest": {
        "ratings.csv": (
            "userId,movieId,rating,timestamp\n"
            "1,10,4.0,881250949\n1,20,3.5,881250950\n2,10,1.0,881250951\n"
        ),
        "movies.csv": (
            "movieId,title,genres\n"
            '10,"Toys, The (1995)",Animation|Comedy\n20,Café (1999),Drama\n'
        ),
    },
    "1m": {
        "ratings.dat": (
            "1::10::4.0::881250949\n1::20::3.5::881250950\n2::10::1.0::881250951\n"
        ),
        "movies.dat": (
            "10::Toys, The (1995)::Animation|Comedy\n20::Café (1999)::Drama\n"
        ),
    },
    "100k": {
        "u.data": (
            "1\t10\t4.0\t881250949\n1\t20\t3.5\t881250950\n2\t10\t1.0\t881250951\n"
        ),
        "u.item": (
            "10|Toys, The (1995)|01-Jan-1995||http://x|0|0|0|1|0|1" + "|0" * 13 + "\n"
            "20|Café (1999)|01-Jan-1999||http://x|0|0|0|0|0|0|0|0|1" + "|0" * 10 + "\n"
        ),
    },
    "recbole": {
        "ml.inter": (
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t10\t4.0\t881250949\n1\t20\t3.5\t881250950\n2\t10\t1.0\t881250951\n"
        ),
        "ml.item": (
            "item_id:token\tmovie_title:token_seq\trelease_year:token\t"
            "class:token_seq\n"
            "10\tToys, The\t1995\tAnimation Comedy\n20\tCafé\t1999\tDrama\n"
        ),
    },
}
ENCODING = {"1m": "latin-1", "100k": "latin-1"}


def rows_of(log: RawLog) -> list[tuple[str, str, int, str, float | None]]:
    cleaned = clean(log)
    assert cleaned.rejected == log.rejected
    events = cleaned.events
    return [
        (
            events.users[events.user[n]],
            events.items.ids[events.item[n]],
            int(events.time[n]),
            events.actions[events.action[n]],
            None if events.value is None else float(events.value[n]),
        )
        for n in range(len(events))
    ]


@pytest.mark.parametrize("edition", EDITIONS)
def test_movielens_in_each_edition(tmp_path: Path, edition: str) -> None:
    for name, content in EDITIONS[edition].items():
        (tmp_path / name).write_text(content, ENCODING.get(edition, "utf-8"))
    log = movielens(tmp_path)
    assert rows_of(log) == [
        ("1", "10", 881250949, "rating", 4.0),
        ("1", "20", 881250950, "rating", 3.5),
        ("2", "10", 881250951, "rating", 1.0),
    ]
    assert log.items is not None
    assert clean(log).events.items.texts.tolist() == ["Toys, The (1995)", "Café (1999)"]
    genres = log.items["genres"].str.replace("|", " ").tolist()
    assert genres == ["Animation Comedy", "Drama"]


def test_folders_are_opened_by_what_they_hold(tmp_path: Path) -> None:
    films, news = tmp_path / "films", tmp_path / "news"
    films.mkdir(), news.mkdir()
    for name, content in EDITIONS["latest"].items():
        (films / name).write_text(content)
    (news / "behaviors.tsv").write_text(BEHAVIOURS)
    (news / "news.tsv").write_text(NEWS)
    assert rows_of(open_log(str(films))) == rows_of(movielens(films))
    assert rows_of(open_log(str(news))) == rows_of(mind(news))
    one = clean(open_log(str(news), sample=1)).events
    assert len(one.users) == 1
    with pytest.raises(ValueError, match=r"sample=9 of 2 users"):
        open_log(str(films), sample=9)
    with pytest.raises(ValueError, match=r"describes its items itself: leave items"):
        open_log(str(films), items="items.csv")


def test_a_later_edition_in_the_older_format_is_utf_8(tmp_path: Path) -> None:
    for name, content in EDITIONS["1m"].items():
        (tmp_path / name).write_text(content, "utf-8")
    texts = clean(movielens(tmp_path)).events.items.texts.tolist()
    assert texts == ["Toys, The (1995)", "Café (1999)"]


def test_what_is_no_movielens_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no MovieLens: expected rati"):
        movielens(tmp_path)
    (tmp_path / "ratings.csv").write_text("user,film\n1,2\n")
    with pytest.raises(FileNotFoundError, match=r"movies\.csv: no such file"):
        movielens(tmp_path)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,a,b\n")
    with pytest.raises(ValueError, match=r"ratings\.csv has no column item, value, ti"):
        movielens(tmp_path)


# What `tfds.load("movielens/100k-ratings")` and `-movies` give of the same rows.
TFDS_RATINGS: list[dict[str, Any]] = [
    {
        "bucketized_user_age": np.float32(45),
        "movie_genres": np.array(genres, np.int64),
        "movie_id": film,
        "movie_title": title.encode(),
        "raw_user_age": np.float32(46),
        "timestamp": np.int64(time),
        "user_gender": True,
        "user_id": user,
        "user_occupation_label": np.int64(4),
        "user_occupation_text": b"doctor",
        "user_rating": np.float32(rating),
        "user_zip_code": b"53211",
    }
    for user, film, title, genres, rating, time in (
        (b"1", b"10", "Toys, The (1995)", [2, 4], 4.0, 881250949),
        (b"1", b"20", "Café (1999)", [7], 3.5, 881250950),
        (b"2", b"10", "Toys, The (1995)", [2, 4], 1.0, 881250951),
    )
]
TFDS_MOVIES: list[dict[str, Any]] = [
    {
        "movie_genres": np.array(genres, np.int64),
        "movie_id": film,
        "movie_title": title.encode(),
    }
    for film, title, genres in (
        (b"10", "Toys, The (1995)", [2, 4]),
        (b"20", "Café (1999)", [7]),
    )
]


def as_dataset(rows: list[dict[str, Any]]) -> Any:
    """A `tf.data.Dataset` with the types and shapes of TensorFlow Datasets."""
    import tensorflow as tf

    types = {
        "movie_genres": tf.TensorSpec([None], tf.int64),
        "timestamp": tf.TensorSpec([], tf.int64),
        "user_gender": tf.TensorSpec([], tf.bool),
        "user_occupation_label": tf.TensorSpec([], tf.int64),
        **{
            name: tf.TensorSpec([], tf.float32)
            for name in ("bucketized_user_age", "raw_user_age", "user_rating")
        },
    }
    text = tf.TensorSpec([], tf.string)
    return tf.data.Dataset.from_generator(
        lambda: iter(rows),
        output_signature={name: types.get(name, text) for name in rows[0]},
    )


@pytest.mark.parametrize("given", [list, iter, as_dataset])
def test_movielens_of_tensorflow_datasets_is_that_of_the_files(
    tmp_path: Path, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfrs_decay.data.published._BATCH", 2)
    for name, content in EDITIONS["100k"].items():
        (tmp_path / name).write_text(content, "latin-1")
    files = movielens(tmp_path)
    log = movielens_tfds(given(TFDS_RATINGS), given(TFDS_MOVIES))
    assert log.source == "ratings"
    assert rows_of(log) == rows_of(files)
    assert log.events.columns.tolist() == files.events.columns.tolist()
    assert log.items is not None and log.items.equals(files.items)


def test_every_genre_of_tensorflow_datasets_has_its_name(tmp_path: Path) -> None:
    # In u.item a film says of each of these whether it is one of them.
    (tmp_path / "u.data").write_text("1\t1\t4\t881250949\n")
    flags = ["|".join("01"[n == film] for n in range(19)) for film in range(19)]
    (tmp_path / "u.item").write_text(
        "".join(f"{n}|Film {n}|||http://x|{one}\n" for n, one in enumerate(flags))
    )
    # Those labels are sorted; IMAX is 11, and none at all 20.
    labels = [17, *range(11), *range(12, 17), 18, 19]
    films = [
        {
            "movie_id": str(n).encode(),
            "movie_title": f"Film {n}".encode(),
            "movie_genres": np.array([label]),
        }
        for n, label in enumerate(labels)
    ]
    log, files = movielens_tfds(TFDS_RATINGS, films), movielens(tmp_path)
    assert log.items is not None and files.items is not None
    renamed = {"unknown": "Unknown", "Children's": "Children"}
    assert log.items.equals(files.items.replace({"genres": renamed}))
    films = [{**films[0], "movie_genres": np.array([11, 20])}]
    several = movielens_tfds(TFDS_RATINGS, films).items
    assert several is not None
    assert several["genres"].tolist() == ["IMAX|(no genres listed)"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.batch(2), r"ratings: user_id has 1 dimensions, and 0 in"),
        (
            lambda data: data.map(lambda row: {"user_id": row["user_id"]}),
            r"ratings has no feature movie_id; its features are user_id\.",
        ),
        (
            lambda data: data.map(lambda row: row["movie_title"]),
            r"ratings: a row is a TensorSpec; expected dicts with user_id, movie_id",
        ),
        (
            lambda _: [{"user_id": b"1"}],
            r"ratings has no feature movie_id; its features are user_id\.",
        ),
        (lambda _: [b"1"], r"ratings: a row is a bytes; expected dicts with user_id"),
        (
            lambda _: [{**TFDS_RATINGS[0], "user_id": np.array([b"1"])}],
            r"user_id has 1 dimensions, and 0 in .* one by one, not batched",
        ),
    ],
)
def test_rows_that_are_not_of_tensorflow_datasets(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        movielens_tfds(change(as_dataset(TFDS_RATINGS)), TFDS_MOVIES)


@pytest.mark.parametrize("label", [-1, 21])
def test_a_genre_that_is_none(label: int) -> None:
    films = [{**TFDS_MOVIES[0], "movie_genres": np.array([0, label])}]
    with pytest.raises(ValueError, match=rf"movie_genres holds {label}; .* 0 to 20"):
        movielens_tfds(TFDS_RATINGS, films)


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_wrong_time_of_movielens_is_named_by_file_and_row(
    tmp_path: Path, edition: str
) -> None:
    for name, content in EDITIONS[edition].items():
        written = content.replace("881250951", "881250951000")
        (tmp_path / name).write_text(written, "latin-1")
    log = movielens(tmp_path)
    ratings = tmp_path / next(iter(EDITIONS[edition]))
    with pytest.raises(
        ValueError, match=rf"^{ratings}, the column of times, row 2 of .*881250951000 "
    ):
        clean(log)


BEHAVIOURS = """\
1\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0
2\tU2\t11/15/2019 12:00:00 PM\t\tN1-0 N3-1
3\tU1\t11/15/2019 9:06:00 PM\tN1 N2\tN1-1
"""
NEWS = """\
N1\tsports\tsoccer\tA goal "wins\tIt was late.\thttps://x\t[]\t[]
N2\tnews\tworld\tA vote\t\thttps://x\t[]\t[]
N3\tfood\trecipes\tA soup\tWith leeks.\thttps://x\t[]\t[]
N4\tfood\tdrinks\tA tea\tGreen.\thttps://x\t[]\t[]
"""
MORNING = 1_573_808_758  # 2019-11-15 09:05:58 UTC


def test_mind(tmp_path: Path) -> None:
    (tmp_path / "behaviors.tsv").write_text(BEHAVIOURS)
    (tmp_path / "news.tsv").write_text(NEWS)
    log = mind(tmp_path)
    assert log.source == str(tmp_path / "behaviors.tsv")
    evening = MORNING + 12 * 3_600 + 2
    assert [row[:4] for row in rows_of(log)] == [
        ("U1", "N1", MORNING - 2, "earlier_click"),
        ("U1", "N2", MORNING - 1, "earlier_click"),
        ("U1", "N3", MORNING, "click"),
        ("U1", "N4", MORNING, "skip"),
        ("U1", "N1", evening, "click"),
        ("U2", "N3", MORNING + 2 * 3_600 + 54 * 60 + 2, "click"),
        ("U2", "N1", MORNING + 2 * 3_600 + 54 * 60 + 2, "skip"),
    ]
    items = clean(log).events.items
    assert items.texts.tolist()[:2] == [
        ['A goal "wins', "It was late."],
        ["A vote", ""],
    ]
    assert log.items is not None and log.items["category"].iloc[3] == "food"


def test_times_of_mind_are_of_the_zone_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "behaviors.tsv").write_text(BEHAVIOURS)
    (tmp_path / "news.tsv").write_text(NEWS)
    events = clean(mind(tmp_path), rules=Rules(time_zone="Asia/Tokyo")).events
    assert int(events.time.min()) == MORNING - 2 - 9 * 3_600


def test_mind_without_labels_tells_of_nothing_that_was_done(tmp_path: Path) -> None:
    (tmp_path / "behaviors.tsv").write_text("1\tU1\t11/15/2019 9:05:58 AM\tN1\tN3 N4\n")
    (tmp_path / "news.tsv").write_text(NEWS)
    log = mind(tmp_path)
    assert log.rejected == {"no label": 2}
    assert [row[3] for row in rows_of(log)] == ["earlier_click"]


def test_what_is_no_mind_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"behaviors\.tsv: no such file"):
        mind(tmp_path)
    (tmp_path / "behaviors.tsv").write_text("1\tU1\n")
    with pytest.raises(ValueError, match=r"behaviors\.tsv has 2 columns: expected im"):
        mind(tmp_path)


REVIEWS = [
    {
        "rating": 5.0,
        "title": "Good",
        "text": "Really.",
        "asin": "B1-red",
        "parent_asin": "B1",
        "user_id": "AE1",
        "timestamp": 1_588_687_728_923,
        "verified_purchase": True,
    },
    {
        "rating": 2.0,
        "asin": "0012",
        "parent_asin": "0012",
        "user_id": "AE2",
        "timestamp": 1_588_687_729_000,
    },
]
PRODUCTS = [
    {
        "parent_asin": "B1",
        "title": "A mug",
        "description": ["Holds tea.", "Is red."],
        "categories": ["Home", "Mugs"],
        "store": "Acme",
    },
    {"parent_asin": "0012", "title": "A pot", "description": [], "store": None},
]


def lines(path: Path, rows: list[dict]) -> Path:  # type: ignore[type-arg]
    content = "".join(json.dumps(one) + "\n" for one in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_amazon_reviews(tmp_path: Path, suffix: str) -> None:
    reviews = lines(tmp_path / f"reviews{suffix}", REVIEWS)
    products = lines(tmp_path / f"meta{suffix}", PRODUCTS)
    log = amazon_reviews(reviews, products)
    assert rows_of(log) == [
        ("AE1", "B1", 1_588_687_728, "review", 5.0),
        ("AE2", "0012", 1_588_687_729, "review", 2.0),
    ]
    assert clean(log).events.items.texts.tolist() == [
        ["A pot", ""],
        ["A mug", "Holds tea. Is red."],
    ]
    assert log.items is not None
    assert log.items["categories"].tolist() == ["Home Mugs", ""]
    assert amazon_reviews(reviews).items is None
    assert log.source == amazon_reviews(reviews).source == str(reviews)


def test_amazon_ratings_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "Toys.csv"
    path.write_text(
        "user_id,parent_asin,rating,timestamp\nAE2,0012,2.0,1588687729000\n"
    )
    assert rows_of(amazon_reviews(path)) == [
        ("AE2", "0012", 1_588_687_729, "review", 2.0)
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_amazon_reviews_are_opened_by_what_they_are(
    tmp_path: Path, suffix: str
) -> None:
    reviews = lines(tmp_path / f"Toys.v2{suffix}", REVIEWS)
    products = lines(tmp_path / "meta_Toys.v2.jsonl", PRODUCTS)
    log = amazon_reviews(reviews, products)
    for opened in (
        open_log(str(tmp_path)),
        open_log(str(reviews), items=str(products)),
    ):
        assert rows_of(opened) == rows_of(log)
        assert opened.texts == ("title", "description")
        assert opened.items is not None and opened.items.equals(log.items)
    assert open_log(str(reviews)).items is None
    one = open_log(str(tmp_path), sample=1, seed=0)
    assert len(rows_of(one)) == 1
    own = open_log(str(reviews), items=str(products), texts=["categories"])
    assert clean(own).events.items.texts.tolist() == ["", "Home Mugs"]
    with pytest.raises(ValueError, match=r"meta_Toys\.v2\.jsonl has no column colour"):
        open_log(str(reviews), items=str(products), texts=["title", "colour"])
    with pytest.raises(ValueError, match=r"\['title', 'title'\] must name one column"):
        open_log(str(reviews), items=str(products), texts=["title", "title"])
    with pytest.raises(ValueError, match=r"describes its items itself: leave items"):
        open_log(str(tmp_path), items=str(products))


def test_ratings_of_amazon_are_known_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "Toys.csv"
    path.write_text(
        '\ufeff"user_id",parent_asin,rating,timestamp\nAE2,0012,2.0,1588687729000\n',
        "utf-8",
    )
    assert rows_of(open_log(str(path))) == rows_of(amazon_reviews(path))


def test_reviews_whose_names_are_told_are_a_table_of_ones_own(tmp_path: Path) -> None:
    reviews = lines(tmp_path / "Toys.jsonl", REVIEWS)
    own = {"user": "user_id", "item": "asin", "time": "timestamp"}
    cleaned = clean(open_log(str(reviews), columns=own), rules=Rules(time_unit="ms"))
    assert cleaned.events.items.ids.tolist() == ["0012", "B1-red"]
    assert cleaned.events.time.tolist() == [1_588_687_728, 1_588_687_729]


@pytest.mark.parametrize(
    "rules", [Rules(time_unit="ms"), Rules(time_zone="Asia/Tokyo")]
)
def test_times_of_reviews_are_milliseconds_whatever_is_told(
    tmp_path: Path, rules: Rules
) -> None:
    rows = [*REVIEWS, {**REVIEWS[0], "timestamp": None}]
    cleaned = clean(amazon_reviews(lines(tmp_path / "Toys.jsonl", rows)), rules=rules)
    assert cleaned.events.time.tolist() == [1_588_687_728, 1_588_687_729]
    assert cleaned.rejected == {"no time": 1}


def test_a_review_whose_time_is_none_costs_its_row(tmp_path: Path) -> None:
    times = [10**400, -(10**25), "soon", "\ud800", [1], None, 1_588_687_729_000, "1e12"]
    rows = [{**REVIEWS[0], "timestamp": time} for time in times]
    cleaned = clean(amazon_reviews(lines(tmp_path / "Toys.jsonl", rows)))
    assert cleaned.row.tolist() == [7, 6]
    assert cleaned.events.time.tolist() == [1_000_000_000, 1_588_687_729]
    assert cleaned.rejected == {"no time": 6}


def test_one_category_is_read_at_a_time(tmp_path: Path) -> None:
    for name in ("Toys", "Beauty"):
        lines(tmp_path / f"{name}.jsonl.gz", REVIEWS)
        lines(tmp_path / f"meta_{name}.jsonl.gz", PRODUCTS)
    with pytest.raises(
        ValueError,
        match=r"holds 2 categories .* such as Beauty: .*/Beauty\.jsonl\.gz and, as "
        r"items, .*/meta_Beauty\.jsonl\.gz\.",
    ):
        open_log(str(tmp_path))
    # Without their products, they are no pair.
    (tmp_path / "meta_Toys.jsonl.gz").unlink()
    assert len(rows_of(open_log(str(tmp_path)))) == 2
    (tmp_path / "meta_Beauty.jsonl.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"NAME\.jsonl and meta_NAME\.jsonl"):
        open_log(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", b'{"user_id": 1\n', r"log\.jsonl, line 1: .* is no JSON object"),
        ("log.jsonl", b"5\n", r"log\.jsonl, line 1: '5' is no JSON object"),
        ("log.jsonl", b"", r"log\.jsonl is empty"),
        ("log.jsonl", b'{"user_id": 1}\n', r"has no column user, item, time"),
        ("log.jsonl.gz", b"no gzip", r"log\.jsonl\.gz ends in '\.gz'; expected"),
        ("log.csv", b"user_id,rating\n1,2\n", r"has no column user, item, time"),
        ("log.csv", b"\xff,user\n1,2\n", r"has no column item, time"),
    ],
)
def test_what_is_no_review_is_named_as_it_was(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_log(str(tmp_path / name))


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl"
    good = json.dumps(REVIEWS[0])
    path.write_text(f"{good}\n\n{good}\n{good[:40]}\n{good}\n")
    with pytest.raises(ValueError, match=r"reviews\.jsonl, line 4: '\{\"rating\": 5"):
        amazon_reviews(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"reviews\.jsonl has no line with a JSON"):
        amazon_reviews(path)
    lines(path, [{"user_id": "u"}])
    with pytest.raises(ValueError, match=r"has no column parent_asin, rating, timest"):
        amazon_reviews(path)
    cut = tmp_path / "reviews.jsonl.gz"
    lines(cut, REVIEWS)
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"reviews\.jsonl\.gz cannot be read"):
        amazon_reviews(cut)
