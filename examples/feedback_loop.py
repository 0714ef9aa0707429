"""Is decay with a daily update worth it, once what is shown decides what is learned?

A simulated audience clicks what it is shown, for sixty days. What users like drifts,
and items come in every day. Five recommenders begin with the same log, and then each
learns from what it showed itself: with decay or with plain mean pooling, updated every
night or left as the first fit made it. An update takes the day's lists with their
clicks (`feedback.skipped`, `position_weights`); one more takes the clicks alone, with
the whole catalogue for their negatives, and tells what that does.

    python examples/feedback_loop.py              # five audiences, some twenty minutes
    python examples/feedback_loop.py --out loop.png --json loop.json

The world. In an earlier one items went stale in 20 days: there training made every
model worse than its untrained vectors, and two towers know nothing of an item's age, so
items now stay. No number of the world was chosen by what decay gains in it; how the
recommenders are trained was, in part, on other audiences than those reported. That
learning from lists helps was seen on 100 and 101. With 300 users and always the power
law, updates with decay were ahead of updates without by +0.35% [-0.17, +0.86] over
audiences 0 to 4; with 600, and a choice between two decays that are learned, by +0.42%
[-0.09, +0.92] over 10 to 14. On 100 and 101 half-lives that are learned came out longer
than the best fixed ones: so fixed ones are among the choices now.

- An item is a direction in 8 dimensions, with a quality. What is known of it beforehand
  is a vector of 16 numbers that tells the direction with noise (a cosine of about
  0.86), as a text would, and not the quality. There are 400 to begin with, 4 more
  come out every day, and all of them stay.
- A user is a direction as well: 30% of its variance stays, the rest is forgotten with a
  half-life of 10 days. Nearly half of the users come on a day, some more often than
  others, and see one list of ten.
- A place k is looked at with probability 1 / log2(k + 1), and what is looked at is
  clicked with probability sigmoid(4 affinity + quality - 2). What a user clicked is not
  recommended to it again.
- One visit in five ends with an item that the user found alone, by the true chances:
  all that a recommender hears of items which it does not show.
- For the 30 days before, lists are random, and at each visit something is found alone.
  That log is the first fit's: some twenty events a user. The settings are the
  package's own, but for the width of 16; between a power law that is learned and four
  half-lives the last seven days choose, as they choose the passes.

The arms differ in nothing else, but that there is one mean to choose from and there are
five decays. How often a place is looked at is not told them: it is learned of the first
log, whose lists were random. Every audience has the same users, visits, drift and
thresholds of chance for each of them, so that differences are paired. All read the
history as it is when the user comes; what is frozen is the weights, and new items are
known by their vectors at once. Items stand in the catalogue before they come out, but
are shown to nobody: that spares making a model anew each day. Nothing is held back for
a guard, which would have some 70 users of six hours to judge by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tfrs_decay as td

import tensorflow as tf  # isort: skip
from scipy import special  # isort: skip

DAY = 86_400
START = 1_704_067_200  # 2024-01-01 00:00 UTC
BEFORE = 30  # days of the first log
CHOOSING = 7  # the last of them, by which passes and decay of the first fit are chosen
LIST = 10
ASPECTS, WIDTH = 8, 16
FIRST_ITEMS, ITEMS_A_DAY = 400, 4
LASTING, DRIFT = 0.3, 10  # share of interest that stays; half-life of the rest, days
VISITS = 0.4  # a day, by the median user
FOUND, FOUND_BEFORE = 0.2, 1.0  # of visits, that end with an item found alone
LATE = 14  # the last days, of which the table tells as well

UPDATED, FROZEN = "decay, updated daily", "decay, frozen"
MEAN, FROZEN_MEAN = "no decay, updated daily", "no decay, frozen"
BLIND = "decay, by clicks alone"
ARMS = (UPDATED, FROZEN, MEAN, FROZEN_MEAN, BLIND)
RANDOM, BEST = "random lists", "lists by the true chances"

SETTINGS = td.training.Settings(dim=16, loss="auto")
DECAYS = (
    td.decay.PowerLaw("1h", 0.25, trainable=True),
    *(td.decay.Exponential(half_life) for half_life in ("3d", "7d", "14d", "30d")),
)
"""Of which the first log's last days choose, as `tfrs-decay tune` would."""


