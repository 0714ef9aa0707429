"""Versions that come and go, with models that are none."""

from __future__ import annotations

import threading

import pytest

from tfrs_decay.serving.live import LiveModel, VersionStatus
from tfrs_decay.serving.native import TensorFlowError
from tfrs_decay.serving.statuses import RequestRefused


class Model:
    """What a version's file says it is."""

    def __init__(self, path):
        said = (path / "saved_model.pb").read_text()
        if said == "a list":
            [].get("reads_texts")
        if said == "broken":
            raise TensorFlowError("loading", "DATA_LOSS", "a file is cut off")
        self.said = said
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


def write(base, version, said="good"):
    (base / str(version)).mkdir(exist_ok=True)
    (base / str(version) / "saved_model.pb").write_text(said)


def ended(live, version):
    """Waits until it is closed, which happens beside."""
    with live._changed:
        return live._changed.wait_for(
            lambda: live._statuses[version] == VersionStatus("END"), 20
        )


@pytest.fixture
def told():
    return []


@pytest.fixture
def live(tmp_path, told):
    return LiveModel(tmp_path, load=Model, say=told.append)


def test_the_highest_version_is_served(live, tmp_path):
    for version in (9, 10, 2):  # 10 > 9, and "9" > "10"
        write(tmp_path, version)
    (tmp_path / "11").mkdir()  # no saved_model.pb yet
    write(tmp_path, "best")
    assert live.version is None
    assert live.refresh()
    assert live.version == 10
    assert not live.refresh()
    write(tmp_path, 11)
    assert live.refresh()
    assert live.version == 11
    assert ended(live, 10)
    assert live.statuses() == {10: VersionStatus("END"), 11: VersionStatus("AVAILABLE")}


def test_a_version_that_does_not_load_leaves_the_old_one(live, tmp_path, told):
    write(tmp_path, 1)
    live.refresh()
    write(tmp_path, 2, "broken")
    assert not live.refresh()
    assert live.version == 1
    assert live.statuses()[2] == VersionStatus(
        "END", "DATA_LOSS", "loading: DATA_LOSS: a file is cut off"
    )
    assert told[-1] == (
        "Version 2 does not load, 1 is still served: loading: DATA_LOSS: a file is cut "
        "off"
    )
    live.refresh()
    assert len(told) == 2  # it is not tried again ...
    write(tmp_path, 2, "mended")  # ... before its files change
    assert live.refresh()
    assert live.version == 2
    assert live.statuses()[2] == VersionStatus("AVAILABLE")


def test_whatever_fails_while_loading_is_reported(live, tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2, "a list")
    assert live.refresh()
    assert live.version == 1
    assert live.statuses()[2] == VersionStatus(
        "END", "UNKNOWN", "AttributeError: 'list' object has no attribute 'get'"
    )


def test_at_first_the_highest_that_loads_is_served(live, tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2, "broken")
    live.refresh()
    assert live.version == 1


def test_a_version_that_is_removed_gives_way(live, tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    live.refresh()
    (tmp_path / "2" / "saved_model.pb").unlink()
    assert live.refresh()
    assert live.version == 1
    (tmp_path / "1" / "saved_model.pb").unlink()
    assert ended(live, 2)
    assert not live.refresh()
    assert live.version == 1  # better than nothing
    assert set(live.statuses()) == {1}


def test_a_version_is_closed_after_its_last_request(live, tmp_path):
    write(tmp_path, 1, "old")
    live.refresh()
    with live.lease() as one, live.lease() as other:
        write(tmp_path, 2, "new")
        assert live.refresh()
        # Who asks now gets the new one, and the old one still answers.
        with live.lease() as later:
            assert later.model.said == "new"
        assert one is other
        assert not one.model.closed.is_set()
        assert live.statuses()[1] == VersionStatus("UNLOADING")
    assert one.model.closed.wait(20)
    assert ended(live, 1)


def test_a_request_that_never_ends_holds_up_nothing(live, tmp_path, told):
    write(tmp_path, 1)
    live.refresh()
    with live.lease() as stuck:
        for version in (2, 3):
            write(tmp_path, version)
            assert live.refresh()
        assert ended(live, 2)
        # A request still has the one that is served once more.
        (tmp_path / "3" / "saved_model.pb").unlink()
        (tmp_path / "2" / "saved_model.pb").unlink()
        assert live.refresh()
        assert live.version == 1
        assert not stuck.model.closed.is_set()
    with live._changed:
        assert live._changed.wait_for(lambda: not live._retiring, 20)
    assert stuck.model.closed.is_set()
    # It was put back meanwhile, and is no other's to end.
    assert live.statuses()[1] == VersionStatus("AVAILABLE")


def test_closing_waits_no_longer_than_it_is_told(live, tmp_path, told):
    write(tmp_path, 1)
    live.refresh()
    with live.lease() as stuck:
        live.close(timeout=0)
        assert told[-1] == "Version 1 is still asked: it is left open."
        assert live.version is None
        assert not stuck.model.closed.is_set()
    assert stuck.model.closed.wait(20)


def test_closing_does_not_wait_for_what_loads(tmp_path):
    loading, go, models = threading.Event(), threading.Event(), []

    def load(path):
        models.append(Model(path))
        if len(models) == 2:
            loading.set()
            assert go.wait(20)
        return models[-1]

    live = LiveModel(tmp_path, load=load, say=str)
    write(tmp_path, 1)
    live.refresh()
    write(tmp_path, 2)
    refreshing = threading.Thread(target=live.refresh)
    refreshing.start()
    assert loading.wait(20)
    live.close()
    assert models[0].closed.is_set()
    assert live.version is None
    go.set()
    refreshing.join(20)
    # Too late to be served.
    assert models[1].closed.is_set()
    assert live.version is None
    assert live.statuses()[2] == VersionStatus("END")


def test_what_is_not_served_is_refused(live, tmp_path):
    with (
        pytest.raises(RequestRefused, match=r"No version of .* is up") as refused,
        live.lease(),
    ):
        pass
    assert refused.value.code == "UNAVAILABLE"
    write(tmp_path, 3)
    live.refresh()
    with live.lease(3) as loaded:
        assert loaded.version == 3
    with (
        pytest.raises(RequestRefused, match="Version 2 is not served: 3 is") as refused,
        live.lease(2),
    ):
        pass
    assert refused.value.code == "NOT_FOUND"
    with live.lease() as loaded:
        pass
    live.close()
    assert loaded.model.closed.is_set()
    assert live.version is None
