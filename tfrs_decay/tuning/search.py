"""The decay found by search: every family over every clock, judged alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.tables import need
from tfrs_decay.decay import Constant, Decay
from tfrs_decay.decay.base import CLOCKS
from tfrs_decay.families import NAMED, named_decay
from tfrs_decay.training import Settings
from tfrs_decay.tuning.objectives import LinearObjective, Objective

if TYPE_CHECKING:
    import optuna

LAST_EVENTS = (1, 5, 20)
"""Always tried, whatever is asked for: what a shop without decay would do."""

AT_RANDOM = 1
"""Trials at random for each further number, before Optuna has a view of it."""

Bounds = Mapping[str, tuple[float, float]]
"""By clock, the least and the greatest scale: seconds by "age", events by "rank"."""


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        families: Names of `families.NAMED`: those that have a scale.
        by: Clocks, "age" and "rank".
        trials: Decays tried for each family and clock, half of them evenly over the
            logarithm of the scale, the others where Optuna expects most. For each
            number that a family has besides its scale there are half as many again.
            What was tried already is not tried twice, and counts.
        seed: Of Optuna's draws.
    """

    families: tuple[str, ...] = tuple(NAMED)
    by: tuple[str, ...] = CLOCKS
    trials: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be searched."""
        for name, given, known in (
            ("families", self.families, tuple(NAMED)),
            ("by", self.by, CLOCKS),
        ):
            strange = [one for one in given if one not in known]
            if strange or not given or isinstance(given, str):
                raise ValueError(
                    f"{name}={given!r}: name some of {', '.join(known)}."
                    + (
                        " Log buckets have no scale to search: they are learned."
                        if "log-buckets" in given
                        else ""
                    )
                )
        whole = isinstance(self.trials, (int, np.integer))
        if not whole or isinstance(self.trials, bool):
            raise ValueError(f"trials={self.trials!r} must be a whole number.")
        if self.trials < 4:
            raise ValueError(f"trials={self.trials} must be 4 or more.")

    @property
    def everything(self) -> bool:
        """Whether no family and no clock is left out."""
        return {*self.families} == {*NAMED} and {*self.by} == {*CLOCKS}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self),
            "families": [*self.families],
            "by": [*self.by],
            "trials": int(self.trials),
        }


class Asked(NamedTuple):
    """One decay to try.

    family: Its name; "none" for the plain mean.
    by: Its clock; "" for the plain mean.
    scale: Seconds by "age", events by "rank"; None for the plain mean.
    numbers: (name, value) of what else the family has.
    """

    family: str
    by: str
    scale: float | None
    numbers: tuple[tuple[str, float], ...] = ()

    def decay(self) -> Decay:
        """The decay, fixed."""
        if self.family == "none":
            return Constant()
        numbers: dict[str, Any] = dict(self.numbers)
        return named_decay(self.family, scale=self.scale, by=self.by, **numbers)


class Score(NamedTuple):
    """How a decay did on the validation period.

    recall: Recall@20, the mean over queries.
    ndcg: NDCG@20, the mean over queries.
    queries: How many.
    gain: Its recall less the plain mean's.
    gain_error: Standard error of the gain, users being what is drawn; infinite with a
        single user, who says nothing of others.
    """

    recall: float
    ndcg: float
    queries: int
    gain: float
    gain_error: float


class Trial(NamedTuple):
    """A decay that was tried, and how it did."""

    number: int
    asked: Asked
    score: Score


class Tuned(NamedTuple):
    """What a search found.

    trials: All of them in their order; the first is the plain mean.
    search: What was asked for.
    """

    trials: list[Trial]
    search: Search = Search()

    @property
    def best(self) -> Trial:
        """The one with the highest recall; the earlier one among equals.

        Where families or clocks were named it is one of theirs. What is always tried,
        the plain mean and the last few events, is then there to compare with, and is
        the best only of a search for everything.
        """
        return _best(
            one
            for one in self.trials
            if self.search.everything
            or (
                one.asked.family in self.search.families
                and one.asked.by in self.search.by
            )
        )

    @property
    def mean(self) -> Trial:
        """The plain mean."""
        return self.trials[0]

    @property
    def decay(self) -> Decay:
        """The best one's decay."""
        return self.best.asked.decay()

    def best_of_each(self) -> list[Trial]:
        """The best of each family and clock, the best of all first."""
        found: dict[tuple[str, str], Trial] = {}
        for one in self.trials:
            curve = (one.asked.family, one.asked.by)
            if curve not in found or one.score.recall > found[curve].score.recall:
                found[curve] = one
        return sorted(found.values(), key=lambda one: -one.score.recall)

    def report(self) -> str:
        """The best of each family and clock as a table, and what it comes to."""
        rows = [
            (
                one.asked.decay().describe(),
                f"{one.score.recall:.4f}",
                f"{one.score.ndcg:.4f}",
                ""
                if one is self.mean
                else f"{one.score.gain:+.4f} +- {2 * one.score.gain_error:.4f}",
            )
            for one in self.best_of_each()
        ]
        head = ("decay", "Recall@20", "NDCG@20", "over the mean")
        widths = [max(len(row[place]) for row in [head, *rows]) for place in range(4)]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(
                        cell.rjust(width)
                        for cell, width in zip(row[1:], widths[1:], strict=True)
                    ),
                ]
            ).rstrip()
            for row in [head, *rows]
        ]
        best, of_all = self.best, _best(self.trials)
        if of_all.score.recall > best.score.recall:
            lines.append(
                f"Best of what was asked for: {best.asked.decay().describe()}. Better "
                f"than that: {of_all.asked.decay().describe()}."
            )
        if not self._is_clear(of_all):
            lines.append("No decay is clearly better than the plain mean on this log.")
        elif not self._is_clear(best):
            lines.append(
                "What was asked for is not clearly better than the plain mean on this "
                "log."
            )
        return "\n".join(lines)

    def _is_clear(self, one: Trial) -> bool:
        """Whether one of so many is ahead of the mean by more than chance."""
        # The best of many is ahead by chance alone: Bonferroni's allowance for it.
        tried = max(len(self.trials) - 1, 1)
        errors = NormalDist().inv_cdf(1 - 0.05 / (2 * tried))
        return one.score.gain > errors * one.score.gain_error