class World(NamedTuple):
    """An audience and what is offered to it; days count from the first log's begin.

    item: [items, aspects] of length 1.
    quality: [items].
    published: [items] the day on which each comes out.
    vectors: [items, width] what is known beforehand.
    interest: [days, users, aspects].
    visit: [days, users] the second of the day, -1 for who stays away.
    seed: Of this and of what happens.
    """

    item: np.ndarray
    quality: np.ndarray
    published: np.ndarray
    vectors: np.ndarray
    interest: np.ndarray
    visit: np.ndarray
    seed: int

    @property
    def ids(self) -> list[str]:
        """The items' ids."""
        return [f"item-{number:04d}" for number in range(len(self.item))]

    @property
    def users(self) -> np.ndarray:
        """[users] the users' ids."""
        return np.array([f"user-{n:04d}" for n in range(self.visit.shape[1])], object)

    def chance(self, day: int) -> np.ndarray:
        """[users, items] of a click on what is looked at; 0 for what is not out."""
        affinity = self.interest[day] @ self.item.T
        return self.offered(day) * special.expit(4 * affinity + self.quality - 2)

    def offered(self, day: int) -> np.ndarray:
        """[items] bool, what is out."""
        return self.published <= day


def world_of(users: int, days: int, seed: int) -> World:
    """Draws an audience for the days before and as many as are to be simulated."""
    for_items, for_users = np.random.default_rng(seed).spawn(2)
    days += BEFORE
    later = np.repeat(np.arange(1, days), ITEMS_A_DAY)
    published = np.concatenate([np.zeros(FIRST_ITEMS, np.int64), later])
    item = for_items.normal(size=(len(published), ASPECTS))
    item /= np.linalg.norm(item, axis=1, keepdims=True)
    axes, _ = np.linalg.qr(for_items.normal(size=(WIDTH, ASPECTS)))
    noise = for_items.normal(0, 0.15, (len(published), WIDTH))

    spread = ASPECTS**-0.5
    kept = 0.5 ** (1 / DRIFT)
    lasting = for_users.normal(0, spread, (users, ASPECTS))
    passing = for_users.normal(0, spread, (days, users, ASPECTS))
    for day in range(1, days):
        passing[day] *= (1 - kept**2) ** 0.5
        passing[day] += kept * passing[day - 1]
    often = VISITS * np.exp(for_users.normal(0, 0.5, users))
    comes = for_users.random((days, users)) < often
    return World(
        item=item,
        quality=for_items.normal(0, 0.5, len(published)),
        published=published,
        vectors=(item @ axes.T + noise).astype(np.float32),
        interest=LASTING**0.5 * lasting + (1 - LASTING) ** 0.5 * passing,
        visit=np.where(comes, for_users.integers(0, DAY - 60, (days, users)), -1),
        seed=seed,
    )


class Day(NamedTuple):
    """What came of a day's lists.

    shown: How many places were shown.
    clicks: How many of them were clicked.
    served: Columns of the lists, an item a row.
    events: What was clicked, and what was found alone.
    """

    shown: int
    clicks: int
    served: dict[str, np.ndarray]
    events: td.data.Events

    def joined(self) -> td.feedback.Joined:
        """The lists with what came of them."""
        return td.feedback.join(td.feedback.Served.of(self.served), self.events)


