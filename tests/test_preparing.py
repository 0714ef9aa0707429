"""`tfrs-decay prepare`: a folder of examples, the same by Beam as on one machine."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tfrs_decay import cli, preparing
from tfrs_decay.data import (
    Rules,
    basket_queries,
    clean,
    event_table,
    example_table,
    simulated_shop,
    split_by_time,
)

BEAM = ("--runner", "DirectRunner")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A dirty event table in several row groups, in two formats, and its items."""
    folder = tmp_path_factory.mktemp("shop")
    log = simulated_shop(users=40, days=60, seed=3).log
    events = pd.concat([log.events, log.events.iloc[::40]])
    events = events.sample(frac=1, random_state=0).reset_index(drop=True)
    events.loc[::97, "user"] = None
    events.to_parquet(folder / "events.parquet", row_group_size=500)
    events.to_csv(folder / "events.csv", index=False)
    items = log.items.assign(kind=log.items["text"].str.split().str[-1])
    items.to_parquet(folder / "items.parquet")
    return folder


def prepare(shop, out, *others, data="events.parquet"):
    return cli.main(
        [
            "prepare",
            *("--data", str(shop / data)),
            *("--items", str(shop / "items.parquet")),
            *("--text-column", "text"),
            *("--text-column", "kind"),
            *("--test", "15d"),
            *("--validation", "10d"),
            *("--max-history", "12"),
            *("--shards", "3"),
            *("--out", str(out)),
            *others,
        ]
    )


def rows_of(folder, period):
    paths = sorted((folder / period).iterdir())
    assert [one.name for one in paths] == [
        f"examples-0000{shard}-of-00003.parquet" for shard in range(3)
    ]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["user"], row["query_time"]))


def expected(shop, data):
    """What the parts of the package make of the log."""
    cleaned = clean(
        event_table(
            shop / data, shop / "items.parquet", columns={"text": ["text", "kind"]}
        )
    )
    split = split_by_time(cleaned.events, test="15d", validation="10d")
    ends = [None, split.validation, split.test, None]
    periods = {}
    for name, after, until in zip(preparing.PERIODS, ends, ends[1:], strict=False):
        queries = basket_queries(
            cleaned.events, after=after, until=until, actions=["purchase"]
        )
        table = example_table(queries, cleaned.events, max_history=12)
        periods[name] = table.to_pylist()
    return cleaned, split, periods


@pytest.mark.parametrize("data", ["events.parquet", "events.csv"])
@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
def test_the_folder_holds_the_log_as_the_package_makes_it(
    shop, tmp_path, capsys, runner, data
):
    assert prepare(shop, tmp_path / "out", *runner, data=data) == 0
    said = capsys.readouterr().out
    cleaned, split, periods = expected(shop, data)
    assert "Written:" in said and cleaned.report() in said
    for name, rows in periods.items():
        assert rows and rows_of(tmp_path / "out", name) == rows
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report == {
        **cleaned.to_dict(),
        "split": split._asdict(),
        "target_actions": ["purchase"],
        "examples": {name: len(rows) for name, rows in periods.items()},
    }
    rejected = pd.read_parquet(tmp_path / "out" / "rejected.parquet")
    own = cleaned.rejected_rows()
    assert rejected["reason"].value_counts().to_dict() == cleaned.rejected
    alone = own["reason"] == "no user"  # of what is alike, any may have been kept
    assert sorted(rejected["row"][rejected["reason"] == "no user"]) == (
        own["row"][alone].tolist()
    )
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["item"].tolist() == cleaned.events.items.ids.tolist()
    texts = items[["text_0", "text_1"]].to_numpy().tolist()
    assert texts == cleaned.events.items.texts.tolist()
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        *("items.parquet", "rejected.parquet", "report.json"),
        *("test", "training", "validation"),
    ]
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
def test_a_logs_own_names_and_values(shop, tmp_path, runner):
    table = pd.read_parquet(shop / "events.parquet")
    table["value"] = ["2.5", "NA", "1", "much"] * (len(table) // 4) + ["3"] * (
        len(table) % 4
    )
    table.rename(columns={"user": "who"}).to_parquet(tmp_path / "log.parquet")
    told = ["--column", "user=who", "--shards", "1", *runner]
    assert prepare(shop, tmp_path / "out", *told, data=tmp_path / "log.parquet") == 0
    table.to_parquet(tmp_path / "own.parquet")
    cleaned = clean(event_table(tmp_path / "own.parquet"))
    assert {"no value", "value is no number"} < set(cleaned.rejected)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rejected"] == cleaned.rejected
    assert report["events"] == len(cleaned.events)


