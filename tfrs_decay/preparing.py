"""A raw log to a folder of training examples: what `tfrs-decay prepare` does.

==================  ================================================================
`training/`         examples up to the validation period, in shards (`write_examples`)
`validation/`       those of it
`test/`             those after it
`items.parquet`     the catalogue: `item` and its texts
`rejected.parquet`  `row`, its number in the log as it was read, and `reason`; not of
                    rows that are only counted
`report.json`       what cleaning did, the cuts, and how many examples there are
==================  ================================================================

On one machine, or by an Apache Beam runner: the same rows. Which shard a row is in, and
the order of the rows, are not the same; on one machine the rows are shuffled. Only
counted, and not in `rejected.parquet`, are the rows that a source's own rules left out
and, under Beam, those beyond `Preparation.most_per_user`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrs_decay.data.cleaning import Cleaned, RawLog, clean
from tfrs_decay.data.events import Events, Items, refuse_context
from tfrs_decay.data.examples import FORMATS, write_examples
from tfrs_decay.data.histories import actions_to_predict, basket_queries
from tfrs_decay.data.names import as_text
from tfrs_decay.data.rules import Rules, beyond_latest
from tfrs_decay.data.sources import open_log
from tfrs_decay.data.split import TimeSplit, split_by_time
from tfrs_decay.data.tables import need
from tfrs_decay.durations import Duration, to_seconds
from tfrs_decay.writing import whole_folder

if TYPE_CHECKING:
    import pandas as pd

PERIODS = ("training", "validation", "test")

LOCAL = "local"
"""The runner that is none of Beam's: this process."""


