"""The rules of cleaning, and why rows are left out for those that tell by users."""

from __future__ import annotations

import zoneinfo
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tfrs_decay.data.times import UNITS


@dataclass(frozen=True)
class Rules:
    """What `clean` does beyond leaving out what cannot be read.

    Bots and what was taken back are told by the log as a whole: a purchase that is
    returned next week is in no history of this week either. Where figures must be those
    of a server, which does not know yet, leave these two rules out.

    Attributes:
        missing_action: The action of a row that has none, in a log with that column;
            such a row is left out when this is.
        missing_value: The value of a row that has none, in a log with that column;
            such a row is left out when this is.
        time_unit: Of times that are numbers: "s", "ms", "us" or "ns".
        time_zone: Of dates that name none, as in "Europe/London". A second that a clock
            shows twice is its first; one that it skips is the next that it shows.
        most_per_minute: A user with more events than this within a minute is a bot, and
            left out altogether; None: nobody is.
        taken_back: From an action such as "return" to the one that it takes back, such
            as "purchase": both rows are left out, the latest purchase of the item
            first, and so is a return of what was not bought.
        day_first: Whether dates such as 01/12/2010 have their day first, and those that
            cannot are left out; None: as the dates of the log show it, all together.
        part: The log is a part of one, which tells nothing of the rest: dates such as
            01/12/2010 are refused without `day_first`, and numbers such as 20231201 are
            not.
    """

    missing_action: str | None = None
    missing_value: float | None = None
    time_unit: str = "s"
    time_zone: str = "UTC"
    most_per_minute: int | None = None
    taken_back: Mapping[str, str] = field(default_factory=dict)
    day_first: bool | None = None
    part: bool = False

    def __post_init__(self) -> None:
        """Refuses what is no rule."""
        if self.time_unit not in UNITS:
            raise ValueError(
                f"time_unit={self.time_unit!r} is not one of {tuple(UNITS)}."
            )
        if self.most_per_minute is not None and self.most_per_minute < 1:
            raise ValueError(
                f"most_per_minute={self.most_per_minute} must be 1 or more, or None."
            )
        if self.missing_action is not None and not self.missing_action.strip():
            raise ValueError(
                f"missing_action={self.missing_action!r} must be the name of an action."
            )
        if self.missing_value is not None and not np.isfinite(self.missing_value):
            raise ValueError(f"missing_value={self.missing_value} must be finite.")
        try:
            zoneinfo.ZoneInfo(self.time_zone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(
                f"time_zone={self.time_zone!r}: there is no such time zone."
            ) from error
        both = sorted(set(self.taken_back) & set(self.taken_back.values()))
        if both:
            raise ValueError(
                f"taken_back={dict(self.taken_back)}: {both[0]!r} takes back and is "
                "taken back."
            )

    def of_rows(self) -> Rules:
        """Those that tell of a row by itself."""
        return replace(self, most_per_minute=None, taken_back={})

    def of_users(self) -> Rules:
        """Those that tell by the whole of a user, of rows that were read."""
        return Rules(most_per_minute=self.most_per_minute, taken_back=self.taken_back)


def reasons_of(back: str) -> tuple[str, str]:
    """Why rows are left out for a return: of what there was, and of what was not."""
    return f"taken back, and the {back} of it", f"{back} of what was not there"


def idle_rules(rules: Rules, reasons: Container[str]) -> tuple[str, ...]:
    """A note on each action that was to take something back, and that no row has.

    Args:
        rules: What cleaning did.
        reasons: Why it left rows out.
    """
    return tuple(
        f"no row that is left has the action {back!r}: nothing was taken back"
        for back in sorted(rules.taken_back)
        if not any(why in reasons for why in reasons_of(back))
    )


def beyond_latest(most: int) -> str:
    """Why a row is left out where no more than so many events of a user are kept."""
    return f"beyond the latest {most} of a user"