@pytest.mark.parametrize("file_format", ["parquet", "tfrecord"])
def test_values_and_context_are_written_by_both(shop, tmp_path, file_format):
    table = pd.read_parquet(shop / "events.parquet")
    rng = np.random.default_rng(0)
    n = len(table)
    table["amount"] = rng.normal(size=n)
    table["device"] = rng.choice(np.array(["phone", "NA", None], dtype=object), n)
    table["visit"] = pd.array(rng.integers(1 << 60, 1 << 61, n), dtype="Int64")
    table.loc[::5, "visit"] = None
    table["day"] = pd.to_datetime(table["time"], unit="s").dt.floor("D")
    table["member"] = rng.random(n) < 0.5
    table["share"] = rng.random(n).astype(np.float32)
    context = ["device", "visit", "day", "member", "share", "who"]
    table = table.rename(columns={"user": "who"})
    table.to_parquet(tmp_path / "log.parquet", row_group_size=500)
    (tmp_path / "logs").mkdir()
    for part in range(2):
        table[part::2].to_parquet(tmp_path / "logs" / f"{part}.parquet")
    table.to_csv(tmp_path / "log.csv", index=False)
    told = ["--column", "user=who", "--column", "value=amount", "--format", file_format]
    told += [word for name in context for word in ("--context", name)]
    found = {}
    for data, runner in (
        ("log.parquet", ()),
        ("log.parquet", BEAM),
        ("logs/*.parquet", BEAM),
        ("log.csv", ()),
        ("log.csv", BEAM),
    ):
        out = tmp_path / f"out-{len(found)}"
        assert prepare(shop, out, *told, *runner, data=tmp_path / data) == 0
        if file_format == "parquet":
            rows = [rows_of(out, name) for name in preparing.PERIODS]
            assert rows[0][0].keys() >= {f"target_{name}" for name in context}
        else:
            rows = sorted(records_of(out / "test"))
        found[data, runner] = rows
    own = found["log.parquet", ()]
    assert own == found["log.parquet", BEAM] == found["logs/*.parquet", BEAM]
    assert found["log.csv", ()] == found["log.csv", BEAM]
    if file_format == "parquet":
        row = own[0][5]
        mine = table[table["who"] == row["user"]].sort_values("amount")
        mine = mine.drop_duplicates(["item", "time", "action"], keep="last")
        mine = mine.set_index(["item", "time", "action"])
        ids, times, actions = (
            row[f"history_{name}"] for name in ("item", "time", "action")
        )
        kept = mine.loc[list(zip(ids, times, actions, strict=True))]
        assert row["history_value"] == kept["amount"].astype(np.float32).tolist()
        assert row["history_device"] == kept["device"].fillna("").tolist()
        assert row["history_visit"] == [
            "" if one is pd.NA else str(one) for one in kept["visit"]
        ]
        assert row["history_day"] == kept["day"].map(str).tolist()
        assert row["history_who"] == [row["user"]] * len(kept)


def records_of(folder):
    """The records of a folder's files, each as it was written."""
    import tensorflow as tf

    paths = sorted(str(one) for one in folder.iterdir())
    return [
        str(tf.train.Example.FromString(one.numpy()))
        for one in tf.data.TFRecordDataset(paths)
    ]


def test_a_context_that_the_log_lacks_is_named_by_both(shop, tmp_path, capsys):
    for runner in ((), BEAM):
        assert prepare(shop, tmp_path / "out", "--context", "till", *runner) == 2
        assert re.search(
            r"shop0?/events\.parquet has no column till", capsys.readouterr().err
        )
    with pytest.raises(ValueError, match=r"context=\['value'\]: 'value' is one of the"):
        preparing.Preparation("no such log", context=["value"])
    assert list(tmp_path.iterdir()) == []


