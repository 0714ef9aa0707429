"""A shop of four items, whose lists and figures can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.data import basket_queries
from tfrs_decay.evaluation import (
    OwnCounts,
    Popularity,
    blocks_of,
    evaluate,
)

# Queries: u at 2 (history a; basket b), u at 3 (history a, b; basket a, c),
# v at 2 (history d; basket d). Codes: a 0, b 1, c 2, d 3.
ROWS = [
    ("u", 1, "a"),
    ("u", 2, "b"),
    ("u", 3, "a"),
    ("u", 3, "c"),
    ("v", 1, "d"),
    ("v", 2, "d"),
]


@pytest.fixture
def events(make_events):
    return make_events(*ROWS)


@pytest.fixture
def queries(events):
    return basket_queries(events)


class Alike:
    """Ranks a, b, c, d for everyone."""

    personal = False

    def __call__(self, queries):
        return np.tile([4.0, 3.0, 2.0, 1.0], (len(queries), 1))


def backwards(queries):
    """Ranks d, c, b, a for everyone, without saying so."""
    return np.tile([1.0, 2.0, 3.0, 4.0], (len(queries), 1)).astype(np.float32)


def test_every_query_counted_by_hand(events, queries):
    figures = evaluate({"alike": Alike()}, queries, events, k=2)["alike"]
    # The list is a, b. u at 2 wants b; u at 3 wants a, c; v wants d.
    assert figures.recall().tolist() == [1, 1 / 2, 0]
    second = 1 / np.log2(3)
    assert figures.ndcg() == pytest.approx([second, 1 / (1 + second), 0])
    assert figures.recall().mean() == pytest.approx(1 / 2)
    assert figures.ndcg().mean() == pytest.approx((second + 1 / (1 + second)) / 3)
    assert (len(figures), figures.k) == (3, 2)
    assert figures.distinct_lists() == 1
    assert figures.coverage() == 1 / 2


def test_one_ranking_tells_of_every_shorter_list(events, queries):
    scorers = {"alike": Alike(), "own": OwnCounts(events)}
    several = evaluate(scorers, queries, events, k=[4, 1, 2, 1])
    for k in (1, 2, 4):
        for name, alone in evaluate(scorers, queries, events, k=k).items():
            together = several[name]
            assert together.ks == (1, 2, 4) and together.k == 4
            for metric in ("recall", "precision", "ndcg", "mrr", "hit_rate"):
                told = getattr(together, metric)(k)
                assert told.tolist() == getattr(alone, metric)().tolist()
            assert together.coverage(k) == alone.coverage()
            assert together.distinct_lists(k) == alone.distinct_lists()
    # Any length up to the longest can be asked for, none beyond it.
    assert several["alike"].recall(3).tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match=r"k=5: the lists hold 4 items. .* 1 to 4"):
        several["alike"].recall(5)
    with pytest.raises(ValueError, match=r"k=0: the lists hold 4 items"):
        several["alike"].coverage(0)


def test_the_other_figures_counted_by_hand(events, queries):
    figures = evaluate({"alike": Alike()}, queries, events, k=(2, 4))["alike"]
    # The list is a, b, c, d; wanted are b; a and c; d.
    assert figures.precision().tolist() == [1 / 4, 2 / 4, 1 / 4]
    assert figures.precision(2).tolist() == [1 / 2, 1 / 2, 0]
    assert figures.mrr().tolist() == [1 / 2, 1, 1 / 4]
    assert figures.mrr(2).tolist() == [1 / 2, 1, 0]
    assert figures.hit_rate().tolist() == [1, 1, 1]
    assert figures.hit_rate(2).tolist() == [1, 1, 0]


def test_what_is_told_of_the_catalogue(events, queries):
    figures = evaluate({"alike": Alike()}, queries, events, k=3)["alike"]
    bits = np.array([1.0, 2.0, 6.0, 9.0])
    assert figures.novelty(bits).tolist() == [3, 3, 3]
    assert figures.novelty(bits, 2).tolist() == [1.5, 1.5, 1.5]
    vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert figures.diversity(vectors) == pytest.approx([2 / 3] * 3)
    assert figures.diversity(vectors, 2) == pytest.approx([0, 0, 0])
    with pytest.raises(ValueError, match=r"3 items are told of and 4 are ranked"):
        figures.novelty(bits[:3])
    with pytest.raises(ValueError, match=r"5 items are told of and 4 are ranked"):
        figures.diversity(np.ones((5, 2)))


def test_a_part_of_the_queries_and_of_the_targets(events, queries):
    figures = evaluate({"alike": Alike()}, queries, events, k=2)["alike"]
    some = figures.where(np.array([True, False, True]))
    assert some.recall().tolist() == [1, 0]
    assert events.users[some.queries.user].tolist() == ["u", "v"]
    # Targets in order: b; a and c; d. Without a, u at 3 misses; without d, v is out.
    left = figures.of_targets(np.array([True, False, True, False]))
    assert left.recall().tolist() == [1, 0]
    assert (len(left), left.distinct_lists(), left.coverage()) == (2, 1, 1 / 2)
    assert left.queries.time.tolist() == [2, 3]
    none = figures.where(np.zeros(3, bool))
    assert (len(none), none.recall().tolist()) == (0, [])
    with pytest.raises(ValueError, match=r"kept is bool of shape \(3,\): .* \(4,\)"):
        figures.of_targets(np.ones(3, bool))


def test_models_keep_their_order_and_say_whether_they_are_personal(events, queries):
    scorers = {"z": backwards, "a": Alike(), "own": OwnCounts(events)}
    figures = evaluate(scorers, queries, events)
    assert list(figures) == ["z", "a", "own"]
    assert [one.personal for one in figures.values()] == [True, False, True]


def test_lists_of_own_counts(events, queries):
    figures = evaluate({"own": OwnCounts(events)}, queries, events, k=1)["own"]
    # First a, then a (tied with b), then d.
    assert figures.recall().tolist() == [0, 1, 1]
    assert figures.distinct_lists() == 2
    assert figures.coverage() == 1 / 2


def test_seen_items_are_neither_candidates_nor_counted_as_another_list(events, queries):
    new = queries.with_new_targets(events)
    assert new.time.tolist() == [2, 3]  # v wants only d again
    scorers = {"alike": Alike(), "backwards": backwards}
    figures = evaluate(scorers, new, events, k=1, exclude_seen=True)
    # Without what u had, a, b, c, d begins with b at 2 and with c at 3.
    assert figures["alike"].recall().tolist() == [1, 1]
    assert figures["alike"].distinct_lists() == 1
    assert figures["alike"].coverage() == 2 / 4
    assert figures["backwards"].recall().tolist() == [0, 0]
    # With everything allowed it begins with a, which nobody wants anew.
    anew = evaluate(scorers, new, events, k=1)
    assert anew["alike"].recall().tolist() == [0, 0]


def test_more_places_than_items(events, queries):
    new = queries.with_new_targets(events)
    figures = evaluate({"alike": Alike()}, new, events, k=9, exclude_seen=True)["alike"]
    assert figures.recall().tolist() == [1, 1]
    # c is the first that u may still be shown at 3.
    assert figures.ndcg().tolist() == [1, 1]
    assert figures.coverage() == 3 / 4


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, 256])
def test_the_size_of_blocks_changes_nothing(make_events, block, exclude_seen):
    rng = np.random.default_rng(0)
    rows = zip(
        rng.choice(list("uvwx"), 80),
        rng.integers(0, 12, 80).tolist(),
        rng.choice(list("abcdefgh"), 80),
        strict=True,
    )
    events = make_events(*rows)
    queries = basket_queries(events)
    if exclude_seen:
        queries = queries.with_new_targets(events)
    popularity = Popularity(events, until=6)
    scorers = {
        "own": OwnCounts(events, tie_break=popularity.scores),
        "popularity": popularity,
    }

    def measure(block):
        return evaluate(
            scorers, queries, events, k=3, exclude_seen=exclude_seen, block=block
        )

    for one, other in zip(measure(block).values(), measure(7).values(), strict=True):
        assert one.recall().tolist() == other.recall().tolist()
        assert one.ndcg().tolist() == other.ndcg().tolist()
        assert one.distinct_lists() == other.distinct_lists()
        assert one.coverage() == other.coverage()


def test_blocks_are_the_queries_cut_up(queries):
    blocks = blocks_of(queries, 2)
    assert [len(block) for block in blocks] == [2, 1]
    assert [block.target_offset.tolist() for block in blocks] == [[0, 1, 3], [0, 1]]
    for name in ("user", "time", "history_start", "history_stop", "target"):
        together = np.concatenate([getattr(block, name) for block in blocks])
        assert together.tolist() == getattr(queries, name).tolist()


def test_progress_sees_every_block(events, queries):
    sizes = []

    def progress(blocks):
        sizes.append(len(blocks))
        yield from blocks

    scorers = {"alike": Alike(), "backwards": backwards}
    watched = evaluate(scorers, queries, events, block=2, progress=progress)
    assert sizes == [2]
    plain = evaluate(scorers, queries, events)
    assert watched["alike"].recall().tolist() == plain["alike"].recall().tolist()


def test_progress_that_stops_early_is_refused(events, queries):
    with pytest.raises(
        ValueError, match=r"progress gave back 2 of 3 .* every block once"
    ):
        evaluate(
            {"alike": Alike()}, queries, events, block=2, progress=lambda all_: all_[:1]
        )


def test_a_target_that_is_excluded_is_refused(events, queries):
    def never(queries):
        raise AssertionError("refused before anything is scored")

    message = (
        r"user 'u' had the target 'a' before: .* queries\.with_new_targets\(events\)"
    )
    with pytest.raises(ValueError, match=message):
        evaluate({"never": never}, queries, events, exclude_seen=True, block=1)


def broken(change):
    return lambda queries: change(Alike()(queries))


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (
            broken(lambda scores: scores[:, :3]),
            r"'model' gave float64 scores of shape \(3, 3\): .* of shape \(3, 4\)",
        ),
        (broken(lambda scores: scores[0]), r"'model' gave .* of shape \(4,\)"),
        (
            broken(lambda scores: scores.astype(int)),
            r"'model' gave int64 scores .* a scorer gives floats",
        ),
        (
            broken(lambda scores: np.where(scores == 3, np.nan, scores)),
            r"'model' gave 3 scores of 12 that are nan, .* give -inf",
        ),
    ],
)
def test_scores_that_cannot_be_ranked_name_their_model(
    events, queries, scorer, message
):
    with pytest.raises(ValueError, match=message):
        evaluate({"alike": Alike(), "model": scorer}, queries, events)


def test_nothing_to_evaluate_is_refused(events, queries):
    with pytest.raises(ValueError, match=r"scorers=\{\}: name at least one model"):
        evaluate({}, queries, events)
    with pytest.raises(ValueError, match=r"queries holds 0 queries, .* check the cut"):
        evaluate({"alike": Alike()}, basket_queries(events, after=3), events)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, r"k=0 must be 1 or more"),
        ({"k": (5, 0)}, r"k=\(5, 0\) must be 1 or more"),
        ({"k": ()}, r"k=\(\) must be an integer or several"),
        ({"k": 2.5}, r"k=2\.5 must be an integer or several"),
        ({"block": 0}, r"block=0 must be 1 or more"),
    ],
)
def test_numbers_below_one_are_refused(events, queries, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate({"alike": Alike()}, queries, events, **arguments)


def test_queries_of_other_events_are_refused(events, queries):
    with pytest.raises(
        ValueError, match=r"event 5 and there are 5 events: .* made from"
    ):
        evaluate({"alike": Alike()}, queries, events.where(np.arange(6) != 0))
