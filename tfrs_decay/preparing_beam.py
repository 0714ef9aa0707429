"""`prepare` by an Apache Beam runner: the rows of one machine, from any number.

Where the rows come from, `preparing_beam_source` tells. The catalogue is put together
in this process at the end.

The rows of each period are the same; in which shard they are, and in which order, the
runner says. Rows that are only counted as left out, beyond `most_per_user`, have no
number, and are in the report alone.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton, TaggedOutput

from tfrs_decay.data.beam import CleanEvent, CleanEvents, MakeExamples, Rejected
from tfrs_decay.data.cleaning import RawLog, clean, in_words
from tfrs_decay.data.examples import example_table, shard_name, write_tables
from tfrs_decay.data.histories import actions_to_predict, basket_queries
from tfrs_decay.data.rules import idle_rules
from tfrs_decay.data.split import TimeSplit, split_of_span
from tfrs_decay.preparing import (
    PERIODS,
    Preparation,
    item_table,
    need_examples,
    of_examples,
)
from tfrs_decay.preparing_beam_source import source_of
from tfrs_decay.writing import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

_WRITTEN = 10_000
"""Rows that are written at a time."""


def runner_named(name: str) -> Any:
    """One of Beam's runners.

    "DirectRunner" is the one that works in this process: Beam's own of that name looks
    for another on the network first.

    Raises:
        ValueError: There is none of the name.
    """
    from apache_beam.runners.runner import create_runner

    try:
        return create_runner("FnApiRunner" if name == "DirectRunner" else name)
    except (ValueError, AttributeError, ModuleNotFoundError) as error:
        raise ValueError(
            f"runner={name!r} is neither 'local' nor a runner of Beam, such as "
            f"'DirectRunner', 'FlinkRunner', 'SparkRunner' or 'DataflowRunner': {error}"
        ) from error


def write_with_beam(
    preparation: Preparation,
    folder: Path,
    runner: str,
    arguments: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Writes everything but the report, which it gives back."""
    say(f"Reading {preparation.data} ...")
    source = source_of(preparation, folder)
    say(f"Running the pipeline on {runner} ...")
    options = PipelineOptions(list(arguments))
    with beam.Pipeline(runner=runner_named(runner), options=options) as pipeline:
        _build(pipeline | source.rows, source.log, preparation, folder)
    # A worker that was killed over a file has left the half of it.
    for left in [*folder.rglob(".*")]:
        left.unlink(missing_ok=True)
    facts = _Facts.read(folder / "facts.jsonl")
    split = facts.split(preparation)
    examples = {name: facts.counted["examples"][name] for name in PERIODS}
    need_examples(examples, preparation.shards)
    # The catalogue as cleaning makes it of the items that occur.
    log = source.log
    catalogue = clean(_log_of(facts.all("items"), log.items, log.texts))
    item_table(catalogue.events.items, log.texts).to_parquet(folder / "items.parquet")
    (folder / "facts.jsonl").unlink()
    shutil.rmtree(folder / "head", ignore_errors=True)
    rejected = dict(log.rejected)
    for why, count in facts.all("rejected").items():
        rejected[why] = rejected.get(why, 0) + count
    actions = actions_to_predict(
        sorted(facts.all("actions")), preparation.target_actions
    )
    report = {
        **catalogue.to_dict(),
        **facts.all("total"),
        **facts.all("span"),
        "rejected": rejected,
        "filled": facts.all("filled"),
        "notes": list(idle_rules(preparation.rules, rejected)),
    }
    say(in_words(report))
    return {**report, **of_examples(split, actions, examples)}