def test_several_files_are_one_log(shop, tmp_path):
    table = pd.read_parquet(shop / "events.parquet")
    (tmp_path / "logs").mkdir()
    for part in range(3):
        table[part::3].to_parquet(tmp_path / "logs" / f"{part}.parquet")
    assert prepare(shop, tmp_path / "out", *BEAM, data=tmp_path / "logs/*.parquet") == 0
    _, _, periods = expected(shop, "events.parquet")
    for name, rows in periods.items():
        assert rows_of(tmp_path / "out", name) == rows


@pytest.fixture
def logs(shop, tmp_path):
    """Three files that are one log."""
    table = pd.read_parquet(shop / "events.parquet").head(300)
    (tmp_path / "logs").mkdir()
    for part in range(3):
        table[part::3].to_parquet(tmp_path / "logs" / f"{part}.parquet")
    shutil.copy(shop / "items.parquet", tmp_path)
    return tmp_path / "logs"


def refusal(logs, capsys, *others, data="*.parquet"):
    shop = logs.parent
    assert prepare(shop, shop / "out", *BEAM, *others, data=f"logs/{data}") == 2
    assert sorted(one.name for one in shop.iterdir()) == ["items.parquet", "logs"]
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "/head/" not in error
    return error


def test_a_file_that_is_cut_short_is_named(logs, capsys):
    whole = (logs / "1.parquet").read_bytes()
    (logs / "1.parquet").write_bytes(whole[:-100])
    assert re.search(
        r"logs/1\.parquet cannot be read as \.parquet \(.*is it cut short",
        refusal(logs, capsys),
    )
    (logs / "1.parquet").write_bytes(b"")
    assert "logs/1.parquet is empty (0 bytes)" in refusal(logs, capsys)


def test_a_file_with_a_broken_page_is_named(logs, capsys):
    path = logs / "1.parquet"
    data = bytearray(path.read_bytes())
    user = pq.read_metadata(path).row_group(0).column(0)
    assert user.path_in_schema == "user"
    start = user.dictionary_page_offset or user.data_page_offset
    data[start : start + user.total_compressed_size] = bytes(
        [255] * user.total_compressed_size
    )
    path.write_bytes(data)
    assert "logs/1.parquet cannot be read as .parquet" in refusal(logs, capsys)


def test_files_with_other_columns_are_named(logs, capsys):
    table = pd.read_parquet(logs / "1.parquet")
    table.drop(columns="action").to_parquet(logs / "1.parquet")
    assert re.search(
        r"logs/1\.parquet has no column action; .* each needs the same",
        refusal(logs, capsys),
    )
    table.drop(columns="item").to_parquet(logs / "1.parquet")
    assert "logs/1.parquet has no column item" in refusal(logs, capsys)
    assert "logs/0.parquet has no column till" in refusal(
        logs, capsys, "--context", "till"
    )
    assert "sample=5 draws from a log in one file" in refusal(
        logs, capsys, "--sample", "5"
    )


def test_a_file_of_several_with_a_column_twice_is_named(logs, capsys):
    table = pq.read_table(logs / "1.parquet")
    again = table.append_column("action", table["action"])
    pq.write_table(again, logs / "1.parquet")
    assert "logs/1.parquet has more than one column named 'action'" in refusal(
        logs, capsys
    )


def test_what_was_the_index_of_one_file_is_a_column(logs, tmp_path):
    def made(out):
        assert prepare(tmp_path, tmp_path / out, *BEAM, data="logs/*.parquet") == 0
        return json.loads((tmp_path / out / "report.json").read_text())

    plain = made("plain")
    table = pd.read_parquet(logs / "1.parquet")
    table.set_index("user").to_parquet(logs / "1.parquet")
    assert made("indexed") == plain


def test_a_wrong_column_names_the_log_as_it_was_given(logs, capsys):
    told = ("--column", "value=amount")
    assert re.search(
        r"logs/2\.parquet has no column amount",
        refusal(logs, capsys, *told, data="2.parquet"),
    )


