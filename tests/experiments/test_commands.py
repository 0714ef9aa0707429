"""`compare` and `experiment`: from files to a page, and bad input in one line."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from simulated_traffic import by_hand

from tfrs_decay import cli, runs
from tfrs_decay.data import save_events
from tfrs_decay.experiments import ExportedRecommender, compare_recommenders
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import export
from tfrs_decay.training import Settings

LIVE = ["experiment", "--arm", "control=1", "--arm", "decay=1"]


@pytest.fixture(scope="module")
def folder(shop_events, tmp_path_factory):
    """Two exports, a log of impressions by chance, and a log of the users' events."""
    folder = tmp_path_factory.mktemp("compare")
    model = DecayRetrieval(ItemTower(shop_events.items, dim=4), TimeDecayPooling())
    count = np.bincount(shop_events.item, minlength=len(shop_events.items)) * 1.0
    for name, popularity in (("old", count), ("new", -count)):
        export(model, folder / name, popularity=popularity, max_history=500)
    rng = np.random.default_rng(0)
    users = np.repeat(shop_events.users[:40], 20)
    ids = shop_events.items.ids
    table = pd.DataFrame(
        {
            "customer": users,
            "user": "somebody else",
            "item": np.concatenate([rng.permutation(ids)[:20] for _ in range(40)]),
            # Before half of the users had done anything.
            "time": pd.to_datetime(np.median(shop_events.time), unit="s").floor("D"),
            "propensity": 1 / len(ids),
            "click": rng.random(len(users)) < 0.3,
        }
    )
    table.to_csv(folder / "traffic.csv", index=False)
    save_events(shop_events, folder / "events.npz")
    about = {
        "settings": Settings().to_dict(),
        "split": {"validation": 0, "test": 0},
    }
    runs.write_about(about, folder)
    pd.DataFrame(
        {
            "user": shop_events.users[shop_events.user],
            "item": ids[shop_events.item],
            "time": shop_events.time,
        }
    ).to_parquet(folder / "events.parquet")
    return folder


def typed(folder, *more):
    return [
        *("compare", str(folder / "old"), str(folder / "new")),
        *("--served", str(folder / "traffic.csv"), "--served-column", "user=customer"),
        *more,
    ]


def test_two_exports_are_compared_and_a_page_is_written(
    folder, shop_events, tmp_path, capsys
):
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    told = ["--run", str(folder), "--html", str(page), "--json", str(numbers)]
    assert cli.main(typed(folder, *told)) == 0
    printed, aside = capsys.readouterr()
    assert "click-through:\n  old: 0." in printed and "new less old: " in printed
    assert printed.endswith(f"Page: {page}\n") and aside == ""
    assert "<h1>new against old</h1>" in page.read_text(encoding="utf-8")
    table = pd.read_csv(folder / "traffic.csv")
    found = compare_recommenders(
        table.assign(user=table["customer"]),
        {name: folder / name for name in ("old", "new")},
        shop_events,
    )
    assert json.loads(numbers.read_text()) == json.loads(json.dumps(found.to_dict()))
    # The same log as a table.
    assert cli.main(typed(folder, "--data", str(folder / "events.parquet"))) == 0
    assert printed.split("Page")[0] in capsys.readouterr().out


def test_the_users_histories_are_read_as_any_log_is(folder, tmp_path, capsys):
    log = pd.read_parquet(folder / "events.parquet").assign(action="purchase")
    log.iloc[1:].to_parquet(tmp_path / "short.parquet")
    log["when"] = log.pop("time") * 1_000
    back = log.iloc[:1].assign(action="return", when=log["when"].iloc[0] + 1_000)
    pd.concat([log, back]).to_parquet(tmp_path / "log.parquet")
    told = ["--column", "time=when", "--time-unit", "ms", "--taken-back"]
    outcomes = []
    for more in (
        ["--data", str(tmp_path / "log.parquet"), *told, "return=purchase"],
        ["--data", str(tmp_path / "short.parquet")],
    ):
        assert cli.main(typed(folder, *more)) == 0
        outcomes.append(capsys.readouterr().out.partition("click-through:"))
    assert outcomes[0][1:] == outcomes[1][1:]
    assert "2 rows left out: taken back" in outcomes[0][0]