def happen(world: World, day: int, lists: np.ndarray, found: float = FOUND) -> Day:
    """Shows each user who comes a list, [users, places] of items, for a day."""
    chance = world.chance(day)
    rng = np.random.default_rng([world.seed, day])
    users, places = lists.shape
    look = rng.random((users, places)) < 1 / np.log2(np.arange(2, places + 2))
    like = rng.random(chance.shape) < chance
    alone = rng.random(users)
    with np.errstate(divide="ignore"):
        own = np.argmax(np.log(chance) + rng.gumbel(size=chance.shape), axis=1)
    comes = world.visit[day] >= 0
    clicked = look & np.take_along_axis(like, lists, axis=1) & comes[:, None]
    clicker, place = np.nonzero(clicked)
    finder = np.flatnonzero(comes & (alone < found))
    second = START + day * DAY + world.visit[day]
    names = np.array(world.ids, object)
    return Day(
        shown=int(comes.sum()) * places,
        clicks=int(clicked.sum()),
        served={
            "user": np.repeat(world.users[comes], places),
            "item": names[lists[comes].ravel()],
            "time": np.repeat(second[comes], places),
            "position": np.tile(np.arange(1, places + 1), comes.sum()),
        },
        # What is clicked in one list is one basket.
        events=log(
            world,
            user=np.concatenate([clicker, finder]),
            item=np.concatenate([lists[clicker, place], own[finder]]),
            time=np.concatenate([second[clicker], second[finder] + 60]),
        ),
    )


def log(
    world: World, *, user: np.ndarray, item: np.ndarray, time: np.ndarray
) -> td.data.Events:
    """Clean events, [n] each, of users and items by number."""
    order = np.lexsort([item, time, user])
    return td.data.Events(
        user=user[order],
        time=time[order],
        action=np.zeros(len(order), np.int64),
        item=item[order],
        users=world.users,
        actions=("click",),
        items=td.data.Items(world.ids),
    )


def best(score: np.ndarray, world: World, day: int, clicked: np.ndarray) -> np.ndarray:
    """[users, places] the best of what is offered and was not clicked by the user."""
    score = np.where(clicked | ~world.offered(day), -np.inf, score)
    return np.argsort(-score, axis=1, kind="stable")[:, :LIST]


def at_random(world: World, day: int) -> np.ndarray:
    """[users, items] scores that mean nothing."""
    shape = world.visit.shape[1], len(world.item)
    return np.random.default_rng([world.seed, day, 1]).random(shape)


def clicked_by(world: World, events: td.data.Events) -> np.ndarray:
    """[users, items] bool, who had what."""
    clicked = np.zeros((world.visit.shape[1], len(world.item)), bool)
    clicked[events.user, events.item] = True
    return clicked


class Before(NamedTuple):
    """What happened in the days before, when lists were random.

    events: The log.
    looked_at: How often each place is.
    """

    events: td.data.Events
    looked_at: td.feedback.Examination


def first_log(world: World) -> Before:
    """Shows random lists on the days before."""
    nobody = np.zeros(0, np.int64)
    events = log(world, user=nobody, item=nobody, time=nobody)
    served: list[dict[str, np.ndarray]] = []
    for day in range(BEFORE):
        lists = best(at_random(world, day), world, day, clicked_by(world, events))
        today = happen(world, day, lists, found=FOUND_BEFORE)
        events = td.data.grow(events, today.events).events
        served.append(today.served)
    lists_of_all = {
        name: np.concatenate([one[name] for one in served]) for name in served[0]
    }
    joined = td.feedback.join(td.feedback.Served.of(lists_of_all), events)
    return Before(events, td.feedback.fit_examination(joined, within=[]))


def fitted(
    world: World, events: td.data.Events, decays: Sequence[td.decay.Decay]
) -> td.models.DecayRetrieval:
    """The model that arms begin with, of the first log, whose last days choose it."""
    settings = replace(SETTINGS, seed=world.seed)
    vectors = td.data.ItemVectors(world.ids, world.vectors)
    end = START + BEFORE * DAY
    split = td.data.TimeSplit(validation=end - CHOOSING * DAY, test=end)
    several = []
    for decay in decays:
        model = td.training.make_model(events, settings, decay, vectors=vectors)
        several.append(td.training.train(model, events, split, settings, verbose=0))
    return max(several, key=lambda one: max(one.recall)).model