def test_wrong_times_name_the_log_as_it_was_given(logs, capsys, caplog):
    wrong = {"0.parquet": 1_700_000_000_000, "1.parquet": 20_231_201}
    for name, time in wrong.items():
        pd.read_parquet(logs / name).assign(time=time).to_parquet(logs / name)
        # A log of its own, for a few dates among many numbers cost their rows alone.
        assert re.search(
            rf"logs/{name}, the column of times, .*{time}",
            refusal(logs, capsys, data=name),
        )
    # Nor does Beam add its traceback.
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
def test_a_rule_that_finds_nothing_to_take_back_is_in_the_report(
    shop, tmp_path, capsys, runner
):
    told = ("--taken-back", "retrun=purchase")
    assert prepare(shop, tmp_path / "out", *told, *runner) == 0
    note = "no row that is left has the action 'retrun': nothing was taken back"
    assert note in capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["notes"] == [note]


def test_reviews_of_amazon_are_prepared_by_both(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    reviews = [
        {
            "user_id": f"u{n % 5}",
            "parent_asin": f"B{n % 7}",
            "rating": float(n % 5),
            "timestamp": 1_588_687_728_923 + n * 86_400_000,
        }
        for n in range(40)
    ]
    products = [{"parent_asin": f"B{n}", "title": f"mug {n}"} for n in range(7)]
    for name, rows in (("Toys", reviews), ("meta_Toys", products)):
        content = "".join(json.dumps(row) + "\n" for row in rows)
        (data / f"{name}.jsonl").write_text(content)
    folders = []
    # That the unit is told, as the data's own description does, changes nothing.
    for others in ((), ("--time-unit", "ms"), BEAM):
        folders.append(tmp_path / f"out-{len(folders)}")
        words = ["prepare", "--data", str(data), "--out", str(folders[-1])]
        assert cli.main([*words, "--test", "9d", "--validation", "9d", *others]) == 0
    rows = [
        sorted(
            pq.read_table(one / "training").to_pylist(),
            key=lambda row: (row["user"], row["query_time"]),
        )
        for one in folders
    ]
    assert rows[0] == rows[1] == rows[2]
    # Days 0 to 21, but for the first review of each user, which has no history.
    assert len(rows[0]) == 22 - 5
    report = json.loads((folders[0] / "report.json").read_text())
    assert report["events"] == 40 and report["first_time"] == 1_588_687_728
    items = pd.read_parquet(folders[2] / "items.parquet")
    assert items.columns.tolist() == ["item", "title", "description"]


def hot_log(path, **more):
    """300 different events of one user and 12 of another, in no order."""
    table = pd.DataFrame(
        {
            "user": ["hot"] * 300 + ["cool"] * 12,
            "item": [f"i{n % 7}" for n in range(312)],
            "time": [*range(1, 301), *range(25, 301, 25)],
            "action": ["view", "purchase"] * 156,
            **more,
        }
    )
    table.sample(frac=1, random_state=0).to_parquet(path)
    return table


@pytest.mark.parametrize("most", [12, 20, 299, 300])
def test_of_a_hot_user_the_latest_are_kept_by_both(tmp_path, most):
    visits = [f"visit {n}" for n in range(312)]
    table = hot_log(tmp_path / "log.parquet", visit=visits, value=range(312))
    told = {"test": "60s", "validation": "60s", "most_per_user": most}
    told["context"] = ["visit"]
    preparation = preparing.Preparation(str(tmp_path / "log.parquet"), **told)
    reports, rows = [], []
    for runner in ("local", "DirectRunner"):
        out = tmp_path / runner
        reports.append(preparing.prepare(preparation, out, runner=runner, say=len))
        files = (out / name for name in preparing.PERIODS)
        read = [row for one in files for row in pq.read_table(one).to_pylist()]
        rows.append(sorted(read, key=lambda row: (row["user"], row["query_time"])))
    assert reports[0] == reports[1]
    assert rows[0] == rows[1]
    visit = table.set_index(["user", "time"])["visit"]
    for row in rows[0]:
        its = visit[row["user"]]
        assert row["history_visit"] == its[row["history_time"]].tolist()
        assert row["target_visit"] == [its[row["query_time"]]]
    latest = table.sort_values("time").groupby("user").tail(most)
    beyond = len(table) - len(latest)
    assert reports[0]["events"] == len(latest)
    assert reports[0]["first_time"] == latest["time"].min()
    why = f"beyond the latest {most} of a user"
    assert reports[0]["rejected"] == ({why: beyond} if beyond else {})
    listed = pd.read_parquet(tmp_path / "local" / "rejected.parquet")
    assert len(listed) == beyond
    log = pd.read_parquet(tmp_path / "log.parquet")
    kept = (
        log[["user", "time"]]
        .apply(tuple, axis=1)
        .isin(latest[["user", "time"]].apply(tuple, axis=1))
    )
    assert listed["row"].tolist() == np.flatnonzero(~kept).tolist()
    counted_only = pd.read_parquet(tmp_path / "DirectRunner" / "rejected.parquet")
    assert len(counted_only) == 0


@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
def test_how_many_events_of_a_user_are_kept_is_an_option(tmp_path, runner):
    hot_log(tmp_path / "log.parquet")
    out = tmp_path / "out"
    words = ["prepare", "--data", str(tmp_path / "log.parquet"), "--out", str(out)]
    words += ["--test", "60s", "--validation", "60s", "--most-per-user", "150"]
    assert cli.main([*words, *runner]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["rejected"] == {"beyond the latest 150 of a user": 150}
    assert report["events"] == 150 + 12


def test_repetitions_of_what_is_beyond_the_latest_are_no_events(tmp_path):
    table = hot_log(tmp_path / "log.parquet")
    pd.concat([table, table, table]).to_parquet(tmp_path / "log.parquet")
    told = {"test": "60s", "validation": "60s", "most_per_user": 20}
    preparation = preparing.Preparation(str(tmp_path / "log.parquet"), **told)
    for runner in ("local", "DirectRunner"):
        report = preparing.prepare(
            preparation, tmp_path / runner, runner=runner, say=len
        )
        assert report["events"] == 20 + 12
        assert sum(report["rejected"].values()) == 3 * 312 - 32
        if runner == "local":
            assert report["rejected"]["beyond the latest 20 of a user"] == 280
    rejected = pd.read_parquet(tmp_path / "local" / "rejected.parquet")
    assert rejected["row"].is_unique and len(rejected) == 3 * 312 - 32


def test_rules_of_whole_users_see_the_latest_alone(tmp_path):
    # Nothing is bought in the kept half: what takes back there takes back nothing.
    actions = ["purchase"] * 150 + ["return"] * 150 + ["purchase"] * 12
    hot_log(tmp_path / "log.parquet", action=actions)
    preparation = preparing.Preparation(
        str(tmp_path / "log.parquet"),
        test="100s",
        validation="100s",
        most_per_user=140,
        rules=Rules(taken_back={"return": "purchase"}),
    )
    cleaned = preparing._cleaned(preparation.log(), preparation)
    assert cleaned.rejected == {
        "beyond the latest 140 of a user": 160,
        "return of what was not there": 140,
    }
    for runner in ("local", "DirectRunner"):
        report = preparing.prepare(
            preparation, tmp_path / runner, runner=runner, say=len
        )
        assert report["rejected"] == cleaned.rejected
        assert report["events"] == 12
    assert cleaned.rejected_rows()["reason"].value_counts().to_dict() == (
        cleaned.rejected
    )
    log = preparation.log().events
    assert log["user"].iloc[cleaned.row].tolist() == ["cool"] * 12
    assert log["time"].iloc[cleaned.row].tolist() == cleaned.events.time.tolist()


@pytest.mark.parametrize(
    ("last", "shortened"),
    [(None, True), ("8.0 ", True), ("x", False), ("7", False), (9, False)],
)
def test_ids_that_are_written_as_floats_are_shortened_by_both(
    tmp_path, last, shortened
):
    # All of a column, or none: one other id at the very end tells that they are names.
    users = [[f"{n % 6}.0" for n in range(230)], [last] * 10]
    (tmp_path / "logs").mkdir()
    parts = []
    for number, its in enumerate(users):
        time = np.arange(len(its)) + 230 * number
        parts.append(pd.DataFrame({"user": its, "item": "1.0", "time": time}))
        parts[-1].to_parquet(tmp_path / "logs" / f"{number}.parquet", row_group_size=50)
    parts[1]["user"] = None if last is None else str(last)
    pd.concat(parts).to_parquet(tmp_path / "log.parquet", row_group_size=50)
    told = {"test": "60s", "validation": "60s"}
    rows = []
    for runner, data in (
        ("local", "log.parquet"),
        ("DirectRunner", "log.parquet"),
        ("DirectRunner", "logs/*.parquet"),
    ):
        out = tmp_path / f"out-{len(rows)}"
        preparation = preparing.Preparation(str(tmp_path / data), **told)
        preparing.prepare(preparation, out, runner=runner, say=len)
        read = pq.read_table(out / "training").to_pylist()
        rows.append(sorted(read, key=lambda row: (row["user"], row["query_time"])))
        assert pd.read_parquet(out / "items.parquet")["item"].tolist() == ["1"]
    assert rows[0] == rows[1] == rows[2]
    assert {row["user"] for row in rows[0]} == {
        f"{n}" if shortened else f"{n}.0" for n in range(6)
    }


@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
def test_tfrecords_are_read_back(shop, tmp_path, runner):
    from tfrs_decay.data import read_examples

    assert prepare(shop, tmp_path / "out", "--format", "tfrecord", *runner) == 0
    _, _, periods = expected(shop, "events.parquet")
    found = [
        (int(time), int(length))
        for batch in read_examples(tmp_path / "out" / "test")
        for time, length in zip(
            batch["query_time"].numpy(), batch["history_length"].numpy(), strict=True
        )
    ]
    assert sorted(found) == sorted(
        (row["query_time"], len(row["history_item"])) for row in periods["test"]
    )


@pytest.mark.parametrize("runner", [(), BEAM], ids=["local", "beam"])
@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--shards", "150"], r"has \d+ examples, fewer than shards=150"),
        (["--test", "90d"], r"which leaves nothing to train on"),
        (["--target-action", "share"], r"\['share'\] not among the log's \['browse'"),
    ],
)
def test_nothing_is_left_of_what_fails(shop, tmp_path, capsys, runner, others, message):
    assert prepare(shop, tmp_path / "out", *runner, *others) == 2
    assert list(tmp_path.iterdir()) == []
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_what_a_killed_worker_left_is_removed(shop, tmp_path, monkeypatch):
    from tfrs_decay import preparing_beam

    def killed(rows, log, preparation, folder):
        (folder / "test").mkdir()
        (folder / "test" / ".examples-00000-of-00001.parquet.0a.parquet").touch()
        build(rows, log, preparation, folder)

    build = preparing_beam._build
    monkeypatch.setattr(preparing_beam, "_build", killed)
    assert prepare(shop, tmp_path / "out", *BEAM, "--shards", "1") == 0
    assert [one.name for one in (tmp_path / "out" / "test").iterdir()] == [
        "examples-00000-of-00001.parquet"
    ]


