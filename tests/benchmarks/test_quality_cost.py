"""The benchmark of what a combined list costs: a catalogue like it, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def cost(benchmark_named):
    return benchmark_named("quality_cost")


def test_neighbours_lie_anywhere_and_none_is_there_twice(cost):
    found = cost.random_neighbours(1_000, 20, np.random.default_rng(0))
    assert found.item.shape == found.weight.shape == (1_000, 20)
    assert found.item.min() == 0 and found.item.max() == 999
    assert (np.diff(np.sort(found.item, axis=1)) > 0).all()


def test_the_latest_counts_of_every_item(cost):
    found = cost.popularity_of(300, np.random.default_rng(0))
    assert len(np.unique(found.keys)) == len(found.ids) == 300
    assert (found.first_day < cost.NOW // cost.DAY).all()
    assert np.isfinite(found.sums).all() and (found.sums > 0).all()


def test_steps_take_turns_and_warm_up_once(cost):
    done = []
    steps = {name: lambda name=name: done.append(name) for name in "ab"}
    spent = cost.turns(steps, 2, calls=cost.CALLS)
    assert done == [*"a" * cost.CALLS, *"b" * cost.CALLS] * 3
    assert {name: len(one) for name, one in spent.items()} == {
        "a": 2 * cost.CALLS,
        "b": 2 * cost.CALLS,
    }


@pytest.mark.integration  # slow
def test_a_run_writes_ratios_and_what_they_are_of(
    cost, run_main, monkeypatch, tmp_path, capsys
):
    """Of catalogues too small to tell anything, with neighbours as few as may be."""
    monkeypatch.setattr(cost, "SIZES", {"10k": 500, "1m": 800})
    path = tmp_path / "cost.json"
    run_main(cost, "--rounds", 1, "--most-pairs", 40_000, "--json", path)
    figures = json.loads(path.read_text())
    assert list(figures) == [
        *("combined_ratio_10k", "combined_ms_10k", "bare_ms_10k"),
        *("combined_ratio_1m", "combined_ms_1m", "bare_ms_1m"),
    ]
    for size in ("10k", "1m"):
        combined, bare = (figures[f"{one}_ms_{size}"] for one in ("combined", "bare"))
        assert min(combined, bare) > 0
        assert figures[f"combined_ratio_{size}"] == pytest.approx(combined / bare)
    assert "500 items, 10 neighbours each" in capsys.readouterr().out
