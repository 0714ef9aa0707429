"""The benchmark on a real log: what it may see, leaves out, scores and writes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras

from tfrs_decay import ranking
from tfrs_decay.data import basket_queries
from tfrs_decay.layers.candidates import USER
from tfrs_decay.popularity import PopularityTable


@pytest.fixture(scope="module")
def retail(benchmark_named):
    return benchmark_named("quality_retail")


@pytest.fixture(scope="module")
def tables(shop_events):
    """With vectors of texts and of towers, so that every kind of feature is there."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=[len(shop_events.items), 4]).astype(np.float32)
    return ranking.fit_tables(
        shop_events,
        until=int(np.quantile(shop_events.time, 0.8)),
        popularity=PopularityTable.of(shop_events),
        m=3,
        own=3,
        most=2,
        popular=2,
        vectors=vectors,
        towers=ranking.TowerVectors(vectors, vectors),
    )


def examples_of(names):
    """Two queries of six candidates each, of any features."""
    features = np.random.default_rng(1).normal(size=[12, len(names)])
    return ranking.Examples(
        features.astype(np.float32),
        np.arange(12) % 6 == 0,
        np.arange(12, dtype=np.int32),
        np.array([0, 6, 12]),
        np.array([1, 1]),
    )


@pytest.fixture
def ablated(retail, monkeypatch):
    """Heads by name, each as it starts: it looks at what it would be trained on."""

    def fit_head(head, examples, *, columns):
        head.adapt(examples.features, columns)

    def choose(windows, track, **_):
        names = windows.tables.alone_names
        validated = {one: (0.5, 1 / (2 + row)) for row, one in enumerate(names)}
        validated[names[3]] = (0.1, 0.9)
        return ranking.Choice(
            "a head",
            ranking.choice.NETWORK,
            {ranking.choice.NETWORK: (0.0, 0.0), **validated},
            [],
        )

    monkeypatch.setattr(ranking, "fit_head", fit_head)
    monkeypatch.setattr(ranking, "choose", choose)

    def made(tables):
        tf_keras.utils.set_random_seed(0)
        examples = [examples_of(tables.feature_names)] * 2
        windows = ranking.Windows(examples, examples, tables)
        return retail.choose("any", windows, [0], ablations=True, trees=False).heads

    return made


def looked_at(head, names):
    """The features that move a head's scores."""
    features = examples_of(names).features
    moved = head(features + 0.5 * np.eye(len(names))[:, None]).numpy()
    change = np.abs(moved - head(features[None]).numpy()).max(axis=1)
    return {name for name, one in zip(names, change, strict=True) if one > 1e-4}


def test_a_log_is_sealed_until_every_choice_is_made(retail, shop_events):
    cut = int(np.sort(shop_events.time)[len(shop_events) // 2])
    sealed = retail.Sealed(shop_events, cut)
    assert sealed.past.time.max() == cut < shop_events.time.max()
    assert len(sealed.past) == (shop_events.time <= cut).sum()
    done = retail.Chosen({retail.OURS: ["a head"]}, "network")
    for choices, missing in (
        ({}, "any, new"),
        ({"any": done}, "new"),
        ({"any": done, "new": retail.Chosen({}, "network")}, "new"),
        ({"any": retail.Chosen({retail.OURS: []}, "network"), "new": done}, "any"),
    ):
        with pytest.raises(
            RuntimeError, match=f"nothing was chosen yet for {missing}:"
        ):
            sealed.opened(choices)
    assert sealed.opened({"any": done, "new": done}) is shop_events


def test_each_beginning_is_of_some_feature_and_none_of_an_item_is_left(retail, tables):
    left = set(tables.feature_names)
    for beginnings in retail.WITHOUT.values():
        for one in beginnings:
            assert any(name.startswith(one) for name in tables.feature_names), one
        found = {name for name in tables.feature_names if name.startswith(beginnings)}
        assert found <= left  # no feature is of two kinds
        left -= found
    assert left == set(USER)


def test_an_ablation_leaves_out_what_it_says(retail, tables, ablated):
    def read_from(*tables_of_neighbours):
        names = {
            name
            for name, one in tables.readings.items()
            if one.table in tables_of_neighbours
        }
        return names | {f"{name}, standardised" for name in names}

    names = tables.feature_names
    heads = ablated(tables)
    found = {
        name: set(names) - looked_at(head, names)
        for name, (head,) in heads.items()
        if name in retail.WITHOUT
    }
    assert found == {
        "without decay": set(names) - set(tables.lasting_names),
        "without text": read_from("vectors"),
        "without two towers": read_from("towers"),
        "without repeats": {*tables.repeats.feature_names, "share of baskets"},
        "without popularity": {
            f"popularity, {one}" for one in tables.popularity.feature_names
        },
        "without co-occurrence": read_from(*set(tables.tables) - {"vectors", "towers"}),
    }
    (best,) = heads["without the head"]
    assert looked_at(best, names) == {tables.alone_names[3]}


def test_what_a_log_has_no_feature_of_is_no_ablation(ablated, capsys):
    names = [
        "had",
        "popularity, log_age",
        "goes together",
        "in one basket",
        "next basket",
    ]
    heads = ablated(
        SimpleNamespace(feature_names=names, lasting_names=["had"], alone_names=names)
    )
    assert "without text: there is no such feature" in capsys.readouterr().out
    assert "without text" not in heads
    assert looked_at(heads["without repeats"][0], names) == {*names[1:]}


def test_a_list_scores_the_candidates_of_each_query_and_nothing_else(
    retail, shop_events
):
    queries = basket_queries(shop_events)
    asked = queries.between(0, 3)
    examples = examples_of(["had"])._replace(
        item=np.array([4, 1, 0, 4, 2]), splits=np.array([0, 2, 2, 5])
    )
    listed = retail._Listed(examples, np.array([0.5, 0.25, -1, 2, 0]), asked, 6)
    no = -np.inf
    expected = np.array([[no, 0.25, no, no, 0.5, no], [no] * 6, [-1, no, 0, no, 2, no]])
    np.testing.assert_array_equal(listed(asked), expected)
    # In blocks, wherever they begin.
    np.testing.assert_array_equal(listed(asked.between(2, 3)), expected[2:])
    with pytest.raises(KeyError):
        listed(queries.between(3, 4))


@pytest.mark.integration  # slow
def test_a_whole_run_writes_the_figures_of_both_tracks(
    retail, run_main, tmp_path, capsys
):
    path = tmp_path / "figures.json"
    run_main(
        retail,
        *("--data", "simulated"),
        *("--sample", 40),
        *("--seeds", 1),
        *("--windows", 2),
        *("--queries", 60),
        *("--test-queries", 60),
        *("--json", path),
        *("--no-text", "--no-towers", "--no-ablations", "--no-trees"),
    )
    figures = json.loads(path.read_text())
    assert list(figures) == ["any", "new"]
    for models in figures.values():
        assert {retail.OURS, retail.FROZEN, "popularity", "EASE"} <= set(models)
        for one in models.values():
            assert 1 <= one["queries"] <= 60
            for name in ("recall@20", "ndcg@20"):
                assert 0 <= one[f"{name}_low"] <= one[name] <= one[f"{name}_high"] <= 1
        assert models[retail.OURS]["recall@20"] > 0
    assert "own counts" in figures["any"]
    assert "own counts" not in figures["new"]
    assert "track new: " in capsys.readouterr().out
