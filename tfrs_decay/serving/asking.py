"""A question to an export, from events as a person names them, and its answer.

Nothing here loads Keras or Python TensorFlow.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_decay.data.cleaning import counted
from tfrs_decay.data.events import Events
from tfrs_decay.data.storage import load_events
from tfrs_decay.data.times import LATEST_SECOND, moment_of
from tfrs_decay.durations import to_text
from tfrs_decay.serving.names import METADATA
from tfrs_decay.serving.native import (
    NativeModel,
    text_op_libraries,
    version_directory,
)

LATEST_SHOWN = 8
"""Events of a history that a report prints."""


NO_POPULARITY = (
    "this export has no popularity, and so nothing to recommend: make one that has "
    "with serving.export(..., popularity=scores), or with `tfrs-decay export`."
)
"""Said where nothing is known of a user, and nothing of what is popular."""


class Event(NamedTuple):
    """One thing a user did.

    item: the item's id; "" for an item that is known by its text alone.
    text: the text of an item outside the catalogue; "" otherwise.
    time: seconds since the epoch.
    action: what was done.
    """

    item: str
    text: str
    time: int
    action: str


class Answer(NamedTuple):
    """What was recommended, and from what.

    history: the events that were asked with.
    query_time: seconds since the epoch.
    item_ids: best first; shorter than k where no more were left.
    scores: as many.
    texts: the catalogue's, by id.
    has_popularity: whether the export answers an empty history; None where it does not
        say, being of before it did.
    """

    history: Sequence[Event]
    query_time: int
    item_ids: list[str]
    scores: list[float]
    texts: dict[str, str]
    has_popularity: bool | None = None

    def report(self) -> str:
        """The latest events of the history, and the recommended items, as text."""
        count = len(self.history)
        popular = self.has_popularity
        if popular is None:
            popular = bool(self.item_ids)
        instead = "this is what is popular." if popular else NO_POPULARITY
        lines = [
            f"History of {counted(count, 'event')}"
            + (f", the latest {LATEST_SHOWN}:" if count > LATEST_SHOWN else ":")
            if count
            else f"No history: {instead}"
        ]
        if count and not any(
            one.text or one.item in self.texts for one in self.history
        ):
            lines[0] += f" none is known to the model, and {instead}"
        latest = sorted(self.history, key=lambda event: -event.time)[:LATEST_SHOWN]
        for event in latest:
            age = to_text(self.query_time - event.time)
            unknown = "(not in the catalogue)"
            what = event.text or self.texts.get(event.item, unknown)
            lines.append(
                f"  {age:>8} before  {event.action:<9} {event.item:<10} {what}"
            )
        if self.item_ids or popular:
            lines.append("Recommended:")
        for rank, (one, score) in enumerate(
            zip(self.item_ids, self.scores, strict=True), start=1
        ):
            lines.append(
                f"  {rank:>3}  {score:7.4f}  {one:<10} {self.texts.get(one, '')}"
            )
        return "\n".join(lines)


def read_history(
    *,
    run_directory: str | None = None,
    user: str | None = None,
    item: Sequence[str] = (),
    text: Sequence[str] = (),
    action: str = "purchase",
    at: str | None = None,
    known: Collection[str] = (),
) -> tuple[list[Event], int]:
    """Reads a history from what was typed.

    Args:
        run_directory: A run's folder, for `user`.
        user: A user of that run's log.
        item: Further events, "ID" or "ID@TIME".
        text: Further events, "TEXT" or "TEXT@TIME".
        action: Of the further events.
        at: The query's time; now when left out, or the end of the log with `user`.
        known: The ids of the catalogue, which tell an id with an @ from a time that is
            mistyped.

    Returns:
        The events strictly before the query's time for a user of the log, those that
        were typed as they were typed, and the query's time.

    Raises:
        ValueError: A time cannot be read or lies after the query's, the user is not in
            the log, or user and run are not given together.
    """
    if (user is None) != (run_directory is None):
        raise ValueError("--user and --run go together: the run's log knows its users.")
    query_time = int(time.time()) if at is None else _seconds(at, "--at")
    history: list[Event] = []
    if user is not None and run_directory is not None:
        history, log_end = _history_of_user(run_directory, user)
        if at is None:
            query_time = log_end + 1
        history = [event for event in history if event.time < query_time]
    for written, is_text in [(one, False) for one in item] + [
        (one, True) for one in text
    ]:
        what, _, when = written.rpartition("@")
        # A name may hold an @; a time begins with a digit, or follows an id.
        has_time = bool(what) and (
            when[:1].isdigit() or (not is_text and what in known)
        )
        if not has_time or (not is_text and written in known):
            what, has_time = written, False
        seconds = _seconds(when, written) if has_time else query_time
        if seconds > query_time:
            typed = "" if at is None else f" (--at {at})"
            raise ValueError(
                f"{written!r} lies {to_text(seconds - query_time)} after the query, at "
                f"{moment_of(query_time)}{typed}: give an earlier time, or a later "
                "--at."
            )
        history.append(
            Event("" if is_text else what, what if is_text else "", seconds, action)
        )
    return history, query_time


def ask(
    export_directory: str | os.PathLike[str],
    history: Sequence[Event],
    query_time: int,
    *,
    k: int = 10,
) -> Answer:
    """Asks an exported model once, through TensorFlow's own loader.

    Args:
        export_directory: What `serving.export` wrote: the model's folder or a version.
        history: The events, in any order; none is a new user.
        query_time: Seconds since the epoch.
        k: Items wanted; all where there are fewer.

    Raises:
        FileNotFoundError: There is no export.
        ValueError: `k` is below 1, an event has a text and the export cannot read
            texts, or its action is none that the model weighs.
        RuntimeError: TensorFlow refuses the request; its message says why.
    """
    if k < 1:
        raise ValueError(f"k={k} must be 1 or more.")
    metadata = metadata_of(version_directory(Path(export_directory)))
    strange = unweighed(metadata, (event.action for event in history))
    if strange:
        known = metadata["actions"]
        raise ValueError(
            f"the model weighs the actions {known}, and the history has {strange}, "
            "which would count for nothing: give one of them (--action, as in "
            f"--action {known[0]})."
        )
    by_text = has_texts(history)
    libraries = text_op_libraries() if by_text or metadata["reads_texts"] else []
    with NativeModel(export_directory, op_libraries=libraries) as model:
        name = "recommend_by_text" if by_text else "recommend"
        if name not in model.signatures:
            raise ValueError(
                f"{export_directory} has the signatures {sorted(model.signatures)}, "
                f"and this needs {name!r}: export it with texts (`tfrs-decay export "
                "--texts`)."
            )
        fields = metadata.get("fields", 1)
        k = min(k, len(metadata["texts"]))
        answer = model(
            name, request(history, query_time, k=k, by_text=by_text, fields=fields)
        )
    found = ranked(answer)
    return Answer(
        history=history,
        query_time=query_time,
        item_ids=[item for item, _ in found],
        scores=[score for _, score in found],
        texts=metadata["texts"],
        has_popularity=metadata.get("popularity"),
    )


def request(
    history: Sequence[Event],
    query_time: int,
    *,
    k: int,
    by_text: bool = False,
    fields: int = 1,
    exclude: Sequence[str] = (),
) -> dict[str, Any]:
    """The inputs of signature `recommend`, or `recommend_by_text`, for one user.

    Nested lists, as JSON takes them. Where items have several texts (`fields`), an
    event's is the first of them. An empty history has one column of padding, since
    TensorFlow Serving cannot pad an empty tensor.
    """
    events = list(history) or [Event("", "", 0, "")]
    inputs = {
        "history_item": [[event.item for event in events]],
        "history_time": [[event.time for event in events]],
        "history_action": [[event.action for event in events]],
        "history_length": [len(history)],
        "query_time": [query_time],
        "exclude_item": [list(exclude) or [""]],
        "exclude_length": [len(exclude)],
        "k": [k],
    }
    if by_text:
        texts: list[Any] = [event.text for event in events]
        if fields > 1:
            texts = [[text, *[""] * (fields - 1)] for text in texts]
        inputs["history_text"] = [texts]
    return inputs


def has_texts(history: Sequence[Event]) -> bool:
    """Whether `recommend_by_text` must be asked: an event is of an item by its text."""
    return any(event.text for event in history)


def ranked(answer: Mapping[str, Any]) -> list[tuple[str, float]]:
    """What was recommended to the only user of a request, best first.

    Args:
        answer: The outputs of `recommend` or `recommend_by_text`. Places that no item
            takes are left out.
    """
    return [
        (item.decode(), float(score))
        for item, score in zip(answer["item_id"][0], answer["score"][0], strict=True)
        if item
    ]


def _history_of_user(run_directory: str, user: str) -> tuple[list[Event], int]:
    events = load_events(Path(run_directory) / "events.npz")
    found = np.flatnonzero(events.users == user)
    if not len(found):
        raise ValueError(
            f"user {user!r} is not among the {len(events.users):,} of {run_directory}, "
            f"such as {events.users[0]!r}."
        )
    rows = np.flatnonzero(events.user == found[0])
    return events_of(events, rows.tolist()), int(events.time.max())


def events_of(events: Events, rows: Iterable[int]) -> list[Event]:
    """Events of a clean log, as a question takes them.

    Args:
        events: Clean events.
        rows: Places among them.
    """
    ids, actions = events.items.ids, events.actions
    return [
        Event(
            ids[events.item[row]],
            "",
            int(events.time[row]),
            actions[events.action[row]],
        )
        for row in rows
    ]


def _seconds(written: str, where: str) -> int:
    """Seconds since the epoch from a number of them, or an ISO date; UTC by default."""
    if re.fullmatch(r"(19|20)\d{6}", written):
        raise ValueError(
            f"{where!r}: {written} looks like a date, and as seconds it is in 1970: "
            f"write it as {written[:4]}-{written[4:6]}-{written[6:]}."
        )
    if re.fullmatch(r"-?\d+", written):
        if abs(int(written)) >= LATEST_SECOND:
            raise ValueError(
                f"{where!r}: {written} looks like milliseconds: give seconds since the "
                "epoch, or a date."
            )
        return int(written)
    try:
        moment = datetime.datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(
            f"{where!r}: {written!r} is not a time: give a date such as 2023-12-01 or "
            "2023-12-01T18:30, or seconds since the epoch."
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return int(moment.timestamp())


def texts_of(export_directory: str | os.PathLike[str]) -> dict[str, str]:
    """The catalogue's texts by id, as an export carries them.

    Args:
        export_directory: The model's folder or a version.

    Raises:
        FileNotFoundError: There is no export.
    """
    version = version_directory(Path(export_directory))
    texts: dict[str, str] = metadata_of(version)["texts"]
    return texts


def unweighed(metadata: Mapping[str, Any], actions: Iterable[str]) -> list[str]:
    """Which of some actions a model gives no weight; none where it weighs all alike.

    Args:
        metadata: Of the export, from `metadata_of`.
        actions: Of a history's events.
    """
    known = metadata.get("actions")
    return [] if known is None else sorted({*actions} - {*known})


def reads_texts(version: Path) -> bool:
    """Whether a version needs TensorFlow Text's ops, as far as it says so.

    Args:
        version: A version's folder, of this package or another.
    """
    if not (version / METADATA).is_file():
        return False
    return bool(metadata_of(version).get("reads_texts"))


def metadata_of(version: Path) -> dict[str, Any]:
    """What an export says of itself.

    Args:
        version: A version's folder.

    Raises:
        ValueError: It is no export of this package, or its description is damaged.
    """
    path = version / METADATA
    if not path.is_file():
        raise ValueError(
            f"{version} was not exported by tfrs_decay: {path} is missing."
        )
    try:
        metadata = json.loads(path.read_bytes())
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path} is damaged: export it again. {error}") from error
    if not isinstance(metadata, dict):
        raise ValueError(
            f"{path} holds a {type(metadata).__name__}, and an export says what it is "
            "in a JSON object: export it again."
        )
    return metadata