def test_bad_arguments_are_refused_before_the_log_is_read(
    shop, tmp_path, capsys, monkeypatch
):
    def refused(*others):
        assert prepare(shop, tmp_path / "out", *others, data="no such log") == 2
        return capsys.readouterr().err

    assert "runner='nope' is neither 'local' nor a runner of Beam" in refused(
        "--runner", "nope"
    )
    assert "runner='no.such' is neither" in refused("--runner", "no.such")
    assert "--streaming: options of Beam go with --runner DirectRunner" in refused(
        "--", "--streaming"
    )
    assert "shards=0 must be 1 or more" in refused("--shards", "0")
    assert "max_history=0 must be 1 or more" in refused("--max-history", "0")
    assert "test='soon'" in refused("--test", "soon")
    assert "most_per_user=0 must be 1 or more" in refused("--most-per-user", "0")
    assert "neither a log by name nor a file" in refused()
    assert "neither a log by name nor a file" in refused(*BEAM)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert (
        "--runner DirectRunner needs apache_beam: pip install 'tfrs-decay[beam]'"
        in refused(*BEAM)
    )
    (tmp_path / "out").mkdir()
    assert "is there already: remove it or choose another --out" in refused()


def test_options_after_two_dashes_go_to_beam(shop, tmp_path, monkeypatch):
    from tfrs_decay import preparing_beam

    given = []
    monkeypatch.setattr(
        preparing_beam,
        "PipelineOptions",
        lambda arguments: given.append(arguments) or None,
    )
    others = (*BEAM, "--", "--job_name=shop", "--temp_location=/tmp")
    assert prepare(shop, tmp_path / "out", *others) == 0
    assert given == [["--job_name=shop", "--temp_location=/tmp"]]