@dataclass(frozen=True)
class Preparation:
    """What is to be prepared, and how.

    Attributes:
        data: The log, as `open_log` takes it.
        items: As in `open_log`.
        texts: As in `open_log`.
        columns: As in `open_log`.
        context: As in `open_log`; written with each example.
        sample: As in `open_log`.
        seed: As in `open_log`; and of the order of the examples, on one machine.
        test: Length of the test period.
        validation: Length of the validation period before it.
        target_actions: As `actions_to_predict` takes them.
        max_history: Latest events of a history that are written.
        file_format: One of `FORMATS`.
        shards: Files of each period.
        rules: As in `clean`.
        now: As in `clean`.
        most_per_user: Events of a user that are kept, the latest. Those before are
            counted as left out, under Beam with their repetitions; bots and what was
            taken back are told by what is kept.
    """

    data: str
    items: str | None = None
    texts: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    context: Sequence[str] = ()
    sample: int | None = None
    seed: int = 0
    test: Duration = "30d"
    validation: Duration = "30d"
    target_actions: Sequence[str] = ()
    max_history: int = 100
    file_format: str = "parquet"
    shards: int = 1
    rules: Rules = field(default_factory=Rules)
    now: int | None = None
    most_per_user: int = 100_000

    def __post_init__(self) -> None:
        """Refuses what cannot be prepared, before any time is spent on it."""
        if self.file_format not in FORMATS:
            raise ValueError(
                f"file_format={self.file_format!r} is not one of {FORMATS}."
            )
        for name in ("max_history", "shards", "most_per_user"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more.")
        refuse_context(self.context)
        to_seconds(self.test, "test")
        to_seconds(self.validation, "validation")

    def log(self) -> RawLog:
        """Opens the log."""
        return open_log(
            self.data,
            items=self.items,
            texts=self.texts,
            columns=self.columns,
            context=self.context,
            returns="return" in self.rules.taken_back,
            sample=self.sample,
            seed=self.seed,
        )


def prepare(
    preparation: Preparation,
    out: str | os.PathLike[str],
    *,
    runner: str = LOCAL,
    arguments: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Writes the folder, whole or not at all.

    Args:
        preparation: What, and how.
        out: The folder; it must not be there. Under a Beam runner its parent must be a
            folder that all workers see.
        runner: "local", or one of Beam's by its name, such as "DirectRunner".
        arguments: Beam's own options, such as "--flink_master=localhost:8081".
        say: Is told what is being done.

    Returns:
        What is in `report.json`.

    Raises:
        FileExistsError: The folder is there.
        FileNotFoundError: There is no such log.
        ValueError: The log or the runner is none, a period holds fewer examples than
            there are shards, or options of Beam go with "local".
        ImportError: A package that the log, the format or the runner needs is missing.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(
            f"{out} is there already: remove it or choose another --out."
        )
    if runner != LOCAL:
        need("apache_beam", f"--runner {runner}", "beam")
        from tfrs_decay.preparing_beam import runner_named, write_with_beam

        # Refused before the log is read.
        runner_named(runner)
    elif arguments:
        raise ValueError(
            f"{' '.join(arguments)}: options of Beam go with --runner DirectRunner or "
            f"another of Beam's, not with {LOCAL!r}."
        )
    with whole_folder(out) as partial:
        if runner == LOCAL:
            report = _write_locally(preparation, partial, say)
        else:
            report = write_with_beam(preparation, partial, runner, arguments, say)
        written = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (partial / "report.json").write_text(written, encoding="utf-8")
    return report


def _write_locally(
    preparation: Preparation, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    say(f"Reading {preparation.data} ...")
    log = preparation.log()
    cleaned = _cleaned(log, preparation)
    say(cleaned.report())
    events = cleaned.events
    split = split_by_time(
        events, test=preparation.test, validation=preparation.validation
    )
    actions = actions_to_predict(events.actions, preparation.target_actions)
    periods = zip(
        PERIODS,
        (None, split.validation, split.test),
        (split.validation, split.test, None),
        strict=True,
    )
    queries = {
        name: basket_queries(events, after=after, until=until, actions=actions)
        for name, after, until in periods
    }
    examples = {name: len(one) for name, one in queries.items()}
    need_examples(examples, preparation.shards)
    for name, some in queries.items():
        say(f"Writing {len(some):,} examples of {name} ...")
        write_examples(
            some,
            events,
            folder / name,
            max_history=preparation.max_history,
            shards=preparation.shards,
            file_format=preparation.file_format,
            shuffle_seed=preparation.seed,
        )
    item_table(events.items, log.texts).to_parquet(folder / "items.parquet")
    cleaned.rejected_rows().to_parquet(folder / "rejected.parquet")
    return {**cleaned.to_dict(), **of_examples(split, actions, examples)}


def _cleaned(log: RawLog, preparation: Preparation) -> Cleaned:
    """The log, clean, with no more than the latest events of each user."""
    most, now, rules = preparation.most_per_user, preparation.now, preparation.rules
    if as_text(log.events["user"]).value_counts().max() <= most:
        return clean(log, now=now, rules=rules)
    # First what a row alone tells, then the latest, then what a user as a whole tells.
    read = clean(log, now=now, rules=rules.of_rows())
    kept = _latest(read.events.user, most)
    whole = clean(
        log._replace(events=_event_rows(read.events.where(kept)), rejected={}),
        rules=rules.of_users(),
    )
    beyond = read.row[~kept]
    rejected, reasons = dict(read.rejected), list(read.reasons)
    reason, row = read.reason.copy(), read.row[kept]
    if len(beyond):
        reasons.append(beyond_latest(most))
        reason[beyond] = len(reasons)
        rejected[reasons[-1]] = len(beyond)
    left_out = whole.reason > 0
    reason[row[left_out]] = len(reasons) + whole.reason[left_out]
    return replace(
        whole,
        rejected={**rejected, **whole.rejected},
        filled=read.filled,
        reason=reason,
        reasons=(*reasons, *whole.reasons),
        row=row[whole.row],
    )


def _latest(user: np.ndarray, most: int) -> np.ndarray:
    """[n] bool, the last so many of each user's, of events in the order of users."""
    ends = np.searchsorted(user, user, side="right")
    kept: np.ndarray = ends - np.arange(len(user)) <= most
    return kept


def _event_rows(events: Events) -> pd.DataFrame:
    """Clean events as a table for `clean`."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "user": events.users[events.user],
            "item": events.items.ids[events.item],
            # As dates, which are not taken for another unit.
            "time": events.time.astype("datetime64[s]"),
            "action": np.array(events.actions, dtype=object)[events.action],
            **events.context,
        }
    )
    return table if events.value is None else table.assign(value=events.value)


def need_examples(examples: Mapping[str, int], shards: int) -> None:
    """Refuses periods with fewer examples than files.

    Raises:
        ValueError: One has too few.
    """
    for name, count in examples.items():
        if count < shards:
            raise ValueError(
                f"{name} has {count} examples, fewer than shards={shards}: write fewer "
                "files, or cut other periods with --test and --validation."
            )


def item_table(items: Items, texts: Sequence[str]) -> pd.DataFrame:
    """A catalogue as a table: `item`, and a column for each of its texts."""
    import pandas as pd

    columns = items.texts.reshape(len(items), -1).T
    named = dict(zip(texts, columns, strict=True))
    return pd.DataFrame({"item": items.ids, **named}, dtype=object)


def of_examples(
    split: TimeSplit, actions: Iterable[str] | None, examples: Mapping[str, int]
) -> dict[str, Any]:
    """What a report says of the examples, beside what it says of the events."""
    return {
        "split": split._asdict(),
        "target_actions": None if actions is None else list(actions),
        "examples": dict(examples),
    }
