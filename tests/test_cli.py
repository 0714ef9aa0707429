"""The command line: the whole road at a small size, and bad input in one line."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import sqlite3
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tfrs_decay as td
from tfrs_decay import __main__, cli, demo, measuring, runs, tuning
from tfrs_decay.cli import console

DAY = 86_400


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """An event table and an items table, as a shop would bring them."""
    folder = tmp_path_factory.mktemp("log")
    shop = td.data.simulated_shop(users=80, days=90, seed=2)
    shop.log.events.sample(frac=1, random_state=1).to_csv(
        folder / "events.csv", index=False
    )
    shop.log.items.to_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def run(log, tmp_path_factory, tiny_encoder):
    """A run, trained through the command line with a tiny encoder."""
    out = tmp_path_factory.mktemp("runs") / "small"
    status = cli.main(
        [
            "train",
            *("--data", str(log / "events.csv")),
            *("--items", str(log / "items.parquet")),
            *("--encoder", str(tiny_encoder.encoder.parent)),
            *("--out", str(out)),
            *("--epochs", "2"),
            *("--dim", "8"),
            *("--action-weight", "browse=0.25"),
            *("--test", "20d"),
            *("--validation", "20d"),
        ]
    )
    assert status == 0
    return out


def test_a_run_says_what_it_was_made_with(run):
    about = json.loads((run / "run.json").read_text())
    assert about["settings"]["action_weights"] == {"browse": 0.25, "purchase": 1.0}
    assert about["settings"]["target_actions"] == ["purchase"]
    assert about["split"]["test"] - about["split"]["validation"] == 20 * DAY
    assert set(about["trained"]) == {"decay", "mean"}
    assert about["trained"]["mean"]["decay"] == "no decay, a plain mean"
    assert re.match(r"power law, learned scale \d", about["trained"]["decay"]["decay"])
    learned = about["trained"]["decay"]["learned"]
    assert learned["log_scale"] != pytest.approx(np.log(3_600), abs=1e-4)
    assert learned["log_exponent"] != pytest.approx(np.log(0.25), abs=1e-4)
    assert [one.name for one in run.parent.iterdir()] == ["small"]  # nothing partial
    csv = (run / "training" / "decay" / "losses.csv").read_text()
    assert len(csv.splitlines()) == 3


def test_similar_shows_items_near_texts(run, capsys):
    events = runs.load_run(run).events()
    title = events.items.texts[3]
    told = ["similar", "--run", str(run), "--k", "2", title, "a red lantern"]
    assert cli.main(told) == 0
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert first.startswith(f"Nearest to {title!r}:")
    assert len(first.splitlines()) == len(second.splitlines()) == 3
    assert cli.main([*told, "--untrained"]) == 0
    best = capsys.readouterr().out.split(f"Nearest to {title!r}:")[1].splitlines()[1]
    assert "1.0000" in best and title in best
    assert cli.main(["similar", "--run", str(run)]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_evaluate_prints_both_tracks_and_writes_them(run, tmp_path, capsys):
    path = tmp_path / "figures.json"
    told = ["evaluate", "--run", str(run), "--k", "5,20", "--json", str(path)]
    assert cli.main(told) == 0
    printed, aside = capsys.readouterr()
    # To a file each bar is its label.
    assert "Ranking for track any\nRanking for track new\n" in aside
    for name in ("decay", "mean pooling", "personal frequency", "popularity"):
        assert re.search(rf"^{name} ", printed, re.MULTILINE)
    assert re.findall(r"NDCG@\d+", printed) == ["NDCG@5"] * 2 + ["NDCG@20"] * 2
    assert "diversity" not in printed
    figures = json.loads(path.read_text())
    assert set(figures) == {"any", "new", "segments", "verdicts"}
    assert "personal frequency" not in figures["new"]
    for track in ("any", "new"):
        of_track = figures[track]
        for one in of_track.values():
            assert 0 <= one["recall@5"] <= one["recall@20"] <= 1
        # The model against each of the others, on users of the test period.
        found = figures["verdicts"][track]
        assert set(found) == set(of_track) - {"decay"}
        for name, one in found.items():
            gap = of_track[name]["recall@20"] - of_track["decay"]["recall@20"]
            assert one["difference"] == pytest.approx(gap)
            assert re.search(
                rf"^{re.escape(name)} .*: {one['verdict']}$", printed, re.M
            )
    # Every target is a repeat or new to its user.
    parts = figures["segments"]["any"]
    assert re.search(r"^long tail +\d", printed, re.MULTILINE)
    assert re.search(r"^last event < 1d +\d", printed, re.MULTILINE)
    split = [parts[one]["decay"] for one in ("new users", "light users", "other users")]
    assert sum(one["queries"] for one in split) == figures["any"]["decay"]["queries"]
    assert parts["new to the user"]["personal frequency"]["recall@5"] < 0.1
    assert figures["segments"]["new"]["repeats"]["decay"] == {"queries": 0}


def test_evaluate_says_what_diversity_costs(run, tmp_path, capsys):
    path = tmp_path / "figures.json"
    told = ["evaluate", "--run", str(run), "--diversity", "1,0.5", "--json", str(path)]
    assert cli.main(told) == 0
    printed = capsys.readouterr().out
    assert printed.count("diversity@20") == 2
    assert re.search(r"^decay, trade-off 0\.5 .*: (no|better|worse)", printed, re.M)
    figures = json.loads(path.read_text())
    for track in ("any", "new"):
        plain = figures[track]["decay"]
        assert figures[track]["decay, trade-off 1"] == plain
        assert (
            figures[track]["decay, trade-off 0.5"]["diversity@20"]
            > plain["diversity@20"]
        )


def test_an_export_is_made_diverse(run, exported, tmp_path, capsys):
    out = tmp_path / "export"
    told = ["export", "--run", str(run), "--out", str(out), "--diversity", "0"]
    assert cli.main(told) == 0
    about = json.loads(next(out.glob("*/assets.extra/tfrs_decay.json")).read_text())
    assert about["diversity"] == {"trade_off": 0.0, "pool": 100}
    capsys.readouterr()
    answers = []
    for one in (out, exported):
        assert cli.main(["recommend", "--export", str(one), "--k", "5"]) == 0
        answers.append(capsys.readouterr().out.splitlines()[2:])
    # The best comes first in both, the others are others.
    assert answers[0][0] == answers[1][0]
    assert answers[0][1:] != answers[1][1:]


def test_queries_of_one_user_have_no_verdict(run, monkeypatch):
    loaded = runs.load_run(run)
    events = loaded.events()
    (one, *_) = events.user[events.time > loaded.split.test]
    before = events.time <= loaded.split.test
    kept = events.where(before | (events.user == one))
    monkeypatch.setattr(runs.Run, "events", lambda self: kept)
    measured = measuring.measure(loaded, k=3)
    assert len(np.unique(measured.tracks["any"]["decay"].queries.user)) == 1
    assert measured.verdicts["any"] == {}
    assert "no verdict: the queries are those of one user" in measured.report()
    assert any("(any): only " in line for line in measured.warnings())


@pytest.mark.integration  # slow
def test_no_event_of_the_test_period_is_trained_on(log, monkeypatch, tmp_path):
    # Everything that a model is fitted on or counted from goes through basket_queries.
    made = []
    true = td.training.basket_queries

    def spy(events, **options):
        queries = true(events, **options)
        made.append(queries)
        return queries

    monkeypatch.setattr(td.training, "basket_queries", spy)
    cleaned = td.data.clean(td.data.event_table(log / "events.csv"))
    split = td.data.split_by_time(cleaned.events, test="20d", validation="20d")
    settings = td.training.Settings(dim=4, epochs=1)
    runs.train_run(
        tmp_path / "run",
        cleaned,
        split,
        settings,
        td.decay.Constant(),
        data="log",
        say=lambda _: None,
    )
    events = cleaned.events
    assert len(made) == 9  # at the start and for each model: each of three periods
    assert max(int(queries.time.max()) for queries in made) <= split.test
    for queries in made:
        assert events.time[queries.target].max() <= split.test
        assert (events.time[queries.history_stop - 1] < queries.time).all()
    assert any(int(queries.time.max()) <= split.validation for queries in made)


def tune_arguments(log, out):
    return [
        "tune",
        *("--data", str(log / "events.csv")),
        *("--out", str(out)),
        *("--family", "exponential"),
        *("--by", "age"),
        *("--trials", "4"),
        *("--test", "20d"),
        *("--validation", "20d"),
    ]


@pytest.mark.integration  # slow
def test_a_tuned_decay_is_trained_with(log, tmp_path, capsys):
    tuned = tmp_path / "tuned"
    assert cli.main(tune_arguments(log, tuned)) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"\d+ queries of the validation period, judged by the lin", printed
    )
    assert re.search(r"^no decay, a plain mean +0\.\d{4} +0\.\d{4}$", printed, re.M)
    assert re.search(r"^half-life .* [+-]0\.\d{4} \+- 0\.\d{4}$", printed, re.M)
    best = json.loads((tuned / "best.json").read_text(encoding="utf-8"))
    rows = (tuned / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 4 + 4  # the mean and three windows; four exponentials
    assert best["judged_by"] == "linear" and best["data"].endswith("events.csv")
    # What was found is where training starts, and with --fixed where it ends.
    out = tmp_path / "run"
    arguments = ["train", "--data", str(log / "events.csv"), "--out", str(out)]
    arguments += ["--decay-from", str(tuned), "--fixed", "--epochs", "1", "--dim", "4"]
    assert cli.main([*arguments, "--test", "20d", "--validation", "20d"]) == 0
    trained = json.loads((out / "run.json").read_text())["trained"]["decay"]
    assert trained["learned"] == {} and trained["decay"] == best["described"]
    capsys.readouterr()
    assert cli.main(tune_arguments(log, tuned)) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_search_that_trains_encodes_the_texts_once(
    log, tiny_encoder, tmp_path, monkeypatch, capsys
):
    encoded = []

    def judge(self, decay):
        encoded.append(self._encoded)
        each = np.full(len(self.queries), 0.5)
        return SimpleNamespace(recall=lambda: each, ndcg=lambda: each)

    monkeypatch.setattr(tuning.TwoTowerObjective, "__call__", judge)
    arguments = tune_arguments(log, tmp_path / "tuned")
    arguments += ["--items", str(log / "items.parquet"), "--train", "--dim", "4"]
    arguments += ["--encoder", str(tiny_encoder.encoder.parent)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("Encoding the texts of") == 1
    assert "judged by the two-tower model" in printed
    assert "No decay is clearly better than the plain mean" in printed
    assert len(encoded) == 8 and all(one is encoded[0] for one in encoded)
    assert 0 < len(encoded[0]) <= len(pd.read_parquet(log / "items.parquet"))
    best = json.loads((tmp_path / "tuned" / "best.json").read_text(encoding="utf-8"))
    assert best["judged_by"] == "two-tower" and best["settings"]["dim"] == 4
    # The earliest among equals of the family that was named.
    assert best["decay"]["class"] == "Exponential" and best["gain"] == 0


def test_an_interrupted_search_keeps_its_trials(log, tmp_path, monkeypatch, capsys):
    judged = []
    true = tuning.LinearObjective.__call__

    def impatient(self, decay):
        if len(judged) == 5:
            raise KeyboardInterrupt
        judged.append(decay)
        return true(self, decay)

    monkeypatch.setattr(tuning.LinearObjective, "__call__", impatient)
    assert cli.main(tune_arguments(log, tmp_path / "tuned")) == 130
    assert [one.name[:8] for one in (tmp_path / "tuned").iterdir()] == [".trials-"]
    monkeypatch.undo()
    assert cli.main(tune_arguments(log, tmp_path / "tuned")) == 0
    assert "5 trials of an interrupted search are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "decay"),
    [
        ("", td.decay.PowerLaw("1h", 0.25, trainable=True)),
        (
            "--decay power-law --scale 2d --exponent 0.5 --fixed",
            td.decay.PowerLaw("2d", 0.5),
        ),
        ("--half-life 36h", td.decay.Exponential("36h", trainable=True)),
        (
            "--decay exponential --half-life 7d --per-feature",
            td.decay.Exponential("7d", trainable=True, per_feature=True),
        ),
        (
            "--decay window --scale 5 --by rank",
            td.decay.Window(5, by="rank", trainable=True),
        ),
        (
            "--half-life 5 --by rank --fixed",
            td.decay.Exponential(5, by="rank"),
        ),
        ("--decay none", td.decay.Constant()),
        ("--decay log-buckets", td.decay.LogBucketed(trainable=True)),
    ],
)
def test_the_decay_is_told_on_the_command_line(words, decay, monkeypatch, log):
    told = []

    def train_run(out, cleaned, split, settings, decay, **others):
        told.append(decay)
        raise RuntimeError("that is all")

    monkeypatch.setattr(runs, "train_run", train_run)
    arguments = f"train --data {log}/events.csv --out {log}/never {words}"
    assert cli.main([*arguments.split(), "--test", "20d", "--validation", "20d"]) == 2
    assert told == [decay]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exports") / "shop"
    assert cli.main(["export", "--run", str(run), "--out", str(out), "--texts"]) == 0
    return out


def naming(folder, user):
    """The files of a folder that have a user's id in them, unpacked."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            parts = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    parts = [packed.read(name) for name in packed.namelist()]
            if any(user.encode() in part for part in parts):
                found.add(path.name)
    return found


