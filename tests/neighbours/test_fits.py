"""The three fits against their formulas, written out in dense NumPy."""

from __future__ import annotations

import importlib
import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from tfrs_decay.data import Events, Items
from tfrs_decay.neighbours import (
    Neighbours,
    counts,
    dense,
    fit_cosine,
    fit_ease,
    fit_next_basket,
)
from tfrs_decay.neighbours.strongest import Strongest

ITEMS = 9
UNTIL = 30
LATER = 40


def random_rows(seed):
    """Baskets of six users at some of 40 moments; item "i8" only after the cut."""
    rng = np.random.default_rng(seed)
    rows = {(f"u{rng.integers(6)}", LATER, "i8"), ("u0", UNTIL, "i0")}
    for _ in range(90):
        # Low numbers are more frequent, so that items differ in their counts.
        item = int(rng.integers(ITEMS - 1) * rng.random())
        rows.add((f"u{rng.integers(6)}", int(rng.integers(LATER)), f"i{item}"))
    rows |= {("u5", LATER, f"i{item}") for item in range(ITEMS)}
    return sorted(rows)


@pytest.fixture(params=range(4))
def rows(request):
    return random_rows(request.param)


@pytest.fixture
def events(make_events, rows):
    return make_events(*rows)


def histories(rows, until=UNTIL):
    """Of each user the times and baskets up to the cut, as arrays of zeros and ones."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for user, time, item in rows:
        if time <= until:
            basket = found.setdefault(user, {}).setdefault(time, np.zeros(ITEMS))
            basket[int(item[1:])] = 1
    return [sorted(of.items(), key=lambda one: one[0]) for of in found.values()]


def square(table: Neighbours) -> np.ndarray:
    matrix = np.zeros([len(table)] * 2)
    for i in range(len(table)):
        for j, weight in zip(table.item[i], table.weight[i], strict=True):
            if j >= 0:
                matrix[i, j] = weight
    return matrix


def faded(time, half_life):
    return 1.0 if half_life is None else 2 ** (-(UNTIL - time) / half_life)


def evened(basket):
    return max(basket.sum(), 1) ** -0.5


def ease(users, l2, by="user", half_life=None):
    if by == "basket":
        every = [one for baskets in users for one in baskets]
        x = np.array([basket for _, basket in every])
        weight = [faded(time, half_life) * evened(basket) for time, basket in every]
    elif half_life is None:
        x = np.array([np.max([one for _, one in baskets], axis=0) for baskets in users])
        weight = np.ones(len(x))
    else:
        x = np.array(
            [sum(faded(time, half_life) * one for time, one in of) for of in users]
        )
        weight = np.ones(len(x))
    inverse = np.linalg.inv(x.T @ np.diag(weight) @ x + l2 * np.eye(ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def next_basket(users, l2, per_basket, half_life=None, even=False):
    left, right, weight = [], [], []
    for baskets in users:
        history = np.zeros(ITEMS)
        for (_, before), (time, basket) in itertools.pairwise(baskets):
            history = per_basket * history + before
            left.append(history)
            right.append(basket)
            weight.append(faded(time, half_life) * (evened(basket) if even else 1))
    h, y, w = np.array(left), np.array(right), np.diag(weight)
    return np.linalg.solve(h.T @ w @ h + l2 * np.eye(ITEMS), h.T @ w @ y)


def cosine(users, by, shrinkage):
    if by == "user":
        x = np.array([np.max([one for _, one in baskets], axis=0) for baskets in users])
    else:
        x = np.array([basket for baskets in users for _, basket in baskets])
    weights = np.zeros([ITEMS, ITEMS])
    for i in range(ITEMS):
        for j in range(ITEMS):
            if i != j:
                both = (x[:, i] * x[:, j]).sum()
                scale = np.sqrt(x[:, i].sum() * x[:, j].sum())
                weights[i, j] = both / (scale + shrinkage) if both else 0
    return weights


FITS = {
    "ease": (lambda e, **o: fit_ease(e, l2=3.0, **o), lambda r: ease(r, 3.0)),
    "ease, faded": (
        lambda e, **o: fit_ease(e, l2=0.5, half_life=20, **o),
        lambda r: ease(r, 0.5, half_life=20),
    ),
    "ease by basket": (
        lambda e, **o: fit_ease(e, l2=1.0, by="basket", **o),
        lambda r: ease(r, 1.0, "basket"),
    ),
    "ease by basket, faded": (
        lambda e, **o: fit_ease(e, l2=1.0, by="basket", half_life=9, **o),
        lambda r: ease(r, 1.0, "basket", 9),
    ),
    "next basket, recent and even": (
        lambda e, **o: fit_next_basket(e, l2=0.7, half_life=15, even_baskets=True, **o),
        lambda r: next_basket(r, 0.7, 0.7, 15, even=True),
    ),
    "next basket": (
        lambda e, **o: fit_next_basket(e, l2=2.0, per_basket=0.6, **o),
        lambda r: next_basket(r, 2.0, 0.6),
    ),
    "next basket, not faded": (
        lambda e, **o: fit_next_basket(e, l2=2.0, per_basket=1, **o),
        lambda r: next_basket(r, 2.0, 1),
    ),
    "cosine by basket": (
        lambda e, **o: fit_cosine(e, shrinkage=0.5, **o),
        lambda r: cosine(r, "basket", 0.5),
    ),
    "cosine by user": (
        lambda e, **o: fit_cosine(e, by="user", shrinkage=2.0, **o),
        lambda r: cosine(r, "user", 2.0),
    ),
}
DENSE = [name for name in FITS if "cosine" not in name]


@pytest.fixture(params=list(FITS))
def fit(request):
    return FITS[request.param]


def test_all_neighbours_are_the_formula(events, rows, fit):
    fitted, formula = fit
    expected = formula(histories(rows))
    table = fitted(events, until=UNTIL, m=None)
    np.testing.assert_allclose(square(table), expected, atol=1e-7, rtol=1e-6)
    assert table.item.shape == (ITEMS, ITEMS)
    assert table.cost.kept_share == pytest.approx(1)
    assert fitted(events, until=UNTIL, m=1000).item.tolist() == table.item.tolist()


def test_the_strongest_are_kept_and_what_is_lost_is_told(events, rows, fit):
    fitted, formula = fit
    exact = formula(histories(rows))
    table = fitted(events, until=UNTIL, m=3)
    assert table.item.shape == (ITEMS, 3)
    for i in range(ITEMS):
        strongest = np.sort(np.abs(exact[i]))[::-1][:3]
        np.testing.assert_allclose(np.abs(table.weight[i]), strongest, atol=1e-6)
        for j, weight in zip(table.item[i], table.weight[i], strict=True):
            assert weight == pytest.approx(exact[i, j] if j >= 0 else 0, abs=1e-6)
    share = np.abs(table.weight).sum() / np.abs(exact).sum()
    assert table.cost.kept_share == pytest.approx(share, abs=1e-5)
    assert table.cost.kept_bytes == ITEMS * 3 * 8


def test_small_blocks_give_the_same(events, fit, monkeypatch):
    fitted, _ = fit
    whole = fitted(events, until=UNTIL, m=4)
    monkeypatch.setattr(counts, "BLOCK", 20)
    parts = fitted(events, until=UNTIL, m=4)
    np.testing.assert_allclose(square(parts), square(whole), atol=1e-6)


@pytest.mark.parametrize("name", DENSE)
def test_float32_is_close(events, name):
    fitted, _ = FITS[name]
    double = fitted(events, until=UNTIL, m=None)
    single = fitted(events, until=UNTIL, m=None, precision="float32")
    np.testing.assert_allclose(square(single), square(double), atol=1e-4)
    assert single.cost.dense_bytes == double.cost.dense_bytes / 2


def test_what_comes_after_the_cut_is_not_looked_at(events, fit):
    fitted, _ = fit
    past = events.where(events.time <= UNTIL)
    one, other = (fitted(some, until=UNTIL, m=3) for some in (events, past))
    assert one.item.tolist() == other.item.tolist()
    assert one.weight.tolist() == other.weight.tolist()
    # i8 is bought after the cut only.
    assert one.item[8].tolist() == [-1, -1, -1]
    assert 8 not in one.item


def test_an_item_with_few_events_takes_no_part(events, rows, fit):
    fitted, formula = fit
    count = np.bincount([int(r[2][1:]) for r in rows if r[1] <= UNTIL], minlength=ITEMS)
    enough = count >= 6
    assert 0 < enough.sum() < ITEMS
    table = fitted(events, until=UNTIL, m=None, at_least=6)
    # As if the others were not in the baskets, which stay baskets.
    kept = [
        [(time, basket * enough) for time, basket in baskets]
        for baskets in histories(rows)
    ]
    np.testing.assert_allclose(square(table), formula(kept), atol=1e-7, rtol=1e-6)
    assert table.cost.fitted_items == enough.sum()


def test_only_the_most_frequent_take_part(make_events, fit):
    fitted, _ = fit
    # a and c stand three times, b and d twice: of these the lower place goes first.
    rows = [
        ("u", t, one) for t, some in enumerate(["abcd", "abcd", "ac"]) for one in some
    ]
    table = fitted(make_events(*rows), until=9, m=None, most_items=3)
    assert (table.item[3] == -1).all() and 3 not in table.item
    assert table.cost.fitted_items == 3


def test_of_equal_neighbours_the_lower_place_is_kept(make_events):
    baskets = ["abcde"] * 3
    rows = [(f"u{n}", 0, one) for n, some in enumerate(baskets) for one in some]
    table = fit_cosine(make_events(*rows), until=0, m=2, shrinkage=0)
    assert table.item.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert fit_ease(make_events(*rows), until=0, m=2).item.tolist() == (
        table.item.tolist()
    )


@pytest.mark.parametrize("sparse", [False, True])
def test_strength_is_the_absolute_weight_and_ties_go_to_the_lower_place(sparse):
    rows = np.array(
        [
            [0.0, 0.5, -0.9, 0.25, 0.5],
            [-0.5, 0.0, 0.5, -0.5, 0.5],
            [0.0, 0.0, 0.0, 1e-60, 0.1],
        ]
    )
    # Of seven items five take part.
    kept = Strongest(np.array([0, -1, 1, 2, 3, -1, 4]), m=3)
    if sparse:
        kept.add_sparse(2, scipy.sparse.csr_array(rows))
    else:
        kept.add_dense(2, rows)
    table = kept.table()
    none = [-1, -1, -1]
    assert table.item.tolist() == [
        *[none] * 3,
        [3, 2, 6],
        [0, 3, 4],
        none,
        [6, -1, -1],
    ]
    np.testing.assert_allclose(table.weight[3:5], [[-0.9, 0.5, 0.5], [-0.5, 0.5, -0.5]])
    assert table.cost.kept_share == pytest.approx(
        (1.9 + 1.5 + 0.1) / (2.15 + 2.0 + 0.1)
    )


def test_what_was_bought_comes_back_in_the_next_basket(make_events):
    rows = [("u", time, "a") for time in range(4)] + [("v", 0, "b"), ("v", 1, "c")]
    table = fit_next_basket(make_events(*rows), until=9, m=2, l2=1.0, per_basket=0.5)
    # H'H of a: 1, 1.5 and 1.75 squared; H'Y: their sum.
    assert table.item[0].tolist() == [0, -1]
    assert table.weight[0, 0] == pytest.approx(4.25 / (1 + 1 + 2.25 + 3.0625))
    # v's b says c: 1 / (1 + 1).
    assert table.item[1].tolist() == [2, -1]
    assert table.weight[1, 0] == pytest.approx(0.5)


def test_events_of_a_very_old_basket_are_not_missed(make_events):
    # The latest of 30 baskets weighs 1, the first 0.9^29: far from negligible.
    rows = [("u", 0, "a"), *(("u", time, "b") for time in range(1, 31))]
    table = fit_next_basket(
        make_events(*rows), until=99, m=None, l2=1.0, per_basket=0.9
    )
    h = np.array([[0.9**k, sum(0.9**i for i in range(k))] for k in range(30)])
    expected = np.linalg.solve(h.T @ h + np.eye(2), h.T @ np.ones(30))
    np.testing.assert_allclose(square(table)[:, 1], expected, rtol=1e-5)


def test_the_same_log_gives_the_same_table(events, fit):
    fitted, _ = fit
    one, other = (fitted(events, until=UNTIL, m=4) for _ in range(2))
    assert one.item.tobytes() == other.item.tobytes()
    assert one.weight.tobytes() == other.weight.tobytes()


def test_the_events_are_left_as_they_were(events, fit):
    before = events.item.copy(), events.time.copy()
    fit[0](events, until=UNTIL, m=2)
    assert (events.item == before[0]).all() and (events.time == before[1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"until": -1},
            r"until=-1: none of \d+ events is at or before it; give a later",
        ),
        ({"m": 0}, r"m=0 must be an integer, 1 or more; None to keep"),
        ({"m": 2.5}, r"m=2\.5 must be an integer, 1 or more"),
        ({"at_least": 0}, r"at_least=0 must be an integer, 1 or more; 1 for"),
        ({"at_least": 99}, r"at_least=99: no item has so many .* the most .* is \d+"),
        ({"most_items": 0}, r"most_items=0 must be an integer, 1 or more; None"),
    ],
)
def test_bad_input_is_named(events, fit, options, message):
    with pytest.raises(ValueError, match=message):
        fit[0](events, **{"until": UNTIL, **options})


@pytest.mark.parametrize("fitting", [fit_ease, fit_next_basket])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 0.0}, r"l2=0\.0 must be a finite number above 0"),
        ({"l2": -1.0}, r"l2=-1\.0 must be a finite number above 0"),
        ({"l2": np.nan}, r"l2=nan must be a finite number above 0"),
        (
            {"precision": "half"},
            r"precision='half' is not one of \('float64', 'float32",
        ),
        ({"most_gib": 0}, r"most_gib=0 must be above 0"),
    ],
)
def test_a_bad_solve_is_named(events, fitting, options, message):
    with pytest.raises(ValueError, match=message):
        fitting(events, until=UNTIL, **options)


@pytest.mark.parametrize("fitting", [fit_ease, fit_next_basket])
def test_a_half_life_that_is_none_is_named(events, fitting):
    with pytest.raises(ValueError, match="half_life"):
        fitting(events, until=UNTIL, half_life="-3d")


def test_a_bad_grouping_is_named(events):
    with pytest.raises(ValueError, match=r"by='session' is not one of \('basket', 'us"):
        fit_ease(events, until=UNTIL, by="session")


@pytest.mark.parametrize("per_basket", [0, -0.1, 1.01, np.nan])
def test_a_fading_that_is_no_share_is_named(events, per_basket):
    with pytest.raises(ValueError, match=rf"per_basket={per_basket} must be above 0"):
        fit_next_basket(events, until=UNTIL, per_basket=per_basket)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "session"}, r"by='session' is not one of \('basket', 'user'\)"),
        ({"shrinkage": -1}, r"shrinkage=-1 must be a finite number, 0 or more"),
        ({"shrinkage": np.inf}, r"shrinkage=inf must be a finite number"),
    ],
)
def test_a_bad_cosine_is_named(events, options, message):
    with pytest.raises(ValueError, match=message):
        fit_cosine(events, until=UNTIL, **options)


def test_users_who_came_once_have_no_next_basket(make_events):
    events = make_events(("u", 0, "a"), ("u", 0, "b"), ("v", 3, "a"))
    with pytest.raises(ValueError, match=r"no user has two baskets .* fit_cosine"):
        fit_next_basket(events, until=9)


def test_an_ill_posed_solve_in_single_precision_is_named(make_events):
    rows = [(f"u{n}", 0, one) for n in range(999) for one in "ab"]
    with pytest.raises(ValueError, match=r"l2=1e-06 .* float32: give a larger one, or"):
        fit_ease(make_events(*rows), until=0, l2=1e-6, precision="float32")


def test_too_large_a_solve_is_refused_before_it_is_made(events, monkeypatch):
    made = []
    monkeypatch.setattr(dense, "square", lambda *_: made.append(1))
    place = counts.places_among(events.where(events.time <= UNTIL), 1, None)
    n = int((place >= 0).sum())
    table, matrix = ITEMS * 5 * 8, n * n * 8
    few = {"until": UNTIL, "m": 5}
    with pytest.raises(
        ValueError, match=rf"{n} items need .* GiB for 1 dense matrix and"
    ):
        fit_ease(events, **few, most_gib=(matrix + table - 1) / dense.GIB)
    with pytest.raises(
        ValueError,
        match=r"2 dense matrices .* at_least, .*\d would fit\); precision='float32'",
    ):
        fit_next_basket(events, **few, most_gib=(2 * matrix + table - 1) / dense.GIB)
    with pytest.raises(ValueError, match=r"at_least.*; m, to keep fewer neighbours"):
        fit_ease(events, **few, most_gib=1 / dense.GIB)
    assert not made


def test_what_fits_is_told_as_it_is(events):
    room = 2.5 * 8 * 4**2 + ITEMS * 8
    with pytest.raises(ValueError, match=r"\(4 would fit\)"):
        fit_next_basket(events, until=UNTIL, m=1, most_gib=room / dense.GIB)
    fit_next_basket(events, until=UNTIL, m=1, most_items=4, most_gib=room / dense.GIB)


@pytest.mark.parametrize(
    ("fitting", "matrices"), [(fit_ease, 1), (fit_next_basket, 2), (fit_cosine, 0)]
)
def test_no_more_matrices_are_held_than_is_told(monkeypatch, fitting, matrices):
    monkeypatch.setattr(counts, "BLOCK", 1 << 13)
    n = 600
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(1000), 6)
    events = Events(
        user=user,
        time=np.tile([0, 0, 0, 1, 1, 1], 1000),
        action=np.zeros(6000, np.int64),
        item=rng.integers(0, n, 6000),
        users=np.arange(1000).astype(str),
        actions=("purchase",),
        items=Items([f"i{one}" for one in range(n)]),
    )
    fitting(events, until=1, m=5)  # SciPy's own modules are loaded by now.
    tracemalloc.start()
    cost = fitting(events, until=1, m=5).cost
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    square = n * n * 8
    assert cost.dense_bytes == matrices * square
    assert peak < (matrices + 0.8) * square


def test_without_scipy_the_extra_is_named(events, fit, monkeypatch):
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[fit\]'"):
        fit[0](events, until=UNTIL)
