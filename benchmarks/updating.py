"""What a daily update costs beside training anew, and how good its model is.

The last days of a log come one after the other. After each, the next model is made and
asked for the baskets of the day that follows, over the whole catalogue:

  update  `updating.update` of the model of the day before, over the new day alone, with
          its guard, as `tfrs-decay update` does it
  anew    a model from nothing, fitted on the whole log until then, for as many passes
          as were best for the first model. Choosing them is not counted: it takes
          another fit, and `tfrs-decay train` makes a twin with mean pooling as well
  left    the first model as it was, which is trained until the first of these days

All three read each user's history up to the basket. Items are known by their ids alone.
Told are seconds of processor time, over all cores, so that others may be busy; in one
process, in which the graphs of an update are there after the first one, which is told
apart: a command that starts every night traces them every time.

    python benchmarks/updating.py
    python benchmarks/updating.py --data online_retail.xlsx --days 10

Keys of the JSON:
  update_s, anew_s       seconds, on average over the days
  anew_ratio             the second over the first
  first_update_s, first_anew_ratio
                         the same of the first day, tracing included
  first_fit_s            seconds of the first model, its passes chosen
  recall_NAME, ndcg_NAME Recall@20 and NDCG@20 of each, of all days' baskets: mean, low
                         and high of the interval over users
  recall_update_less_NAME, ndcg_update_less_NAME
                         differences on the same baskets, likewise
  refused                days whose update the guard refused
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from printed import machine, own_peak_gib, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay import runs, training
from tfrs_decay.data.split import TimeSplit, events_until
from tfrs_decay.evaluation import TwoTowerScores, compare, evaluate
from tfrs_decay.families import DEFAULT, named_decay

import numpy as np  # isort: skip

DAY = 86_400
K = 20
NAMES = ("update", "anew", "left")


class Measured(NamedTuple):
    """What the days brought.

    seconds: Of each update and of each training anew, by name.
    first_fit: Seconds of the first model.
    passes: Of the first model, and of those that are made anew.
    user: [q] of each basket.
    recall: By name, [q].
    ndcg: By name, [q].
    refused: How many updates the guard refused.
    """

    seconds: dict[str, list[float]]
    first_fit: float
    passes: int
    user: np.ndarray
    recall: dict[str, np.ndarray]
    ndcg: dict[str, np.ndarray]
    refused: int


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, and what came of it."""
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def measure(
    events: td.data.Events, days: int, settings: training.Settings, validation: int
) -> Measured:
    """Goes through the last days; the last of all is only asked for.

    Args:
        events: Clean events.
        days: How many are added, one by one.
        settings: How to make and train all models.
        validation: Seconds of the period by which the passes of the first are chosen.
    """
    first = int(events.time.max()) - (days + 1) * DAY
    cuts = [first + day * DAY for day in range(days + 1)]
    asked = [
        td.data.basket_queries(
            events, after=cut, until=cut + DAY, actions=settings.target_actions
        )
        for cut in cuts[1:]
    ]
    found: dict[str, list[Any]] = {name: [] for name in NAMES}

    def make(until: int) -> td.models.DecayRetrieval:
        decay = named_decay(DEFAULT, trainable=True)
        return training.make_model(events_until(events, until), settings, decay)

    def anew(until: int) -> td.models.DecayRetrieval:
        model, known = make(until), events_until(events, until)
        for _ in training.fit_through(
            model, known, [until], settings, first_passes=passes
        ):
            pass
        return model

    def ask(name: str, model: td.models.DecayRetrieval, day: int) -> None:
        scores = TwoTowerScores(model, events, max_history=settings.max_history)
        found[name].append(evaluate({name: scores}, asked[day], events, k=K)[name])

    split = TimeSplit(validation=first - validation, test=first)
    first_fit, trained = timed(
        lambda: training.train(make(first), events, split, settings, verbose=0)
    )
    model, passes = trained.model, trained.epochs
    for day in range(days):
        ask("left", model, day)
    so_far, usual, until, refused = events_until(events, first), None, first, 0
    seconds: dict[str, list[float]] = {"update": [], "anew": []}
    for day, cut in enumerate(cuts[1:]):
        new = events.where((events.time > cut - DAY) & (events.time <= cut))
        given: dict[str, Any] = {"usual": usual, "trained_until": until}
        spent, made = timed(
            functools.partial(td.updating.update, model, so_far, new, settings, **given)
        )
        seconds["update"].append(spent)
        model, so_far, usual = made.model, made.events, made.usual
        until, refused = made.trained_until, refused + (not made.published)
        ask("update", model, day)
        spent, other = timed(functools.partial(anew, cut))
        seconds["anew"].append(spent)
        ask("anew", other, day)
        print(
            f"day {day + 1}: {len(new):,} events, {len(asked[day]):,} baskets the day "
            f"after; update {seconds['update'][-1]:.1f} s, anew {spent:.1f} s; guard: "
            f"{made.guard.verdict}",
            flush=True,
        )
    return Measured(
        seconds=seconds,
        first_fit=first_fit,
        passes=passes,
        user=np.concatenate([queries.user for queries in asked]),
        recall={
            name: np.concatenate([one.recall() for one in each])
            for name, each in found.items()
        },
        ndcg={
            name: np.concatenate([one.ndcg() for one in each])
            for name, each in found.items()
        },
        refused=refused,
    )


