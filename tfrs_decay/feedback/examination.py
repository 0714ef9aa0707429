"""How often each place of a list is looked at, learned from where items stood.

Users click what they look at and like: P(click) = examined[position] * appeal. Plain
click-through confuses the two, for what is liked stands high. Impressions that are
alike, such as those of one item to one user, have one appeal, and where they stood at
several places their clicks tell how often these are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.evaluation.compare import FEWEST_USERS
from tfrs_decay.feedback.joining import Joined
from tfrs_decay.feedback.served import Served

COLUMNS = ("user", "item", "version", "segment")
"""What impressions can be alike in."""

MOST_OFF = 2.0
"""How far a share may be off, as a factor, that weights are made of without a look."""

_STEPS, _NEAR = 100, 1e-9
_USERS_AT_ONCE = 2**22


class TooFewClicks(ValueError):
    """The clicks tell nothing of how often places are looked at, or too little."""


@dataclass(frozen=True, eq=False)
class Examination:
    """How often places of a list are looked at, relative to the first of them.

    Attributes:
        position: [k] int64, the places that are known, in order.
        share: [k] float64, how often each is looked at, over how often the first is.
        low: [k] float64, where the intervals begin; 1 at the first.
        high: [k] float64, where they end.
        clicks: [k] int64, clicks that told it, at each place.
        impressions: [k] int64, impressions that did.
        users: How many users these are of.
        unknown: Places of which nothing is known: too deep, without a click, or never
            compared with the others; or too little, of what `trusted` gives.
        within: What the compared impressions are alike in.
        action: What is taken for a click.
        level: Of the intervals, such as 0.95.
    """

    position: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    clicks: np.ndarray
    impressions: np.ndarray
    users: int
    unknown: tuple[int, ...]
    within: tuple[str, ...]
    action: str
    level: float

    def at(self, position: np.ndarray) -> np.ndarray:
        """How often places are looked at; of an unknown one, the last known above it.

        Args:
            position: [n] places from 1 on.

        Returns:
            [n] float64; 1 above the first place that is known.
        """
        place = np.searchsorted(self.position, position, side="right") - 1
        return np.where(place < 0, 1.0, self.share[np.maximum(place, 0)])

    def trusted(self, most_off: float = MOST_OFF) -> Examination:
        """The same without the places that are known too little to weigh by.

        Args:
            most_off: How far a share may be off, as a factor above 1: places whose
                interval reaches further are left unknown.

        Raises:
            TooFewClicks: No two places are left, or the clicks are of fewer than 30
                users, whose intervals are too short to go by.
            ValueError: `most_off` is not above 1.
        """
        if not most_off > 1:
            raise ValueError(f"most_off={most_off} must be above 1.")
        if self.users < FEWEST_USERS:
            raise TooFewClicks(
                f"what tells how often places are looked at is of "
                f"{counted(self.users, 'user')}, and {FEWEST_USERS} are needed."
            )
        kept = self.high <= most_off * self.share
        if kept.sum() < 2:
            raise TooFewClicks(
                f"{counted(int(self.clicks.sum()), self.action)} at "
                f"{counted(len(self.position), 'place')} tell of none but the first "
                f"how often it is looked at, within a factor of {most_off:g}."
            )
        columns = ("position", "share", "low", "high", "clicks", "impressions")
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in columns},
            unknown=tuple(sorted({*self.unknown, *self.position[~kept].tolist()})),
        )

    def report(self) -> str:
        """A line for each place, for people."""
        lines = ["position  looked at"]
        for place, *share in zip(
            self.position, self.share, self.low, self.high, strict=True
        ):
            value, low, high = share
            lines.append(f"{place:>8}  {value:.3f} [{low:.3f}, {high:.3f}]")
        if self.unknown:
            named = ", ".join(map(str, self.unknown[:8]))
            others = len(self.unknown) - 8
            more = f" and {others} more" if others > 0 else ""
            lines.append(f"not known: {named}{more}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, ready for `json.dump`."""
        columns = ("position", "share", "low", "high", "clicks", "impressions")
        return {
            **{name: getattr(self, name).tolist() for name in columns},
            "users": self.users,
            "unknown": list(self.unknown),
            "within": list(self.within),
            "action": self.action,
            "level": self.level,
        }


