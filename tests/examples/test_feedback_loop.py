"""The loop's example: its world by hand, and who learns from what."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import tfrs_decay as td
from tfrs_decay.evaluation.two_tower import TwoTowerScores

EXAMPLES = Path(__file__).parents[2] / "examples"
USERS, DAYS = 60, 2


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "feedback_loop.py"))


@pytest.fixture(scope="module")
def world(example):
    return example["world_of"](USERS, DAYS, 0)


@pytest.fixture(scope="module")
def before(example, world):
    return example["first_log"](world)


def test_an_item_is_clicked_from_the_day_on_when_it_is_out(world):
    item = int(np.flatnonzero(world.published == 5)[0])
    assert (world.chance(4)[:, item] == 0).all()
    affinity = world.interest[5] @ world.item[item]
    by_hand = 1 / (1 + np.exp(-(4 * affinity + world.quality[item] - 2)))
    np.testing.assert_allclose(world.chance(5)[:, item], by_hand)


def test_interest_drifts_as_fast_as_is_said(example):
    interest = example["world_of"](4_000, 20, 1).interest
    alike = [np.mean(interest[0] * interest[day]) * 8 for day in (0, 10, 20)]
    # 0.3 stays, and of the rest a half is left after 10 days.
    np.testing.assert_allclose(alike, [1.0, 0.65, 0.475], atol=0.03)


def test_the_same_item_in_the_same_place_has_the_same_luck(example, world):
    day = 20
    one = np.tile(np.flatnonzero(world.offered(day))[:10], (USERS, 1))
    other = np.where(one % 2, one, one + 10)
    happened = [example["happen"](world, day, lists) for lists in (one, other)]
    comes = np.count_nonzero(world.visit[day] >= 0)
    assert [today.shown for today in happened] == [10 * comes] * 2
    pairs = [
        {*zip(today.events.user, today.events.item, today.events.time, strict=True)}
        for today in happened
    ]
    second = example["START"] + day * 86_400 + world.visit[day]
    kept, alone = set(), set()
    for user, item, time in pairs[0]:
        assert world.visit[day, user] >= 0
        if time == second[user] + 60:
            alone.add((user, item, time))
        elif item % 2:
            kept.add((user, item, time))
    assert kept and alone and kept | alone <= pairs[1]
    assert pairs[0] != pairs[1]
    clicks = len(pairs[0]) - len(alone)
    assert happened[0].clicks == clicks


def test_lists_hold_what_is_out_and_not_clicked_yet(example, world, before):
    events = before.events
    clicked = example["clicked_by"](world, events)
    assert clicked.sum() == len({*zip(events.user, events.item, strict=True)})
    lists = example["best"](np.ones(clicked.shape), world, 30, clicked)
    assert lists.shape == (USERS, 10)
    assert (world.published[lists] <= 30).all()
    assert not np.take_along_axis(clicked, lists, axis=1).any()


def test_a_day_tells_what_was_shown_where_and_what_came_of_it(example, world):
    day = 20
    lists = np.tile(np.flatnonzero(world.offered(day))[:10], (USERS, 1))
    today = example["happen"](world, day, lists)
    joined = today.joined()
    assert len(joined.served) == today.shown
    assert joined.served.position.tolist() == [*range(1, 11)] * (today.shown // 10)
    assert joined.events is today.events
    answered = (joined.impression >= 0).sum()
    # Now and then somebody finds alone what was in the list.
    assert today.clicks <= answered < today.clicks + 5


def test_places_are_looked_at_as_random_lists_say(before):
    looked_at = before.looked_at
    truth = 1 / np.log2(np.arange(2, 12))
    assert looked_at.position.tolist() == [*range(1, 11)]
    # Of 60 users; a share's interval may miss the truth once in twenty.
    inside = (looked_at.low <= truth) & (truth <= looked_at.high)
    assert inside.sum() >= 9


def test_a_frozen_arm_learns_nothing_and_an_updated_one_each_day(
    example, world, before, monkeypatch
):
    log = before.events
    # Untrained, for this is quicker and answers by what the vectors say.
    model = td.training.make_model(
        log,
        example["SETTINGS"],
        td.decay.Exponential("7d"),
        vectors=td.data.ItemVectors(world.ids, world.vectors),
    )
    recommender = example["Recommender"](model)
    weights = model.get_weights()

    # Everybody is answered at the visit, by a history that ends before it.
    scores = recommender.scores(world, 30, log)
    start, stop = (
        np.searchsorted(log.user, np.arange(USERS), side=side)
        for side in ("left", "right")
    )
    queries = td.data.Queries(
        user=np.arange(USERS),
        time=example["START"] + 30 * 86_400 + np.maximum(world.visit[30], 0),
        history_start=start,
        history_stop=stop,
        target=np.zeros(0, np.int64),
        target_offset=np.zeros(USERS + 1, np.int64),
    )
    np.testing.assert_allclose(scores, TwoTowerScores(model, log)(queries), atol=1e-5)

    def live(learns):
        model.set_weights(weights)
        return [*example["live"](world, before, recommender, learns=learns)]

    frozen = live(example["NOTHING"])
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)

    asked, told, update = [], [], td.updating.update

    def watch(model, events, new, *args, **options):
        made = update(model, events, new, *args, **options)
        asked.append((len(events), len(new), options["trained_until"]))
        told.append((options.get("event_weights"), options.get("skipped"), new))
        return made

    monkeypatch.setattr(td.updating, "update", watch)
    updated = live(example["LISTS"])
    assert len(frozen) == len(updated) == len(asked) == DAYS
    # The first day is answered alike; then each learns from what it showed itself.
    assert frozen[0].clicks == updated[0].clicks
    midnight = example["START"] + 30 * 86_400
    first, second = updated
    assert asked == [
        (len(log), len(first.events), midnight),
        (
            len(log) + len(first.events),
            len(second.events),
            int(first.events.time.max()),
        ),
    ]
    changed = [
        (one != other).any()
        for one, other in zip(model.get_weights(), weights, strict=True)
    ]
    assert any(changed)
    # Of lists it is told what was skipped, and that clicks far down count for more.
    for of_event, skipped, new in told:
        assert len(of_event) == len(skipped) == len(new)
        alone = ~skipped.from_list
        assert len(skipped.item) and (of_event[alone] == 1).all()
        assert len(np.unique(of_event[skipped.from_list])) > 2
    told.clear()
    live(example["CLICKS"])
    assert [one[:2] for one in told] == [(None, None)] * DAYS


def test_the_last_days_of_the_first_log_choose_the_decay(example, before, world):
    made, trained = [], []

    def make_model(events, settings, decay, **options):
        made.append(decay)
        return len(made)

    def train(model, events, split, settings, **options):
        trained.append((model, split))
        recall = {1: [0.1, 0.4, 0.2], 2: [0.3, 0.5], 3: [0.45]}[model]
        return td.training.Trained(f"model {model}", 1, recall)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(td.training, "make_model", make_model)
        patch.setattr(td.training, "train", train)
        chosen = example["fitted"](world, before.events, ["one", "other", "third"])
    assert chosen == "model 2" and made == ["one", "other", "third"]
    end = example["START"] + 30 * 86_400
    assert {split for _, split in trained} == {
        td.data.TimeSplit(validation=end - 7 * 86_400, test=end)
    }


def test_intervals_and_differences_are_students(example):
    found = example["interval"](np.array([1.0, 3.0]))
    # A mean of 2 whose standard error is 1; t of one degree of freedom is 12.706.
    np.testing.assert_allclose(found, [2, 2 - 12.7062, 2 + 12.7062], atol=1e-4)
    shown = np.full((2, 20), 100)
    clicks = {
        name: np.stack([np.full(20, low), np.full(20, high)])
        for name, low, high in zip(
            example["ARMS"], (12, 14, 10, 2, 1), (22, 23, 20, 12, 12), strict=True
        )
    }
    counts = {name: np.stack([shown, one], axis=-1) for name, one in clicks.items()}
    counts["decay, frozen"][:, -14:, 1] += 1
    lines = [" ".join(one.split()) for one in example["table"](counts).splitlines()]
    printed = "\n".join(lines)
    assert "all 20 days" in printed and "last 14" in printed
    # By audience 12 - 10 and 22 - 20, and 12 - 2 and 22 - 12: no chance in it.
    assert "no decay, updated daily +2.00% [+2.00, +2.00]" in printed
    assert "no decay, frozen +10.00% [+10.00, +10.00]" in printed
    # -2 and -1, less 14 of 20 days' 1; in the last days -3 and -2.
    assert "decay, frozen -2.20% [-8.55, +4.15] -2.50% [-8.85, +3.85]" in lines
    np.testing.assert_allclose(
        example["so_far"](counts["no decay, frozen"][:, :3]),
        [[0.02] * 3, [0.12] * 3],
    )


def test_one_audience_is_no_interval(example, capsys):
    with pytest.raises(SystemExit):
        example["main"](["--seeds", "1"])
    assert "--seeds 1: an interval needs 2 audiences" in capsys.readouterr().err


@pytest.mark.integration  # slow
def test_all_of_it_is_told_written_and_the_same_again(example, tmp_path, capsys):
    small = ["--users", "60", "--days", "3", "--seeds", "2"]
    files = tmp_path / "loop.png", tmp_path / "loop.json"
    counts = example["main"]([*small, "--out", str(files[0]), "--json", str(files[1])])
    printed = capsys.readouterr().out
    assert "audience 21, decay, updated daily: " in printed
    assert "Means over 2 audiences" in printed
    assert files[0].stat().st_size < 100_000
    written = json.loads(files[1].read_text())
    assert {*written} == {*example["ARMS"], example["RANDOM"], example["BEST"]}
    again = example["main"](small)
    for name, own in counts.items():
        assert own.shape == (2, 3, 2)
        np.testing.assert_array_equal(own, written[name])
        np.testing.assert_array_equal(own, again[name])
        np.testing.assert_array_equal(own[..., 0], counts["decay, frozen"][..., 0])
    assert (
        counts[example["BEST"]][..., 1].sum() > counts[example["RANDOM"]][..., 1].sum()
    )
