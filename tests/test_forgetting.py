"""Forgetting a user: everywhere that was asked for, and nobody else."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from redis_server import RedisServer

from tfrs_decay import cli
from tfrs_decay.data import read_examples
from tfrs_decay.data.storage import load_events, save_events
from tfrs_decay.decay import Exponential
from tfrs_decay.forgetting import forget
from tfrs_decay.interest import InterestState
from tfrs_decay.preparing import PERIODS, Preparation, prepare
from tfrs_decay.serving import InterestStore

DAY = 86_400
NOW = 1_700_000_000


@pytest.fixture
def shop(make_events):
    """Five events of three users, in the order of users: ann, bob, cy."""
    return make_events(
        ("ann", NOW, "a"),
        ("bob", NOW + 1, "only bob's"),
        ("bob", NOW + 2, "a"),
        ("cy", NOW + 3, "b"),
        ("cy", NOW + 4, "a"),
    )


def a_run(folder, events):
    folder.mkdir()
    save_events(events, folder / "events.npz")
    (folder / "run.json").write_text("{}")
    return folder


def test_events_without_a_user(shop):
    left = shop.without_user("bob")
    assert left.users.tolist() == ["ann", "cy"]
    assert left.users[left.user].tolist() == ["ann", "cy", "cy"]
    assert left.items.ids[left.item].tolist() == ["a", "b", "a"]
    assert left.time.tolist() == [NOW, NOW + 3, NOW + 4]
    assert left.items is shop.items
    assert shop.without_user("dora").users.tolist() == ["ann", "bob", "cy"]
    assert len(shop.users) == 3


def test_a_run_forgets(shop, tmp_path):
    run = a_run(tmp_path / "run", shop)
    found = forget("bob", runs=[run])
    assert found.removed == 2 and not found.failed
    left = load_events(run / "events.npz")
    assert left.users[left.user].tolist() == ["ann", "cy", "cy"]
    told = found.report()
    assert f"{run}: 2 events removed" in told
    assert "decay.keras, mean.keras and training/ were fitted with" in told
    assert "the raw log, its copies and backups" in told
    assert sorted(one.name for one in run.iterdir()) == ["events.npz", "run.json"]
    # Once more, and whoever was never there, is said to be nowhere.
    before = (run / "events.npz").stat().st_mtime_ns
    for one in ("bob", "BOB"):
        told = forget(one, runs=[run]).report()
        assert f"{run}: the user is not in it" in told
        assert f"User {one!r} was in none of these places" in told
    assert (run / "events.npz").stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Eight users with a session a day; u3 alone is on a tablet."""
    random = np.random.default_rng(5)
    rows = [
        (f"u{user}", f"item {random.integers(9)}", NOW + day * DAY + user, 1.5)
        for user in range(8)
        for day in range(20)
    ]
    table = pd.DataFrame(rows, columns=["user", "item", "time", "value"])
    table["device"] = np.where(table.user == "u3", "tablet of u3", "phone")
    path = tmp_path_factory.mktemp("log") / "log.csv"
    table.to_csv(path, index=False)
    return path


def prepared(log, out, file_format):
    preparation = Preparation(
        str(log),
        context=["device"],
        test="4d",
        validation="4d",
        file_format=file_format,
        shards=2,
    )
    prepare(preparation, out, say=lambda line: None)
    return out