def _best(trials: Iterable[Trial]) -> Trial:
    return max(trials, key=lambda one: (one.score.recall, one.score.ndcg, -one.number))


def tune(
    events: Events,
    split: TimeSplit,
    settings: Settings,
    search: Search | None = None,
    *,
    objective: Objective | None = None,
) -> Tuned:
    """Searches the decay that does best on the validation period.

    The plain mean is the first trial and the last 1, 5 and 20 events are the next, so
    that what decay is worth can be read off the same table. They are the best only
    where no family and no clock is named. The winner of many trials
    looks better on the queries that it was chosen by than it will on others: the test
    period, which is not looked at, says what is left of it.

    Args:
        events: Clean events.
        split: The cuts.
        settings: `action_weights`, `target_actions`, `max_history` and `seed`.
        search: What is searched, and what the best is one of; every family and clock
            when left out.
        objective: What a decay is judged by; a `LinearObjective` when left out.

    Raises:
        ValueError: A period holds no query, or the log is too short to search in.
        ImportError: Optuna is not installed.

    References:
        T. Akiba et al. Optuna: a next-generation hyperparameter optimization framework.
        KDD 2019. J. Bergstra et al. Algorithms for hyper-parameter optimization.
        NeurIPS 2011.
    """
    need_optuna()
    bounds = scale_bounds(events, split, settings)
    if objective is None:
        objective = LinearObjective(events, split, settings)
    search = search or Search()
    return Tuned(list(trials(search, objective, bounds)), search)


def need_optuna() -> None:
    """Refuses to begin what Optuna is needed for.

    Raises:
        ImportError: It is not installed.
    """
    need("optuna", "a search", "tune")


def scale_bounds(events: Events, split: TimeSplit, settings: Settings) -> Bounds:
    """The scales that a log can tell apart.

    Over the clock from the median time between a user's moments to the time from the
    first to the last event; over the rank from 1 to the events that are read. The
    training period alone is looked at.

    Raises:
        ValueError: No user acts at two moments of the training period.
    """
    past = events.time <= split.validation
    user, time = events.user[past], events.time[past]
    gap = np.diff(time)[(np.diff(user) == 0) & (np.diff(time) > 0)]
    if not len(gap):
        raise ValueError(
            "no user acts at two moments of the training period, so that nothing can "
            "be told of decay: give a longer log, or shorter periods."
        )
    length = float(np.ptp(time))
    # A decade at least, or there would be no curve.
    shortest = min(float(np.median(gap)), length / 10)
    return {
        "age": (max(shortest, 1.0), max(length, 10.0)),
        "rank": (1.0, float(max(settings.max_history, 2))),
    }


def trials(
    search: Search,
    objective: Objective,
    bounds: Bounds,
    *,
    known: Mapping[Asked, Score] | None = None,
) -> Iterator[Trial]:
    """Tries one decay after the other, and yields each, once, when it is done.

    A search asks for the same decays in the same order as long as their scores are the
    same. So one that was interrupted goes on where it was when it is begun again with
    the scores that are known.

    Args:
        search: What is searched.
        objective: What a decay is judged by.
        bounds: From `scale_bounds`.
        known: Scores that need not be found again.

    Raises:
        ImportError: Optuna is not installed.
    """
    need_optuna()
    judge = _Judge(objective, known or {})
    curves = [
        _curve(family, by, search, bounds[by], judge)
        for family, by in itertools.product(search.families, search.by)
    ]
    always = ((asked, judge(asked)) for asked in _always(bounds))
    tried: set[Decay] = set()
    for asked, score in itertools.chain(always, *curves):
        # Of a window over the rank there are only so many: they come up again.
        if asked.decay() not in tried:
            yield Trial(len(tried), asked, score)
            tried.add(asked.decay())