def test_users_are_where_the_page_on_privacy_says(run, exported, tmp_path, capsys):
    assert naming(run, "user-000") == {"events.npz"}
    assert naming(exported, "user-000") == set()
    other = shutil.copytree(run, tmp_path / "run")
    assert cli.main(["forget", "--user", "user-00001", "--run", str(other)]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"{re.escape(str(other))}: \d+ events removed", printed)
    assert naming(other, "user-00001") == set()
    assert naming(other, "user-00002") == {"events.npz"}
    # What is left is a run like any other.
    told = ["recommend", "--export", str(exported), "--run", str(other), "--user"]
    assert cli.main([*told, "user-00002"]) == 0
    assert cli.main([*told, "user-00001"]) == 2
    assert "user 'user-00001' is not among the" in capsys.readouterr().err


def test_recommend_for_a_user_of_the_log(run, exported, capsys):
    arguments = ["recommend", "--export", str(exported), "--run", str(run), "--k", "3"]
    assert cli.main([*arguments, "--user", "user-00001"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"History of \d+ events", printed)
    assert len(re.findall(r"^ +\d+ +-?\d\.\d{4}  ", printed, re.MULTILINE)) == 3
    events = runs.load_run(run).events()
    # What is printed is what the model says, for the history that the log has.
    user = list(events.users).index("user-00001")
    mine = events.user == user
    model = runs.load_run(run).model()
    interest = model.interest_from_vectors(
        model.item_tower(events.items.ids[events.item[mine]][None, :].astype(str)),
        timestamps=events.time[mine][None, :],
        query_time=np.asarray([events.time.max() + 1]),
        actions=np.asarray(events.actions)[events.action[mine]][None, :],
    ).numpy()[0]
    best = np.argsort(-(model.item_tower.catalogue_vectors() @ interest))[:3]
    for item in events.items.ids[best]:
        assert item in printed.split("Recommended:")[1]


def test_recommend_from_typed_events_and_texts(exported, capsys):
    typed = [
        "--item",
        "coffee-01@2024-03-01",
        "--text",
        "Enamel camping mug@2024-03-02",
    ]
    arguments = ["recommend", "--export", str(exported), "--at", "2024-03-09", *typed]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "8d before" in printed and "7d before" in printed
    assert "Enamel camping mug" in printed.split("Recommended:")[0]


def test_recommend_from_nothing_known_says_so(exported, capsys):
    assert cli.main(["recommend", "--export", str(exported), "--item", "a@noon"]) == 0
    printed = capsys.readouterr().out
    assert "none is known to the model, and this is what is popular" in printed
    assert re.search(r"a@noon +\(not in the catalogue\)", printed)


def test_nothing_typed_is_help(capsys):
    assert cli.main([]) == 0
    assert "Usage: tfrs-decay" in capsys.readouterr().out


def test_recommend_to_a_new_user_is_popular(exported, capsys):
    assert cli.main(["recommend", "--export", str(exported)]) == 0
    printed = capsys.readouterr().out
    assert "No history: this is what is popular." in printed
    assert printed.count("\n") == 12


@pytest.mark.integration  # slow
def test_the_demo_at_a_small_size(tiny_encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "text_encoder", lambda cache: tiny_encoder)
    small = functools.partial(runs.settings_for, epochs=1, dim=8)
    monkeypatch.setattr(runs, "settings_for", small)
    arguments = ["demo", "--data", "simulated", "--sample", "60"]
    out = tmp_path / "demo"
    # What an earlier one wrote is replaced.
    for earlier in ("run", "export/1"):
        (out / earlier).mkdir(parents=True)
    (out / demo.MARKER).touch()
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert not (out / "export" / "1").exists()
    assert (out / demo.MARKER).is_file()
    printed = capsys.readouterr().out
    assert "asked in a second process" in printed
    for picture in ("history.png", "recommended.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    # What cannot be done leaves the earlier demo as it was.
    assert cli.main([*arguments[:-1], "0", "--out", str(out)]) == 2
    assert "sample=0: draw at least 1 user" in capsys.readouterr().err
    assert (out / "run" / "run.json").is_file()
    (tmp_path / "mine" / "run").mkdir(parents=True)
    (tmp_path / "mine" / "run" / "run.json").touch()
    assert cli.main([*arguments, "--out", str(tmp_path / "mine")]) == 2
    assert "was not written by an earlier demo" in capsys.readouterr().err
    assert (tmp_path / "mine" / "run" / "run.json").is_file()


def test_encoder_converts_a_checkpoint(tmp_path, capsys):
    from tiny_bert import write_checkpoint

    source = write_checkpoint(tmp_path / "bert")
    out = str(tmp_path / "hub")
    assert cli.main(["encoder", "--from", str(source), "--out", out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-6:] == [
        f"preprocessor: {out}/preprocessor",
        f"encoder:      {out}/encoder",
        "model type:   bert, 2 layers of 16",
        "tokenizer:    WordPiece, lower-cased",
        "pooling:      mean, scaled to length 1",
        "max length:   64 tokens; texts are cut to 64",
    ]


def test_encoder_of_another_family_and_a_length_of_its_own(tmp_path, capsys):
    from tiny_families import write_family

    source = write_family(tmp_path / "roberta", "roberta", max_position_embeddings=300)
    command = ["encoder", "--from", str(source), "--out", str(tmp_path / "hub")]
    assert cli.main([*command, "--seq-length", "20"]) == 0
    said = capsys.readouterr().out
    assert "model type:   roberta, 3 layers of 16\n" in said
    assert "pooling:      pooler\n" in said
    assert "max length:   299 tokens; texts are cut to 20\n" in said


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["demo"],
        ["encoder"],
        ["train"],
        ["tune"],
        ["evaluate"],
        ["export"],
        ["recommend"],
    ],
    ids=lambda words: " ".join(words) or "none",
)
def test_help_is_there(command, capsys):
    assert cli.main([*command, "--help"]) == 0
    assert "Usage: tfrs-decay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --data nothing.csv --out {tmp}/r", "'nothing.csv' is neither a log"),
        ("train --data {log}/events.csv", "Missing option '--out'"),
        ("train --data {log}/items.parquet --out {tmp}/r", "user"),
        (
            "train --data {log}/events.csv --out {tmp}/r --half-life soon",
            "half_life='soon' is not a duration",
        ),
        (
            "train --data simulated --out {tmp}/r --half-life 7d --decay window",
            "--half-life and --decay both say what the decay is: leave one of them out",
        ),
        (
            "train --data simulated --out {tmp}/r --half-life 7d --scale 7d",
            "--half-life and --scale both say",
        ),
        (
            "train --data simulated --out {tmp}/r --decay-from {tmp} --exponent 0",
            "--decay-from and --exponent both say",
        ),
        (
            "train --data simulated --out {tmp}/r --decay-from {tmp}",
            "best.json is not there: make it with `tfrs-decay tune",
        ),
        (
            "train --data simulated --out {tmp}/r --decay none --scale 7d",
            "scale='7d' does not apply to the family 'none', which has no numbers",
        ),
        (
            "train --data simulated --out {tmp}/r --decay none --fixed",
            "--fixed: with --decay none there is nothing to learn",
        ),
        (
            "train --data simulated --out {tmp}/r --decay linear --exponent 2",
            "exponent=2.0 does not apply to the family 'linear', which has scale",
        ),
        (
            "train --data simulated --out {tmp}/r --decay log-buckets --per-feature",
            "per_feature=True does not apply to the family 'log-buckets'",
        ),
        (
            "train --data simulated --out {tmp}/r --scale 7d --by rank",
            "--scale '7d': --by rank counts events, as in 20",
        ),
        (
            "train --data simulated --out {tmp}/r --scale nan --by rank",
            "scale=nan must be finite and above 0",
        ),
        ("train --data simulated --out {tmp}/r --decay cubic", "'cubic' is not one of"),
        (
            "tune --data simulated --out {tmp}/r --family log-buckets",
            "'log-buckets' is not one of",
        ),
        # Before the log is read, which is not there.
        ("tune --data nothing.csv --out {tmp}/r --trials 3", "trials=3 must be 4 or"),
        ("tune --data nothing.csv --out {log}", "is there already"),
        ("tune --data nothing.csv --out {log}/events.csv", "is a file: choose another"),
        (
            "tune --data simulated --out {tmp}/r --epochs 3",
            "--epochs says how the model is made: it goes with --train",
        ),
        (
            "tune --data {log}/events.csv --out {tmp}/r --target-action gaze",
            "['gaze'] not among",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --action-weight gaze=1",
            "it has no ['gaze']",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --column user",
            "--column 'user' is not NAME=COLUMN, as in user=customer_id",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --column user=a --column "
            "user=b",
            "--column says user twice, 'a' and 'b'",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --column usr=a",
            "columns names usr; it maps the names user, item, time, action",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --column user=who",
            "has no column who",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --action-weight browse",
            "'browse' is not ACTION=WEIGHT",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --target-weight purchase=x",
            "--target-weight 'purchase=x' is not ACTION=WEIGHT",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --target-weight purchase=0",
            "target_weights['purchase']=0.0 must be finite and above 0",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --target-action purchase "
            "--target-weight browse=1",
            "target_weights names ['browse'], and the actions to predict are ['purch",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --example-half-life soon",
            "example_half_life='soon' is not a duration",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --weight-decay -1",
            "weight_decay=-1.0 must be finite and 0 or more",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --target-action gaze",
            "['gaze'] not among",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --test 9y",
            "leaves nothing to train on",
        ),
        (
            "train --data {log}/events.csv --items {log}/items.parquet --out {tmp}/r "
            "--encoder {tmp}",
            "is not a folder with a SavedModel",
        ),
        (
            "train --data {log}/events.csv --out {tmp}/r --encoder {tmp}",
            "no item has a text for the encoder to read",
        ),
        ("train --data simulated --out {log}", "is there already"),
        ("evaluate --run {tmp}", "is not a finished run"),
        (
            "evaluate --run {tmp} --k 5;20",
            "'--k': '5;20' is not numbers with commas between, as in 1,5,20",
        ),
        ("evaluate --run {run} --k 5,0", "k=(5, 0) must be 1 or more"),
        ("evaluate --run {run} --diversity 0.9,2", "trade_off=2.0 must lie in 0 to 1"),
        ("evaluate --run {run} --diversity most", "as in 0.9,0.7"),
        ("export --run {tmp} --out {tmp}/x", "is not a finished run"),
        (
            "export --run {run} --out {tmp}/x --diversity 7",
            "trade_off=7.0 must lie in 0 to 1",
        ),
        ("recommend --export {tmp}", "has no saved_model.pb"),
        ("recommend --export {exported} --user u", "--user and --run go together"),
        ("recommend --export {exported} --run {run} --user u", "user 'u' is not among"),
        ("recommend --export {exported} --at 20231201", "write it as 2023-12-01"),
        ("recommend --export {exported} --item a@9noon", "'9noon' is not a time"),
        ("recommend --export {exported} --item a@9999-01-01", "after the query"),
        (
            "recommend --export {exported} --item a@1700000000000",
            "looks like milliseconds",
        ),
        ("train --data {log}/events.csv --out {tmp}/r --dim 0", "dim=0 must be 1 or"),
        (
            "train --data {log}/events.csv --out {tmp}/r --seed -1",
            "seed=-1 must lie in",
        ),
        (
            "recommend --export {exported} --item a --action gaze",
            "weighs the actions ['browse', 'purchase'], and the history has ['gaze']",
        ),
        ("recommend --export {exported} --k 0", "k=0 must be 1 or more"),
        ("encoder --from {tmp} --out {tmp}/e", "config.json"),
        ("demo --data films", "'films' is not one of"),
        ("dance", "No such command 'dance'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments, message, log, run, exported, tmp_path, capsys
):
    words = arguments.format(log=log, tmp=tmp_path, run=run, exported=exported).split()
    capsys.readouterr()
    assert cli.main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("tfrs-decay: ")
    assert message in lines[0]
    assert not (tmp_path / "r").exists()


