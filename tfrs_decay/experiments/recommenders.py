"""Two recommenders, exported models or functions, asked what a log's users were shown.

Each is asked once for every user and moment of the log, with what that user had done
strictly before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import events_before
from tfrs_decay.data.rules import Rules
from tfrs_decay.experiments.outcome import Outcome
from tfrs_decay.experiments.replay import replay
from tfrs_decay.experiments.traffic import Traffic, arm_names
from tfrs_decay.serving.asking import (
    Event,
    events_of,
    metadata_of,
    unweighed,
)
from tfrs_decay.serving.native import (
    NativeModel,
    text_op_libraries,
    version_directory,
)

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 256
"""Requests that an export answers at once."""


class Request(NamedTuple):
    """A question to a recommender.

    user: the user's id.
    time: seconds since the epoch.
    history: the user's events strictly before, oldest first.
    """

    user: str
    time: int
    history: list[Event]


Recommender = Callable[[Sequence[Request]], Sequence[Sequence[str]]]
"""From requests to as many lists of items, best first; empty where it has no answer."""


class ExportedRecommender:
    """An exported model as a `Recommender`, without Keras or Python TensorFlow.

    Args:
        export_directory: What `serving.export` wrote: the model's folder or a version.
        k: Items a list; all where there are fewer.

    Raises:
        FileNotFoundError: There is no export.
        ValueError: It is none of this package, or `k` is below 1.
        RuntimeError: TensorFlow could not load the model.
    """

    def __init__(
        self, export_directory: str | os.PathLike[str], *, k: int = 20
    ) -> None:
        if k < 1:
            raise ValueError(f"k={k} must be 1 or more.")
        version = version_directory(Path(export_directory))
        self._metadata = metadata_of(version)
        libraries = text_op_libraries() if self._metadata["reads_texts"] else []
        self._model = NativeModel(version, op_libraries=libraries)
        self._k = min(k, len(self._metadata["texts"]))

    def __call__(self, requests: Sequence[Request]) -> list[list[str]]:
        """Answers requests in blocks, those with histories of like length together.

        Raises:
            ValueError: A history has an action that the model does not weigh.
        """
        actions = {event.action for one in requests for event in one.history}
        strange = unweighed(self._metadata, actions)
        if strange:
            raise ValueError(
                f"{self._model.path} weighs the actions {self._metadata['actions']}, "
                f"and the histories have {strange}, which would count for nothing: "
                "leave such events out of the history."
            )
        answers: list[list[str]] = [[] for _ in requests]
        order = sorted(range(len(requests)), key=lambda row: len(requests[row].history))
        for start in range(0, len(order), BLOCK):
            rows = order[start : start + BLOCK]
            answer = self._model(
                "recommend", _inputs([requests[row] for row in rows], self._k)
            )
            for row, ids in zip(rows, answer["item_id"].tolist(), strict=True):
                answers[row] = [one.decode() for one in ids if one]
        return answers

    def close(self) -> None:
        """Frees the model."""
        self._model.close()

    def __enter__(self) -> ExportedRecommender:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def compare_recommenders(
    traffic: Mapping[str, Any] | pd.DataFrame,
    recommenders: Mapping[str, Recommender | str | os.PathLike[str]],
    history: Events,
    *,
    k: int = 20,
    control: str | None = None,
    clip: float | None = None,
    rewards: Iterable[str] | None = None,
    duplicates: str = "refuse",
    rules: Rules | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Outcome:
    """Replays recommenders over logged traffic; `replay` says how.

    A user whom the history does not know has an empty one: an export answers with what
    is popular, or not at all where it was exported without.

    What a recommender was trained on has to end before the traffic begins. One that has
    seen what these users did next is not replayed, but asked what it remembers; nothing
    here can tell.

    Args:
        traffic: Columns as in `replay`, and time.
        recommenders: Functions, or folders of exports, by name.
        history: The users' events, of any time: of those, each request has the ones
            strictly before its own.
        k: Items a list of an export has: the places of the log's lists, or fewer.
        control: As in `replay`.
        clip: As in `replay`.
        rewards: As in `replay`.
        duplicates: As in `replay`.
        rules: As in `replay`. A time that is read in another zone than the history's
            lets a request know what was clicked on its own list.
        level: As in `replay`.
        resamples: As in `replay`.
        seed: As in `replay`.

    Raises:
        FileNotFoundError: There is no export in a folder.
        ValueError: As in `replay`, a recommender gave another number of lists, or an
            export does not weigh an action of the history.
        RuntimeError: TensorFlow could not load or run an export.
    """
    arm_names(recommenders, control)
    logged = Traffic(traffic, rules)
    requests, row_of = requests_of(logged, history)
    recommended: dict[str, list[Sequence[str]]] = {}
    for name, one in recommenders.items():
        if callable(one):
            lists = one(requests)
        else:
            with ExportedRecommender(one, k=k) as exported:
                lists = exported(requests)
        if len(lists) != len(requests):
            raise ValueError(
                f"recommenders[{name!r}] gave {len(lists):,} lists for "
                f"{len(requests):,} requests: give one for each, empty where there is "
                "no answer."
            )
        recommended[name] = [lists[row] for row in row_of]
    return replay(
        traffic,
        recommended,
        control=control,
        clip=clip,
        rewards=rewards,
        duplicates=duplicates,
        rules=rules,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def requests_of(traffic: Traffic, history: Events) -> tuple[list[Request], list[int]]:
    """Each user and moment of a log as one request.

    Args:
        traffic: Columns user and time.
        history: The users' events.

    Returns:
        The requests; and for each row of the traffic, the place of its own.

    Raises:
        ValueError: A column is missing, or holds something else.
    """
    users, times = traffic.names("user"), traffic.times()
    place: dict[tuple[str, int], int] = {}
    row_of = [
        place.setdefault(one, len(place))
        for one in zip(users.tolist(), times.tolist(), strict=True)
    ]
    code = {user: number for number, user in enumerate(history.users.tolist())}
    known = [one for one in place if one[0] in code]
    start, stop = events_before(
        history,
        np.array([code[user] for user, _ in known], np.int64),
        np.array([time for _, time in known], np.int64),
    )
    ranges = dict(
        zip(known, zip(start.tolist(), stop.tolist(), strict=True), strict=True)
    )
    return [
        Request(*one, events_of(history, range(*ranges.get(one, (0, 0)))))
        for one in place
    ], row_of


def _inputs(requests: Sequence[Request], k: int) -> dict[str, Any]:
    """What signature `recommend` takes, histories padded to the longest."""
    width = max(1, *(len(one.history) for one in requests))
    nothing = Event("", "", 0, "")
    padded = [
        [*one.history, *[nothing] * (width - len(one.history))] for one in requests
    ]
    return {
        "history_item": [[event.item for event in row] for row in padded],
        "history_time": [[event.time for event in row] for row in padded],
        "history_action": [[event.action for event in row] for row in padded],
        "history_length": [len(one.history) for one in requests],
        "query_time": [one.time for one in requests],
        "exclude_item": [[""]] * len(requests),
        "exclude_length": [0] * len(requests),
        "k": [k] * len(requests),
    }
