"""The table as it is printed, and the sentences of caution."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tfrs_decay.data import Queries
from tfrs_decay.evaluation import (
    Figures,
    as_dict,
    table,
    verdict_table,
    verdicts,
    verdicts_as_dict,
    warnings,
)


def figures(*, first=0, third=0, k=20, queries=1000, lists=1000, personal=True):
    """Figures of queries with one target each, the item 0.

    `first` queries have it at rank 1, where NDCG is 1, `third` at rank 3, where it is
    1 / log2(4) = 0.5; the others have it nowhere.
    """
    top = np.arange(1, k + 1)[None, :].repeat(queries, axis=0)
    # What a list begins with tells it from the others.
    with_seen = top.copy()
    with_seen[:, 0] = 100 + np.arange(queries) % lists
    top[:first, 0] = 0
    top[first : first + third, 2] = 0
    return Figures(
        ks=(k,),
        lists=top,
        lists_with_seen=with_seen,
        queries=Queries(
            user=np.arange(queries),
            time=np.ones(queries, np.int64),
            history_start=np.zeros(queries, np.int64),
            history_stop=np.ones(queries, np.int64),
            target=np.arange(queries),
            target_offset=np.arange(queries + 1),
        ),
        target=np.zeros(queries, np.int64),
        n_items=80,
        personal=personal,
    )


TRACKS = {
    "any": {
        "popularity": figures(
            first=200, third=100, queries=5000, lists=1, personal=False
        ),
        "own counts": figures(first=1001, third=600, queries=5000, lists=4298),
        "decay": figures(first=1301, queries=5000, lists=4400),
    },
    "new": {
        "popularity": figures(first=66, queries=2042, lists=1, personal=False),
        "decay": figures(first=100, third=133, queries=2042, lists=1990),
    },
}


def test_the_table_as_it_is_printed():
    assert table(TRACKS).splitlines() == [
        "            any (5,000 queries)          new (2,042 queries)",
        "model       Recall@20   NDCG@20   lists  Recall@20   NDCG@20   lists",
        "popularity     0.0600    0.0500       1     0.0323    0.0323       1",
        "own counts     0.3202*   0.2602*  4,298          -         -       -",
        "decay          0.2602    0.2602*  4,400     0.1141*   0.0815*  1,990",
    ]


def test_the_table_at_a_shorter_list():
    # At 2 the hits at rank 3 are not seen.
    lines = table(TRACKS, k=2).splitlines()
    assert lines[1].split()[1:3] == ["Recall@2", "NDCG@2"]
    assert lines[3].split()[:3] == ["own", "counts", "0.2002"]


def test_the_table_with_diversity():
    # The items 0 and 3 point alike: they are one pair of three where 0 stands first.
    vectors = np.eye(80)
    vectors[3] = vectors[0]
    tracks = {
        "any": {"plain": figures(queries=1000, k=3), "hits": figures(first=500, k=3)},
        "new": {"hits": figures(first=1000, k=3)},
    }
    assert table(tracks, vectors=vectors).splitlines()[1:] == [
        "model  Recall@3   NDCG@3   lists  diversity@3  "
        "Recall@3   NDCG@3   lists  diversity@3",
        "plain    0.0000   0.0000   1,000       1.0000"
        "         -        -       -            -",
        "hits     0.5000*  0.5000*  1,000       0.8333"
        "    1.0000*  1.0000*  1,000       0.6667",
    ]
    told = as_dict(tracks, vectors=vectors)
    assert told["any"]["hits"]["diversity@3"] == pytest.approx(5 / 6)


def test_lists_without_a_pair_have_no_diversity():
    vectors = np.eye(80)
    one = figures(first=500, k=3)
    lists = one.lists.copy()
    lists[1:, 1:] = -1
    few = replace(one, lists=lists)
    assert table({"any": {"few": few}}, vectors=vectors).endswith(" 1.0000")
    assert table({"any": {"few": few}}, 1, vectors=vectors).endswith(" -")
    told = as_dict({"any": {"few": replace(few, ks=(1, 3))}}, vectors=vectors)
    assert told["any"]["few"]["diversity@3"] == 1
    assert "diversity@1" not in told["any"]["few"]


def test_verdicts_as_they_are_printed():
    found = verdicts(
        {"base": np.zeros(200), "other": np.arange(200) % 4 / 4, "same": np.zeros(200)},
        np.arange(200),
        against="base",
    )
    lines = verdict_table(found).splitlines()
    assert lines == [f"other  {found['other']}", f"same   {found['same']}"]
    assert lines[0].endswith(", p = 0.0004: better")
    told = json.loads(json.dumps(verdicts_as_dict(found)))
    assert told["other"]["difference"] == 0.375
    assert told["other"]["adjusted_p"] == 2 * told["other"]["p"]
    assert told["same"]["verdict"] == "no difference shown"


def test_what_prints_as_the_best_is_the_best():
    # 20,000 and 20,001 of 60,001 both print as 0.3333.
    closer = {
        "a": figures(first=20_000, queries=60_001),
        "b": figures(first=20_001, queries=60_001),
    }
    assert table({"any": closer}).count("0.3333*") == 4


def test_a_long_name_of_a_track_widens_its_columns():
    one, name = {"a": figures(first=500)}, "what nobody has bought before"
    lines = table({name: one, "any": one}).splitlines()
    assert lines[0] == f"       {name} (1,000 queries)  any (1,000 queries)"
    assert lines[1].rindex("Recall@20") == lines[0].index("any")


def test_a_model_that_only_a_later_track_has_comes_last():
    tracks = {
        "any": {"one": figures(first=500, k=5)},
        "new": {"two": figures(k=3), "one": figures(k=3)},
    }
    lines = table(tracks).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["model", "one", "two"]
    assert (
        lines[1].split() == "model Recall@5 NDCG@5 lists Recall@3 NDCG@3 lists".split()
    )
    assert lines[3].split() == "two - - - 0.0000* 0.0000* 1,000".split()


def test_figures_that_were_not_measured_alike_share_no_table():
    one = figures(first=500)
    with pytest.raises(
        ValueError, match=r"track 'any' .*\[\(10, 1000\), \(20, 1000\)\]"
    ):
        table({"any": {"a": one, "b": figures(first=500, k=10)}})
    with pytest.raises(ValueError, match=r"\(20, 999\).*on the same queries"):
        table({"any": {"a": one, "b": figures(first=500, queries=999)}})


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match=r"tracks=\{\}: give at least one track"):
        table({})
    with pytest.raises(
        ValueError, match=r"track 'any' has no models: give what `evaluate`"
    ):
        table({"any": {}})


def test_few_lists_are_a_warning():
    collapsed = figures(first=1, queries=2446, lists=3)
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
    one = figures(first=1, queries=queries, lists=lists, personal=personal)
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
        "decay": figures(first=1, queries=queries, lists=queries),
        "popularity": figures(first=1, queries=queries, lists=1, personal=False),
    }
    lines = warnings(models)
    if said is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(said)
    assert warnings({}) == []


def test_one_list_is_written_in_the_singular():
    (line,) = warnings({"model": figures(first=1, lists=1)})
    assert line.startswith("model: only 1 distinct list for 1,000 queries: ")


def test_the_dict_is_plain_numbers_by_track_and_model():
    read = json.loads(json.dumps(as_dict(TRACKS)))
    assert list(read) == ["any", "new"]
    assert list(read["any"]) == ["popularity", "own counts", "decay"]
    assert read["new"]["decay"] == {
        "queries": 2042,
        "recall@20": pytest.approx(233 / 2042),
        "precision@20": pytest.approx(233 / 2042 / 20),
        "ndcg@20": pytest.approx((100 + 133 / 2) / 2042),
        "mrr@20": pytest.approx((100 + 133 / 3) / 2042),
        "hit_rate@20": pytest.approx(233 / 2042),
        "coverage@20": 21 / 80,
        "distinct_lists": 1990,
    }


def test_the_dict_tells_of_every_k_that_was_asked_for():
    several = replace(figures(first=1, third=2, queries=4), ks=(2, 20))
    told = as_dict({"any": {"model": several}})["any"]["model"]
    assert (told["recall@2"], told["recall@20"]) == (1 / 4, 3 / 4)
    assert (told["coverage@2"], told["coverage@20"]) == (3 / 80, 21 / 80)


def test_no_queries_have_no_means():
    nothing = figures().where(np.zeros(1000, bool))
    assert as_dict({"any": {"model": nothing}}) == {"any": {"model": {"queries": 0}}}
