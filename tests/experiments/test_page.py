"""The page of an outcome: whole, fetching nothing, and saying what was found."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from page_reader import Reader
from simulated_traffic import (
    ARMS,
    ITEMS,
    asked,
    by_hand,
    logged_traffic,
    mixed_traffic,
    split_traffic,
)

from tfrs_decay.experiments import interleaved, live, page, replay, write_page
from tfrs_decay.experiments.assignment import sample_ratio
from tfrs_decay.experiments.charts import interval, lines, ticks
from tfrs_decay.experiments.wording import Figures, chance, headline, sentences


@pytest.fixture(scope="module")
def outcomes():
    rng = np.random.default_rng(1)
    table = split_traffic(rng, {"control": 0.2, "decay": 0.3}, days=4)
    table["segment"] = rng.choice(["new", "old"], len(table))
    # One segment that has two users.
    table.iloc[:2, table.columns.get_loc("segment")] = "rare"
    rows, kind = logged_traffic(rng, visits=4)
    appeal = dict.fromkeys(ITEMS, 0.3)
    return {
        "live": live(table, ARMS),
        "replay": replay(rows, asked(kind), clip=8),
        "interleaving": interleaved(
            mixed_traffic(rng, ITEMS, ITEMS, appeal), ["A", "B"]
        ),
    }


@pytest.mark.parametrize("kind", ["live", "replay", "interleaving"])
def test_a_page_is_whole_and_fetches_nothing(outcomes, kind, tmp_path):
    path = tmp_path / "new" / "page.html"
    path.parent.mkdir()
    path.write_text("of yesterday")
    assert write_page(outcomes[kind], path) == path
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]
    text = path.read_text(encoding="utf-8")
    read = Reader(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    assert not {"src", "href", "srcset"} & {name for name, _ in read.attributes}
    assert "url(" not in text and "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in (
        read.attributes
    )
    assert headline(outcomes[kind]) in read.said
    for heading in ("Figures", "Differences", "Day by day", "Left out", "How to read"):
        assert heading in read.said
    assert "{" not in read.said and "nan" not in read.said


def test_the_figures_of_a_live_experiment_are_on_its_page(outcomes):
    found = outcomes["live"]
    said = Reader(page(found)).said
    assert said.startswith(
        "decay against control decay against control A live experime"
    )
    rates = found.overall.rates["click-through"]
    for arm in ARMS:
        assert f"{arm} {100 * rates[arm].value:.1f}%" in said
    assert "Segment by segment" in said
    assert "1 segment has too few users to say anything." in said
    assert "too few users" in said and "rare" in said
    assert "Users Users Expected control 400 400 decay 400 400 They fit" in said
    assert "Nothing was left out." in said


def test_what_a_replay_stands_on_is_on_its_page(outcomes):
    said = Reader(page(outcomes["replay"], title="A week of March")).said
    assert said.startswith("A week of March A week of March A replay: no user was")
    one = outcomes["replay"].weights["good"]
    assert f"good {one.matched:,} {one.effective_size:,.0f} {one.mean:.2f} ±" in said


def test_users_of_an_interleaving_are_counted_on_its_page(outcomes):
    said = Reader(page(outcomes["interleaving"])).said
    won = outcomes["interleaving"].sign_test
    assert f"{won.wins} users preferred B and {won.losses} A; for {won.ties} it" in said


def test_every_text_is_escaped():
    evil = "<script>alert(1)</script>"
    table = pd.DataFrame(by_hand(segment=[evil, "b"] * 12, money=[1.0, 2.0] * 12))
    table["arm"] = table["arm"].replace("decay", f"{evil} & more")
    # A user of two arms, to have something left out.
    table = pd.concat([table, table.iloc[[0]].assign(arm=f"{evil} & more", item="z")])
    table = table.rename(columns={"money": f"<b>{evil}"})
    found = live(table, ["control", f"{evil} & more"], rewards=["click", f"<b>{evil}"])
    found = replace(found, notes=(*found.notes, f"note {evil}"))
    text = page(found, title=f"title {evil}")
    read = Reader(text)
    assert "<script" not in text and "<b><" not in text
    assert f"title {evil}" in read.said and f"note {evil}" in read.said
    assert f"{evil} & more" in read.said and f"<b>{evil}" in read.said
    assert "3 impressions: the user was shown more than one arm" in read.said


def test_a_page_that_cannot_be_trusted_says_so_first(outcomes):
    lost = sample_ratio({"control": 400, "decay": 300}, ARMS)
    found = replace(outcomes["live"], sample_ratio=lost)
    read = Reader(page(found))
    assert headline(found) == "Do not trust these numbers"
    assert read.said.index("users were lost or moved") < read.said.index("Figures")
    assert "They do not fit" in read.said
    assert "better Chance" not in read.said and "not to be trusted Chance" in read.said


def test_one_day_is_no_course_of_days():
    found = live(by_hand(time=np.arange(24)), ARMS)
    said = Reader(page(found)).said
    assert "Day by day" not in said and "1970-01-01 (days in UTC)" in said
    assert "Be careful only 6 users in an arm" in said


def test_headlines_and_sentences():
    better = live(by_hand(), ARMS)
    click = better.overall.differences["click-through"]["decay"]

    def outcome(**metrics):
        differences = {name: {"decay": one} for name, one in metrics.items()}
        rates = {name: better.overall.rates["click-through"] for name in metrics}
        overall = replace(better.overall, rates=rates, differences=differences)
        shares = dict.fromkeys(metrics, True)
        return replace(better, overall=overall, metrics=shares)

    up = replace(click, difference=0.25, low=0.2, high=0.3, adjusted_p=0.01)
    down = replace(up, difference=-0.25, low=-0.3, high=-0.2)
    same = replace(up, low=-0.1, adjusted_p=0.4)
    assert headline(outcome(click=up)) == "decay does better"
    assert headline(outcome(click=up, buy=same)) == "decay does better"
    assert headline(outcome(click=down)) == "decay does worse"
    assert headline(outcome(click=same)) == "No difference shown"
    assert headline(outcome(click=up, buy=down)) == (
        "decay is better in one thing and worse in another"
    )
    assert sentences(outcome(click=up)) == [
        "Click: 50.0% with decay, 25.0% with control. That is 25.0 points more, a rise "
        "of 100%. The true difference likely lies between +20.0 and +30.0 points (95% "
        "interval)."
    ]
    assert " 25.0 points less, a fall of 100%." in sentences(outcome(click=down))[0]
    assert (
        "A difference of this size may well be chance"
        in (sentences(outcome(click=same))[0])
    )


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (1.0, "nearly always"),
        (0.28, "28% of the time"),
        (0.0123, "1% of the time"),
        (0.0042, "0.4% of the time"),
        (0.0002, "less than 0.1% of the time"),
    ],
)
def test_a_chance_in_words(p, said):
    assert chance(p) == said


def test_numbers_are_as_exact_as_they_are_known():
    share, money = Figures(True, 1), Figures(False, 2)
    assert share.rate(0.04567) == "4.6%" and money.rate(1234.5) == "1,234.50"
    assert share.difference(-0.0032) == "−0.3 points"  # noqa: RUF001
    assert share.difference(0.0032, signed=False) == "0.3 points"
    # What rounds to nothing has no direction.
    assert share.difference(-0.0001) == "0.0 points" and money.rate(-0.001) == "0.00"
    assert money.difference(2.5) == "+2.50"


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 7), (0.1, 0.1), (0, 0), (1e-6, 3e-6), (-900, 12_345)]
)
def test_an_axis_has_round_numbers_around_what_it_shows(low, high):
    marks = ticks(low, high)
    assert marks[0] <= low and marks[-1] >= high and 3 <= len(marks) <= 8
    steps = np.diff(marks)
    assert steps == pytest.approx(steps[0])
    assert f"{steps[0]:e}".rstrip("0")[0] in "125"


def test_days_without_a_value_are_a_gap():
    band = (0.2, 0.1, 0.3)
    drawn = lines(
        [str(day) for day in range(5)],
        {"arm1": [band, band, None, band, None]},
        label="rate",
        written=str,
    )
    assert drawn.count("<polyline") == 2 and drawn.count("<polygon") == 1
    assert drawn.count("<circle") == 3
    nothing = lines(["a"], {"arm1": [None]}, label="rate", written=str)
    assert "<polyline" not in nothing
    Reader(drawn)
    Reader(nothing)


def test_an_interval_stands_where_its_numbers_are():
    drawn = interval(0.5, 0.0, 1.0, reach=1.0, kind="better", label="a < b")
    assert re.search(r'x1="50.00%" x2="98.00%"', drawn) and 'cx="74.00%"' in drawn
    assert "a &lt; b" in drawn


def test_three_arms_have_a_difference_each():
    rates = {"control": 0.2, "a week": 0.3, "a month": 0.2}
    found = live(split_traffic(np.random.default_rng(2), rates), [*rates])
    assert headline(found) == "There are differences"
    assert found.verdict.startswith("a week is better than control in click-through")
    said = Reader(page(found)).said
    assert said.startswith("a week, a month against control ")
    for arm in ("a week", "a month"):
        assert f"{arm} less control: click-through" in said