class Recommender:
    """A model that is asked every day.

    Args:
        model: The model, which may be trained on between two days.
    """

    def __init__(self, model: td.models.DecayRetrieval) -> None:
        self.model = model

        # Made once, for weights are read when it runs.
        @tf.function
        def interest(request: dict[str, tf.Tensor]) -> tf.Tensor:
            return model(request, training=False)

        self._interest = interest

    def scores(self, world: World, day: int, events: td.data.Events) -> np.ndarray:
        """[users, items] as each user would be answered at the time of its visit."""
        longest = SETTINGS.max_history
        everybody = np.arange(world.visit.shape[1])
        start = np.searchsorted(events.user, everybody)
        stop = np.searchsorted(events.user, everybody, side="right")
        length = np.minimum(stop - start, longest)
        row = (stop - length)[:, None] + np.arange(longest)
        there = np.arange(longest) < length[:, None]
        row = np.where(there, row, 0)
        request = {
            "history_item": np.where(there, events.items.ids[events.item[row]], ""),
            "history_time": np.where(there, events.time[row], 0),
            "history_length": length,
            "query_time": START + day * DAY + np.maximum(world.visit[day], 0),
        }
        interest = self._interest({k: tf.constant(v) for k, v in request.items()})
        return interest.numpy() @ self.model.item_tower.catalogue_vectors().T


def days_of(world: World) -> range:
    """The days that are simulated, after those before."""
    return range(BEFORE, len(world.visit))


NOTHING, CLICKS, LISTS = "nothing", "clicks", "lists"


def live(
    world: World, before: Before, recommender: Recommender, *, learns: str
) -> Iterator[Day]:
    """The days of one arm, which learns of what it showed each day.

    Args:
        world: The audience.
        before: What happened before.
        recommender: Is trained on.
        learns: `NOTHING`, of `CLICKS` alone, or of `LISTS` with what was clicked there.
    """
    events, until = before.events, START + BEFORE * DAY
    for day in days_of(world):
        scores = recommender.scores(world, day, events)
        today = happen(world, day, best(scores, world, day, clicked_by(world, events)))
        if learns == NOTHING:
            events = td.data.grow(events, today.events).events
        else:
            made = td.updating.update(
                recommender.model,
                events,
                today.events,
                SETTINGS,
                trained_until=until,
                hold_out=None,
                **(of_lists(today, before.looked_at) if learns == LISTS else {}),
            )
            events, until = made.events, made.trained_until
        yield today


def of_lists(today: Day, looked_at: td.feedback.Examination) -> dict[str, Any]:
    """What an update is told of a day's lists."""
    joined = today.joined()
    weights = td.feedback.position_weights(joined, looked_at)
    return {
        "event_weights": joined.event_weights(weights.weight),
        "skipped": td.feedback.skipped(joined),
    }


def without_model(world: World, events: td.data.Events, *, true: bool) -> Iterator[Day]:
    """The days of lists that are the best there are, or random."""
    for day in days_of(world):
        scores = world.chance(day) if true else at_random(world, day)
        today = happen(world, day, best(scores, world, day, clicked_by(world, events)))
        events = td.data.grow(events, today.events).events
        yield today