def fit_examination(
    joined: Joined,
    *,
    action: str | None = None,
    within: Sequence[str] = ("user", "item"),
    among: np.ndarray | None = None,
    deepest: int = 50,
    level: float = 0.95,
) -> Examination:
    """Learns how often places are looked at from impressions that are alike.

    A group of impressions that are alike in `within` has one appeal a, and E[clicks at
    place k] = impressions at k * examined[k] * a. The appeals are conditioned away:
    what is left is how each group's clicks fall on the places where it was shown,

        sum over groups and k of clicks * log(
            impressions * examined[k] / sum over j of impressions * examined[j]),

    which is concave in log(examined), so that the answer is one, whatever the start.
    This is the model of position bias (Joachims et al.) fitted to the swaps that a log
    has of itself (Agarwal et al.), by all pairs of places at once; regression EM (Wang
    et al.) fits the same model and needs the appeals for it. Only the mean has to be
    right: intervals are of clustered errors, over users.

    It holds as far as the impressions of a group are equally appealing wherever they
    stood. What to ask for:

    - `within=()` with `among` the impressions whose place was drawn by chance. Nothing
      is assumed; best, where there is such traffic.
    - `within=("user", "item")`: one user saw an item at several places, as with several
      versions or a list that is drawn anew. For lists that are made for each user.
    - `within=("item",)`, or with the segment or version: more data; for lists that are
      alike for all. In personal lists, what stands high is liked better by those who
      see it there, and places lower down seem to be looked at less than they are.

    Args:
        joined: From `join`.
        action: What is taken for a click; "click" when left out, or the first action
            that was joined where that was not.
        within: Of "user", "item", "version" and "segment": what is alike in impressions
            that are compared; () compares all with all.
        among: [n] bool, the impressions to learn from; all when left out.
        deepest: Places below this one are left unknown. The memory it takes is some 24
            bytes for each place and each group that has a click.
        level: Of the intervals, between 0 and 1.

    Raises:
        TooFewClicks: The impressions tell nothing of any two places.
        ValueError: A column is unknown, or a number is out of its range.

    References:
        T. Joachims, A. Swaminathan, T. Schnabel. Unbiased learning-to-rank with biased
        feedback. WSDM 2017.
        X. Wang, N. Golbandi, M. Bendersky, D. Metzler, M. Najork. Position bias
        estimation for unbiased learning to rank in personal search. WSDM 2018.
        A. Agarwal, I. Zaitsev, X. Wang, C. Li, M. Najork, T. Joachims. Estimating
        position bias without intrusive interventions. WSDM 2019.
        J. Hausman, B. Hall, Z. Griliches. Econometric models for count data with an
        application to the patents-R&D relationship. Econometrica 52(4), 1984.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1.")
    if deepest < 2:
        raise ValueError(f"deepest={deepest} must be 2 or more.")
    if action is None:
        action = "click" if "click" in joined.count else next(iter(joined.count))
    served, click = joined.served, joined.happened(action)
    kept = served.position <= deepest
    if among is not None:
        kept &= _mask(among, len(served))
    group = _groups(served, within)
    places = np.unique(served.position)
    place = np.searchsorted(places, served.position)
    known = np.ones(len(places), bool)
    rows = np.flatnonzero(kept)
    # What is compared decides which places are known, and these what is compared.
    rows = rows[_tells(group[rows], place[rows], click[rows])]
    if len(rows):
        known = _compared(group[rows], place[rows], click[rows], len(places))
        rows = rows[known[place[rows]]]
        rows = rows[_tells(group[rows], place[rows], click[rows])]
    if not len(rows):
        alike = " and ".join(within) if within else "nothing"
        raise TooFewClicks(
            f"of {len(served):,} impressions, {int(click.sum()):,} with a {action}, "
            f"none that are alike in {alike} have clicks at two places: let places be "
            "drawn by chance in part of the traffic, or compare more that is alike, as "
            "within=('item',) does for lists that are the same for all."
        )
    found = np.unique(place[rows])
    one = _Compared(
        group=np.unique(group[rows], return_inverse=True)[1],
        place=np.searchsorted(found, place[rows]),
        click=click[rows].astype(np.float64),
        user=served.user[rows],
    )
    log_share, error = one.fitted()
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    clicks = np.bincount(one.place, one.click)
    return Examination(
        position=places[found],
        share=np.exp(log_share),
        low=np.exp(log_share - reach),
        high=np.exp(log_share + reach),
        clicks=clicks.astype(np.int64),
        impressions=np.bincount(one.place),
        users=len(np.unique(one.user)),
        unknown=tuple(np.setdiff1d(places, places[found]).tolist()),
        within=tuple(within),
        action=action,
        level=level,
    )


def _mask(among: np.ndarray, length: int) -> np.ndarray:
    among = np.asarray(among)
    if among.dtype != bool or among.shape != (length,):
        raise ValueError(
            f"among is of shape {among.shape} and {among.dtype}: give a bool for each "
            f"of {length:,} impressions."
        )
    return among


def _groups(served: Served, within: Sequence[str]) -> np.ndarray:
    """[n] int64, a number for each group of impressions that are alike."""
    if isinstance(within, str) or not set(within) <= set(COLUMNS):
        raise ValueError(f"within={within!r} must be a list of some of {COLUMNS}.")
    group = np.zeros(len(served), np.int64)
    for name in within:
        column = getattr(served, name)
        if column is None:
            raise ValueError(f"within={list(within)}: what was served has no {name}.")
        _, code = np.unique(column, return_inverse=True)
        group = np.unique(group * (code.max() + 1) + code, return_inverse=True)[1]
    return group


def _cells(group: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Each cell of a group and a place, that of each row, and how many places."""
    width = int(place.max(initial=0)) + 1
    cell, of_row = np.unique(group * width + place, return_inverse=True)
    return cell, of_row, width