def test_an_empty_log_is_refused_by_both(tmp_path, capsys):
    rows = {"user": [None], "item": ["a"], "time": [1], "action": ["buy"]}
    pd.DataFrame(rows).to_parquet(tmp_path / "log.parquet")
    for runner in ((), BEAM):
        told = ["prepare", "--data", str(tmp_path / "log.parquet"), *runner]
        assert cli.main([*told, "--out", str(tmp_path / "out")]) == 2
        assert "there are no events to split" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.parametrize("runner", [(), BEAM])
def test_the_rules_of_cleaning_are_options(shop, tmp_path, runner):
    events = pd.read_parquet(shop / "events.parquet")
    events["time"] *= 1_000
    events["value"] = [None] * 3 + [2.0] * (len(events) - 3)
    bought = events[events["action"] == "purchase"].dropna().iloc[0]
    moment = bought["time"]
    more = [
        {**bought, "time": moment + 1_000, "action": "back"},
        {**bought, "time": moment + 5_000, "action": None},
        {**bought, "time": 5_000_000_000_000},
    ]
    events = pd.concat([events, pd.DataFrame(more)], ignore_index=True)
    events.to_parquet(tmp_path / "events.parquet")
    status = prepare(
        shop,
        tmp_path / "out",
        *("--time-unit", "ms"),
        *("--taken-back", "back=purchase"),
        *("--missing-action", "browse"),
        *("--missing-value", "1"),
        *("--most-per-minute", "500"),
        *runner,
        data=tmp_path / "events.parquet",
    )
    assert status == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rejected"]["taken back, and the back of it"] == 2
    assert report["rejected"]["time after now"] == 1
    assert report["filled"] == {
        "no action, read as 'browse'": 1,
        "no value, read as 1": 3,
    }


