"""Updates: what grows, what is trained on, what the guard lets through, and the CLI.

A shop of six themes with twenty items each, whose users keep to one theme: on a good
day a model that has learned the themes has a user's items among the twenty best.
"""

from __future__ import annotations

import dataclasses
import json
import shlex

import numpy as np
import pandas as pd
import pytest

import tfrs_decay as td
from tfrs_decay import cli, runs, training, updating
from tfrs_decay.data import Items, RawLog, clean
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.updating import update
from tfrs_decay.writing import whole_folder

DAY = 86_400
START = 1_704_067_200
THEMES = ("abcde", "fghij", "klmno", "pqrst", "uvwxy", "zzzzz")
USERS, ITEMS, DAYS = 120, 20, 6
SETTINGS = training.Settings(
    dim=8, learning_rate=0.03, batch_size=256, max_history=20, max_targets=4
)


def text_of(item):
    theme, number = item.split("-")
    return f"{theme} {number}"


def events_of(first, days, *, users=USERS, seed=0):
    """Rows of a good period: each user does three things a day, of one theme."""
    rng = np.random.default_rng([seed, first])
    user = np.repeat(np.arange(users), 3 * days)
    theme = np.array(THEMES)[user % len(THEMES)]
    number = rng.integers(0, ITEMS, len(user)).astype(str)
    time = START + first * DAY + rng.integers(1, days * DAY, len(user))
    return pd.DataFrame(
        {
            "user": np.char.add("u", user.astype(str)).astype(object),
            "time": time,
            "item": [
                f"{one}-{other}" for one, other in zip(theme, number, strict=True)
            ],
        }
    )


def cleaned(table, items=None):
    return clean(RawLog(table, items, {})).events


def catalogue(ids):
    return pd.DataFrame({"item": ids, "text": [text_of(one) for one in ids]})


@pytest.fixture(scope="module")
def old():
    return cleaned(events_of(0, DAYS))


@pytest.fixture(scope="module")
def today():
    return cleaned(events_of(DAYS, 1))


@pytest.fixture(scope="module")
def fitted(old):
    """A model of ids that has learned the themes."""
    model = training.make_model(old, SETTINGS, td.decay.Exponential("2d"))
    (_,) = training.fit_through(
        model, old, [int(old.time.max())], SETTINGS, first_passes=6
    )
    return model, [variable.numpy() for variable in model.variables]


@pytest.fixture
def model(fitted):
    """That model, with the weights that it had."""
    made, values = fitted
    for variable, value in zip(made.variables, values, strict=True):
        variable.assign(value)
    return made