def _build(rows: Any, raw: RawLog, preparation: Preparation, folder: Path) -> None:
    log = rows | "Clean" >> CleanEvents(
        now=preparation.now,
        rules=preparation.rules,
        most_per_user=preparation.most_per_user,
        context=preparation.context,
        source=preparation.data,
    )
    actions = (
        log.events
        | "Action" >> beam.Map(lambda event: event.action)
        | "Actions" >> beam.Distinct()
        | "ActionList" >> beam.combiners.ToList()
        | "Targets" >> beam.Map(_targets, preparation.target_actions)
    )
    span = log.events | "Span" >> beam.CombineGlobally(_Span())
    split = span | "Split" >> beam.Map(
        lambda ends: _split(ends[0], ends[1], preparation)
    )
    examples = (
        log.events
        | "Examples"
        >> MakeExamples(
            actions=AsSingleton(actions), max_history=preparation.max_history
        )
        | "Period" >> beam.ParDo(_Period(), AsSingleton(split)).with_outputs(*PERIODS)
    )
    counts = [
        log.events | "OfEvents" >> beam.FlatMap(_facts_of_event),
        log.events
        | "User" >> beam.Map(lambda event: event.user)
        | "Users" >> beam.Distinct()
        | "OfUsers" >> beam.Map(lambda _: (("total", "users"), 1)),
        log.rejected
        | "OfRejected" >> beam.Map(lambda one: (("rejected", one.reason), one.rows)),
        log.filled | "OfFilled" >> beam.MapTuple(lambda why, n: (("filled", why), n)),
    ]
    schema = _schema_like(raw)
    for name in PERIODS:
        counts.append(
            examples[name] | f"Of {name}" >> beam.Map(_fact, ("examples", name))
        )
        _ = examples[name] | f"Write {name}" >> _WriteShards(
            str(folder / name), preparation.shards, preparation.file_format, schema
        )
    nothing = [(("examples", name), 0) for name in PERIODS]
    nothing += [(("total", name), 0) for name in ("events", "users")]
    summed = (
        (*counts, rows.pipeline | "Nothing" >> beam.Create(nothing))
        | "Facts" >> beam.Flatten()
        | "Sum" >> beam.CombinePerKey(sum)
    )
    ends = span | "Ends" >> beam.FlatMap(_facts_of_span)
    _ = (
        ((summed, ends) | "AllFacts" >> beam.Flatten())
        | "Line" >> beam.Map(json.dumps)
        | "Together" >> beam.Map(lambda line: (0, line))
        | "OneFile" >> beam.GroupByKey()
        | "WriteFacts" >> beam.Map(_write_lines, str(folder / "facts.jsonl"))
    )
    rejected = log.rejected | "Number" >> beam.FlatMap(_numbered)
    marker = rows.pipeline | "NoRow" >> beam.Create([(0, None)])
    _ = (
        ((rejected, marker) | "WithNone" >> beam.Flatten())
        | "Rejected" >> beam.GroupByKey()
        | "WriteRejected" >> beam.Map(_write_rejected, str(folder))
    )


def _targets(found: list[str], wanted: Sequence[str]) -> list[str] | None:
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise ValueError(
            f"actions={list(wanted)}: {unknown} not among the log's {sorted(found)}."
        )
    return actions_to_predict(found, wanted)


def _split(first: int, last: int, preparation: Preparation) -> TimeSplit:
    if first > last:
        raise ValueError("there are no events to split.")
    return split_of_span(
        first, last, test=preparation.test, validation=preparation.validation
    )


class _Span(beam.CombineFn):
    """The first and the last second; the first is the later one of no events."""

    def create_accumulator(self) -> tuple[float, float]:
        return float("inf"), float("-inf")

    def add_input(self, span: Any, event: CleanEvent) -> Any:
        return min(span[0], event.time), max(span[1], event.time)

    def merge_accumulators(self, spans: Iterable[Any]) -> Any:
        first, last = zip(*spans, strict=True)
        return min(first), max(last)

    def extract_output(self, span: Any) -> Any:
        return span


class _Period(beam.DoFn):
    """Tags an example with its period."""

    def process(self, example: dict[str, Any], split: TimeSplit) -> Any:
        later = sum(example["query_time"] > cut for cut in split)
        yield TaggedOutput(PERIODS[later], example)


