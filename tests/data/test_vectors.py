"""Files of vectors: what is read, and what is refused and how."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_decay.data import read_vectors, tables

ROWS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def parquet(path, vectors, ids=("a", "b", "c"), **options):
    pq.write_table(pa.table({"item": list(ids), "vector": vectors}), path, **options)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float64(), 2),
        pa.large_list(pa.float16()),
        pa.list_(pa.int8()),
    ],
    ids=str,
)
def test_a_column_of_lists(tmp_path, kind):
    rows = np.array(ROWS, np.float16) if "halffloat" in str(kind) else ROWS
    column = pa.array([list(row) for row in rows], kind)
    # In groups of one row, which come back as chunks.
    ids, vectors = read_vectors(
        parquet(tmp_path / "v.parquet", column, row_group_size=1)
    )
    assert ids == ["a", "b", "c"]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, ROWS)


def test_columns_of_numbers_and_an_index_that_is_none(tmp_path):
    table = pd.DataFrame(ROWS, columns=["d0", "d1"], index=[7, 9, 8])
    table.insert(0, "product", ["a", "b", "c"])
    table.to_parquet(tmp_path / "v.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "v.parquet").names
    for columns in (None, ["d0", "d1"]):
        ids, vectors = read_vectors(
            tmp_path / "v.parquet", id_column="product", vector_column=columns
        )
        assert ids == ["a", "b", "c"]
        np.testing.assert_array_equal(vectors, ROWS)
    _, second = read_vectors(
        tmp_path / "v.parquet", id_column="product", vector_column=["d1"]
    )
    np.testing.assert_array_equal(second, [[2], [4], [6]])


def test_ids_are_written_as_in_a_log(tmp_path):
    path = parquet(tmp_path / "v.parquet", ROWS, ids=(17850.0, 3.0, 2.0))
    assert read_vectors(path).ids == ["17850", "3", "2"]
    np.savez(tmp_path / "v.npz", ids=np.array([17850, 3, 2]), vectors=ROWS)
    assert read_vectors(tmp_path / "v.npz").ids == ["17850", "3", "2"]


def test_an_npz(tmp_path):
    np.savez_compressed(tmp_path / "v.npz", ids=["a", " b ", "c"], vectors=ROWS)
    ids, vectors = read_vectors(tmp_path / "v.npz")
    assert ids == ["a", "b", "c"]
    np.testing.assert_array_equal(vectors, ROWS)


def test_what_is_no_number_is_not_finite(tmp_path):
    column = pa.array([[1.0, None], [3.0, 1e300]], pa.list_(pa.float64()))
    path = parquet(tmp_path / "v.parquet", column, ids=("a", "b"))
    got = read_vectors(path).vectors
    np.testing.assert_array_equal(np.isfinite(got), [[True, False]] * 2)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0, 2.0], [1.0], [1.0, 2.0]], r"unequal width: that of 'a' has 2.*'b' 1"),
        ([[1.0, 2.0], None, [1.0, 2.0]], r"1 items have no vector, such as 'b'"),
        ([["x"], ["y"], ["z"]], r"the vector column holds string: a vector is made of"),
        ([1.0, 2.0, 3.0], r"holds double, not lists of numbers.*vector_column=\[...\]"),
    ],
)
def test_a_column_that_holds_no_vectors_is_named(tmp_path, vectors, message):
    path = parquet(tmp_path / "v.parquet", vectors)
    with pytest.raises(ValueError, match=rf"v.parquet: .*{message}"):
        read_vectors(path)


@pytest.mark.parametrize("gap", [None, "", " "])
def test_a_row_without_an_id_is_named(tmp_path, gap):
    path = parquet(tmp_path / "v.parquet", ROWS, ids=("a", gap, "c"))
    with pytest.raises(
        ValueError, match=r"1 rows have no id in 'item', .* row 1: leave"
    ):
        read_vectors(path)


def test_a_file_without_the_columns_is_named(tmp_path):
    path = parquet(tmp_path / "v.parquet", ROWS)
    with pytest.raises(
        ValueError, match=r"no column 'id'; its columns are 'item', 'vector'. Name the"
    ):
        read_vectors(path, id_column="id")
    with pytest.raises(ValueError, match=r"no column 'd0', 'd1'; its"):
        read_vectors(path, vector_column=["d0", "d1"])
    pq.write_table(pa.table({"item": ["a"]}), path)
    with pytest.raises(ValueError, match="no columns of numbers beside 'item'"):
        read_vectors(path, vector_column=None)
    pq.write_table(pa.table({"item": ["a"], "d0": ["red"]}), path)
    with pytest.raises(ValueError, match="d0 holds string: a vector is made of numb"):
        read_vectors(path, vector_column=None)


def test_an_npz_without_the_arrays_is_named(tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, names=["a"], vectors=ROWS)
    with pytest.raises(
        ValueError, match=r"no arrays ids and vectors; it holds 'names', 'vectors'"
    ):
        read_vectors(path)
    np.savez(path, ids=np.array(["a", None], object), vectors=ROWS)
    with pytest.raises(ValueError, match=r"holds Python objects.*dtype=str"):
        read_vectors(path)
    np.savez(path, ids=[0.5, 1.5], vectors=ROWS)
    with pytest.raises(ValueError, match=r"ids is float64 of the shape \(2,\); give"):
        read_vectors(path)
    with pytest.raises(ValueError, match=r"id_column='product'.* name columns of a .p"):
        read_vectors(path, id_column="product")
    with open(path, "wb") as file:
        np.save(file, ROWS)
    with pytest.raises(ValueError, match="no arrays ids and vectors; it holds nothing"):
        read_vectors(path)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_file_that_is_cut_short_is_named(tmp_path, suffix, kept):
    path = tmp_path / f"v.{suffix}"
    vectors = np.random.default_rng(0).normal(size=[50, 8])
    ids = [str(one) for one in range(50)]
    if suffix == "npz":
        np.savez_compressed(path, ids=ids, vectors=vectors)
    else:
        parquet(path, vectors.tolist(), ids=ids)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ValueError, match=rf"v.{suffix} cannot be read as .*cut short"):
        read_vectors(path)


def test_bytes_that_were_changed_are_named(tmp_path):
    path = tmp_path / "v.npz"
    np.savez_compressed(path, ids=["a", "b", "c"], vectors=ROWS)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"vectors.npy") + 40
    whole[at : at + 8] = b"\0" * 8
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"v.npz cannot be read as .npz"):
        read_vectors(path)


def test_what_is_no_file_of_vectors_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no such file; expected a .parquet or"
    ):
        read_vectors(tmp_path / "v.npz")
    (tmp_path / "v.csv").write_text("item,vector\n")
    with pytest.raises(
        ValueError, match=r"ends in '.csv'; expected a .parquet or .npz"
    ):
        read_vectors(tmp_path / "v.csv")
    (tmp_path / "v.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        read_vectors(tmp_path / "v.npz")
    empty = pa.table({"item": pa.array([], pa.string()), "vector": pa.array([])})
    pq.write_table(empty, tmp_path / "v.parquet")
    with pytest.raises(
        ValueError, match=r"no rows below its columns, 'item', 'vector'"
    ):
        read_vectors(tmp_path / "v.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    path = parquet(tmp_path / "v.parquet", ROWS)

    def missing(package):
        raise ImportError(package)

    monkeypatch.setattr(tables.importlib, "import_module", missing)
    with pytest.raises(
        ImportError, match=r"a .parquet file of vectors needs pyarrow: .*\[data\]'"
    ):
        read_vectors(path)