def rows_of(folder):
    """All rows of a period, in their order, and every name that a file keeps."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    names = set()
    for table in tables:
        for column in table.columns:
            for chunk in column.chunks:
                kind = chunk.type
                if pa.types.is_large_list(kind):
                    chunk = chunk.values
                if pa.types.is_dictionary(chunk.type):
                    names |= set(chunk.dictionary.to_pylist())
    return [row for table in tables for row in table.to_pylist()], names


def test_prepared_examples_forget(log, tmp_path):
    folder = prepared(log, tmp_path / "prepared", "parquet")
    before = {name: rows_of(folder / name) for name in PERIODS}
    assert "tablet of u3" in before["test"][1]
    found = forget("u3", prepared=[folder])
    mine = sum(row["user"] == "u3" for rows, _ in before.values() for row in rows)
    assert found.removed == mine > 10 and not found.failed
    for name, (rows, _) in before.items():
        after, names = rows_of(folder / name)
        assert after == [row for row in rows if row["user"] != "u3"]
        # No dictionary of the file names what is in none of its rows.
        assert not {"u3", "tablet of u3"} & names
        for path in (folder / name).glob("*.parquet"):
            assert b"u3" not in path.read_bytes()
        assert len(list((folder / name).iterdir())) == 2
    report = json.loads((folder / "report.json").read_text())
    assert report["examples"] == {
        name: len(rows_of(folder / name)[0]) for name in PERIODS
    }
    assert next(iter(read_examples(folder / "test", batch_size=4, max_history=3)))
    assert forget("u3", prepared=[folder]).removed == 0


def test_records_forget(log, tmp_path):
    import tensorflow as tf

    folder = prepared(log, tmp_path / "prepared", "tfrecord")
    files = sorted(folder.glob("*/*.tfrecord"))

    def users():
        found = []
        for record in tf.data.TFRecordDataset([str(one) for one in files]):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            found += features["user"].bytes_list.value
        return found

    before = users()
    found = forget("u3", prepared=[folder])
    assert users() == [one for one in before if one != b"u3"]
    assert found.removed == before.count(b"u3") > 10
    assert not any(b"u3" in one.read_bytes() for one in files)
    report = json.loads((folder / "report.json").read_text())
    assert sum(report["examples"].values()) == len(users())


def test_what_cannot_be_rewritten_is_said_and_the_rest_is_done(
    log, shop, tmp_path, capsys
):
    folder = prepared(log, tmp_path / "prepared", "parquet")
    (folder / "training" / "old.arrow").write_bytes(b"u3, perhaps")
    broken, *_ = sorted((folder / "validation").glob("*.parquet"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    reported = (folder / "report.json").read_text()
    run = a_run(tmp_path / "run", shop)
    told = ["forget", "--user", "u3", "--prepared", str(folder), "--run", str(run)]
    status = cli.main([*told, "--store", f"sqlite:///{tmp_path}/nothing.db"])
    assert status == 1
    printed = capsys.readouterr().out
    assert f"{folder}: NOT DONE, may still hold the user: " in printed
    assert "old.arrow is neither .parquet nor .tfrecord: look into it" in printed
    assert f"{broken} cannot be read as .parquet" in printed
    assert f"There is no file {tmp_path}/nothing.db" in printed
    assert not (tmp_path / "nothing.db").exists()
    assert broken.read_bytes() == whole[:100]
    # Nobody knows how many examples there are now.
    assert (folder / "report.json").read_text() == reported
    assert "u3" not in {row["user"] for row in rows_of(folder / "test")[0]}
    assert f"{run}: the user is not in it" in printed


def test_a_store_forgets_whatever_decays_it_is_of(tmp_path, capsys):
    path = tmp_path / "states.db"
    url = f"sqlite:///{path}"
    interest = InterestState([Exponential("3d"), Exponential("9d")], dim=3)
    with InterestStore.open(url, interest) as store:
        for user in ("ann", "bob"):
            store.update(user, [[1.0, 2.0, 3.0]], times=[NOW])
    assert cli.main(["forget", "--user", "ann", "--store", url]) == 0
    assert f"{url}: 1 state removed" in capsys.readouterr().out
    with InterestStore.open(url, interest) as store:
        assert "ann" not in store and "bob" in store
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT user FROM interest").fetchall() == [("bob",)]


@pytest.mark.integration
def test_a_store_in_redis_forgets_under_its_prefix(tmp_path, capsys):
    with contextlib.closing(RedisServer(tmp_path)) as server:
        server.start()
        interest = InterestState(Exponential("3d"), dim=1)
        with InterestStore.open(server.url, interest, prefix="shop:") as store:
            store.update("ann", [[1.0]], times=[NOW])
        told = ["forget", "--user", "ann", "--store", server.url]
        assert cli.main(told) == 0
        where = f"{server.url} (keys under 'tfrs_decay:interest:')"
        assert f"{where}: the user is not in it" in capsys.readouterr().out
        assert cli.main([*told, "--prefix", "shop:"]) == 0
        assert f"{server.url} (keys under 'shop:'): 1 st" in capsys.readouterr().out
        assert server.client.keys() == []


def test_each_store_is_opened_under_the_prefix_that_it_has(monkeypatch):
    opened = []

    class Store:
        def delete(self, user):
            return 1

    @contextlib.contextmanager
    def fake(url, interest, *, create, prefix):
        opened.append((url, interest, create, prefix))
        yield Store()

    monkeypatch.setattr(InterestStore, "open", fake)
    stores = ["redis://me:secret@host/0", "sqlite:///states.db"]
    found = forget("ann", stores=stores, prefix="shop:")
    assert opened == [(stores[0], None, False, "shop:"), (stores[1], None, False, None)]
    assert [one.where for one in found.places] == [
        "redis://...@host/0 (keys under 'shop:')",
        "sqlite:///states.db",
    ]


def test_what_a_killed_command_left_goes_and_does_not_count(log, tmp_path):
    folder = prepared(log, tmp_path / "prepared", "parquet")
    whole, *_ = sorted((folder / "training").glob("*.parquet"))
    for name in (f".{whole.stem}.partial.parquet", ".gone.parquet", ".cut.tfrecord"):
        (folder / "training" / name).write_bytes(whole.read_bytes())
    (folder / "training" / ".listing").write_bytes(b"u3, perhaps")
    found = forget("u3", prepared=[folder])
    assert not found.failed
    left = {one.name for one in (folder / "training").iterdir()}
    assert {one for one in left if one.startswith(".")} == {".listing"}
    (remains,) = found.places[0].remains
    assert ".listing, a hidden file that was not looked into" in remains
    report = json.loads((folder / "report.json").read_text())
    assert report["examples"] == {
        name: len(rows_of(folder / name)[0]) for name in PERIODS
    }


def test_the_runs_that_an_update_was_made_of_are_named(shop, tmp_path):
    monday, tuesday, wednesday = (
        a_run(tmp_path / day, shop) for day in ("monday", "tuesday", "wednesday")
    )
    about = {"update": {"runs": [str(monday), str(tuesday)]}}
    (wednesday / "run.json").write_text(json.dumps(about))
    found = forget("bob", runs=[wednesday, tuesday])
    assert found.removed == 4
    assert found.places[0].remains[1].endswith(f"they still are: {monday}")
    told = found.report()
    assert "and `update` adds them as late rows" in told
    assert "the tables of `feedback` (--served, --out)" in told
    assert "hidden files and folders" in told
    # Said of a run without the user as well; and not where all are asked for.
    found = forget("bob", runs=[wednesday])
    assert f"{monday}, {tuesday}" in found.places[0].remains[0]
    found = forget("bob", runs=[wednesday, monday, tuesday])
    assert found.places[0].remains == ()


@pytest.mark.parametrize("written", ["[]", '{"update": 7}', '{"update": {"runs": 7}}'])
def test_a_run_that_does_not_tell_its_runs_is_said(shop, tmp_path, written):
    run = a_run(tmp_path / "run", shop)
    (run / "run.json").write_text(written)
    found = forget("bob", runs=[run])
    assert found.removed == 2
    assert "run.json does not tell which runs it was made" in found.places[0].failed


@pytest.mark.parametrize("written", ["[]", "{}", '{"examples": 7}', "7", "no JSON"])
def test_an_odd_report_is_said_and_the_rest_is_done(log, tmp_path, written):
    folder = prepared(log, tmp_path / "prepared", "parquet")
    (folder / "report.json").write_text(written)
    url = f"sqlite:///{tmp_path / 'states.db'}"
    with InterestStore.open(url, InterestState(Exponential("3d"), dim=1)) as store:
        store.update("u3", [[1.0]], times=[NOW])
        found = forget("u3", prepared=[folder], stores=[url])
        assert "u3" not in store
    assert [one.where for one in found.failed] == [str(folder)]
    assert found.places[0].removed > 10
    assert (folder / "report.json").read_text() == written


@pytest.mark.parametrize(
    ("user", "options", "error", "why"),
    [
        ("", {"runs": ["r"]}, ValueError, "nobody's id"),
        (7, {"runs": ["r"]}, TypeError, r"user=7 is a int: give the id as a string"),
        (
            "ann",
            {"stores": ["sqlite:///states.db"], "prefix": "shop:"},
            ValueError,
            r"prefix='shop:' is of keys in Redis, and no store is there",
        ),
        ("ann", {}, ValueError, r"nowhere to look for user 'ann'"),
    ],
)
def test_what_is_no_request_is_refused(user, options, error, why):
    with pytest.raises(error, match=why):
        forget(user, **options)


def test_folders_of_something_else_are_said(tmp_path):
    (tmp_path / "empty").mkdir()
    found = forget("ann", runs=[tmp_path / "gone"], prepared=[tmp_path / "empty"])
    assert [one.removed for one in found.failed] == [0, 0]
    assert "gone is not a finished run" in found.report()
    assert "empty holds no examples, .parquet or .tfrecord" in found.report()


def test_the_command_wants_a_place(capsys):
    assert cli.main(["forget", "--user", "ann"]) == 2
    assert "say where to look: --run, --prepared or --store" in capsys.readouterr().err
