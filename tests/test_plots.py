"""Pictures: what is in them, not how they look."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tfrs_decay import plots
from tfrs_decay.decay import Constant, Exponential, Product, Window

DAY = 86_400


def test_a_curve_passes_its_half_life():
    figure = plots.decay_curves({"a week": Exponential("7d")}, until="14d")
    (line,) = figure.axes[0].lines
    days, weight = line.get_data()
    np.testing.assert_allclose(
        np.interp([0, 7, 14], days, weight), [1, 0.5, 0.25], atol=1e-3
    )


def test_each_feature_is_a_line():
    decays = {"two": Exponential(["1d", "9d"]), "none": Constant()}
    assert len(plots.decay_curves(decays).axes[0].lines) == 3


def test_over_the_rank_each_number_of_later_events_is_a_point():
    decays = {"five": Window(5, by="rank"), "half": Exponential(5, by="rank")}
    axes = plots.decay_curves(decays, until=np.int64(6)).axes[0]
    assert axes.get_xlabel() == "later events"
    five, half = axes.lines
    assert five.get_xdata().tolist() == list(range(7))
    assert five.get_ydata().tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert half.get_ydata()[5] == pytest.approx(1 / 2)


def test_whatever_has_a_clock_and_a_weight_has_a_curve():
    class Half:
        clocks = frozenset({"age"})

        def weight(self, elapsed):
            return np.full(np.shape(elapsed), 0.5)

    (line,) = plots.decay_curves({"half": Half()}).axes[0].lines
    assert set(line.get_ydata()) == {0.5}


def test_a_history_shows_age_and_weight_and_names_the_heaviest():
    labels = [f"item {number}" for number in range(7)]
    figure = plots.history_weights(
        [number * DAY for number in range(7)],
        [0.0, 0.1, 0.2, 0.3, 0.9, 0.5, 0.4],
        10 * DAY,
        labels=labels,
    )
    axes = figure.axes[0]
    days, weight = axes.containers[0].markerline.get_data()
    np.testing.assert_allclose(days, [10, 9, 8, 7, 6, 5, 4])
    assert weight[4] == 0.9
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [one.split("  ")[-1] for one in named] == [
        labels[number] for number in (4, 5, 6, 3, 2)
    ]


def test_no_curve_lies_under_the_legend():
    decays = {f"{days} days": Exponential(f"{days}d") for days in (1, 7, 30, 365)}
    figure = plots.decay_curves({**decays, "none": Constant()})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    assert not legend.overlaps(axes.get_window_extent())
    assert figure.bbox.x1 >= legend.x1


def test_of_stems_too_close_for_two_numbers_the_heavier_is_named():
    labels = ["new", "beside it", "same moment", "old"]
    ages = np.array([0, 1, 0, 99])
    weights = [0.9, 0.8, 0.85, 0.1]
    figure = plots.history_weights(-ages * DAY, weights, 0, labels=labels)
    legend = figure.axes[0].get_legend()
    named = [text.get_text().split("  ")[-1] for text in legend.get_texts()]
    assert named == ["new", "old"]
    assert legend.get_title().get_text() == "the heaviest, of close neighbours one"
    # Events of one moment are one stem: nothing is passed over.
    there = [0, 2, 3]
    apart = plots.history_weights(
        -ages[there] * DAY, [0.9, 0.85, 0.1], 0, labels=["a", "b", "c"]
    )
    assert apart.axes[0].get_legend().get_title().get_text() == ""


def test_labels_may_be_an_array():
    labels = np.array(["lantern", "mug"])
    figure = plots.history_weights([0, DAY], [0.5, 0.25], 2 * DAY, labels=labels)
    named = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert named == ["1  0.500  lantern", "2  0.250  mug"]


def test_an_empty_history_is_an_empty_picture(tmp_path):
    path = plots.save(plots.history_weights([], [], 0), tmp_path / "a" / "empty.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [one.name for one in path.parent.iterdir()] == ["empty.png"]


def test_bars_are_the_scores():
    figure = plots.item_scores(["a", "x" * 99], [2.0, -1.0])
    assert [bar.get_width() for bar in figure.axes[0].patches] == [2.0, -1.0]
    assert len(figure.axes[0].get_yticklabels()[1].get_text()) < 50


def test_a_day_is_a_point_in_the_band_of_its_interval():
    curves = {"one": ([1, 2, 3], [0, 1, 1], [2, 4, 5]), "other": ([0], [0], [0])}
    axes = plots.by_day(curves, measure="click-through", first_day=7).axes[0]
    line, other = axes.lines
    assert line.get_xydata().tolist() == [[7, 1], [8, 2], [9, 3]]
    assert other.get_xydata().tolist() == [[7, 0]]
    band = {tuple(one) for one in axes.collections[0].get_paths()[0].vertices}
    assert band == {(7, 0), (8, 1), (9, 1), (7, 2), (8, 4), (9, 5)}
    assert axes.get_ylabel() == "click-through"
    assert [one.get_text() for one in axes.get_legend().get_texts()] == [*curves]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.decay_curves({}), "name at least one decay"),
        (
            lambda: plots.decay_curves(
                {"clock": Exponential("7d"), "rank": Exponential(5, by="rank")}
            ),
            "over age and over rank: a curve has one axis, so draw those of one clock",
        ),
        (
            lambda: plots.decay_curves(
                {"both": Product([Exponential("7d"), Exponential(5, by="rank")])}
            ),
            "over age and over rank: a curve has one axis",
        ),
        (
            lambda: plots.decay_curves({"a": Exponential({"buy": "7d", "*": "1d"})}),
            "needs action",
        ),
        (
            lambda: plots.decay_curves({"a": Exponential(5, by="rank")}, until="7d"),
            "until='7d': over the rank it is a number of events",
        ),
        (
            lambda: plots.decay_curves({"a": Exponential(5, by="rank")}, until=0),
            "until=0: over the rank it is a number of events",
        ),
        (
            lambda: plots.decay_curves({"a": Exponential("7d")}, until="soon"),
            "until='soon' is not a duration",
        ),
        (
            lambda: plots.history_weights([1, 2], [1.0], 3),
            r"shape \(2,\) and weights \(1,\)",
        ),
        (
            lambda: plots.history_weights([1], [1.0], 3, labels=["a", "b"]),
            "2 labels for 1 events",
        ),
        (lambda: plots.item_scores(["a"], []), "1 labels for 0 scores"),
        (lambda: plots.by_day({}, measure="x"), "curves={}: name at least one"),
        (
            lambda: plots.by_day({"a": ([1, 2], [0, 1], [2])}, measure="x"),
            r"curves\['a'\] has the shapes \(2,\), \(2,\) and \(1,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize("decays", [[Exponential("7d")], {"a week": "7d"}, None])
def test_curves_are_of_decays_by_name(decays):
    with pytest.raises(
        TypeError, match=f"decays={re.escape(repr(decays))}: give a mapping from names"
    ):
        plots.decay_curves(decays)
