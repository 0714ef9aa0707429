"""What both surfaces of a host ask: checks, the queue, the model, and the counts."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_decay.serving.live import LiveModel, Loaded, VersionStatus
from tfrs_decay.serving.metrics import Metrics
from tfrs_decay.serving.native import Signature, TensorFlowError
from tfrs_decay.serving.rest_format import BYTES_SUFFIX
from tfrs_decay.serving.statuses import HTTP_STATUS, RequestRefused

# gRPC says of a request without a deadline that it has 292 years, which no clock has.
_LONGEST_WAIT = 86_400.0

RETRY_AFTER = 1
"""Seconds after which a client that was one too many is told to ask again: HTTP counts
whole ones."""

# So long it waits for its refusal: who asks again at once would else keep the processor
# busy with refusals, and those who are in the queue waiting.
_REFUSED_AFTER = 0.1


class Limits(NamedTuple):
    """How much a host takes on.

    request_bytes: of one request, as it is sent and as the arrays that it stands for.
    concurrent: requests that run at once; None for as many as there are processors.
    queued: further requests that wait; those beyond are refused.
    connections: of HTTP that are open at once, each with a thread of its own; those
        beyond are refused. gRPC's have none.
    idle_seconds: how long a connection of HTTP may be silent before it is closed.
    """

    request_bytes: int = 4 << 20
    concurrent: int | None = None
    queued: int = 64
    connections: int = 512
    idle_seconds: float = 60.0

    def running(self) -> int:
        """Requests that run at once, as a number."""
        return (os.cpu_count() or 1) if self.concurrent is None else self.concurrent


class Prediction(NamedTuple):
    """An answer, and the version that gave it."""

    version: int
    outputs: dict[str, NDArray[Any]]


class Service:
    """A model that is asked by name.

    Args:
        name: What clients call it.
        live: The model.
        limits: How much is taken on.
        wait: Waits so many seconds.

    Raises:
        ValueError: A limit is below 1, or below 0 for the queue; or no time is.
    """

    def __init__(
        self,
        name: str,
        live: LiveModel,
        limits: Limits,
        *,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        for what, number, least in (
            ("request_bytes", limits.request_bytes, 1),
            ("concurrent", limits.running(), 1),
            ("queued", limits.queued, 0),
            ("connections", limits.connections, 1),
        ):
            if number < least:
                raise ValueError(f"{what}={number} must be {least} or more.")
        if not 0 < limits.idle_seconds < math.inf:
            raise ValueError(
                f"idle_seconds={limits.idle_seconds} must be finite and more than 0."
            )
        self.name = name
        self.live = live
        self.limits = limits
        self._wait = wait
        self.metrics = Metrics(lambda: live.version)
        self._places = threading.BoundedSemaphore(limits.running() + limits.queued)
        self._running = threading.BoundedSemaphore(limits.running())

    @contextlib.contextmanager
    def model(self, name: str, version: int | None = None) -> Iterator[Loaded]:
        """The version that is served, kept open within.

        Raises:
            RequestRefused: The model has another name, or the version is not served.
        """
        self._own(name)
        with self.live.lease(version) as loaded:
            yield loaded

    def statuses(
        self, name: str, version: int | None = None
    ) -> dict[int, VersionStatus]:
        """Where versions are, by their number.

        Args:
            name: The model's.
            version: The only one that is asked for; all when left out.

        Raises:
            RequestRefused: Of a model of another name, or an unknown version.
        """
        self._own(name)
        known = self.live.statuses()
        if version is None:
            return known
        if version not in known:
            raise RequestRefused(
                "NOT_FOUND", f"Could not find version {version} of model {name}."
            )
        return {version: known[version]}

    def _own(self, name: str) -> None:
        if name != self.name:
            raise RequestRefused(
                "NOT_FOUND", f"There is no model {name!r}: {self.name!r} is served."
            )

    def predict(
        self,
        loaded: Loaded,
        signature: str,
        inputs: Callable[[Signature], Mapping[str, Any]],
        *,
        surface: str,
        seconds: float | None = None,
    ) -> Prediction:
        """Answers one request.

        Args:
            loaded: From `model`.
            signature: Its name.
            inputs: Gives nested lists or arrays by the input's name.
            surface: "grpc" or "rest", for the metrics.
            seconds: How long the client waits; no end when left out.

        Raises:
            RequestRefused: The request is wrong, came too late, or was one too many.
        """
        there = loaded.model.signatures.get(signature)
        with (
            self.metrics.request(surface, "unknown" if there is None else signature),
            _refusals(),
        ):
            if there is None:
                raise ValueError(
                    f"There is no signature {signature!r}: version {loaded.version} "
                    f"has {sorted(loaded.model.signatures)}."
                )
            arrays = there.arrays(inputs(there), signature)
            _check(arrays, signature)
            with self._turn(seconds):
                return Prediction(loaded.version, loaded.model(signature, arrays))

    def keep_waiting(self, seconds: float | None = None) -> None:
        """Lets a client that was one too many wait a little before it is told so.

        Neither a place in the queue nor the model is held meanwhile; the thread is.

        Args:
            seconds: How long the client waits, half of which it is kept waiting at
                most; no end when left out.
        """
        left = math.inf if seconds is None else max(0.0, seconds)
        self._wait(min(_REFUSED_AFTER, left / 2))

    @contextlib.contextmanager
    def _turn(self, seconds: float | None) -> Iterator[None]:
        """Waits for a place among those that run."""
        if not self._places.acquire(blocking=False):
            raise RequestRefused(
                "RESOURCE_EXHAUSTED",
                f"{self.limits.running()} requests run and {self.limits.queued} wait: "
                "try again later.",
                http=HTTP_STATUS["UNAVAILABLE"],
                retry_after=RETRY_AFTER,
            )
        try:
            left = None if seconds is None else min(max(0.0, seconds), _LONGEST_WAIT)
            if not self._running.acquire(timeout=left):
                raise RequestRefused(
                    "DEADLINE_EXCEEDED", "the deadline passed in the queue."
                )
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._places.release()


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What a model says of a request, as a refusal of it."""
    try:
        yield
    except TensorFlowError as error:
        code = error.code if error.code in HTTP_STATUS else "UNKNOWN"
        raise RequestRefused(code, str(error)) from error
    except ValueError as error:
        raise RequestRefused("INVALID_ARGUMENT", str(error)) from error


def _check(arrays: Mapping[str, NDArray[Any]], signature: str) -> None:
    """Refuses what no model can mean: numbers that are none, and text that is none.

    TensorFlow Serving lets both through.
    """
    for name, data in arrays.items():
        where = f"Input {name!r} of signature {signature!r}"
        if data.dtype.kind == "f" and np.isnan(data).any():
            raise ValueError(f"{where} has NaN.")
        if data.dtype == object and not name.endswith(BYTES_SUFFIX):
            for item in data.reshape(-1).tolist():
                try:
                    item.decode()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{where} has {item!r}, which is not UTF-8."
                    ) from error
