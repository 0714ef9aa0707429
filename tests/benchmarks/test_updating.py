"""The benchmark of updates: its days, its figures, a run that is small."""

from __future__ import annotations

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def updates(benchmark_named):
    return benchmark_named("updating")


def test_figures_are_of_all_days_and_of_the_first(updates):
    user = np.repeat(np.arange(40), 5)
    rate = {"update": 0.6, "anew": 0.5, "left": 0.2}
    metric = {name: np.full(200, one) for name, one in rate.items()}
    figures = updates.figures_of(
        updates.Measured(
            seconds={"update": [4.0, 1.0], "anew": [8.0, 12.0]},
            first_fit=30.0,
            passes=3,
            user=user,
            recall=metric,
            ndcg={name: one / 2 for name, one in metric.items()},
            refused=1,
        ),
        seed=0,
    )
    assert (figures["update_s"], figures["anew_s"]) == (2.5, 10.0)
    assert (figures["anew_ratio"], figures["first_anew_ratio"]) == (4.0, 2.0)
    assert figures["refused"] == 1 and figures["first_fit_s"] == 30.0
    assert figures["recall_update"] == pytest.approx([0.6] * 3)
    assert figures["recall_update_less_left"] == pytest.approx([0.4] * 3)
    assert figures["ndcg_update_less_anew"] == pytest.approx([0.05] * 3)


@pytest.mark.integration  # slow
def test_a_run_writes_what_was_measured(updates, run_main, tmp_path, capsys):
    """Of a shop too small to tell anything."""
    path = tmp_path / "updating.json"
    told = ("--users", 80, "--span", 40, "--days", 2, "--validation", 10)
    run_main(updates, *told, "--json", path)
    figures = json.loads(path.read_text())
    assert figures["anew_ratio"] == pytest.approx(
        figures["anew_s"] / figures["update_s"]
    )
    for metric in ("recall", "ndcg"):
        mean = {one: figures[f"{metric}_{one}"][0] for one in updates.NAMES}
        assert all(0 <= one <= 1 for one in mean.values())
        for other in ("anew", "left"):
            difference, low, high = figures[f"{metric}_update_less_{other}"]
            assert difference == pytest.approx(mean["update"] - mean[other])
            assert low <= difference <= high
    printed = capsys.readouterr().out
    assert "day 2:" in printed and "seed 0" in printed


def test_each_day_is_added_once_and_the_next_is_asked_for(updates, monkeypatch):
    """Without a fit: what each of the three is given."""
    fitted, added = [], []
    td = updates.td
    events = td.data.clean(td.data.simulated_shop(users=80, days=40).log).events

    def train(model, known, split, settings, **options):
        assert split == (split.test - 10 * updates.DAY, split.test)
        return updates.training.Trained(model, 3, [0.0])

    def fit_through(model, known, cuts, settings, *, first_passes):
        fitted.append((int(known.time.max()), cuts, first_passes))
        yield from cuts

    def update(model, old, new, settings, *, usual, trained_until):
        added.append((old, new, trained_until))
        end = int(new.time.max())
        guard = td.updating.Guard("publish", "", {}, {}, {}, None, None)
        grown = td.data.grow(old, new)
        return td.updating.Updated(
            model, grown.events, end, (0, end), True, grown, guard, 0.5, 2, 0.1, 0.0
        )

    monkeypatch.setattr(updates.training, "train", train)
    monkeypatch.setattr(updates.training, "fit_through", fit_through)
    monkeypatch.setattr(td.updating, "update", update)
    settings = updates.runs.settings_for(events.actions, None)
    found = updates.measure(events, 2, settings, 10 * updates.DAY)
    last = int(events.time.max())
    cuts = [last - 2 * updates.DAY, last - updates.DAY]
    assert [one[1:] for one in fitted] == [([cut], 3) for cut in cuts]
    assert all(until <= cut for (until, _, _), cut in zip(fitted, cuts, strict=True))
    for (old, new, _), cut in zip(added, cuts, strict=True):
        begin = cut - updates.DAY
        assert old.time.max() <= begin < new.time.min() and new.time.max() <= cut
        assert len(old) + len(new) == (events.time <= cut).sum()
    asked = td.data.basket_queries(events, after=cuts[0], actions=["purchase"])
    assert sorted(found.user) == sorted(asked.user)
    # The three models have the same weights.
    for name in ("anew", "left"):
        np.testing.assert_allclose(found.recall["update"], found.recall[name])
