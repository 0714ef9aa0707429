"""The table of neighbours: what it takes, cutting, saving, and bad input by name."""

from __future__ import annotations

import numpy as np
import pytest

from tfrs_decay.neighbours import Cost, Neighbours

ITEM = [[2, 1], [0, -1], [1, 0]]
WEIGHT = [[-0.75, 0.25], [1.0, 0.0], [0.5, -0.5]]
COST = Cost(seconds=1.5, kept_bytes=48, dense_bytes=72, fitted_items=3, kept_share=0.9)


def test_arrays_are_copied_and_of_the_stated_types():
    mine = np.array(ITEM, np.int64)
    table = Neighbours(mine, WEIGHT)
    mine[:] = 0
    assert table.item.tolist() == ITEM
    assert (table.item.dtype, table.weight.dtype) == (np.int32, np.float32)
    assert (len(table), table.m) == (3, 2)
    assert repr(table) == "Neighbours(3 items, 2 neighbours each)"


def test_fewer_neighbours_of_the_same_fit():
    table = Neighbours(ITEM, WEIGHT, COST).strongest(1)
    assert table.item.tolist() == [[2], [0], [0]]
    assert table.weight.tolist() == [[-0.75], [1.0], [-0.5]]
    # Of absolute weights that add up to 3 it keeps 2.25.
    assert table.cost.kept_share == pytest.approx(0.9 * 2.25 / 3)
    assert table.cost.kept_bytes == 24
    assert table.cost.seconds == 1.5
    for m in (0, 3):
        with pytest.raises(ValueError, match=rf"m={m} must be from 1 to 2"):
            Neighbours(ITEM, WEIGHT).strongest(m)


def test_the_strongest_of_a_row_in_any_order():
    table = Neighbours(
        [[-1, 2, 1, 0], [3, 2, 1, 0], [-1] * 4, [1, 0, 3, -1]],
        [[0, 1, -3, 2], [1, -1, 1, 0], [0] * 4, [0.5, 0.1, -0.5, 0]],
    )
    assert table.strongest(2).item.tolist() == [[1, 0], [1, 2], [-1, -1], [1, 3]]
    assert table.strongest(2).weight[0].tolist() == [-3, 2]


@pytest.mark.parametrize("cost", [COST, None])
def test_saves_and_loads(tmp_path, cost):
    path = tmp_path / "ease.npz"
    Neighbours([[1], [0]], [[1], [2]]).save(path)
    Neighbours(ITEM, WEIGHT, cost).save(path)
    again = Neighbours.load(path)
    assert (again.item.tolist(), again.weight.tolist()) == (ITEM, WEIGHT)
    assert again.cost == cost
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_table_is_named(tmp_path):
    path = tmp_path / "ease.npz"
    Neighbours(ITEM, WEIGHT, COST).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"ease.npz does not hold neighbours .* anew"):
        Neighbours.load(path)
    np.savez(path, item=ITEM)
    with pytest.raises(ValueError, match=r"ease.npz does not hold neighbours .*weight"):
        Neighbours.load(path)
    np.savez(path, item=ITEM, weight=np.array(WEIGHT) * np.nan)
    with pytest.raises(
        ValueError, match=r"ease.npz does not hold .*weight\[0, 0\] is na"
    ):
        Neighbours.load(path)
    with pytest.raises(ValueError, match=r"ease.npy ends in '.npy'; expected .npz"):
        Neighbours(ITEM, WEIGHT).save(tmp_path / "ease.npy")
    with pytest.raises(FileNotFoundError):
        Neighbours.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("item", "weight", "message"),
    [
        ([0, 1], [1, 1], r"item has the shape \(2,\) and weight \(2,\): give both as"),
        ([[0]], [[1, 2]], r"item has the shape \(1, 1\) and weight \(1, 2\)"),
        (np.zeros([0, 3], int), np.zeros([0, 3]), r"item has the shape \(0, 3\)"),
        ([[0.0]], [[1]], r"item is float64: give integer places"),
        ([[0]], [["1"]], r"weight is <U1: give numbers"),
        (
            [[0], [2]],
            [[1], [1]],
            r"item\[1, 0\] is 2: places of 2 items go from 0 to 1",
        ),
        ([[0], [-2]], [[1], [0]], r"item\[1, 0\] is -2: .* -1 is no neighbour"),
        ([[1, 1], [0, 1]], [[1, 2]] * 2, r"item\[0\] holds 1 twice: give the sum"),
        ([[0]], [[np.nan]], r"weight\[0, 0\] is nan \(1 of 1 are such\): .* finite"),
        ([[0]], [[1e39]], r"weight\[0, 0\] is 1e\+39 .* finite in float32"),
        ([[-1]], [[2.0]], r"weight\[0, 0\] is 2.0 .*: the weight of no neighbour is 0"),
    ],
)
def test_bad_input_is_named(item, weight, message):
    with pytest.raises(ValueError, match=message):
        Neighbours(item, weight)