def figures_of(measured: Measured, seed: int) -> dict[str, Any]:
    """The figures that are told; see above."""
    update, anew = (measured.seconds[name] for name in ("update", "anew"))
    figures: dict[str, Any] = {
        "update_s": float(np.mean(update)),
        "anew_s": float(np.mean(anew)),
        "anew_ratio": sum(anew) / sum(update),
        "first_update_s": update[0],
        "first_anew_ratio": anew[0] / update[0],
        "first_fit_s": measured.first_fit,
    }

    def interval(one: np.ndarray, other: np.ndarray) -> list[float]:
        said = compare(one, other, measured.user, seed=seed)
        return [said.difference, said.low, said.high]

    for metric in ("recall", "ndcg"):
        each = getattr(measured, metric)
        nothing = np.zeros(len(measured.user))
        for name in NAMES:
            figures[f"{metric}_{name}"] = interval(each[name], nothing)
        for name in NAMES[1:]:
            figures[f"{metric}_update_less_{name}"] = interval(
                each["update"], each[name]
            )
    return {**figures, "refused": measured.refused}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="simulated", help="as for `train`")
    parser.add_argument("--sample", type=int, help="only so many users")
    parser.add_argument("--users", type=int, default=3_000, help="of the simulated log")
    parser.add_argument("--span", type=int, default=180, help="days of it")
    parser.add_argument("--days", type=int, default=5, help="that are added")
    parser.add_argument(
        "--validation", type=int, default=30, help="days that the passes are chosen by"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if arguments.data == "simulated":
        log = td.data.simulated_shop(
            users=arguments.users, days=arguments.span, seed=arguments.seed
        ).log
    else:
        log = td.data.open_log(
            arguments.data, sample=arguments.sample, seed=arguments.seed
        )
    events = td.data.clean(log).events
    settings = runs.settings_for(events.actions, None, seed=arguments.seed)
    print(
        f"{machine()}; {arguments.data}, {len(events):,} events of "
        f"{len(events.users):,} users and {len(events.items):,} items, seed "
        f"{arguments.seed}"
    )
    measured = measure(events, arguments.days, settings, arguments.validation * DAY)
    figures = figures_of(measured, arguments.seed)
    print(
        f"{figures['update_s']:.1f} s an update, {figures['anew_s']:.1f} s anew by "
        f"{measured.passes} passes: {figures['anew_ratio']:.1f} times as many, on the "
        f"first day {figures['first_anew_ratio']:.1f}; the first model "
        f"{measured.first_fit:.1f} s; {measured.refused} of {arguments.days} updates "
        f"refused; peak memory {own_peak_gib():.1f} GiB"
    )
    for metric, called in (("recall", "Recall@20"), ("ndcg", "NDCG@20")):
        print(
            f"\n{called} of {len(measured.user):,} baskets of "
            f"{len(np.unique(measured.user)):,} users, 95% intervals over users:"
        )
        for name in (*NAMES, *(f"update_less_{one}" for one in NAMES[1:])):
            value, low, high = figures[f"{metric}_{name}"]
            print(f"  {name.replace('_', ' '):<18} {value:.4f} [{low:.4f}, {high:.4f}]")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
