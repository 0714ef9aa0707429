"""Searching a decay: its parts by hand, a shop whose half-life is known, its folder.

The linear recommender's weights and profiles are held against other ways of coming by
the same numbers: regressions one by one, and the pooling layer.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tfrs_decay as td
from tfrs_decay import plots
from tfrs_decay.data import RawLog, TimeSplit, basket_queries, clean
from tfrs_decay.decay import (
    Constant,
    Exponential,
    Linear,
    Mixture,
    PowerLaw,
    Product,
    Window,
)
from tfrs_decay.training import Settings, make_model, train
from tfrs_decay.tuning import (
    LinearObjective,
    Score,
    Search,
    Trial,
    Tuned,
    TuningFolder,
    TwoTowerObjective,
    objectives,
    read_best,
    tune,
)
from tfrs_decay.tuning.profiles import Profiles, ProfileScores, Relations, relations
from tfrs_decay.tuning.search import (
    Asked,
    planned,
    scale_bounds,
    standard_error,
    trials,
)

DAY = 86_400
SETTINGS = Settings(
    action_weights={"browse": 0.2, "purchase": 1.0}, target_actions=["purchase"]
)
BOUNDS = {"age": (600.0, 100.0 * DAY), "rank": (1.0, 100.0)}


def made(*rows, actions=None):
    """Events of (user, time, item, action) rows."""
    table = pd.DataFrame(rows, columns=["user", "time", "item", "action"])
    table = table.sample(frac=1, random_state=2)
    return clean(RawLog(table, None, {}), actions=actions).events


@pytest.fixture(scope="module")
def shop():
    """A shop whose users' interest halves in a week, and its cuts."""
    events = clean(td.data.simulated_shop(users=500, days=120, seed=4).log).events
    return events, td.data.split_by_time(events, test="20d", validation="20d")


def profile_of(events, decay, *, action_weight=(1.0,), max_history=100):
    """The profiles of all queries of a log."""
    profiles = Profiles(
        events,
        decay,
        action_weight=np.asarray(action_weight),
        max_history=max_history,
    )
    return profiles(basket_queries(events))


# Profiles.

FIVE = made(
    ("u", 0, "a", "buy"),
    ("u", 10, "b", "buy"),
    ("u", 20, "c", "buy"),
    ("u", 20, "d", "look"),
    ("u", 30, "e", "buy"),
)


def test_a_profile_by_age_by_hand():
    # The last query, at 30: ages 30, 20, 10 and 10 at a half-life of 10.
    profile = profile_of(FIVE, Exponential(10), action_weight=[1.0, 1.0])[-1]
    assert profile == pytest.approx(np.array([1, 2, 4, 4, 0]) / 11)


def test_a_profile_by_rank_by_hand():
    # c and d are of one moment: neither is later than the other.
    by_rank = Exponential(1, by="rank")
    profile = profile_of(FIVE, by_rank, action_weight=[1.0, 1.0])[-1]
    assert profile == pytest.approx(np.array([1, 2, 8, 8, 0]) / 19)  # ranks 3, 2, 0, 0
    # What weighs nothing is no later event either.
    profile = profile_of(FIVE, by_rank, action_weight=[1.0, 0.0])[-1]
    assert profile == pytest.approx(np.array([1, 2, 4, 0, 0]) / 7)  # ranks 2, 1, 0


def test_a_profile_is_of_the_latest_events():
    profile = profile_of(FIVE, Constant(), action_weight=[1.0, 0.5], max_history=3)[-1]
    assert profile == pytest.approx(np.array([0, 1, 1, 0.5, 0]) / 2.5)


def test_a_profile_of_the_long_gone_still_has_its_direction():
    years = 365 * DAY
    events = made(
        ("u", 0, "a", "buy"), ("u", 1, "b", "buy"), ("u", 50 * years, "c", "buy")
    )
    profile = profile_of(events, Exponential("1s"))[-1]
    assert profile == pytest.approx(np.array([1, 2, 0]) / 3)


def test_a_profile_without_weights_is_empty():
    assert profile_of(FIVE, Window(5), action_weight=[1.0, 1.0])[-1].tolist() == [0] * 5