def test_returns_of_online_retail_take_purchases_back(tmp_path):
    days = pd.date_range("2023-01-01", periods=90).strftime("%Y-%m-%d %H:%M")
    table = pd.DataFrame(
        {
            "StockCode": [f"{10_000 + n % 7}" for n in range(90)],
            "Description": "A MUG",
            "Quantity": [-1 if n % 30 == 8 else 1 for n in range(90)],
            "InvoiceDate": days,
            "UnitPrice": 1.5,
            "CustomerID": "17850",
        }
    )
    table.to_parquet(tmp_path / "retail.parquet")
    told = ["prepare", "--data", str(tmp_path / "retail.parquet")]
    told += ["--out", str(tmp_path / "out"), "--taken-back", "return=purchase"]
    assert cli.main(told) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rejected"] == {"taken back, and the return of it": 6}


def test_what_is_no_rule_of_cleaning_ends_in_one_line(shop, tmp_path, capsys):
    assert prepare(shop, tmp_path / "out", "--taken-back", "back") == 2
    assert "--taken-back 'back' is not ACTION=ACTION" in capsys.readouterr().err
    twice = ("--taken-back", "back=purchase", "--taken-back", "back=cart")
    assert prepare(shop, tmp_path / "out", *twice) == 2
    assert (
        "--taken-back says back twice, 'purchase' and 'cart': leave one of them out"
        in capsys.readouterr().err
    )
    assert prepare(shop, tmp_path / "out", "--most-per-minute", "0") == 2
    assert "most_per_minute=0 must be 1 or more" in capsys.readouterr().err