def planned(search: Search, bounds: Bounds) -> int:
    """How many decays `trials` tries at most: some come up again."""
    return len(_always(bounds)) + sum(
        len(_even_scales(family, by, search, bounds[by])) + _further(family, search)
        for family, by in itertools.product(search.families, search.by)
    )


class _Judge:
    """Scores decays, each once."""

    def __init__(self, objective: Objective, known: Mapping[Asked, Score]) -> None:
        self._objective = objective
        self._known = dict(known)
        self._of_mean: np.ndarray | None = None

    def __call__(self, asked: Asked) -> Score:
        if asked not in self._known:
            if self._of_mean is None and asked.family != "none":
                # Its score is known, but not what every query had under it.
                self._of_mean = self._objective(Constant()).recall()
            figures = self._objective(asked.decay())
            recall = figures.recall()
            if self._of_mean is None:
                self._of_mean = recall
            difference = recall - self._of_mean
            self._known[asked] = Score(
                recall=float(recall.mean()),
                ndcg=float(figures.ndcg().mean()),
                queries=len(recall),
                gain=float(difference.mean()),
                gain_error=standard_error(difference, self._objective.queries.user),
            )
        return self._known[asked]


def standard_error(difference: np.ndarray, user: np.ndarray) -> float:
    """Of the mean over queries, when it is users that are drawn, with their queries.

    With r_u the sum of a user's differences from the mean over all q queries, it is
    sqrt(n / (n - 1) sum_u r_u^2) / q for n users; infinite for a single one.

    Args:
        difference: [q] of each query.
        user: [q] integers.
    """
    _, place = np.unique(user, return_inverse=True)
    of_user = np.bincount(place, difference - difference.mean())
    users = len(of_user)
    if users == 1:
        return math.inf
    spread = users / (users - 1) * float(of_user @ of_user)
    return math.sqrt(spread) / len(difference)


def _always(bounds: Bounds) -> list[Asked]:
    """The plain mean, and the last few events that fit into what is read."""
    return [Asked("none", "", None)] + [
        Asked("window", "rank", float(last))
        for last in LAST_EVENTS
        if last <= bounds["rank"][1]
    ]


def _even_scales(
    family: str, by: str, search: Search, bounds: tuple[float, float]
) -> list[float]:
    scales = np.geomspace(*bounds, math.ceil(search.trials / 2))
    if _counts_whole(family, by):
        scales = np.unique(np.rint(scales))
    return [float(one) for one in scales]


def _further(family: str, search: Search) -> int:
    """Trials after the even ones: as many again for each further number."""
    return search.trials // 2 * (1 + len(NAMED[family].numbers))


def _counts_whole(family: str, by: str) -> bool:
    """Whether scales between two whole numbers are the same decay."""
    return family == "window" and by == "rank"


def _curve(
    family: str,
    by: str,
    search: Search,
    bounds: tuple[float, float],
    judge: Callable[[Asked], Score],
) -> Iterator[tuple[Asked, Score]]:
    """Tries one family over one clock: evenly first, then where Optuna says."""
    import optuna

    numbers = NAMED[family].numbers
    middle = {name: number.middle for name, number in numbers.items()}
    scales = _even_scales(family, by, search, bounds)
    found = []
    for scale in scales:
        asked = Asked(family, by, scale, tuple(middle.items()))
        found.append((asked, judge(asked)))
        yield found[-1]
    # What is best lies beside the best of the even ones; farther from it where other
    # numbers, in the middle of their ranges so far, draw the scale with them.
    best = int(np.argmax([score.recall for _, score in found]))
    steps = 1 + len(numbers)
    low, high = scales[max(best - steps, 0)], scales[min(best + steps, len(scales) - 1)]
    distributions: dict[str, Any] = {
        "scale": (
            optuna.distributions.IntDistribution(int(low), int(high), log=True)
            if _counts_whole(family, by)
            else optuna.distributions.FloatDistribution(low, high, log=True)
        )
    } | {
        name: optuna.distributions.FloatDistribution(
            number.low, number.high, log=not number.even
        )
        for name, number in numbers.items()
    }
    study = _study(search.seed, len(found) + AT_RANDOM * len(numbers))
    for scale, (_, score) in zip(scales, found, strict=True):
        if low <= scale <= high:
            study.add_trial(
                optuna.trial.create_trial(
                    params={
                        "scale": int(scale) if _counts_whole(family, by) else scale,
                        **middle,
                    },
                    distributions=distributions,
                    value=score.recall,
                )
            )
    for _ in range(_further(family, search)):
        trial = study.ask(distributions)
        asked = Asked(
            family,
            by,
            float(trial.params["scale"]),
            tuple((name, float(trial.params[name])) for name in numbers),
        )
        score = judge(asked)
        study.tell(trial, score.recall)
        yield asked, score


def _study(seed: int, before: int) -> optuna.Study:
    """A study that draws at random until `before` trials are there."""
    import optuna

    level = optuna.logging.get_verbosity()
    # It says that it was made, for each of fourteen curves.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=before),
        )
    finally:
        optuna.logging.set_verbosity(level)