@pytest.mark.parametrize(
    "decay",
    [
        Constant(),
        Exponential("3d"),
        Exponential({"browse": "1d", "*": "9d"}),
        PowerLaw("1h", 0.25),
        Linear("4d"),
        Mixture(["1h", "9d"], [0.3, 0.7]),
        Exponential(3, by="rank"),
        Window(4, by="rank"),
        Product([Exponential("3d"), PowerLaw(1, 0.5, by="rank")]),
    ],
    ids=repr,
)
def test_profiles_are_what_the_layer_pools(shop_events, decay):
    weights = {"browse": 0.2, "purchase": 1.0}
    queries = basket_queries(shop_events)
    queries = queries.where(np.arange(len(queries)) % 40 == 0)
    profiles = Profiles(
        shop_events, decay, action_weight=np.array([0.2, 1.0]), max_history=30
    )
    pool = td.layers.TimeDecayPooling(decay, action_weights=weights)
    one_hot = np.eye(len(shop_events.items), dtype=np.float32)
    for number, profile in enumerate(profiles(queries)):
        stop = queries.history_stop[number]
        some = slice(max(queries.history_start[number], stop - 30), stop)
        pooled = pool(
            one_hot[shop_events.item[some]][None],
            timestamps=shop_events.time[some][None],
            query_time=queries.time[number][None],
            actions=np.asarray(shop_events.actions)[shop_events.action[some]][None],
        ).numpy()[0]
        np.testing.assert_allclose(profile, pooled, atol=2e-6)


@pytest.mark.parametrize(
    "decay",
    [
        Exponential("7d", per_feature=True),
        Exponential({"mug": "1d", "*": "9d"}, group="category"),
    ],
    ids=repr,
)
def test_a_profile_has_no_features_and_no_categories(decay):
    with pytest.raises(ValueError, match="has a rate for each feature or category"):
        profile_of(FIVE, decay, action_weight=[1.0, 1.0])


# Relations.


