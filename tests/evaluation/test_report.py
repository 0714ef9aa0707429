"""The table as it is printed, and the sentences of caution."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfrs_decay.evaluation import Figures, as_dict, table, warnings


def figures(recall, ndcg, *, k=20, queries=1000, lists=1000, personal=True):
    """Figures whose means are `recall` and `ndcg`."""
    return Figures(
        k=k,
        recall=np.full(queries, recall),
        ndcg=np.full(queries, ndcg),
        distinct_lists=lists,
        coverage=0.25,
        personal=personal,
    )


TRACKS = {
    "any": {
        "popularity": figures(0.0706, 0.0658, queries=2446, lists=1, personal=False),
        "own counts": figures(0.3236, 0.29314, queries=2446, lists=2298),
        "decay": figures(0.2, 0.29306, queries=2446, lists=2400),
    },
    "new": {
        "popularity": figures(0.03219, 0.02543, queries=2042, lists=1, personal=False),
        "decay": figures(0.11384, 0.0847, queries=2042, lists=1990),
    },
}


def test_the_table_as_it_is_printed():
    # 0.29314 and 0.29306 both print as 0.2931, so both are the best.
    assert table(TRACKS).splitlines() == [
        "            any (2,446 queries)          new (2,042 queries)",
        "model       Recall@20   NDCG@20   lists  Recall@20   NDCG@20   lists",
        "popularity     0.0706    0.0658       1     0.0322    0.0254       1",
        "own counts     0.3236*   0.2931*  2,298          -         -       -",
        "decay          0.2000    0.2931*  2,400     0.1138*   0.0847*  1,990",
    ]


def test_a_long_name_of_a_track_widens_its_columns():
    one, name = {"a": figures(0.5, 0.5)}, "what nobody has bought before"
    lines = table({name: one, "any": one}).splitlines()
    assert lines[0] == f"       {name} (1,000 queries)  any (1,000 queries)"
    assert lines[1].rindex("Recall@20") == lines[0].index("any")


def test_a_model_that_only_a_later_track_has_comes_last():
    tracks = {
        "any": {"one": figures(0.5, 0.5, k=5)},
        "new": {"two": figures(0.0, 0.0, k=3), "one": figures(0.0, 0.0, k=3)},
    }
    lines = table(tracks).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["model", "one", "two"]
    assert (
        lines[1].split() == "model Recall@5 NDCG@5 lists Recall@3 NDCG@3 lists".split()
    )
    assert lines[3].split() == "two - - - 0.0000* 0.0000* 1,000".split()


def test_figures_that_were_not_measured_alike_share_no_table():
    one = figures(0.5, 0.5)
    with pytest.raises(
        ValueError, match=r"track 'any' .*\[\(10, 1000\), \(20, 1000\)\]"
    ):
        table({"any": {"a": one, "b": figures(0.5, 0.5, k=10)}})
    with pytest.raises(ValueError, match=r"\(20, 999\).*on the same queries"):
        table({"any": {"a": one, "b": figures(0.5, 0.5, queries=999)}})


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match=r"tracks=\{\}: give at least one track"):
        table({})
    with pytest.raises(
        ValueError, match=r"track 'any' has no models: give what `evaluate`"
    ):
        table({"any": {}})


def test_few_lists_are_a_warning():
    collapsed = figures(0.1, 0.1, queries=2446, lists=3)
    assert warnings(TRACKS["any"]) == []
    assert warnings({**TRACKS["any"], "two towers": collapsed}) == [
        "two towers: only 3 distinct lists for 2,446 queries: it recommends nearly the "
        "same to everyone."
    ]


@pytest.mark.parametrize(
    ("queries", "lists", "personal", "warned"),
    [
        (1000, 49, True, True),
        (1000, 50, True, False),  # 5% is not below 5%
        (1000, 1, False, False),  # popularity means it
        (10, 1, True, True),  # one list for all, however few queries
        (10, 2, True, False),
        (1, 1, True, False),  # one query cannot tell
    ],
)
def test_how_many_lists_are_few(queries, lists, personal, warned):
    one = figures(0.1, 0.1, queries=queries, lists=lists, personal=personal)
    lines = [line for line in warnings({"model": one}) if line.startswith("model: ")]
    assert bool(lines) is warned


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        # 0.5 / sqrt(n)
        (1, "only 1 query: the standard error of a recall can be 0.50, and a"),
        (25, "only 25 queries: the standard error of a recall can be 0.10, and a"),
        (99, "only 99 queries: the standard error of a recall can be 0.05, and a"),
        (100, None),
    ],
)
def test_few_queries_are_said_once_for_all_models(queries, said):
    models = {
        "decay": figures(0.1, 0.1, queries=queries, lists=queries),
        "popularity": figures(0.1, 0.1, queries=queries, lists=1, personal=False),
    }
    lines = warnings(models)
    if said is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(said)
    assert warnings({}) == []


def test_one_list_is_written_in_the_singular():
    (line,) = warnings({"model": figures(0.1, 0.1, lists=1)})
    assert line.startswith("model: only 1 distinct list for 1,000 queries: ")


def test_the_dict_is_plain_numbers_by_track_and_model():
    read = json.loads(json.dumps(as_dict(TRACKS)))
    assert list(read) == ["any", "new"]
    assert list(read["any"]) == ["popularity", "own counts", "decay"]
    assert read["new"]["decay"] == {
        "recall@20": pytest.approx(0.11384),
        "ndcg@20": pytest.approx(0.0847),
        "queries": 2042,
        "distinct_lists": 1990,
        "coverage": 0.25,
    }