def test_what_was_shown_in_local_time_does_not_know_its_own_clicks(
    folder, tmp_path, monkeypatch
):
    asked, answer = [], ExportedRecommender.__call__

    def remember(self, requests):
        asked.extend(requests)
        return answer(self, requests)

    monkeypatch.setattr(ExportedRecommender, "__call__", remember)
    shown = pd.read_csv(folder / "traffic.csv").assign(time="01/07/2011 12:00")
    shown.to_csv(tmp_path / "shown.csv", index=False)
    clicks = shown[["item"]].assign(user=shown["customer"], time="01/07/2011 12:10")
    clicks.to_csv(tmp_path / "log.csv", index=False)
    zone = "Europe/London"
    told = [
        *("--served", str(tmp_path / "shown.csv"), "--served-column", "user=customer"),
        *("--served-time-zone", zone, "--served-day-first"),
        *("--data", str(tmp_path / "log.csv"), "--time-zone", zone, "--day-first"),
    ]
    exports = [str(folder / name) for name in ("old", "new")]
    assert cli.main(["compare", *exports, *told]) == 0
    assert asked and not any(one.history for one in asked)
    assert {one.time for one in asked} == {1_309_518_000}  # 11:00 UTC


@pytest.mark.parametrize(
    ("times", "told", "days"),
    [
        ([0, 86_400_000], ["--served-time-unit", "ms"], ["1970-01-01", "1970-01-02"]),
        (
            ["01/07/2011 00:30", "02/07/2011 00:30"],
            ["--served-time-zone", "Europe/London", "--served-day-first"],
            ["2011-06-30", "2011-07-01"],
        ),
    ],
)
def test_days_are_those_of_the_times_as_they_are_meant(tmp_path, times, told, days):
    log, numbers = tmp_path / "log.csv", tmp_path / "numbers.json"
    pd.DataFrame(by_hand(time=times * 12)).to_csv(log, index=False)
    assert cli.main([*LIVE, "--served", str(log), *told, "--json", str(numbers)]) == 0
    assert [day["name"] for day in json.loads(numbers.read_text())["by_day"]] == days


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "give --data or --run: one log that knows"),
        (["--run", "DIR", "--data", "FILE"], "give --data or --run"),
        (
            ["--run", "DIR", "--month-first"],
            "--day-first/--month-first says how --data is read: a run's log has been",
        ),
        (["--run", "DIR", "--clip", "0"], "clip=0.0 must be a finite number above 0"),
        (["--run", "DIR", "--k", "0"], "k=0 must be 1 or more"),
        (["--run", "nowhere"], "nowhere is not a finished run (it has no run.json)"),
        (["--run", "DIR", "--served-column", "item=sku"], "has no column sku"),
        (["--run", "DIR", "--reward", "revenue"], "traffic has no column 'revenue'"),
    ],
)
def test_a_bad_comparison_ends_in_one_line(folder, capsys, more, message):
    more = [str(folder) if one == "DIR" else one for one in more]
    assert cli.main(typed(folder, *more)) == 2
    aside = capsys.readouterr().err
    assert message in aside and aside.count("\n") == 1


def test_a_live_experiment_is_told(tmp_path, capsys):
    table = pd.DataFrame(by_hand())
    pd.concat([table, table.iloc[:1]]).to_csv(tmp_path / "log.csv", index=False)
    told = [*LIVE, "--served", str(tmp_path / "log.csv")]
    assert cli.main(told) == 2
    assert "traffic has 1 rows that stand twice" in capsys.readouterr().err
    page = tmp_path / "new" / "page.html"
    assert cli.main([*told, "--drop-duplicates", "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "decay: 0.5000 [0.5000, 0.5000], 6 users, 12 impressions" in printed
    assert "1 impression left out: it stands twice" in printed
    assert "decay against control" in page.read_text(encoding="utf-8")


def test_an_interleaving_is_told(tmp_path, capsys):
    arm = ["control", "decay"] * 12
    pd.DataFrame(by_hand(arm=arm)).to_parquet(tmp_path / "log.parquet")
    told = [*LIVE, "--served", str(tmp_path / "log.parquet")]
    assert cli.main([*told, "--interleaved"]) == 0
    assert "Users: 0 won, 9 lost, 3 tied" in capsys.readouterr().out
    assert cli.main(told) == 2
    assert "every user was shown more than one arm" in capsys.readouterr().err
    assert cli.main([*told[:-2], "--arm", "x=much", *told[-2:]]) == 2
    assert "--arm 'x=much' is not NAME=WEIGHT, as in" in capsys.readouterr().err