def test_weights_are_regressions_of_each_item_on_all_others(shop_events):
    action_weight = np.array([0.2, 1.0])
    until = int(np.median(shop_events.time))
    found = relations(shop_events, until=until, action_weight=action_weight)
    users, items = len(shop_events.users), len(shop_events.items)
    heaviest = np.zeros((users, items))
    for user, item, action, time in zip(
        shop_events.user,
        shop_events.item,
        shop_events.action,
        shop_events.time,
        strict=True,
    ):
        if time <= until:
            weight = action_weight[action]
            heaviest[user, item] = max(heaviest[user, item], weight)
    there = np.flatnonzero(heaviest.any(axis=0))
    assert found.item.tolist() == there.tolist()
    x = heaviest[:, there]
    # Ridge as least squares with rows of sqrt(ridge) I below, ten mean squares long.
    ridge = 10 * np.mean((x**2).sum(axis=0))
    for column in (0, len(there) // 2, len(there) - 1):
        others = np.delete(np.arange(len(there)), column)
        below = np.sqrt(ridge) * np.eye(len(others))
        weight, *_ = np.linalg.lstsq(
            np.vstack([x[:, others], below]),
            np.concatenate([x[:, column], np.zeros(len(others))]),
            rcond=None,
        )
        np.testing.assert_allclose(found.weight[others, column], weight, atol=1e-6)
        assert found.weight[column, column] == 0


def test_only_the_most_frequent_have_weights():
    rows = [("u", 1, "b", "buy"), ("u", 2, "b", "buy"), ("u", 3, "a", "buy")]
    rows += [("v", 4, "c", "buy"), ("v", 9, "d", "buy")]
    found = relations(made(*rows), until=5, action_weight=np.array([1.0]), most_items=2)
    assert found.item.tolist() == [0, 1]  # b twice; a and c once, a by its code
    assert found.popularity.tolist() == [0.5, 1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="until=0: no event that weighs something"):
        relations(made(*rows), until=0, action_weight=np.array([1.0]))


def test_scores_by_hand():
    known = Relations(
        item=np.array([0, 2]),
        weight=np.array([[0.0, 0.5], [0.25, 0.0]], np.float32),
        popularity=np.array([1.0, 0.0, 0.5, 0.0, 0.0], np.float32),
    )
    profiles = Profiles(
        FIVE, Constant(), action_weight=np.array([1.0, 0.0]), max_history=3
    )
    # At 30 the latest three are b, c and d, and looking at d weighs nothing.
    scores = ProfileScores(profiles, known, own=2.0)(basket_queries(FIVE))[-1]
    assert scores[:3] == pytest.approx([0.5 * 0.25 + 1e-6, 2 * 0.5, 1.0 + 5e-7])
    # Unknown to the period, and not in the profile.
    assert scores[3:].tolist() == [-np.inf, -np.inf]


# The search.


class Pretence:
    """An objective that likes events of a week to weigh half, and nothing else."""

    def __init__(self, users=(0, 0, 1, 2)):
        everything = basket_queries(FIVE)
        self.queries = everything.where(np.zeros(len(everything), bool))
        object.__setattr__(self.queries, "user", np.asarray(users))
        self.asked = []

    def __call__(self, decay):
        self.asked.append(decay)
        (clock,) = decay.clocks
        weight = decay.weight(7 * DAY if clock == "age" else 7)
        liking = 1 - abs(weight - 0.5)
        each = liking * np.array([1.0, 0.5, 0.25, 1.0])
        return SimpleNamespace(recall=lambda: each, ndcg=lambda: each / 2)


def test_every_family_is_searched_over_both_clocks():
    found = list(trials(Search(trials=8), Pretence(), BOUNDS))
    assert found[0].asked == Asked("none", "", None)
    assert [one.asked for one in found[1:4]] == [
        Asked("window", "rank", last) for last in (1.0, 5.0, 20.0)
    ]
    assert [one.number for one in found] == list(range(len(found)))
    decays = [one.asked.decay() for one in found]
    assert len(set(decays)) == len(decays) <= planned(Search(trials=8), BOUNDS)
    tried = {}
    for one in found[1:]:
        curve = (one.asked.family, one.asked.by)
        tried.setdefault(curve, []).append(one.asked.scale)
    families = "exponential power-law gaussian linear window logistic mixture".split()
    assert set(tried) == {(name, by) for name in families for by in ("age", "rank")}
    for (name, by), scales in tried.items():
        low, high = BOUNDS[by]
        assert min(scales) == low and max(scales) == high  # the even ones reach both
        further = {"power-law": 1, "logistic": 1, "mixture": 2}.get(name, 0)
        if (name, by) != ("window", "rank"):
            assert len(scales) == 8 + 4 * further


def test_what_was_tried_is_not_tried_again():
    # Of the last one to six events there are six windows, 1 and 5 of them tried first.
    few = Search(families=("window",), by=("rank",), trials=12)
    bounds = {"age": (1.0, 2.0), "rank": (1.0, 6.0)}
    objective = Pretence()
    found = list(trials(few, objective, bounds))
    scales = [one.asked.scale for one in found[1:]]
    assert scales[:2] == [1, 5] and sorted(scales) == [1, 2, 3, 4, 5, 6]
    assert [one.number for one in found] == list(range(7))
    assert len(objective.asked) == 7 < planned(few, bounds)


def test_the_best_is_found_whatever_the_family():
    tuned = Tuned(list(trials(Search(trials=12), Pretence(), BOUNDS)))
    # The mean of the four queries, were a week to weigh half: a window can't do that.
    likes_best = 2.75 / 4
    for one in tuned.best_of_each():
        if one.asked.family not in ("none", "window"):
            assert 0.85 * likes_best < one.score.recall <= likes_best
    assert tuned.mean.score.recall == pytest.approx(0.5 * 2.75 / 4)
    assert tuned.best is max(tuned.trials, key=lambda one: one.score.recall)
    assert tuned.decay == tuned.best.asked.decay()
    lines = tuned.report().splitlines()
    assert len(lines) == 1 + 14 + 1
    assert lines[1].startswith(tuned.decay.describe())
    assert any(one.startswith("no decay, a plain mean") for one in lines)


def test_the_search_closes_in_on_the_best_of_the_even_scales(monkeypatch):
    import optuna

    told = []
    true = optuna.Study.tell

    def tell(self, trial, value):
        told.append(value)
        return true(self, trial, value)

    monkeypatch.setattr(optuna.Study, "tell", tell)
    few = Search(families=("exponential",), by=("age",), trials=12)
    found = [one for one in trials(few, Pretence(), BOUNDS) if one.number >= 4]
    even, further = found[:6], found[6:]
    scales = [one.asked.scale for one in even]
    assert np.allclose(np.diff(np.log(scales)), np.log(scales[1] / scales[0]))
    best = int(np.argmax([one.score.recall for one in even]))
    for one in further:
        assert scales[best - 1] <= one.asked.scale <= scales[best + 1]
    assert told == [one.score.recall for one in further]


def test_a_seed_repeats_to_the_last_digit():
    few = Search(families=("power-law",), by=("age",), trials=8, seed=3)
    once, again = (list(trials(few, Pretence(), BOUNDS)) for _ in range(2))
    assert once == again
    other = Search(families=("power-law",), by=("age",), trials=8, seed=4)
    assert list(trials(other, Pretence(), BOUNDS)) != once


def test_what_is_known_is_not_asked_again():
    few = Search(families=("logistic",), by=("age",), trials=8)
    whole = list(trials(few, Pretence(), BOUNDS))
    known = {one.asked: one.score for one in whole[:9]}
    objective = Pretence()
    assert list(trials(few, objective, BOUNDS, known=known)) == whole
    # The mean once more, for what each query had under it, and what was left.
    assert objective.asked == [Constant(), *(one.asked.decay() for one in whole[9:])]
    objective = Pretence()
    known = {one.asked: one.score for one in whole}
    assert list(trials(few, objective, BOUNDS, known=known)) == whole
    assert objective.asked == []


def test_a_gain_is_told_with_its_standard_error():
    # A window of a second leaves weight 0 at a week: the same as the mean's 1.
    few = Search(families=("window",), by=("age",), trials=4)
    found = list(trials(few, Pretence(), {"age": (1.0, 2.0), "rank": (1.0, 1.0)}))
    assert [one.score.gain for one in found] == [0.0] * len(found)
    # Two users of two queries each differ by 1 and 0: the mean is 1/2, each user's sum
    # is 1 away from it, and sqrt(2 / 1 (1 + 1)) / 4 is 1/2.
    assert standard_error(np.array([1.0, 1.0, 0.0, 0.0]), np.array([7, 7, 3, 3])) == 0.5
    # With a query each it is the textbook's.
    each = np.array([0.3, 0.9, -0.2, 0.4, 0.0])
    textbook = each.std(ddof=1) / np.sqrt(5)
    assert standard_error(each, np.arange(5)) == pytest.approx(textbook)
    # A single user says nothing of others, however many queries there are.
    assert standard_error(each, np.zeros(5, int)) == math.inf


def test_scales_reach_from_the_median_gap_to_the_length_of_the_log():
    times = [0, 0, 10, 40, 900]  # gaps of 10, 30 and 860 seconds
    rows = [("u", time, f"i{n}", "buy") for n, time in enumerate(times)]
    rows += [("v", 1_000, "a", "buy"), ("v", 5_000, "b", "buy")]
    split = TimeSplit(validation=1_000, test=2_000)
    bounds = scale_bounds(made(*rows), split, Settings(max_history=30))
    assert bounds == {"age": (30.0, 1_000.0), "rank": (1.0, 30.0)}
    with pytest.raises(ValueError, match="no user acts at two moments of the training"):
        scale_bounds(made(*rows), TimeSplit(0, 2_000), Settings())


# The simulated shop.


def test_the_planted_half_life_is_found(shop):
    events, split = shop
    search = Search(families=("exponential",), by=("age",))
    tuned = tune(events, split, SETTINGS, search)
    planted = 7 * DAY
    assert isinstance(tuned.decay, Exponential)
    assert planted / 2 < tuned.decay.half_life < planted * 2
    # Not by chance: the mean lies many standard errors below.
    assert tuned.best.score.gain > 4 * tuned.best.score.gain_error > 0
    # A family was named, and is what the answer is of.
    assert tuned.search == search and tuned.best.asked.family == "exponential"
    assert tuned.best.score.queries == len(
        basket_queries(
            events, after=split.validation, until=split.test, actions=["purchase"]
        )
    )


def test_nothing_after_the_test_cut_matters(shop):
    _, split = shop
    log = td.data.simulated_shop(users=500, days=120, seed=4).log
    table = log.events
    later = table["time"] > split.test
    # Other items, some of which come first in the order of ids and some last; others
    # buy them, and at other times.
    table.loc[later, "item"] = np.where(np.arange(later.sum()) % 2, "!new", "~new")
    table.loc[later, "user"] = "!somebody"
    table.loc[later, "time"] += 40 * DAY
    few = Search(families=("exponential", "power-law"), by=("age",), trials=4)
    told = [
        tune(events, split, SETTINGS, few)
        for events in (
            shop[0],
            clean(log).events,
            clean(log).events.where(clean(log).events.time <= split.test),
        )
    ]
    assert told[0] == told[1] == told[2]


def test_the_linear_objective_sees_nothing_of_validation_in_its_weights(shop):
    events, split = shop
    objective = LinearObjective(events, split, SETTINGS)
    after = events.time > split.validation
    shuffled = np.random.default_rng(0).permutation(events.item[after])
    item = events.item.copy()
    item[after] = shuffled
    other = LinearObjective(
        td.data.Events(
            events.user,
            events.time,
            events.action,
            item,
            events.users,
            events.actions,
            events.items,
        ),
        split,
        SETTINGS,
    )
    assert objective.own == other.own
    for mine, theirs in zip(objective._known, other._known, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # But there is something to see.
    decay = Exponential("7d")
    assert objective(decay).recall().mean() > 2 * other(decay).recall().mean()


def test_how_much_an_item_speaks_for_itself_is_chosen_before_validation(
    shop, monkeypatch
):
    events, split = shop
    cuts, judged_by = [], []
    true_relations, true_blocks = objectives.relations, objectives.blocks_of

    def spy_relations(events, *, until, **options):
        cuts.append(until)
        return true_relations(events, until=until, **options)

    def spy_blocks(queries, size):
        judged_by.append(queries)
        return true_blocks(queries, size)

    monkeypatch.setattr(objectives, "relations", spy_relations)
    monkeypatch.setattr(objectives, "blocks_of", spy_blocks)
    LinearObjective(events, split, SETTINGS)
    before, at_validation = cuts
    (queries,) = judged_by
    assert before < queries.time.min() <= queries.time.max() <= split.validation
    assert at_validation == split.validation


def test_where_people_come_back_an_item_speaks_for_itself():
    # Each of forty users has one item again and again, and nothing in common.
    rows = [
        (f"u{user}", day * DAY + user, f"item {user}", "buy")
        for user in range(40)
        for day in range(60)
    ]
    split = TimeSplit(validation=40 * DAY, test=50 * DAY)
    objective = LinearObjective(made(*rows), split, Settings())
    assert objective.own > 0
    assert objective(Constant()).recall().mean() == 1


@pytest.mark.integration  # slow
def test_the_two_tower_objective_is_the_best_pass_of_training(shop_events):
    events = shop_events
    split = td.data.split_by_time(events, test="15d", validation="15d")
    settings = Settings(
        dim=8,
        epochs=2,
        learning_rate=0.01,
        action_weights=SETTINGS.action_weights,
        target_actions=["purchase"],
    )
    decay = Exponential("7d")
    objective = TwoTowerObjective(events, split, settings)
    figures = objective(decay)
    assert len(figures) == len(objective.queries)
    model = make_model(events, settings, decay)
    trained = train(model, events, split, settings, verbose=0)
    assert figures.recall().mean() == pytest.approx(max(trained.recall), abs=0.01)


# The folder.

FEW = Search(families=("exponential", "power-law"), by=("age",), trials=4)


def folder_at(path, shop, search=FEW, settings=SETTINGS):
    events, split = shop
    return TuningFolder(
        path, events, split, settings, search, data="shop", judged_by="pretence"
    )


def test_a_folder_holds_the_curve_and_the_decay(shop, tmp_path):
    watched = []
    tuned = folder_at(tmp_path / "t", shop).run(Pretence(), watch=watched.append)
    assert watched == tuned.trials
    names = sorted(one.name for one in (tmp_path / "t").iterdir())
    assert names == ["best.json", "curve.csv", "curve.png"]
    with (tmp_path / "t" / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(tuned.trials)
    assert rows[0]["family"] == "none" and rows[0]["scale"] == ""
    for row, one in zip(rows, tuned.trials, strict=True):
        assert int(row["trial"]) == one.number
        assert float(row["recall@20"]) == one.score.recall
        assert float(row["gain"]) == one.score.gain
        numbers = dict(one.asked.numbers)
        assert row["exponent"] == str(numbers.get("exponent", ""))
    about = json.loads((tmp_path / "t" / "best.json").read_text())
    assert about["recall@20"] == tuned.best.score.recall
    assert about["mean"]["recall@20"] == tuned.mean.score.recall
    assert about["search"]["seed"] == 0 and about["judged_by"] == "pretence"
    assert about["described"] == tuned.decay.describe()
    assert {"optuna", "numpy", "tfrs-decay"} <= set(about["versions"])
    assert read_best(tmp_path / "t") == tuned.decay
    learned = read_best(tmp_path / "t" / "best.json", trainable=True)
    assert learned.get_config() == {**tuned.decay.get_config(), "trainable": True}
    assert (tmp_path / "t" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_a_single_user_knows_no_error(shop, tmp_path):
    tuned = folder_at(tmp_path / "t", shop).run(Pretence(users=(0, 0, 0, 0)))
    assert tuned.best.score.gain > 0 and tuned.best.score.gain_error == math.inf
    assert tuned.report().endswith("better than the plain mean on this log.")
    text = (tmp_path / "t" / "best.json").read_text(encoding="utf-8")
    assert "Infinity" not in text and json.loads(text)["gain_error"] is None


class Interrupted(Pretence):
    """An objective that somebody loses patience with."""

    def __init__(self, patience):
        super().__init__()
        self.patience = patience

    def __call__(self, decay):
        if len(self.asked) == self.patience:
            raise KeyboardInterrupt
        return super().__call__(decay)


def test_an_interrupted_search_goes_on_where_it_was(shop, tmp_path):
    whole = folder_at(tmp_path / "whole", shop).run(Pretence())
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop).run(Interrupted(6))
    (left,) = (tmp_path / "t").iterdir()
    assert left.name.startswith(".trials-")
    # As a machine that lost power leaves it: half a line at the end.
    text = left.read_text(encoding="utf-8")
    left.write_text(text + "6,exponential,age,12", encoding="utf-8")
    with pytest.raises(FileExistsError, match="interrupted search of another log, or"):
        folder_at(tmp_path / "t", shop, settings=Settings(seed=1))
    assert left.read_text(encoding="utf-8").startswith(text)
    assert len(folder_at(tmp_path / "t", shop).known) == 6
    # And once more: the mean is asked anew, and two further ones.
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop).run(Interrupted(3))
    rows = left.read_text(encoding="utf-8").splitlines()
    assert [row.partition(",")[0] for row in rows] == ["trial", *"01234567"]
    objective = Pretence()
    assert folder_at(tmp_path / "t", shop).run(objective) == whole
    assert len(objective.asked) == len(whole.trials) - 8 + 1
    for name in ("curve.csv", "best.json"):
        mine = (tmp_path / "t" / name).read_text(encoding="utf-8")
        assert mine == (tmp_path / "whole" / name).read_text(encoding="utf-8")
    with pytest.raises(FileExistsError, match="is there already: remove it or choose"):
        folder_at(tmp_path / "t", shop)


def test_a_search_is_another_with_another_tensorflow(shop, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop).run(Interrupted(3))
    for module in ("tensorflow", "tf_keras"):
        with monkeypatch.context() as patched:
            patched.setattr(f"{module}.__version__", "2.99.0")
            with pytest.raises(FileExistsError, match="another encoder or other vers"):
                folder_at(tmp_path / "t", shop)
    assert len(folder_at(tmp_path / "t", shop).known) == 3


def test_a_search_is_another_with_another_encoder_at_the_same_place(shop, tmp_path):
    # Files of any kind: no search reads a text before its folder is opened.
    for name in ("preprocessor", "encoder"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "variables" / "data").write_bytes(b"one")
    settings = Settings(
        action_weights=SETTINGS.action_weights,
        target_actions=SETTINGS.target_actions,
        preprocessor=str(tmp_path / "preprocessor"),
        encoder=str(tmp_path / "encoder"),
    )
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop, settings=settings).run(Interrupted(3))
    for name in ("preprocessor", "encoder"):
        (tmp_path / name / "variables" / "data").write_bytes(b"two")
        with pytest.raises(FileExistsError, match="another encoder or other versions"):
            folder_at(tmp_path / "t", shop, settings=settings)
        (tmp_path / name / "variables" / "data").write_bytes(b"one")
    assert len(folder_at(tmp_path / "t", shop, settings=settings).known) == 3


def test_a_search_is_another_with_other_vectors_in_the_same_file(shop, tmp_path):
    file = tmp_path / "vectors.npz"
    file.write_bytes(b"one")  # No search reads them before its folder is opened.
    settings = Settings(
        action_weights=SETTINGS.action_weights,
        target_actions=SETTINGS.target_actions,
        vectors=str(file),
    )
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop, settings=settings).run(Interrupted(3))
    file.write_bytes(b"another")
    with pytest.raises(FileExistsError, match="holds an interrupted search of another"):
        folder_at(tmp_path / "t", shop, settings=settings)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"vectors\.npz: no such file"):
        folder_at(tmp_path / "t", shop, settings=settings)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("trial,", "x,", 1).replace("recall", "r", 1), "Key"),
        (lambda text: text + "6,exponential,age,12\n", "TypeError"),
        (lambda text: text + "6,none,,,,,,,zero,0,0,0,0\n", "ValueError"),
    ],
    ids=["another head", "a short line", "no number"],
)
def test_a_damaged_rest_of_a_search_is_named(shop, tmp_path, damage, message):
    with pytest.raises(KeyboardInterrupt):
        folder_at(tmp_path / "t", shop).run(Interrupted(6))
    (left,) = (tmp_path / "t").iterdir()
    damaged = damage(left.read_text(encoding="utf-8"))
    left.write_text(damaged, encoding="utf-8")
    with pytest.raises(
        ValueError, match=rf"partial.csv is damaged \({message}.*remove"
    ):
        folder_at(tmp_path / "t", shop)
    assert left.read_text(encoding="utf-8") == damaged