def test_a_good_day_is_published_and_again_it_is_the_same(model, old, today):
    before = [variable.numpy() for variable in model.variables]
    found = update(model, old, today, SETTINGS)
    assert found.published and found.guard.verdict == "publish"
    assert found.model is model  # no new item
    assert (found.passes, found.learning_rate) == (2, pytest.approx(0.01))
    end = int(today.time.max())
    assert found.period == (int(old.time.max()), end)
    assert found.trained_until == end
    assert len(found.events) == len(old) + len(today)
    assert found.guard.on_new == found.usual > 0.6  # to be expected tomorrow
    assert found.guard.usual is None  # the old log was all trained on
    assert {*found.guard.comparisons} == {"recall", "ndcg"}
    assert found.guard.comparisons["ndcg"].users >= 30
    assert np.isfinite(found.loss)
    weights = [variable.numpy() for variable in model.variables]
    assert any((a != b).any() for a, b in zip(weights, before, strict=True))
    # Adam took the steps of the last fit, and none of the candidate's.
    assert int(model.optimizer.iterations) == 2 * -(-len(today) // 256)

    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    # Nor does the guard change what is published.
    again = update(model, old, today, SETTINGS, hold_out=None)
    assert again.published and again.guard is None and again.usual is None
    assert again.loss == found.loss
    for variable, value in zip(model.variables, weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def mixed_up(table):
    """Every item is another one."""
    rng = np.random.default_rng(1)
    return table.assign(item=rng.permutation(table["item"].to_numpy()))


def one_item(table):
    """Whatever anybody does, the feed says the same."""
    return table.assign(item="abcde-1")


@pytest.mark.parametrize("breaking", [mixed_up, one_item])
def test_a_period_that_is_broken_throughout_is_refused(model, old, breaking):
    before = [variable.numpy() for variable in model.variables]
    broken = cleaned(breaking(events_of(DAYS, 1)))
    found = update(model, old, broken, SETTINGS, usual=0.7)
    assert not found.published and found.guard.verdict == "refuse"
    assert "0.7000 is usual: the new log is unlike" in found.guard.why
    assert found.guard.on_new < 0.35
    # As if it had not been.
    assert found.model is model and found.events is old
    for variable, value in zip(found.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert found.trained_until == int(old.time.max())
    assert found.usual == 0.7
    assert found.loss is None


def broken_until_the_last_hours():
    table = events_of(DAYS, 1)
    good = table["time"] > table["time"].max() - 8 * 3_600
    return cleaned(pd.concat([mixed_up(table[~good]), table[good]]))


def test_what_is_usual_does_not_follow_a_log_that_gets_worse_every_day(
    model, old, monkeypatch
):
    monkeypatch.setattr(updating, "fit_on", lambda *given, **options: 0.0)
    table = events_of(DAYS, 1)
    broken = np.random.default_rng(0).random(len(table)) > 0.6
    table.loc[broken, "item"] = mixed_up(table[broken])["item"]
    found = update(model, old, cleaned(table), SETTINGS, usual=0.7)
    assert found.guard.verdict == "publish" and 0.35 < found.guard.on_new < 0.65
    assert found.usual == 0.7


def test_a_candidate_that_is_worse_on_good_hours_is_refused_unless_forced(model, old):
    new = broken_until_the_last_hours()
    told = {"hold_out": "8h", "learning_rate": 0.1, "passes": 8}
    forced = update(model, old, new, SETTINGS, force=True, **told)
    assert forced.published and forced.guard.verdict == "refuse"
    for name, one in forced.guard.comparisons.items():
        assert one.verdict == "worse" and one.adjusted_p >= one.p
        assert forced.guard.candidate[name] < forced.guard.old[name]
    assert "on the held-out hours Recall@20 -" in forced.guard.why
    assert "; NDCG@20 -" in forced.guard.why


@pytest.mark.parametrize(("worse", "verdict"), [("ndcg", "refuse"), ("", "publish")])
def test_either_measure_refuses(model, old, today, monkeypatch, worse, verdict):
    """A candidate that finds as much, and ranks it lower."""
    fits = []
    monkeypatch.setattr(
        updating, "fit_on", lambda *given, **told: fits.append(1) or 0.0
    )
    figures = updating._Step.figures

    def lower(self, scores, queries):
        found = figures(self, scores, queries)
        if fits and worse:
            found[worse] = found[worse] - 0.05
        return found

    monkeypatch.setattr(updating._Step, "figures", lower)
    found = update(model, old, today, SETTINGS)
    assert found.guard.verdict == verdict
    assert found.guard.comparisons["recall"].difference == 0


def test_a_verdict_of_few_users_is_left_to_the_caller(model, old):
    new = cleaned(events_of(DAYS, 1, users=12))
    found = update(model, old, new, SETTINGS)
    assert found.published and found.guard.verdict == "unsure"
    assert "and 30 are needed to tell" in found.guard.why
    assert found.guard.on_new is None and found.usual is None
    careful = update(found.model, old, new, SETTINGS, refuse_unsure=True, usual=0.5)
    assert not careful.published and careful.guard.verdict == "unsure"
    assert careful.usual == 0.5


def test_it_trains_on_the_new_period_alone(model, old, today, monkeypatch):
    asked = []

    def watch(model, queries, events, passes, settings, *, until, **others):
        asked.append((queries, events, until))
        return fit_on(model, queries, events, passes, settings, until=until, **rate)

    fit_on, rate = updating.fit_on, {"learning_rate": 1e-6}
    monkeypatch.setattr(updating, "fit_on", watch)
    model.item_tower.set_seen(np.arange(len(old.items)) < 3)
    cut, end = int(old.time.max()), int(today.time.max())
    update(model, old, today, SETTINGS)
    assert [until for _, _, until in asked] == [end - 6 * 3_600, end]
    for queries, events, until in asked:
        assert (queries.time > cut).all() and (queries.time <= until).all()
        # What is read reaches back into the old log.
        assert (events.time[queries.history_start] <= cut).all()
    queries, events, _ = asked[-1]
    # How often items are drawn is known of all that came until then.
    known = td.data.basket_queries(events)
    drawn = np.bincount(events.item[known.target], minlength=len(events.items))
    assert len(known.target) > 5 * len(queries.target)
    np.testing.assert_allclose(
        model._sampling_probability.numpy(), (drawn + 1) / (drawn + 1).sum(), rtol=1e-6
    )
    drawn = np.bincount(events.item[queries.target], minlength=len(events.items))
    # Items that were seen before stay seen, and those read today are as well.
    assert model.item_tower.seen[:3].all()
    assert model.item_tower.seen[drawn > 0].all()


@pytest.mark.parametrize("hold_out", ["6h", None])
def test_a_fit_that_fails_leaves_the_model_as_it_was(
    model, old, today, monkeypatch, hold_out
):
    def fail(model, *given, **options):
        for variable in model.trainable_variables:
            variable.assign(variable * np.nan)
        raise RuntimeError("the loss became nan in pass 1")

    monkeypatch.setattr(updating, "fit_on", fail)
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(RuntimeError, match=r"the loss became nan"):
        update(model, old, today, SETTINGS, hold_out=hold_out)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def rows_of(events):
    """(user, time, item) of each event."""
    columns = (events.users[events.user], events.time, events.items.ids[events.item])
    return list(zip(*columns, strict=True))


def test_new_events_have_the_weights_that_are_given(model, old, today, monkeypatch):
    told = []

    def watch(model, queries, events, passes, settings, **options):
        told.append((events, options["event_weights"]))
        return 0.0

    monkeypatch.setattr(updating, "fit_on", watch)
    # The last hour of the old log once more, which the new log then weighs.
    again = old.time > old.time.max() - 3_600
    table = events_of(0, DAYS)
    last = table[table["time"] > table["time"].max() - 3_600]
    new = cleaned(pd.concat([events_of(DAYS, 1), last]))
    of_new = 2.0 + np.arange(len(new))
    update(
        model,
        old,
        new,
        SETTINGS,
        trained_until=int(old.time.max()) - DAY,
        hold_out=None,
        event_weights=of_new,
    )
    ((events, weights),) = told
    expected = dict(zip(rows_of(new), of_new, strict=True))
    assert again.sum() > 0 and len(events) == len(old) + len(new) - again.sum()
    assert weights.tolist() == [expected.get(one, 1.0) for one in rows_of(events)]
    with pytest.raises(ValueError, match=r"event_weights is of shape \(1,\)"):
        update(model, old, new, SETTINGS, event_weights=np.ones(1))


def test_a_fit_goes_by_the_weights_of_events(model, old):
    queries = td.data.basket_queries(old, after=int(old.time.max()) - DAY)
    rates = {"until": int(old.time.max()), "learning_rate": 1e-9}
    heavy = np.where(np.arange(len(old)) % 2, 100.0, 0.01)
    losses = [
        training.fit_on(model, queries, old, 1, SETTINGS, event_weights=one, **rates)
        for one in (np.ones(len(old)), heavy)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def passed_over(events, names, every=1, from_list=None):
    """Each event passed over the same items, but every so many that took from none."""
    there = np.arange(len(events)) % every == 0
    from_list = there if from_list is None else from_list
    length = np.where(there, len(names), 0)
    return td.data.Skipped(
        offset=np.concatenate([[0], np.cumsum(length)]),
        item=np.tile(np.arange(len(names)), there.sum()),
        items=np.array(names, object),
        from_list=from_list,
    )


def test_what_new_events_skipped_goes_where_they_stand(model, old, today, monkeypatch):
    told = []

    def watch(model, queries, events, passes, settings, **options):
        told.append((events, options["skipped"]))
        return 0.0

    monkeypatch.setattr(updating, "fit_on", watch)
    skipped = passed_over(today, ["abcde-1", "fghij-2"], every=2)
    update(model, old, today, SETTINGS, hold_out=None, skipped=skipped)
    ((events, moved),) = told
    assert len(moved) == len(events)
    expected = dict(zip(rows_of(today), skipped.from_list, strict=True))
    found = [expected.get(one, False) for one in rows_of(events)]
    assert moved.from_list.tolist() == found
    assert np.diff(moved.offset).tolist() == [2 * one for one in found]
    with pytest.raises(ValueError, match=r"skipped is of 360 events: make it of the 9"):
        update(model, old, today.where(np.arange(9)), SETTINGS, skipped=skipped)


def test_what_was_skipped_falls_beside_what_was_taken(model, old, today):
    # Everybody was shown two items of each theme, also of one's own, and took others.
    names = [f"{theme}-{number}" for theme in THEMES for number in (0, 1)]
    took = ~np.isin(today.items.ids[today.item], names)
    new = today.where(took)

    def ahead(of):
        """How far the scores of what was taken are above those of what was not."""
        scores = TwoTowerScores(of, old)(td.data.basket_queries(old))
        place = old.items.codes(names)
        others = np.setdiff1d(np.arange(len(old.items)), place)
        return scores[:, others].mean() - scores[:, place].mean()

    start, weights = ahead(model), model.get_weights()
    moved = {}
    for skipped in (None, passed_over(new, names)):
        model.set_weights(weights)
        update(model, old, new, SETTINGS, hold_out=None, passes=6, skipped=skipped)
        moved[skipped is not None] = ahead(model) - start
    assert moved[True] > 0.05 > 2 * abs(moved[False])


def test_the_guard_goes_by_what_nobody_was_shown(model, old, today, monkeypatch):
    asked = []
    figures = updating._Step.figures

    def watch(self, scores, queries):
        asked.append(queries)
        return figures(self, scores, queries)

    monkeypatch.setattr(updating._Step, "figures", watch)
    skipped = passed_over(today, ["abcde-1"], every=2)
    found = update(
        model,
        old,
        today,
        SETTINGS,
        trained_until=START,
        hold_out="18h",
        skipped=skipped,
    )
    shown = {
        one
        for one, listed in zip(rows_of(today), skipped.from_list, strict=True)
        if listed
    }
    rows = rows_of(found.events)
    assert asked
    for queries in asked:
        assert len(queries) and not shown & {rows[one] for one in queries.target}
    # What was usual of a log without lists is not what is usual without them.
    assert found.guard.usual is None and found.usual == found.guard.on_new
    # Where all came of lists, nothing tells.
    listed = passed_over(today, ["abcde-1"])
    found = update(model, old, today, SETTINGS, skipped=listed)
    assert found.guard.verdict == "unsure"
    assert "baskets of 0 users that no list led to (" in found.guard.why
    assert " more came of lists, and say what the old model would" in found.guard.why


def test_three_nights_in_cron_as_the_documentation_has_them(model, old, monkeypatch):
    monkeypatch.setattr(updating, "fit_on", lambda *given, **options: 0.0)
    events, usual, until = old, None, int(old.time.max())
    for night in range(DAYS + 1, DAYS + 4):
        so_far = cleaned(events_of(night, 1))
        so_far = so_far.where(so_far.time < START + night * DAY + 3 * 3_600)
        with pytest.raises(ValueError, match=r"hold_out='6h' leaves nothing"):
            update(model, events, so_far, SETTINGS, trained_until=START + night * DAY)
        yesterday = cleaned(events_of(night - 1, 1))
        found = update(model, events, yesterday, SETTINGS, usual=usual)
        assert found.published and found.guard.verdict == "publish"
        assert found.period == (until, int(yesterday.time.max()))
        events, usual, until = found.events, found.usual, found.trained_until
    assert len(events) == len(old) + 3 * len(yesterday)


def test_where_the_old_log_goes_on_after_the_training_the_rest_says_what_is_usual(
    model, old, today
):
    cut = int(old.time.max()) - DAY
    found = update(model, old, today, SETTINGS, trained_until=cut)
    assert found.period[0] == cut
    assert found.guard.usual > 0.6


def test_a_new_item_of_ids_alone_starts_at_zero_and_is_learned(model, old):
    table = events_of(DAYS, 1)
    table.loc[table["item"].str.startswith("klmno"), "item"] = "klmno-new"
    before = model.get_weights()
    found = update(model, old, cleaned(table), SETTINGS, hold_out=None)
    assert found.model is not model
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.grown.items == 1
    assert found.model.item_tower.items.ids[-1] == "klmno-new"
    cosine = found.model.item_tower.catalogue_vectors()
    near = np.argsort(-cosine[:-1] @ cosine[-1])[:10]
    ids = found.model.item_tower.items.ids[near]
    assert sum(one.startswith("klmno") for one in ids) >= 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hold_out": "1d"}, r"hold_out='1d' leaves nothing .* which spans 2\d"),
        ({"passes": 0}, r"passes=0 must be 1 or more"),
        ({"learning_rate": 0.0}, r"learning_rate=0.0 must be finite and above 0"),
        ({"trained_until": START + 99 * DAY}, r"the new period holds no basket"),
    ],
)
def test_what_cannot_be_is_refused(model, old, today, options, message):
    with pytest.raises(ValueError, match=message):
        update(model, old, today, SETTINGS, **options)


def test_nothing_new_is_told(model, old):
    with pytest.raises(ValueError, match=r"nothing new: the log has all 2,\d+ rows"):
        update(model, old, old, SETTINGS)


def test_other_events_than_the_models_are_refused(model, today, old):
    fewer = dataclasses.replace(old, items=Items(old.items.ids[:-1].tolist()))
    with pytest.raises(ValueError, match=r"has 120 items and that of events 119"):
        update(model, fewer, today, SETTINGS)


# --- With texts.


def write_run(directory, model, log, settings, cut):
    """A run's folder, of which the last day was not trained on."""
    with whole_folder(directory) as partial:
        td.data.save_events(log, partial / "events.npz")
        model.save(partial / "decay.keras")
        split = {"validation": cut - DAY, "test": cut}
        runs.write_about({"settings": settings.to_dict(), "split": split}, partial)
    return runs.load_run(directory)


@pytest.fixture
def run_of_ids(model, old, tmp_path):
    return write_run(tmp_path / "ids", model, old, SETTINGS, int(old.time.max()))


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_encoder):
    """A run's folder, whose model knows items by their texts as well."""
    table = events_of(0, DAYS)
    log = cleaned(table, catalogue(sorted(set(table["item"]))))
    cut = int(log.time.max()) - DAY
    settings = dataclasses.replace(
        SETTINGS, **runs.encoder_handles(tiny_encoder.encoder.parent)
    )
    model = training.make_model(log, settings, td.decay.Exponential("2d"))
    (_,) = training.fit_through(model, log, [cut], settings, first_passes=4)
    directory = tmp_path_factory.mktemp("texts") / "first"
    return write_run(directory, model, log, settings, cut)


@pytest.mark.integration  # slow
def test_an_item_added_today_is_recommended_by_its_text_alone(run, today):
    model, old = run.model(), run.events()
    encoded = model.item_tower._encoded.numpy()
    # Two of each theme that nobody ever had.
    added = [f"{theme}-{number}x" for theme in THEMES for number in (1, 2)]
    items = Items(added, [text_of(one) for one in added])
    found = update(
        model,
        old,
        today,
        run.settings,
        items=items,
        trained_until=run.split.test,
        hold_out=None,
    )
    tower = found.model.item_tower
    assert tower.items.ids[-12:].tolist() == added
    # The encoder is as it was, and the new ids say nothing.
    np.testing.assert_array_equal(tower._encoded.numpy()[: len(encoded)], encoded)
    assert not any("encoder" in one.name for one in found.model.trainable_variables)
    assert not tower.seen[-12:].any()
    np.testing.assert_allclose(
        tower.catalogue_vectors()[-12:], tower.embed_texts(items.texts), atol=1e-5
    )
    events = found.events
    queries = td.data.basket_queries(events, after=int(today.time.max()) - DAY // 2)
    scores = TwoTowerScores(found.model, events)(queries)[:, -12:]
    best = np.array(added)[scores.argmax(axis=1)]
    own = events.items.ids[events.item[queries.target[queries.target_offset[:-1]]]]
    same = [
        one.split("-")[0] == other.split("-")[0]
        for one, other in zip(best, own, strict=True)
    ]
    assert np.mean(same) > 0.5  # a sixth by chance


@pytest.mark.integration  # slow
def test_an_encoder_that_was_fine_tuned_stays_as_it_is(old, today, tiny_encoder):
    settings = dataclasses.replace(
        SETTINGS, **runs.encoder_handles(tiny_encoder.encoder.parent), fine_tune="all"
    )
    model = training.make_model(old, settings, td.decay.Exponential("2d"))
    text = model.item_tower.text
    before, count = text.get_weights(), len(model.trainable_variables)
    update(model, old, today, settings, hold_out=None, passes=1)
    for one, other in zip(text.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(model.trainable_variables) == count


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the shop gives every day: its log and all of its items."""
    folder = tmp_path_factory.mktemp("files")
    table = events_of(DAYS, 1)
    table.loc[table.index[:40], "item"] = "abcde-new"
    overlap = events_of(0, DAYS)
    last = overlap[overlap["time"] > overlap["time"].max() - 3_600]
    pd.concat([table, last]).to_csv(folder / "good.csv", index=False)
    mixed_up(table).to_csv(folder / "broken.csv", index=False)
    items = catalogue([*sorted(set(overlap["item"])), "abcde-new", "fghij-unsold"])
    items.to_csv(folder / "items.csv", index=False)
    return folder


def test_the_command_writes_the_next_run(run_of_ids, files, tmp_path, monkeypatch):
    exported = []

    def export_run(run, directory, **options):
        exported.append((run.directory, options))
        return tmp_path / "shop" / "4"

    monkeypatch.setattr(updating, "export_run", export_run)
    monkeypatch.setattr(td.serving, "report", lambda version: "")
    served, out = served_as(tmp_path / "shop", MADE), tmp_path / "next"
    told = ["--run", str(run_of_ids.directory), "--data", str(files / "good.csv")]
    told += ["--export", str(served), "--out", str(out)]
    assert cli.main(["update", *told, "--passes", "1", "--force"]) == 0
    ((directory, options),) = exported
    assert directory == out and options == updating.check_export(served)
    made = runs.load_run(out).about["update"]
    assert made["published"] and made["forced"] and not made["refuse_unsure"]
    assert made["guard"]["verdict"] == "publish" and made["usual"] > 0.5
    assert made["grown"]["items"] == 1 and made["grown"]["repeated"] > 0
    assert made["runs"] == [str(run_of_ids.directory.resolve())]


def test_a_refusal_is_status_3(written, monkeypatch, capsys):
    def update_run(*given, **options):
        raise updating.Refused(
            updating.Guard("refuse", "it is worse", {}, {}, {}, None, None)
        )

    monkeypatch.setattr(updating, "update_run", update_run)
    assert cli.main(written[0]) == 3
    aside = capsys.readouterr().err
    assert "refused, and the last model stays: it is worse." in aside


@pytest.mark.integration  # slow
def test_the_command_writes_the_next_run_and_the_next_version(
    run, files, tmp_path, capsys
):
    served = tmp_path / "shop"
    first = runs.export_run(run, served, k=7, parts="recommend", exclude_seen=True)
    said = (first / "assets.extra" / "tfrs_decay.json").read_bytes()
    told = [
        *("update", "--run", str(run.directory), "--items", str(files / "items.csv")),
        *("--export", str(served)),
    ]
    broken = [*told, "--data", str(files / "broken.csv"), "--out"]
    assert cli.main([*broken, str(tmp_path / "refused")]) == 3
    aside = capsys.readouterr().err
    assert "tfrs-decay: refused, and the last model stays: the old model's" in aside
    assert [one.name for one in tmp_path.iterdir()] == ["shop"]
    assert [one.name for one in served.iterdir() if one.is_dir()] == [first.name]

    out = tmp_path / "second"
    good = [*told, "--data", str(files / "good.csv"), "--out"]
    assert cli.main([*good, str(out)]) == 0
    printed = capsys.readouterr().out
    assert "(0 new users, 2 new items)" in printed
    assert "rows left out: the log has them already" in printed
    assert "Guard: publish: on the held-out hours Recall@20" in printed
    about = json.loads((out / "run.json").read_text())
    made = about["update"]
    assert made["runs"] == [str(run.directory.resolve())]
    assert made["period"] == [run.split.test, about["split"]["test"]]
    assert made["guard"]["verdict"] == "publish"
    assert made["guard"]["comparisons"]["recall"]["users"] >= 30
    assert made["usual"] == max(made["guard"]["on_new"], made["guard"]["usual"])
    again = runs.load_run(out)
    assert len(again.model().item_tower.items) == 122
    np.testing.assert_array_equal(
        again.model().item_tower.items.ids, again.events().items.ids
    )

    # Both versions answer; the last is made as the first was, and knows more.
    names = sorted((one.name for one in served.iterdir() if one.is_dir()), key=int)
    assert names[0] == first.name and len(names) == 2
    assert (first / "assets.extra" / "tfrs_decay.json").read_bytes() == said
    answers = []
    for name in names:
        native = td.serving.NativeModel(served / name)
        answer = native(
            "serving_default",
            {
                "history_item": [["abcde-1", "abcde-2"]],
                "history_time": [[START, START + DAY]],
                "history_action": [["purchase", "purchase"]],
                "history_length": [2],
                "query_time": [START + 8 * DAY],
            },
        )
        answers.append([one.decode() for one in answer["item_id"][0]])
    assert [len(one) for one in answers] == [7, 7]
    assert not {"abcde-1", "abcde-2"} & {*answers[0], *answers[1]}

    # The run is full and where it should be: no second one, and nothing to measure.
    assert cli.main([*good, str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["evaluate", "--run", str(out)]) == 2
    assert "the test period holds no basket" in capsys.readouterr().err
    second = ["update", "--run", str(out), "--data", str(files / "good.csv"), "--out"]
    assert cli.main([*second, str(tmp_path / "third")]) == 2
    assert "there is nothing new" in capsys.readouterr().err


def test_an_option_that_is_misspelt_fails_at_once(tmp_path):
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'pases'"):
        updating.update_run(None, None, tmp_path / "next", data="log", pases=1)


def test_an_update_that_is_interrupted_leaves_nothing(
    run_of_ids, tmp_path, monkeypatch
):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(updating, "write_about", stop)
    cleaned = clean(RawLog(events_of(DAYS, 1), None, {}))
    out = tmp_path / "next"
    with pytest.raises(KeyboardInterrupt):
        updating.update_run(
            run_of_ids,
            cleaned,
            out,
            data="log",
            hold_out=None,
            passes=1,
            say=lambda _: None,
        )
    assert list(tmp_path.iterdir()) == [run_of_ids.directory]


@pytest.fixture
def told_how_to_read(tmp_path, monkeypatch):
    """A run's folder that says how its log was read, a log of today, what is asked."""
    asked = []

    def update_run(run, cleaned, directory, **options):
        asked.append((cleaned, options))
        raise RuntimeError("that is all")

    def train_run(out, *given, **options):
        asked.append(options["read"])
        raise RuntimeError("that is all")

    monkeypatch.setattr(updating, "update_run", update_run)
    monkeypatch.setattr(runs, "train_run", train_run)
    table = events_of(0, DAYS).rename(columns={"user": "who"})
    table["time"] = pd.to_datetime(table["time"], unit="s").astype(str)
    table.to_csv(tmp_path / "log.csv", index=False)
    train = ["train", "--data", str(tmp_path / "log.csv"), "--out", str(tmp_path / "x")]
    read = "--column user=who --time-zone Europe/London --most-per-minute 50"
    assert cli.main([*train, *read.split(), "--test", "1d", "--validation", "1d"]) == 2
    run = tmp_path / "run"
    run.mkdir()
    about = {
        "settings": SETTINGS.to_dict(),
        "split": {"validation": START, "test": START + DAY},
        "read": asked.pop(),
    }
    runs.write_about(about, run)
    data = ["--run", str(run), "--data", str(tmp_path / "log.csv")]
    return ["update", *data, "--out", str(tmp_path / "next")], about["read"], asked


def test_the_next_log_is_read_as_the_last_was(told_how_to_read, capsys):
    command, read, asked = told_how_to_read
    assert read["columns"] == {"user": "who"}
    assert (read["time_zone"], read["most_per_minute"]) == ("Europe/London", 50)
    capsys.readouterr()
    for words in ([], ["--column", "user=who", "--time-zone", "Europe/London"]):
        assert cli.main([*command, *words]) == 2
        assert "that is all" in capsys.readouterr().err
        cleaned, options = asked.pop()
        assert len(cleaned.events.users) == USERS
        assert options["read"] == read


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--time-zone UTC", "--time-zone is 'UTC' here, and the run's log was read "),
        (
            "--column item=product",
            "--column is {'item': 'product'} here, and the run's",
        ),
        ("--taken-back a=b", "--taken-back is {'a': 'b'} here, and the run's log was"),
        ("--sample 3", "No such option"),
    ],
)
def test_another_way_to_read_than_the_last_is_refused(
    told_how_to_read, capsys, words, message
):
    command, _, asked = told_how_to_read
    assert cli.main([*command, *words.split()]) == 2
    assert message in capsys.readouterr().err
    assert not asked


def test_vectors_are_for_a_run_that_has_some(run_of_ids, tmp_path):
    cleaned = clean(RawLog(events_of(DAYS, 1), None, {}))
    with pytest.raises(ValueError, match=r"vectors='more.npz': the run .* without"):
        updating.update_run(
            run_of_ids, cleaned, tmp_path / "next", data="log", vectors="more.npz"
        )


MADE = {
    "k": 7,
    "exclude_seen": True,
    "diversity": {"trade_off": 0.7, "pool": 40},
    "reads_texts": False,
    "parts": "recommend",
    "server": None,
}


def served_as(folder, made):
    """A folder of versions that has one, which says how it was made."""
    extra = folder / "3" / "assets.extra"
    extra.mkdir(parents=True)
    (extra.parent / "saved_model.pb").touch()
    (extra / "tfrs_decay.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def test_the_next_version_is_made_as_the_last(tmp_path):
    assert updating.check_export(served_as(tmp_path / "shop", MADE)) == {
        "k": 7,
        "exclude_seen": True,
        "diversity": 0.7,
        "pool": 40,
        "texts": False,
        "parts": "recommend",
        "server": None,
    }


@pytest.mark.parametrize("name", ["k", "server"])
def test_a_version_that_does_not_say_how_it_was_made_is_refused(tmp_path, name):
    made = {key: value for key, value in MADE.items() if key != name}
    with pytest.raises(ValueError, match=rf"tfrs_decay\.json does not say '{name}'"):
        updating.check_export(served_as(tmp_path / "shop", made))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Arguments of an update whose run is written at once, and its folder."""
    log, run, out = tmp_path / "log.csv", tmp_path / "run", tmp_path / "next run"
    events_of(0, DAYS).to_csv(log, index=False)
    run.mkdir()
    split = {"validation": START, "test": START + DAY}
    runs.write_about({"settings": SETTINGS.to_dict(), "split": split}, run)

    def update_run(last, cleaned, directory, **options):
        return dataclasses.replace(last, directory=out)

    monkeypatch.setattr(updating, "update_run", update_run)
    served = served_as(tmp_path / "shop", MADE)
    told = ["--run", str(run), "--data", str(log), "--export", str(served)]
    return ["update", *told, "--out", str(out)], out, served


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(OSError("disk full"), 2, "disk full"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_an_export_that_fails_says_what_makes_up_for_it(
    written, monkeypatch, capsys, error, status, said
):
    command, out, served = written
    asked = []

    def export_run(run, directory, **options):
        if not asked:
            asked.append(options)
            raise error
        asked.append(options)
        return served / "3"

    monkeypatch.setattr(updating, "export_run", export_run)
    monkeypatch.setattr(runs, "export_run", export_run)
    assert cli.main(command) == status
    aside = capsys.readouterr().err
    assert f"the run {out} is written, and no version of it: tfrs-decay exp" in aside
    assert said in aside and "nothing was left half-written" not in aside
    # What it says is a command that exports with the same options.
    (line,) = [one for one in aside.splitlines() if "tfrs-decay export" in one]
    words = shlex.split(line[line.index("tfrs-decay export") :])[1:]
    words[words.index("--run") + 1] = command[2]  # this one has no folder
    monkeypatch.setattr(td.serving, "report", lambda version: "")
    assert cli.main(words) == 0
    assert asked[0] == asked[1]


def test_a_pool_goes_with_a_trade_off(tmp_path):
    with pytest.raises(ValueError, match=r"pool=40 goes with diversity"):
        runs.export_run(None, tmp_path / "shop", pool=40)


def test_a_folder_of_other_versions_is_refused(tmp_path):
    assert updating.check_export(tmp_path / "new") == {}
    served_as(tmp_path / "shop", {})
    with pytest.raises(ValueError, match=r"shop.3 is not the export of a run"):
        updating.check_export(tmp_path / "shop")


# --- With what was shown.

LOOKED_AT = np.array([1.0, 0.7, 0.5, 0.35, 0.25])


def shown_and_bought(first, *, users=USERS, lists=8):
    """What was shown on a day, and the purchases that came of it and of themselves.

    A user's lists are five of eight items of one theme, in an order of chance.
    """
    rng = np.random.default_rng([7, first])
    places = len(LOOKED_AT)
    user = np.repeat(np.arange(users), lists)
    number = np.argsort(rng.random((len(user), 8)), axis=1)[:, :places].ravel()
    time = START + first * DAY + 600 + np.tile(np.arange(lists), users) * 10_000
    user, time = np.repeat(user, places), np.repeat(time, places)
    theme = np.array(THEMES)[user % len(THEMES)]
    served = pd.DataFrame(
        {
            "who": np.char.add("u", user.astype(str)),
            "item": [
                f"{one}-{other}" for one, other in zip(theme, number, strict=True)
            ],
            "time": time,
            "position": np.tile(np.arange(1, places + 1), users * lists),
            "version": "3",
            "segment": np.where(user % 2, "new", "old"),
        }
    )
    looked = rng.random(len(user)) < LOOKED_AT[served["position"] - 1]
    bought = served[looked & (rng.random(len(user)) < 0.6)]
    bought = bought[["who", "item", "position"]].assign(time=bought["time"] + 60)
    alone = events_of(first, 1, users=users).rename(columns={"user": "who"})
    # Of items that nobody was shown, and until the end of the day.
    alone["item"] = alone["item"].str[:5] + "-19"
    return served, pd.concat([bought, alone]).rename(columns={"who": "user"})


@pytest.fixture
def with_shown(run_of_ids, tmp_path):
    """Arguments of an update with what was shown, and the log with the places."""
    served, log = shown_and_bought(DAYS)
    served.to_csv(tmp_path / "shown.csv", index=False)
    log.drop(columns="position").to_csv(tmp_path / "log.csv", index=False)
    told = ["--run", str(run_of_ids.directory), "--data", str(tmp_path / "log.csv")]
    told += ["--served", str(tmp_path / "shown.csv"), "--served-column", "user=who"]
    return ["update", *told, "--out", str(tmp_path / "next")], log


@pytest.fixture
def weighed(monkeypatch):
    """What fits are given: the events, their weights, and what was skipped."""
    told = []

    def watch(model, queries, events, passes, settings, **options):
        told.append((events, options["event_weights"], options["skipped"]))
        return 0.0

    monkeypatch.setattr(updating, "fit_on", watch)
    return told


def test_what_was_bought_far_down_a_list_weighs_more(
    with_shown, weighed, tmp_path, capsys
):
    command, log = with_shown
    assert cli.main([*command, "--hold-out", "none"]) == 0
    ((events, weights, skipped),) = weighed
    user, time, item = zip(*rows_of(events), strict=True)
    found = pd.DataFrame({"user": user, "time": time, "item": item, "weight": weights})
    assert (found["weight"][found["time"] < START + DAYS * DAY] == 1).all()
    found = found.merge(log)
    assert len(found) == len(log)
    assert (found["weight"][found["position"].isna()] == 1).all()
    by_place = found.groupby("position")["weight"]
    assert (by_place.nunique() == 1).all()
    np.testing.assert_allclose(by_place.first(), 1 / LOOKED_AT, rtol=0.25)

    page = tmp_path / "next.html"
    printed = capsys.readouterr().out
    assert f"Page: {page}" in printed and "clicks by position, worth" in printed
    assert "360 are organic" in printed
    said = page.read_text(encoding="utf-8")
    for part in ("By segment", "By version", "conversion", "By place in the list"):
        assert part in said
    # What was bought of a list competes with what stood there and was not.
    assert f"{len(skipped.item):,} items skipped beside what" in printed
    assert skipped.from_list.sum() == log["position"].notna().sum()
    first, last = skipped.offset[:-1], skipped.offset[1:]
    for event in np.flatnonzero(last > first)[:20]:
        names = skipped.items[skipped.item[first[event] : last[event]]]
        assert {one[:5] for one in names} == {item[event][:5]}
        assert item[event] not in names and len(names) <= 4
    about = runs.load_run(tmp_path / "next").about["update"]
    assert about["usual"] is None  # until there is a day without lists
    made = about["feedback"]
    assert made["joined"]["impressions"] == USERS * 8 * 5
    assert made["weights"]["clicks"] == log["position"].notna().sum()
    assert [one["name"] for one in made["by_version"]] == ["3"]


def test_places_are_left_unweighed_where_that_is_asked(
    with_shown, weighed, tmp_path, capsys
):
    page = tmp_path / "told" / "page.html"
    told = ["--hold-out", "none", "--examination", "none", "--html", str(page)]
    assert cli.main([*with_shown[0], *told, "--no-skipped"]) == 0
    ((_, weights, skipped),) = weighed
    assert weights is None and not len(skipped.item)
    assert skipped.from_list.any()
    assert "by position" not in capsys.readouterr().out
    assert "conversion" in page.read_text(encoding="utf-8")
    assert not (tmp_path / "next.html").exists()


def test_the_page_is_there_whatever_the_guard_says(
    with_shown, weighed, monkeypatch, tmp_path, capsys
):
    refused = updating.Guard("refuse", "it is worse", {}, {}, {}, None, None)
    monkeypatch.setattr(updating, "_guarded", lambda *given: refused)
    assert cli.main(with_shown[0]) == 3
    assert "refused, and the last model stays" in capsys.readouterr().err
    assert not weighed and not (tmp_path / "next").exists()
    assert "conversion" in (tmp_path / "next.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--examination item", "--examination is about what was shown: give --served"),
        ("--window purchase=1d", "--window is about what was shown: give --served as"),
        ("--html page.html", "--html is about what was shown: give --served as well"),
        ("--no-skipped", "--skipped/--no-skipped is about what was shown: give"),
        ("--served-month-first", "--served-day-first/--served-month-first is about"),
        (
            "--served x.csv --examination none --clip 5",
            "--clip cuts weights, and --examination none makes none: leave one",
        ),
        ("--served x.csv", "no such file"),
    ],
)
def test_what_is_said_of_what_was_shown_has_to_fit(written, capsys, words, message):
    assert cli.main([*written[0], *words.split()]) == 2
    aside = capsys.readouterr().err
    assert message.lower() in aside.lower() and aside.count("\n") == 1


def test_what_was_learned_has_to_be_of_the_newer_log(run_of_ids, tmp_path):
    served, log = shown_and_bought(DAYS)
    table = RawLog(log[["user", "time", "item"]], None, {})
    served = td.feedback.Served.of(served.rename(columns={"who": "user"}))
    signal = td.feedback.training_signal(served, table)
    with pytest.raises(ValueError, match=r"signal is of other events than cleaned"):
        updating.update_run(
            run_of_ids, clean(table), tmp_path / "next", data="log", signal=signal
        )


def test_what_came_of_lists_and_is_no_target_is_told(today):
    skipped = passed_over(today, ["abcde-1"], every=3)
    (code,) = np.unique(today.action)
    assert today.actions[code] == "purchase"
    browsed = dataclasses.replace(today, actions=("browse",))
    targets = dataclasses.replace(SETTINGS, target_actions=["purchase"])
    (line,) = updating._not_predicted(skipped, browsed, targets)
    assert line.startswith("120 of those that came of lists are browse, which this run")
    assert not [*updating._not_predicted(skipped, today, targets)]
    assert not [*updating._not_predicted(skipped, browsed, SETTINGS)]


def test_what_is_usual_with_lists_and_without_is_kept_apart(
    run_of_ids, monkeypatch, tmp_path
):
    asked, update_of = [], updating.update

    def update(model, events, new, settings, *, usual, skipped, **options):
        asked.append((usual, skipped is not None))
        made = update_of(model, events, new, settings, hold_out=None)
        return dataclasses.replace(made, usual=0.1 * len(asked))

    monkeypatch.setattr(updating, "update", update)
    monkeypatch.setattr(updating, "fit_on", lambda *given, **options: 0.0)
    run = run_of_ids
    for night, listed in enumerate([False, True, False, True]):
        served, log = shown_and_bought(DAYS + night)
        new = clean(RawLog(log[["user", "time", "item"]], None, {}))
        signal = None
        if listed:
            of = td.feedback.Served.of(served.rename(columns={"who": "user"}))
            signal = td.feedback.training_signal(of, new)
        run = updating.update_run(
            run, new, tmp_path / str(night), data="log", signal=signal
        )
    assert asked == [(None, False), (None, True), (0.1, False), (0.2, True)]


@pytest.mark.integration  # slow
def test_an_update_with_what_was_shown_from_files_to_the_next_run(
    with_shown, run_of_ids, tmp_path, capsys
):
    command, log = with_shown
    assert cli.main(command) == 0
    assert "Guard: publish" in capsys.readouterr().out
    plain = [*command[:-1], str(tmp_path / "plain"), "--examination", "none"]
    assert cli.main(plain) == 0
    weighed, alike = (
        runs.load_run(tmp_path / one).model().get_weights() for one in ("next", "plain")
    )
    assert any((a != b).any() for a, b in zip(weighed, alike, strict=True))
    # The next day's log is mixed up: its page tells it, and no run is there.
    served, log = shown_and_bought(DAYS + 1)
    served.to_csv(tmp_path / "shown.csv", index=False)
    mixed_up(log.drop(columns="position")).to_csv(tmp_path / "log.csv", index=False)
    command[command.index("--run") + 1] = str(tmp_path / "next")
    assert cli.main([*command[:-1], str(tmp_path / "third")]) == 3
    printed, aside = capsys.readouterr()
    assert "the new log is unlike the one it is added to" in aside
    assert "of an item that was not shown to its user" in printed
    assert (tmp_path / "third.html").is_file()
    assert not (tmp_path / "third").exists()
