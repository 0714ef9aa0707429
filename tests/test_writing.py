"""What is written whole or not at all: files and folders."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from tfrs_decay.writing import (
    partial_file,
    whole_file,
    whole_folder,
    write_arrays,
    write_text,
)


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_is_not_seen_before_it_is_whole(tmp_path):
    path = tmp_path / "figures.csv"
    with whole_file(path) as partial:
        partial.write_text("a,b\n")
        assert not path.exists() and partial.parent == tmp_path
        # As people look for what was left, and as libraries tell formats.
        assert partial.name.startswith(".figures.csv.") and partial.suffix == ".csv"
    assert path.read_text() == "a,b\n"
    assert names(tmp_path) == ["figures.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "figures.csv"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as partial:
        partial.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["figures.csv"]


def test_of_two_that_write_at_once_the_last_one_stays_and_is_whole(tmp_path):
    path = tmp_path / "figures.csv"
    with whole_file(path) as slow:
        slow.write_text("slo")
        with whole_file(path) as quick:
            assert quick != slow
            quick.write_text("quick")
        assert path.read_text() == "quick" and slow.read_text() == "slo"
        slow.write_text("slowly")
    assert path.read_text() == "slowly"
    assert names(tmp_path) == ["figures.csv"]


def test_a_file_has_the_mode_of_any_other(tmp_path, umask):
    with open(tmp_path / "plain", "w"):
        pass
    write_text("", tmp_path / "whole")
    assert mode(tmp_path / "whole") == mode(tmp_path / "plain") == 0o666 & ~umask


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    path = write_text("secret", tmp_path / "ours.txt")
    path.chmod(0o640)
    with whole_file(path) as partial:
        assert mode(partial) == 0o640
    assert mode(path) == 0o640


def test_without_its_folder_a_file_is_refused_by_its_own_name(tmp_path):
    path = tmp_path / "nowhere" / "figures.csv"
    with (
        pytest.raises(FileNotFoundError, match=r"nowhere/figures\.csv'$"),
        whole_file(path),
    ):
        pass
    assert names(tmp_path) == []


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(IsADirectoryError, match=r"figures'$"):
        write_text("", tmp_path / "figures")
    assert names(tmp_path) == ["figures"]


def test_a_partial_file_that_is_not_wanted_changes_nothing(tmp_path):
    path = write_text("old", tmp_path / "examples.tfrecord")
    with partial_file(path) as partial:
        partial.write_text("the same")
    assert path.read_text() == "old" and names(tmp_path) == ["examples.tfrecord"]


def test_a_text_makes_its_folders_and_is_utf_8(tmp_path):
    path = write_text("Größe\n", tmp_path / "a" / "b" / "page.html")
    assert path.read_bytes() == b"Gr\xc3\xb6\xc3\x9fe\n"


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["table.npz", "table.NPZ", "table"])
def test_arrays_get_the_name_that_was_asked_for(tmp_path, name, compressed):
    arrays = {"one": np.arange(3), "two": np.array(["a"])}
    write_arrays(arrays, tmp_path / name, compressed=compressed)
    assert names(tmp_path) == [name]
    with np.load(tmp_path / name) as stored:
        assert {key: stored[key].tolist() for key in stored} == {
            "one": [0, 1, 2],
            "two": ["a"],
        }


def test_a_folder_is_not_seen_before_it_is_whole(tmp_path, umask):
    folder = tmp_path / "runs" / "shop"
    with whole_folder(folder) as partial:
        (partial / "log").write_text("here")
        assert not folder.exists()
        assert partial.parent == folder.parent and partial.name.startswith(".shop.")
    assert (folder / "log").read_text() == "here"
    assert names(folder.parent) == ["shop"]
    assert mode(folder) == 0o777 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), whole_folder(tmp_path / "shop") as partial:
        (partial / "log").write_text("her")
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["a folder", "a file", "a link to nothing"])
def test_a_folder_takes_the_place_of_nothing(tmp_path, kind):
    folder = tmp_path / "shop"
    if kind == "a folder":
        folder.mkdir()  # Empty, which a rename would replace.
    elif kind == "a file":
        folder.write_text("other")
    else:
        folder.symlink_to("nowhere")
    with (
        pytest.raises(FileExistsError, match=r"shop is there already: somebody else"),
        whole_folder(folder) as partial,
    ):
        (partial / "log").write_text("ours")
    assert names(tmp_path) == ["shop"]
    assert folder.is_symlink() or not (folder / "log").exists()


def test_of_two_that_write_a_folder_at_once_the_second_is_refused(tmp_path):
    folder = tmp_path / "shop"
    with (
        pytest.raises(FileExistsError, match="shop is there already: somebody else"),
        whole_folder(folder) as slow,
    ):
        (slow / "log").write_text("slow")
        with whole_folder(folder) as quick:
            (quick / "log").write_text("quick")
    assert (folder / "log").read_text() == "quick"
    assert names(tmp_path) == ["shop"]