def simulate(seed: int, *, users: int, days: int) -> dict[str, np.ndarray]:
    """[days, 2] places shown and clicked by arm, of one audience."""
    made = world_of(users, days, seed)
    before = first_log(made)

    def told(name: str, lived: Iterator[Day]) -> np.ndarray:
        counts = np.array([[today.shown, today.clicks] for today in lived])
        shown, clicks = counts.sum(axis=0)
        print(f"audience {seed}, {name}: {clicks / shown:.2%}", flush=True)
        return counts

    found = {
        RANDOM: told(RANDOM, without_model(made, before.events, true=False)),
        BEST: told(BEST, without_model(made, before.events, true=True)),
    }
    arms: dict[tuple[td.decay.Decay, ...], dict[str, str]] = {
        DECAYS: {FROZEN: NOTHING, UPDATED: LISTS, BLIND: CLICKS},
        (td.decay.Constant(),): {FROZEN_MEAN: NOTHING, MEAN: LISTS},
    }
    for several, learning in arms.items():
        model = fitted(made, before.events, several)
        recommender, weights = Recommender(model), model.get_weights()
        for name, learns in learning.items():
            model.set_weights(weights)
            found[name] = told(name, live(made, before, recommender, learns=learns))
    return found


class Interval(NamedTuple):
    """A mean over audiences with its interval of 95%, by Student's t; numbers alike."""

    mean: Any
    low: Any
    high: Any


def interval(figures: np.ndarray) -> Interval:
    """Of [audiences, ...] figures."""
    n = len(figures)
    mean = figures.mean(axis=0)
    error = figures.std(axis=0, ddof=1) / n**0.5
    half = special.stdtrit(n - 1, 0.975) * error
    return Interval(mean, mean - half, mean + half)


def rate(counts: np.ndarray, days: slice = slice(None)) -> np.ndarray:
    """[audiences] click-through over some days, of [audiences, days, 2] counts."""
    shown, clicks = counts[:, days].sum(axis=1).T
    return clicks / shown


def so_far(counts: np.ndarray) -> np.ndarray:
    """[audiences, days] click-through from the first day to each."""
    shown, clicks = np.moveaxis(counts.cumsum(axis=1), -1, 0)
    return clicks / shown


def table(counts: Mapping[str, np.ndarray]) -> str:
    """Click-through by arm, and how far the first is ahead of the others."""
    days = counts[UPDATED].shape[1]
    periods = {f"all {days} days": slice(None), f"last {LATE}": slice(-LATE, None)}
    lines = [f"{'click-through':28}" + "".join(f"{one:>26}" for one in periods)]
    for name, own in counts.items():
        cells = [interval(rate(own, one)) for one in periods.values()]
        lines.append(f"{name:28}" + "".join(f"{_percent(one):>26}" for one in cells))
    lines.append(f"\n{UPDATED}, less")
    for name in ARMS[1:]:
        cells = [
            interval(rate(counts[UPDATED], one) - rate(counts[name], one))
            for one in periods.values()
        ]
        lines.append(
            f"  {name:26}" + "".join(f"{_percent(one, '+'):>26}" for one in cells)
        )
    return "\n".join(lines)


def _percent(found: Interval, sign: str = "") -> str:
    mean, low, high = (format(100 * one, f"{sign}.2f") for one in found)
    return f"{mean}% [{low}, {high}]"


def main(arguments: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Simulates the arms; gives [audiences, days, 2] places shown and clicked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5, help="audiences, 2 or more")
    parser.add_argument(
        "--first-seed", type=int, default=20, help="of the audiences, one after another"
    )
    parser.add_argument("--out", type=Path, help="a PNG of the click-through so far")
    parser.add_argument("--json", type=Path, help="a file for all counts")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: an interval needs 2 audiences or more")
    each = [
        simulate(seed, users=options.users, days=options.days)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    counts = {name: np.stack([one[name] for one in each]) for name in each[0]}
    print(f"\nMeans over {options.seeds} audiences, with intervals of 95%:\n")
    print(table(counts))
    if options.json is not None:
        written = {name: own.tolist() for name, own in counts.items()}
        options.json.write_text(json.dumps(written))
    if options.out is not None:
        curves = {name: interval(so_far(counts[name])) for name in ARMS}
        figure = td.plots.by_day(curves, measure="click-through so far")
        print(f"\nPicture: {td.plots.save(figure, options.out)}")
    return counts


if __name__ == "__main__":
    main()
