"""Forgetting a user: out of runs, prepared examples and stores of states.

What is removed is counted, and what nobody can remove from here is said: models that
were trained with the user's events, the raw log, backups. docs/privacy.md tells where
something of a user is at all.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from tfrs_decay.data.examples import write_tables
from tfrs_decay.data.files import unreadable
from tfrs_decay.data.storage import load_events, save_events
from tfrs_decay.data.tables import need
from tfrs_decay.preparing import PERIODS
from tfrs_decay.serving.homes import without_password
from tfrs_decay.serving.redis_home import PREFIX
from tfrs_decay.serving.store import InterestStore
from tfrs_decay.writing import partial_file, write_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Forgotten", "Place", "forget"]

ELSEWHERE = (
    "the raw log, its copies and backups: remove the user there, or the next `train`, "
    "`prepare` or `combine` reads the events again, and `update` adds them as late "
    "rows",
    "runs that `update` made of a run, each of which holds its events too: name each",
    "logged impressions, the tables of `feedback` (--served, --out), and answers that "
    "your own services keep",
    "what a killed command left: hidden files and folders (.NAME.*) beside what it "
    "wrote",
    "exports and models made of the user's events: they hold no ids of users, and "
    "numbers that were fitted with these events among others, until they are made anew",
)
"""What no command reaches, for whoever forgets somebody."""


OF_MODELS = (
    "decay.keras, mean.keras and training/ were fitted with these events among others: "
    "they hold no ids of users; train anew to be without"
)
"""What a run holds after its events are gone."""


class Place(NamedTuple):
    """One place where a user may have been.

    where: The folder; or the store's URL without a password, and in Redis the prefix.
    what: What was counted: "events", "examples" or "states".
    removed: How many were removed.
    remains: What of the user is still in there, in words.
    failed: Why nothing, or not all, was removed; None where it was.
    """

    where: str
    what: str
    removed: int
    remains: tuple[str, ...] = ()
    failed: str | None = None


class Forgotten(NamedTuple):
    """Where a user was, and where something still is.

    user: Whose id.
    places: One for each that was asked for.
    """

    user: str
    places: list[Place]

    @property
    def removed(self) -> int:
        """How much was removed in all places."""
        return sum(place.removed for place in self.places)

    @property
    def failed(self) -> list[Place]:
        """The places that could not be rewritten: the user may still be there."""
        return [place for place in self.places if place.failed is not None]

    def report(self) -> str:
        """All of it, for people."""
        lines = []
        for where, what, removed, remains, failed in self.places:
            if failed is not None:
                lines.append(f"{where}: NOT DONE, may still hold the user: {failed}")
            elif removed:
                counted = what if removed > 1 else what.removesuffix("s")
                lines.append(f"{where}: {removed:,} {counted} removed")
            else:
                lines.append(f"{where}: the user is not in it")
            lines += [f"  still there: {one}" for one in remains]
        if not self.removed and not self.failed:
            lines.append(
                f"User {self.user!r} was in none of these places: is the id spelled as "
                "in the log?"
            )
        lines.append("Not reached from here:")
        lines += [f"  - {one}" for one in ELSEWHERE]
        return "\n".join(lines)


def forget(
    user: str,
    *,
    runs: Sequence[str | os.PathLike[str]] = (),
    prepared: Sequence[str | os.PathLike[str]] = (),
    stores: Sequence[str] = (),
    prefix: str | None = None,
) -> Forgotten:
    """Removes a user's events, examples and kept states, wherever it is told to look.

    Each file is replaced whole, or not at all; one that cannot be rewritten is
    reported, and the others are rewritten all the same. Doing it again does no harm.

    Args:
        user: The id, as the log has it.
        runs: Folders of `train`.
        prepared: Folders of `prepare`, or of `data.write_examples`.
        stores: URLs, as `serving.InterestStore.open` takes them.
        prefix: Of keys in Redis, where the stores there were opened with one of their
            own; files have none.

    Returns:
        What was removed, and what was not.

    Raises:
        TypeError: `user` is no string.
        ValueError: It is empty, there is no place to look in, or a prefix is given and
            no store in Redis.
    """
    if not isinstance(user, str):
        raise TypeError(
            f"user={user!r} is a {type(user).__name__}: give the id as a string."
        )
    if not user:
        raise ValueError("user='' is nobody's id.")
    if not (runs or prepared or stores):
        raise ValueError(
            f"nowhere to look for user {user!r}: name a run, a prepared folder or a "
            "store."
        )
    if prefix is not None and all(map(_is_file, stores)):
        raise ValueError(
            f"prefix={prefix!r} is of keys in Redis, and no store is there: leave it "
            "out."
        )
    asked = [
        *(_Asked(str(one), "events", _of_run(Path(one), user, runs)) for one in runs),
        *(
            _Asked(str(one), "examples", _of_examples(Path(one), user))
            for one in prepared
        ),
        *(
            _Asked(_named(one, prefix), "states", _of_store(one, user, prefix))
            for one in stores
        ),
    ]
    return Forgotten(user, [_done(one) for one in asked])


Step = Callable[[], "int | str"]
"""Removes the user from one file, and says how much was removed; or says in words what
is left, and "" for nothing."""


class _Asked(NamedTuple):
    where: str
    what: str
    steps: Iterator[Step]


def _done(asked: _Asked) -> Place:
    """Takes every step, whatever became of those before it."""
    removed = 0
    remains: list[str] = []
    failed: list[str] = []
    try:
        for step in asked.steps:
            try:
                found = step()
                if isinstance(found, int):
                    removed += found
                elif found:
                    remains.append(found)
            except (OSError, ValueError, ImportError) as error:
                failed.append(str(error))
    except (OSError, ValueError) as error:  # there is no such place
        failed.append(str(error))
    if removed and asked.what == "events":
        remains.insert(0, OF_MODELS)
    return Place(
        asked.where,
        asked.what,
        removed,
        tuple(remains),
        "; ".join(failed) if failed else None,
    )


def _of_run(
    folder: Path, user: str, asked: Sequence[str | os.PathLike[str]]
) -> Iterator[Step]:
    about = folder / "run.json"
    if not about.is_file():
        raise FileNotFoundError(f"{folder} is not a finished run (it has no run.json)")
    yield lambda: _from_events(folder / "events.npz", user)
    yield lambda: _earlier(about, {Path(one).resolve() for one in asked})


def _earlier(about: Path, asked: set[Path]) -> str:
    """The runs that a run of `update` was made of, but for those that are asked for."""
    told = json.loads(about.read_text(encoding="utf-8"))
    update = told.get("update", {}) if isinstance(told, dict) else None
    runs = update.get("runs", []) if isinstance(update, dict) else None
    if not isinstance(runs, list) or not all(isinstance(one, str) for one in runs):
        raise ValueError(f"{about} does not tell which runs it was made of")
    others = [one for one in runs if Path(one).resolve() not in asked]
    if not others:
        return ""
    return (
        "it was made by `update` of runs that hold the user's events too, where they "
        f"still are: {', '.join(others)}"
    )


def _from_events(path: Path, user: str) -> int:
    events = load_events(path)
    kept = events.without_user(user)
    if len(kept.users) < len(events.users):
        save_events(kept, path)
    return len(events) - len(kept)


def _of_store(url: str, user: str, prefix: str | None) -> Iterator[Step]:
    def delete() -> int:
        prefixed = None if _is_file(url) else prefix
        # What is deleted is not read, so that nobody need know of which decays it is.
        with InterestStore.open(url, None, create=False, prefix=prefixed) as store:
            return store.delete(user)

    yield delete


def _named(url: str, prefix: str | None) -> str:
    """A store, for the report: its URL, and in Redis which keys were looked for."""
    name = without_password(url)
    if _is_file(url):
        return name
    return f"{name} (keys under {(PREFIX if prefix is None else prefix)!r})"


def _is_file(url: str) -> bool:
    return url.startswith("sqlite:")


def _of_examples(folder: Path, user: str) -> Iterator[Step]:
    """The files of a prepared folder, and then its report; or of examples alone."""
    report = folder / "report.json"
    folders = [folder / one for one in PERIODS] if report.is_file() else [folder]
    counts: dict[Path, int] = {}
    everything: list[Path] = []
    for one in folders:
        files = sorted(path for path in one.iterdir() if path.is_file())
        hidden = [path for path in files if path.name.startswith(".")]
        files = [path for path in files if path not in hidden]
        if not any(path.suffix in _REWRITES for path in files):
            raise FileNotFoundError(f"{one} holds no examples, .parquet or .tfrecord")
        everything += files
        for path in files:
            yield functools.partial(_from_examples, path, user, counts)
        for path in hidden:
            yield functools.partial(_left_over, path)
    if report.is_file():
        # Of a file that could not be read nobody knows how many it holds.
        yield lambda: _count_anew(report, counts, whole=len(counts) == len(everything))


def _left_over(path: Path) -> str:
    """Removes what a killed command left beside examples: they are written again."""
    if path.suffix not in _REWRITES:
        return f"{path}, a hidden file that was not looked into"
    path.unlink(missing_ok=True)  # a rewrite has removed its own
    return ""


def _from_examples(path: Path, user: str, counts: dict[Path, int]) -> int:
    rewrite = _REWRITES.get(path.suffix)
    if rewrite is None:
        raise ValueError(f"{path} is neither .parquet nor .tfrecord: look into it")
    with partial_file(path) as partial:
        kept, removed = rewrite(path, partial, user)
        if removed:
            partial.replace(path)
    counts[path] = kept
    return removed


def _count_anew(report: Path, counts: dict[Path, int], *, whole: bool) -> int:
    """Says in a report how many examples there are now, if all files were counted."""
    told = json.loads(report.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or not isinstance(told.get("examples"), dict):
        raise ValueError(
            f'{report} is not one of `prepare`: it has no counts under "examples"'
        )
    examples = {
        name: sum(kept for path, kept in counts.items() if path.parent.name == name)
        for name in PERIODS
    }
    if not whole or told["examples"] == examples:
        return 0
    told["examples"] = examples
    write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", report)
    return 0


def _rewrite_parquet(path: Path, partial: Path, user: str) -> tuple[int, int]:
    """Writes the rows of all others; how many these are, and how many were not."""
    need("pyarrow", "a .parquet file", "data")
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    kept = removed = 0

    def others() -> Iterator[pa.Table]:
        nonlocal kept, removed
        with pq.ParquetFile(path) as file:
            if "user" not in file.schema_arrow.names:
                raise ValueError(
                    f"{path} has no column user: it does not hold examples"
                )
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                mine = pc.equal(table["user"].cast(pa.string()), user)
                some = table.filter(pc.invert(pc.fill_null(mine, False)))
                kept += len(some)
                removed += len(table) - len(some)
                yield pa.table(
                    [_as_it_occurs(some[name]) for name in some.column_names],
                    some.column_names,
                )

    try:
        write_tables(others(), partial)
    except pa.ArrowException as error:
        raise unreadable(path, error) from error
    return kept, removed


def _as_it_occurs(column: pa.ChunkedArray) -> pa.Array:
    """A column whose dictionary names what is in it, and nobody who was."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = column.combine_chunks()
    kind = whole.type
    if pa.types.is_dictionary(kind):
        return whole.cast(kind.value_type).dictionary_encode()
    if pa.types.is_large_list(kind) and pa.types.is_dictionary(kind.value_type):
        values = whole.flatten().cast(kind.value_type.value_type).dictionary_encode()
        lengths = pc.list_value_length(whole).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return pa.LargeListArray.from_arrays(pa.array(offsets), values)
    return whole


def _rewrite_tfrecord(path: Path, partial: Path, user: str) -> tuple[int, int]:
    """As `_rewrite_parquet`."""
    import tensorflow as tf

    kept = removed = 0
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                if "user" not in features:
                    raise ValueError(
                        f"{path} has no feature user: it does not hold examples"
                    )
                if features["user"].bytes_list.value[:] == [user.encode("utf-8")]:
                    removed += 1
                else:
                    writer.write(record)
                    kept += 1
    except (tf.errors.OpError, DecodeError) as error:
        raise unreadable(path, error) from error
    return kept, removed


_REWRITES = {".parquet": _rewrite_parquet, ".tfrecord": _rewrite_tfrecord}