def test_a_file_is_no_folder(shop, tmp_path):
    (tmp_path / "t").touch()
    with pytest.raises(FileExistsError, match="t is a file: choose another --out"):
        folder_at(tmp_path / "t", shop)


def test_a_folder_of_something_else_is_left_alone(shop, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="is there already: remove it or choose"):
        folder_at(tmp_path, shop)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "written", ["", "{", "[]", '{"decay": 3}', '{"decay": {"class": "Cubic"}}']
)
def test_what_no_search_wrote_is_named(written, tmp_path):
    path = tmp_path / "best.json"
    with pytest.raises(FileNotFoundError, match=r"make it with `tfrs-decay tune"):
        read_best(tmp_path)
    path.write_text(written, encoding="utf-8")
    with pytest.raises(ValueError, match=r"best.json is not what a search writes"):
        read_best(path)


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ("cubic",)}, r"families=\('cubic',\): name some of exponential"),
        ({"families": ()}, r"families=\(\): name some of exponential"),
        ({"families": ("log-buckets",)}, "Log buckets have no scale to search: they"),
        ({"by": ("item",)}, r"by=\('item',\): name some of age, rank"),
        ({"by": "age"}, "by='age': name some of age, rank"),
        ({"trials": 3}, "trials=3 must be 4 or more"),
        ({"trials": 4.5}, "trials=4.5 must be a whole number"),
        ({"trials": True}, "trials=True must be a whole number"),
        ({"trials": "8"}, "trials='8' must be a whole number"),
    ],
)
def test_what_cannot_be_searched_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Search(**arguments)