def test_a_run_that_was_tampered_with_is_named(run, tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"settings": {"speed": 3}}')
    assert cli.main(["evaluate", "--run", str(tmp_path)]) == 2
    assert "is not what a run writes" in capsys.readouterr().err


def test_weights_of_actions_are_all_given_or_usual():
    assert runs.weights_of_actions(["purchase"], {}) is None
    usual = runs.weights_of_actions(["browse", "purchase"], {"browse": 0.5})
    assert usual == {"browse": 0.5, "purchase": 1.0}
    with pytest.raises(ValueError, match=r"Say what \['gaze'\] weigh"):
        runs.weights_of_actions(["gaze", "purchase"], {})


def test_rows_left_out_are_printed(tmp_path, capsys, log):
    table = pd.read_csv(log / "events.csv")
    table.loc[:4, "time"] = None
    table.loc[5, "time"] = 4_000_000_000  # in 2096
    table = table.rename(columns={"user": "who", "time": "when"})
    table.to_csv(tmp_path / "holes.csv", index=False)
    out = str(tmp_path / "run")
    arguments = ["train", "--data", str(tmp_path / "holes.csv"), "--out", out]
    arguments += ["--column", "user=who", "--column", "time=when"]
    assert (
        cli.main([*arguments, "--epochs", "1", "--test", "20d", "--validation", "20d"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "5 rows left out: no time" in printed
    assert "1 row left out: time after now" in printed
    # A line a pass, where nobody watches bars move.
    assert "\b" not in printed and "ETA" not in printed
    assert printed.count("s/step") == 4


@pytest.fixture
def with_vectors(log, tiny_encoder, tmp_path):
    """A command that trains with vectors beside the text, the ids and the vectors."""
    ids = pd.read_parquet(log / "items.parquet")["item"].astype(str).tolist()
    ids.append("of another shop")
    vectors = np.random.default_rng(3).normal(size=[len(ids), 6])
    table = pd.DataFrame({"item": ids, "vector": list(vectors)})
    table.sample(frac=1, random_state=2).to_parquet(tmp_path / "vectors.parquet")
    arguments = [
        "train",
        *("--data", str(log / "events.csv")),
        *("--items", str(log / "items.parquet")),
        *("--encoder", str(tiny_encoder.encoder.parent)),
        *("--vectors", str(tmp_path / "vectors.parquet")),
        *("--fusion", "concat"),
        *("--id-dropout", "0.3"),
        *("--repeats", "learned"),
        *("--loss", "sampled"),
        *("--target-weight", "purchase=1"),
        *("--target-weight", "browse=0.3"),
        *("--example-half-life", "120d"),
        *("--weight-decay", "0.01"),
        *("--out", str(tmp_path / "run")),
        *("--epochs", "1"),
        *("--dim", "4"),
        *("--test", "20d"),
        *("--validation", "20d"),
    ]
    return arguments, ids, vectors


def test_how_a_model_is_trained_is_told_on_the_command_line(
    with_vectors, tmp_path, monkeypatch
):
    told = []

    def train_run(out, cleaned, split, settings, decay, **others):
        told.append(settings)
        raise RuntimeError("that is all")

    monkeypatch.setattr(runs, "train_run", train_run)
    assert cli.main(with_vectors[0]) == 2
    (settings,) = told
    assert settings.vectors == str(tmp_path / "vectors.parquet")
    assert (settings.fusion, settings.id_dropout) == ("concat", 0.3)
    assert settings.repeats == "learned"
    assert (settings.loss, settings.weight_decay) == ("sampled", 0.01)
    # What has a weight as a target is a target.
    assert settings.target_weights == {"purchase": 1.0, "browse": 0.3}
    assert sorted(settings.target_actions) == ["browse", "purchase"]
    assert settings.example_decay == td.decay.Exponential("120d")


@pytest.mark.integration  # slow
def test_vectors_beside_the_text_train_reload_and_export(
    with_vectors, tmp_path, capsys
):
    arguments, ids, vectors = with_vectors
    assert cli.main(arguments) == 0, capsys.readouterr().err
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    for one in about["trained"].values():
        assert one["repeats"]["had"] != 0
        assert one["loss"] == "sampled"
    fading = runs.load_run(tmp_path / "run").settings.example_decay
    assert fading == td.decay.Exponential("120d")
    # The run does without the file.
    (tmp_path / "vectors.parquet").unlink()
    model = runs.load_run(tmp_path / "run").model()
    got = model.item_tower.vectors["vectors"]
    # The catalogue's vectors, and not that of an item that the log does not know.
    assert set(got.items.ids) == set(model.item_tower.items.ids) < set(ids)
    place = [ids.index(one) for one in got.items.ids]
    np.testing.assert_allclose(got.vectors, vectors[place], rtol=1e-6)
    export = ["export", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "shop")]
    assert cli.main(export) == 0


@pytest.mark.integration  # slow
def test_items_of_two_texts_and_a_cache(log, tiny_encoder, tmp_path, capsys):
    items = pd.read_parquet(log / "items.parquet")
    half = items["text"].str.split(n=1, expand=True)
    items = items.assign(title=half[0], rest=half[1]).drop(columns="text")
    items.to_csv(tmp_path / "items.csv", index=False)
    arguments = [
        "train",
        *("--data", str(log / "events.csv")),
        *("--items", str(tmp_path / "items.csv")),
        *("--text-column", "title"),
        *("--text-column", "rest"),
        *("--encoder", str(tiny_encoder.encoder.parent)),
        *("--cache", str(tmp_path / "cache")),
        *("--epochs", "1"),
        *("--dim", "4"),
        *("--test", "20d"),
        *("--validation", "20d"),
    ]
    for number in range(2):
        out = ["--out", str(tmp_path / f"run{number}")]
        assert cli.main([*arguments, *out]) == 0, capsys.readouterr().err
    # The second run found every text of the first one's.
    (kept,) = (tmp_path / "cache").glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(kept)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
    run = runs.load_run(tmp_path / "run1")
    texts = run.events().items.texts
    assert texts.shape[1] == 2 and count == len(set(texts.ravel()))
    first = runs.load_run(tmp_path / "run0").model().item_tower
    np.testing.assert_array_equal(
        first.get_weights()[-1], run.model().item_tower.get_weights()[-1]
    )
    export = ["export", "--texts", "--run", str(run.directory)]
    assert cli.main([*export, "--out", str(tmp_path / "shop")]) == 0
    ask = ["recommend", "--export", str(tmp_path / "shop"), "--text", "red"]
    for command in (
        ask,
        ["similar", "--run", str(run.directory), "red"],
        ["similar", "--run", str(run.directory), "red", "--untrained"],
    ):
        capsys.readouterr()
        assert cli.main([*command, "--k", "3"]) == 0, capsys.readouterr().err
        assert (
            len(re.findall(r"^ +[123] +-?[0-9.]+ ", capsys.readouterr().out, re.M)) == 3
        )


@pytest.mark.integration  # slow
def test_a_fine_tuned_encoder_trains_reloads_and_answers_texts(
    log, tiny_encoder, tmp_path, capsys
):
    arguments = [
        "train",
        *("--data", str(log / "events.csv")),
        *("--items", str(log / "items.parquet")),
        *("--encoder", str(tiny_encoder.encoder.parent)),
        *("--fine-tune", "low-rank:2"),
        *("--encoder-learning-rate", "0.01"),
        *("--out", str(tmp_path / "run")),
        *("--epochs", "1"),
        *("--dim", "4"),
        *("--max-history", "20"),
        *("--test", "20d"),
        *("--validation", "20d"),
    ]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    text = runs.load_run(tmp_path / "run").model().item_tower.text
    assert text.fine_tune == td.layers.LowRank(2)
    ups = [one for one in text.trainable_weights if one.name.endswith("/up:0")]
    # They start at zero.
    assert len(ups) == 8 and all(np.abs(one.numpy()).max() > 0 for one in ups)
    out = tmp_path / "shop"
    export = ["export", "--texts", "--run", str(tmp_path / "run"), "--out", str(out)]
    assert cli.main(export) == 0
    ask = ["recommend", "--export", str(out), "--text", "a red lantern", "--k", "3"]
    capsys.readouterr()
    assert cli.main(ask) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fine-tune", "all"], "fine_tune='all' needs an encoder"),
        (
            ["--fine-tune", "some", "--encoder", "E"],
            "fine_tune='some' is none of 'all'",
        ),
        (["--encoder-learning-rate", "1e-5"], "is for an encoder that is fine-tuned"),
        (["--cache", "here"], "--cache keeps the vectors of a frozen encoder: it goes"),
        (["--text-column", "title"], r"texts=\['title'\] names columns of a table of"),
        (["--warm-up", "2"], "warm_up=2.0 must lie in 0 to 1"),
        (["--warm-up", "0.5"], "warm_up=0.5 is for an encoder that is fine-tuned"),
        (["--vectors", "nowhere.npz"], r"nowhere.npz: no such file; expected a .parq"),
        (
            ["--vectors", "VECTORS"],
            r"v.npz has a vector for none of the log's items: i",
        ),
        (["--id-dropout", "0.3"], "id_dropout=0.3 .* needs an encoder or vectors"),
        (["--id-dropout", "1.5"], "id_dropout=1.5 must lie in 0 to below 1"),
        (["--fusion", "mean"], "'mean' is not one of 'sum', 'concat', 'gated'"),
    ],
)
def test_a_bad_choice_of_parts_ends_in_one_line(
    log, tmp_path, capsys, options, message
):
    arguments = [
        "train",
        "--data",
        str(log / "events.csv"),
        "--out",
        str(tmp_path / "r"),
    ]
    cuts = ["--test", "20d", "--validation", "20d"]
    np.savez(tmp_path / "v.npz", ids=["zzz"], vectors=[[1.0]])
    options = [one.replace("VECTORS", str(tmp_path / "v.npz")) for one in options]
    assert cli.main([*arguments, *cuts, *options]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_the_page_of_commands_has_each_command_and_each_status():
    page = Path(__file__).parents[1] / "docs" / "commands.md"
    told = page.read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)
    assert sorted(named) == sorted(cli.cli.commands)
    statuses = re.findall(r"^\| (\d+) \|", told, re.MULTILINE)
    assert [int(one) for one in statuses] == [
        0,
        console.FOUND_WRONG,
        console.WRONG_INPUT,
        console.REFUSED,
        console.INTERRUPTED,
    ]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ValueError("odd"), console.WRONG_INPUT),
        (console.RefusedError("no"), console.REFUSED),
        (KeyboardInterrupt(), console.INTERRUPTED),
    ],
)
def test_a_command_ends_with_the_status_of_what_was_raised(
    monkeypatch, tmp_path, raised, status
):
    def fail(directory):
        raise raised

    monkeypatch.setattr(runs, "load_run", fail)
    assert cli.main(["evaluate", "--run", str(tmp_path)]) == status


def test_without_its_packages_it_ends_in_one_line_and_status_2(monkeypatch, capsys):
    for name in [one for one in sys.modules if one.startswith("tfrs_decay.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(td, "cli")
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == console.WRONG_INPUT
    assert capsys.readouterr().err == (
        "tfrs-decay: click is not installed: pip install 'tfrs-decay[cli]'\n"
    )