class _WriteShards(beam.PTransform):
    """Files as `write_examples` names them; an example's shard is told by its query."""

    def __init__(
        self, folder: str, shards: int, file_format: str, schema: pa.Schema
    ) -> None:
        super().__init__()
        self.folder = folder
        self.shards = shards
        self.file_format = file_format
        self.schema = schema

    def expand(self, examples: Any) -> Any:
        dealt = examples | "Deal" >> beam.Map(_dealt, self.shards)
        # So that a shard without an example is a file, too.
        every = examples.pipeline | "Every" >> beam.Create(
            [(shard, None) for shard in range(self.shards)]
        )
        return (
            ((dealt, every) | beam.Flatten())
            | "Shards" >> beam.GroupByKey()
            | "Files"
            >> beam.Map(
                _write_shard, self.folder, self.shards, self.file_format, self.schema
            )
        )


def _dealt(example: dict[str, Any], shards: int) -> tuple[int, dict[str, Any]]:
    query = json.dumps([example["user"], example["query_time"]])
    return zlib.crc32(query.encode()) % shards, example


def _write_shard(
    of_shard: tuple[int, Iterable[Any]],
    folder: str,
    shards: int,
    file_format: str,
    schema: pa.Schema,
) -> None:
    shard, examples = of_shard
    path = Path(folder) / shard_name(shard, shards, file_format)
    _write_whole(_tables(examples, schema), path)


def _numbered(one: Rejected) -> Iterator[tuple[int, dict[str, Any]]]:
    """A rejected row for the table of them; nothing of rows that are only counted."""
    if "row" in one.row:
        yield 0, {"row": one.row["row"], "reason": one.reason}


def _write_rejected(keyed: tuple[int, Iterable[Any]], folder: str) -> None:
    import pyarrow as pa

    _, rows = keyed
    schema = pa.schema([("row", pa.int64()), ("reason", pa.string())])
    _write_whole(_tables(rows, schema), Path(folder) / "rejected.parquet")


def _write_whole(tables: Iterable[pa.Table], path: Path) -> None:
    # A worker that is started again writes the same file once more.
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        write_tables(tables, partial)


def _tables(rows: Iterable[Any], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa

    yield schema.empty_table()
    block = []
    for row in rows:
        if row is not None:
            block.append(row)
        if len(block) == _WRITTEN:
            yield pa.Table.from_pylist(block, schema=schema)
            block = []
    yield pa.Table.from_pylist(block, schema=schema)


def _schema_like(log: RawLog) -> pa.Schema:
    """What the examples of a log look like, told without its rows."""
    none = log._replace(events=log.events.head(0), items=None)
    events = clean(none).events
    return example_table(basket_queries(events), events).schema


def _log_of(
    items: Iterable[str], described: Any = None, texts: tuple[str, ...] = ("text",)
) -> RawLog:
    """A log that has an event of each item."""
    import pandas as pd

    table = pd.DataFrame({"item": pd.Series(list(items), dtype=object)})
    return RawLog(table.assign(user="anyone", time=0), described, {}, texts)


def _fact(_: Any, key: tuple[str, str]) -> tuple[tuple[str, str], int]:
    return key, 1


def _facts_of_event(event: CleanEvent) -> Iterator[tuple[tuple[str, str], int]]:
    yield ("total", "events"), 1
    yield ("items", event.item), 1
    yield ("actions", event.action), 1


def _facts_of_span(span: tuple[int, int]) -> Iterator[tuple[tuple[str, str], int]]:
    yield ("span", "first_time"), span[0]
    yield ("span", "last_time"), span[1]


def _write_lines(keyed: tuple[int, Iterable[str]], path: str) -> None:
    _, lines = keyed
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


class _Facts(NamedTuple):
    """What the pipeline counted, by kind and name."""

    counted: dict[str, dict[str, int]]

    @classmethod
    def read(cls, path: Path) -> _Facts:
        counted: dict[str, dict[str, int]] = {}
        with open(path, encoding="utf-8") as file:
            for (kind, name), count in map(json.loads, file):
                counted.setdefault(kind, {})[name] = count
        return cls(counted)

    def all(self, kind: str) -> dict[str, int]:
        return dict(sorted(self.counted.get(kind, {}).items()))

    def split(self, preparation: Preparation) -> TimeSplit:
        span = self.counted["span"]
        return _split(span["first_time"], span["last_time"], preparation)
