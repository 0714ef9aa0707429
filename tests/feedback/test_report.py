"""Rates by day, segment and version: the figures, the page, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_reader import Reader
from simulated_feedback import DAY, shown_lists

from tfrs_decay import cli
from tfrs_decay.data import RawLog
from tfrs_decay.evaluation import compare
from tfrs_decay.experiments import replay
from tfrs_decay.feedback import (
    Served,
    fit_examination,
    join,
    page,
    position_weights,
    report,
    write_page,
)

DOCS = Path(__file__).parents[2] / "docs" / "feedback.md"


def logs():
    """Sixty users over four days, two versions, and a segment with few users."""
    shown = shown_lists(5, users=60, lists=4)
    user = shown.table["user"]
    served = pd.DataFrame(shown.table).assign(
        version=np.where(shown.table["time"] < 2 * DAY, "1", "2"),
        segment=np.where(user < 3, "<b>rare</b>", np.where(user < 30, "new", "old")),
    )
    clicks = pd.DataFrame(
        {
            "user": shown.clicks.user,
            "item": shown.clicks.item,
            "time": shown.clicks.time,
            "action": "click",
        }
    )
    bought = clicks[::3].assign(action="purchase", time=clicks["time"] + DAY)
    # Each click twice, at other seconds.
    again = clicks.assign(time=clicks["time"] + 5)
    log = pd.concat([clicks, bought, again])
    return served, log.sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def found():
    served, log = logs()
    joined = join(Served.of(served), RawLog(log, None, {}))
    examination = fit_examination(joined, within=["item"])
    weights = position_weights(joined, examination)
    return report(joined, examination=examination, weights=weights, resamples=4_000)


def test_rates_are_of_the_impressions_and_intervals_of_their_users(found):
    joined = found.joined
    click, user = joined.happened("click"), joined.served.user
    rate = found.overall.rates["click-through"]
    assert rate.value == pytest.approx(click.mean())
    # Twice as many clicks as impressions that are clicked.
    assert joined.count["click"].sum() == 2 * click.sum()
    alone = compare(click * 1.0, np.zeros(len(user)), user, resamples=4_000)
    assert (rate.low, rate.high) == pytest.approx((alone.low, alone.high), abs=2e-3)
    # Purchases a day later than their click: those of the last day have no more log.
    assert found.overall.rates["conversion"].value == pytest.approx(
        joined.happened("purchase").mean()
    )


def test_each_day_segment_and_version_has_its_own(found):
    served, click = found.joined.served, found.joined.happened("click")
    assert [one.name for one in found.by_day] == [
        f"1970-01-0{day}" for day in (1, 2, 3, 4)
    ]
    assert [one.name for one in found.by_version] == ["1", "2"]
    assert [one.name for one in found.by_segment] == ["<b>rare</b>", "new", "old"]
    for parts, column in (
        (found.by_day, served.time // DAY),
        (found.by_version, served.version),
        (found.by_segment[1:], served.segment),
    ):
        for part, one in zip(parts, np.unique(column)[-len(parts) :], strict=True):
            own = column == one
            assert part.impressions == own.sum()
            assert part.users == len(np.unique(served.user[own]))
            rate = part.rates["click-through"]
            assert rate.value == pytest.approx(click[own].mean())
            assert rate.low < rate.value < rate.high
    assert found.by_segment[0].users == 3 and found.by_segment[0].rates == {}


def test_the_report_is_told_in_words_and_numbers(found):
    said = found.report()
    lines = said.splitlines()
    head = next(
        line for line in lines if line.lstrip().startswith("impressions  users")
    )
    assert head.split() == ["impressions", "users", "click-through", "conversion"]
    (all_of_it,) = (line for line in lines if line.startswith("all "))
    assert re.fullmatch(
        r"all +1,200 +60 +[\d.]+% \[[\d.]+% to [\d.]+%\] +[\d.]+% \[.*\]", all_of_it
    )
    rare = next(line for line in lines if line.startswith("<b>rare</b>"))
    assert rare.count("too few users") == 2
    assert "by day" in lines and "by segment" in lines and "by version" in lines
    assert "Note: versions that answered on other days" in said
    assert "clicks by position, worth" in said
    # Nothing is said twice.
    notes = [line for line in lines if line.startswith("Note: ")]
    assert len(notes) == len(set(notes)) == len(found.notes)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["overall"]["rates"]["click-through"]["users"] == 60
    assert [one["name"] for one in told["by_version"]] == ["1", "2"]
    assert told["examination"]["position"] == [1, 2, 3, 4, 5]
    assert told["weights"]["clicks"] == found.weights.clicks
    assert told["joined"]["events"]["click"]["answer an impression"] > 0


def test_the_page_is_whole_and_fetches_nothing(found, tmp_path):
    path = write_page(found, tmp_path / "new" / "page.html", title="A <week>")
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    text = path.read_text(encoding="utf-8")
    read = Reader(text)
    assert not {"script", "link", "img", "iframe", "object", "b"} & set(read.tags)
    assert "url(" not in text and "@import" not in text
    for part in (
        *("A <week>", "Be careful", "All impressions", "Day by day", "By segment"),
        *("By version", "By place in the list", "What was joined", "How to read"),
        *("1,200 impressions to 60 users, 1970-01-01 to 1970-01-04 (days in UTC)",),
        *("<b>rare</b> too few users", "answer an impression within 30m"),
    ):
        assert part in read.said, part
    assert "nan" not in read.said and "{" not in read.said
    assert read.tags.count("svg") == 3  # two rates by day, and the places
    for cell in found.cells(found.by_version[0]):
        assert cell in read.said


def test_what_is_not_known_is_not_on_the_page():
    served, log = logs()
    few = served[served["time"] < DAY].drop(columns=["version", "segment"])
    few = few[few["user"] < 4]
    found = report(
        join(Served.of(few), RawLog(log[log["action"] == "click"], None, {}))
    )
    said = Reader(page(found)).said
    for part in ("By segment", "By version", "By place", "Day by day", "conversion"):
        assert part not in said
    assert "All impressions click-through Impressions Users all too few users" in said
    assert "Note: only 4 users: below 30 the intervals are too short." in (
        found.report()
    )
    with pytest.raises(ValueError, match=r"level=2 must lie between 0 and 1"):
        report(found.joined, level=2)
    with pytest.raises(ValueError, match=r"resamples=0 must be 1 or more"):
        report(found.joined, resamples=0)


@pytest.fixture
def files(tmp_path):
    served, log = logs()
    served.rename(columns={"user": "who"}).to_csv(tmp_path / "served.csv", index=False)
    log.rename(columns={"user": "customer"}).to_parquet(tmp_path / "log.parquet")
    return tmp_path


def typed(folder, *more):
    return [
        *("feedback", "--served", str(folder / "served.csv")),
        *("--served-column", "user=who", "--data", str(folder / "log.parquet")),
        *("--column", "user=customer", *more),
    ]


def test_files_become_a_report_a_page_numbers_and_joined_rows(files, capsys):
    out, html, numbers = (files / one for one in ("j.parquet", "p.html", "n.json"))
    told = ["--examination", "item", "--window", "click=30m"]
    told += ["--html", str(html), "--json", str(numbers), "--out", str(out)]
    assert cli.main(typed(files, *told)) == 0
    printed, aside = capsys.readouterr()
    assert "\nall " in printed and "position  looked at" in printed and aside == ""
    assert "purchase" not in printed
    assert printed.endswith(f"Page: {html}\nJoined: {out}\n")
    assert "<h1>Feedback</h1>" in html.read_text(encoding="utf-8")
    table = pd.read_parquet(out)
    told = json.loads(numbers.read_text())
    rate = told["overall"]["rates"]["click-through"]["value"]
    assert table["click"].mean() == pytest.approx(rate)
    assert table["weight"].max() > 2 and table["click_count"].max() == 2
    # Windows as they are by default, places as if they had been drawn.
    assert cli.main(typed(files, "--examination", "chance", "--clip", "none")) == 0
    assert "conversion" in capsys.readouterr().out


def test_joined_rows_are_read_as_an_experiment_and_as_traffic(tmp_path, capsys):
    served, log = logs()
    # Each arm has half of the users; some lists are shown on two pages at once.
    served = served.assign(
        request=np.arange(len(served)) // 5,
        arm=np.where(served["user"] % 2, "new", "old"),
        propensity=0.5,
    )
    twice = served[:5].assign(request=len(served))
    pd.concat([served, twice]).to_parquet(tmp_path / "served.parquet")
    log.to_parquet(tmp_path / "log.parquet")
    out = str(tmp_path / "joined.parquet")
    told = ["--served", str(tmp_path / "served.parquet"), "--out", out]
    assert cli.main(["feedback", *told, "--data", str(tmp_path / "log.parquet")]) == 0
    capsys.readouterr()
    told = ["--served", out, "--arm", "old=1", "--arm", "new=1"]
    assert cli.main(["experiment", *told]) == 0
    said = capsys.readouterr().out
    assert "click-through:\n" in said and "conversion:\n" in said
    assert "30 users" in said and "left out" not in said
    table = pd.read_parquet(out)
    found = replay(
        table,
        {"half": np.full(len(table), 0.5), "tenth": np.full(len(table), 0.1)},
        resamples=100,
    )
    assert found.overall.impressions == len(served) + 5 and not found.dropped
    assert found.overall.rates["conversion"]["half"].value == pytest.approx(
        table["purchase"].mean()
    )


def test_logs_in_other_clocks_are_joined_and_the_future_is_left_out(tmp_path, capsys):
    start = 1_700_000_000
    user = np.arange(6)
    served = {"user": user, "item": "mug", "time": start * 1_000, "position": 1}
    pd.DataFrame(served).to_csv(tmp_path / "served.csv", index=False)
    local = pd.to_datetime(start + 60, unit="s").tz_localize("UTC")
    times = [f"{local.tz_convert('Asia/Tokyo'):%Y-%m-%d %H:%M:%S}"] * 6
    log = pd.DataFrame({"user": user, "item": "mug", "time": times, "action": "click"})
    log.loc[5, "time"] = "2999-01-01"
    log.loc[4, "action"] = None
    log.to_csv(tmp_path / "log.csv", index=False)
    told = ["--served", str(tmp_path / "served.csv"), "--served-time-unit", "ms"]
    told += ["--data", str(tmp_path / "log.csv"), "--time-zone", "Asia/Tokyo"]
    assert cli.main(["feedback", *told, "--missing-action", "click"]) == 0
    said = capsys.readouterr().out
    assert "5 events, of which 5 answer 5 impressions within 30m" in said
    assert "Note: 1 row of the log left out: time after now." in said
    assert "6 impressions in the last 30m of the log: where a click may yet" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--window", "click"], "--window 'click' is not ACTION=TIME, as in click=30m"),
        (["--window", "click=30"], "window['click']='30' is not a duration"),
        (["--window", "view=1d"], "window names 'view', and the log's actions are"),
        (["--examination", "shop"], "within=['shop'] must be a list of some of"),
        (["--examination", "item, shop"], "within=['item', 'shop'] must be a list of"),
        (["--examination", "item", "--clip", "0"], "clip=0.0 must be a finite number"),
        (
            ["--examination", "item", "--clip", "no"],
            "'no' is neither a number nor none",
        ),
        (
            ["--clip", "5"],
            "--clip cuts the weights that --examination finds: give both",
        ),
        (["--served-column", "user=x"], "--served-column says user twice"),
        # Before anything is read.
        (
            ["--out", "j.csv", "--data", "x.csv"],
            "--out j.csv: joined rows are written as",
        ),
    ],
)
def test_bad_input_ends_in_one_line(files, capsys, more, message):
    assert cli.main(typed(files, *more)) == 2
    aside = capsys.readouterr().err
    assert message in aside and aside.count("\n") == 1


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served, log = logs()
    served.to_parquet("served.parquet")
    log.to_csv("log.csv", index=False)
    (block,) = re.findall(
        r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    names = {}
    exec(compile(block, "feedback.md", "exec"), names)
    assert {"feedback.html", "joined.parquet"} <= {one.name for one in Path().iterdir()}
    (batch,) = names["batches"].take(1)
    assert batch["target_weight"].numpy().max() > 1