def _tells(group: np.ndarray, place: np.ndarray, click: np.ndarray) -> np.ndarray:
    """[n] bool, rows of groups that have a click and were shown at two places."""
    if not len(group):
        return np.zeros(0, bool)
    cell, _, width = _cells(group, place)
    shown_at = np.bincount(cell // width, minlength=int(group.max()) + 1)
    clicks = np.bincount(group, click, minlength=len(shown_at))
    return ((shown_at > 1) & (clicks > 0))[group]


def _compared(
    group: np.ndarray, place: np.ndarray, click: np.ndarray, places: int
) -> np.ndarray:
    """[places] bool, those whose shares are finite, relative to the first of them.

    Place j is said to be at most so much above k where what was clicked at k was shown
    at j as well. Shares are finite among places that are bounded by each other.
    """
    cell, of_row, width = _cells(group, place)
    clicked = np.bincount(of_row, click) > 0
    own_group, own_place = cell // width, cell % width
    bounds = np.eye(places, dtype=bool)
    order = np.arange(len(cell))
    start = np.searchsorted(own_group, own_group)
    stop = np.searchsorted(own_group, own_group, side="right")
    for step in range(int((stop - start).max(initial=0))):
        other = start + step
        there = clicked & (other < stop)
        bounds[own_place[order[there]], own_place[other[there]]] = True
    for _ in range(max(1, int(places).bit_length())):
        bounds = (bounds.astype(np.float32) @ bounds.astype(np.float32)) > 0
    together = bounds & bounds.T
    several = np.flatnonzero(together.sum(axis=1) > 1)
    return together[several[0]] if len(several) else np.zeros(places, bool)


@dataclass(frozen=True, eq=False)
class _Compared:
    """Impressions whose groups have a click and two places, numbered from 0 on."""

    group: np.ndarray
    place: np.ndarray
    click: np.ndarray
    user: np.ndarray

    def fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """Two [k]: the logarithms of the shares, and their errors; 0 at the first."""
        groups, places = int(self.group.max()) + 1, int(self.place.max()) + 1
        cell = self.group * places + self.place
        shown = np.bincount(cell, minlength=groups * places).astype(np.float64)
        shown = shown.reshape(groups, places)
        clicks = np.bincount(self.group, self.click, minlength=groups)
        at_place = np.bincount(self.place, self.click, minlength=places)

        def split(beta: np.ndarray) -> tuple[np.ndarray, float]:
            """How a group's clicks fall on the places, and the log-likelihood."""
            part = shown * np.exp(beta)
            total = part.sum(axis=1)
            likelihood = at_place @ beta - clicks @ np.log(total)
            part /= total[:, None]
            return part, float(likelihood)

        def curvature(part: np.ndarray) -> np.ndarray:
            return np.diag(clicks @ part) - (part * clicks[:, None]).T @ part

        beta = np.zeros(places)
        part, likelihood = split(beta)
        for _ in range(_STEPS):
            step = np.zeros(places)
            slope = (at_place - clicks @ part)[1:]
            step[1:] = np.linalg.solve(curvature(part)[1:, 1:], slope)
            # Far from the answer a whole step may go too far.
            while True:
                ahead, there = split(beta + step)
                if there >= likelihood - _NEAR * abs(likelihood):
                    break
                step /= 2
            beta, part, likelihood = beta + step, ahead, there
            if np.abs(step).max() < _NEAR:
                break
        bread = np.linalg.inv(curvature(part)[1:, 1:])
        # What is expected of an impression is its place's share of its group's appeal.
        appeal = clicks / (shown @ np.exp(beta))
        surprise = self.click - appeal[self.group] * np.exp(beta[self.place])
        meat = self._scores_squared(surprise, part)[1:, 1:]
        error = np.zeros(places)
        error[1:] = np.sqrt(np.diag(bread @ meat @ bread))
        return beta, error

    def _scores_squared(self, surprise: np.ndarray, part: np.ndarray) -> np.ndarray:
        """[k, k] the users' scores, each times itself, added up."""
        order = np.argsort(self.user, kind="stable")
        starts = np.flatnonzero(np.diff(self.user[order], prepend=-1))
        places = part.shape[1]
        squared = np.zeros((places, places))
        # Some users at a time, each with all rows.
        rows_at_once = max(1, _USERS_AT_ONCE // places)
        first = 0
        while first < len(starts):
            last = int(np.searchsorted(starts, starts[first] + rows_at_once))
            last = max(last, first + 1)
            stop = starts[last] if last < len(starts) else len(order)
            rows = order[starts[first] : stop]
            scores = part[self.group[rows]] * -surprise[rows, None]
            scores[np.arange(len(rows)), self.place[rows]] += surprise[rows]
            of_user = np.add.reduceat(scores, starts[first:last] - starts[first])
            squared += of_user.T @ of_user
            first = last
        users = len(starts)
        return squared * users / max(1, users - 1)