def test_a_period_without_queries_is_named(shop):
    events, _ = shop
    last = int(events.time.max())
    with pytest.raises(ValueError, match="the validation period holds no basket"):
        tune(events, TimeSplit(last - 1, last - 1), SETTINGS)


def test_without_optuna_the_way_to_get_it_is_told(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    events, split = shop
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[tune\]'"):
        tune(events, split, SETTINGS)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[tune\]'"):
        folder_at(tmp_path / "t", shop)
    assert not list(tmp_path.iterdir())


# The picture.


def test_a_picture_has_a_panel_a_clock_and_a_line_a_family():
    figure = plots.tuning_curves(
        {
            ("rank", "window"): [(5, 0.5), (1, 0.25)],
            ("age", "window"): [(2 * DAY, 0.5), (DAY, 0.25)],
            # 0.1 lies below one farther out on its side, and is a dot only.
            ("age", "linear"): [
                (DAY, 0.2),
                (2 * DAY, 0.1),
                (4 * DAY, 0.6),
                (8 * DAY, 0.3),
                (16 * DAY, 0.4),
            ],
        },
        mean=0.3,
    )
    by_age, by_rank = figure.axes
    assert by_age.get_xscale() == by_rank.get_xscale() == "log"
    lines = {line.get_label(): line.get_data() for line in by_age.lines}
    assert lines["plain mean"][1] == [0.3, 0.3]
    assert [list(one) for one in lines["window"]] == [[1, 2], [0.25, 0.5]]
    assert [list(one) for one in lines["linear"]] == [[1, 4, 16], [0.2, 0.6, 0.4]]
    dots = [line.get_data() for line in by_age.lines if line.get_marker() == "."]
    assert sorted(len(x) for x, _ in dots) == [2, 5]
    assert [line.get_data()[0].tolist() for line in by_rank.lines[2:]] == [[1, 5]]


@pytest.mark.parametrize("curves", [{}, {("age", "window"): []}])
def test_a_picture_of_nothing_is_refused(curves):
    with pytest.raises(ValueError, match="give one scale and score or more"):
        plots.tuning_curves(curves, mean=0.5)


def test_a_gain_within_its_error_is_said_to_be_none():
    mean = Trial(0, Asked("none", "", None), Score(0.5, 0.25, 9, 0.0, 0.0))
    for gain, clear in ((0.019, False), (0.021, True)):
        score = Score(0.5 + gain, 0.3, 9, gain, 0.01)
        other = Trial(1, Asked("window", "rank", 5.0), score)
        lines = Tuned([mean, other]).report().splitlines()
        assert lines[:3] == [
            "decay                    Recall@20  NDCG@20      over the mean",
            f"window, length 5 events     {0.5 + gain:.4f}   0.3000  "
            f"+{gain:.4f} +- 0.0200",
            "no decay, a plain mean      0.5000   0.2500",
        ]
        told = ["No decay is clearly better than the plain mean on this log."]
        assert lines[3:] == ([] if clear else told)


def test_the_best_of_many_needs_a_greater_gain():
    mean = Trial(0, Asked("none", "", None), Score(0.5, 0.25, 9, 0.0, 0.0))
    for gain, clear in ((0.034, False), (0.037, True)):  # 3.54 errors at 125 trials
        score = Score(0.5 + gain, 0.3, 9, gain, 0.01)
        trials = [
            Trial(number, Asked("window", "rank", float(number)), score)
            for number in range(1, 126)
        ]
        said = Tuned([mean, *trials]).report()
        assert ("No decay is clearly better" not in said) == clear


def trial(number, asked, recall, error=0.01):
    return Trial(number, asked, Score(recall, 0.25, 9, recall - 0.5, error))


MEAN = trial(0, Asked("none", "", None), 0.5, 0.0)
LAST_5 = trial(1, Asked("window", "rank", 5.0), 0.75)


@pytest.mark.parametrize(
    ("recall", "told"),
    [
        (
            0.7,
            [
                "Best of what was asked for: half-life 7d. Better than that: window, "
                "length 5 events."
            ],
        ),
        (
            0.5,
            [
                "Best of what was asked for: half-life 7d. Better than that: window, "
                "length 5 events.",
                "What was asked for is not clearly better than the plain mean on this "
                "log.",
            ],
        ),
        (0.75, []),
        (0.8, []),
    ],
)
def test_the_best_is_of_the_family_that_was_named(recall, told):
    asked = trial(2, Asked("exponential", "age", 7.0 * DAY), recall)
    other = trial(3, Asked("exponential", "age", 8.0 * DAY), recall - 0.1)
    search = Search(families=("exponential",))
    tuned = Tuned([MEAN, LAST_5, asked, other], search)
    assert tuned.best == asked and tuned.decay == Exponential("7d")
    lines = tuned.report().splitlines()
    # What it is compared with stands in the table all the same.
    assert sorted(line.partition("  ")[0] for line in lines[1:4]) == [
        "half-life 7d",
        "no decay, a plain mean",
        "window, length 5 events",
    ]
    assert lines[4:] == told
    # Of a search for everything it is what did best.
    best = asked if recall > 0.75 else LAST_5
    assert Tuned([MEAN, LAST_5, asked, other]).best == best


def test_the_best_has_the_clock_that_was_named():
    by_age = trial(2, Asked("window", "age", 7.0 * DAY), 0.6)
    trials = [MEAN, LAST_5, by_age]
    assert Tuned(trials, Search(by=("age",))).best == by_age
    # The last five events are a window, too.
    assert Tuned(trials, Search(families=("window",))).best == LAST_5
    assert Tuned(trials, Search(families=("window",), by=("age",))).best == by_age


def test_among_equals_the_earlier_and_plainer_is_best():
    score = Score(0.5, 0.5, 4, 0.0, 0.0)
    mean, other = Asked("none", "", None), Asked("window", "rank", 5.0)
    tuned = Tuned([Trial(0, mean, score), Trial(1, other, score)])
    assert tuned.best.asked == mean and tuned.decay == Constant()
