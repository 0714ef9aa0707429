"""What a host counts of itself, in Prometheus' text format."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from tfrs_decay.serving.names import INSTALL
from tfrs_decay.serving.statuses import RequestRefused

try:
    import prometheus_client
except ModuleNotFoundError as error:
    raise ImportError(
        f"a host's metrics need prometheus-client, which is not installed: {INSTALL}"
    ) from error

CONTENT_TYPE: str = prometheus_client.CONTENT_TYPE_LATEST
"""Of the page, as HTTP says it."""

# Seconds; from what a small catalogue takes to what nobody waits for.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Counts of one host.

    Args:
        version: Gives the version that is served; None where there is none.
    """

    def __init__(self, version: Callable[[], int | None]) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "tfrs_decay_requests",
            "Predictions asked for, by the status they ended with.",
            ["surface", "signature", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "tfrs_decay_request_seconds",
            "From a request that was read to its answer, the queue included.",
            ["surface", "signature"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._answers = prometheus_client.Counter(
            "tfrs_decay_answers",
            "All answers, by HTTP's status or gRPC's code: also of what no model saw.",
            ["surface", "status"],
            registry=self._registry,
        )
        self._in_flight = prometheus_client.Gauge(
            "tfrs_decay_requests_in_flight",
            "Predictions that are queued or running.",
            registry=self._registry,
        )
        served = prometheus_client.Gauge(
            "tfrs_decay_model_version",
            "The version that is served; -1 for none.",
            registry=self._registry,
        )
        served.set_function(lambda: _number_of(version()))

    @contextlib.contextmanager
    def request(self, surface: str, signature: str) -> Iterator[None]:
        """Counts what happens within.

        Args:
            surface: "grpc" or "rest".
            signature: One of the model's, or a word that stands for all others: what
                clients make up must not make new rows.
        """
        start = time.perf_counter()
        status = "OK"
        self._in_flight.inc()
        try:
            yield
        except RequestRefused as refusal:
            status = refusal.code
            raise
        except BaseException:
            status = "INTERNAL"
            raise
        finally:
            self._in_flight.dec()
            self._requests.labels(surface, signature, status).inc()
            self._seconds.labels(surface, signature).observe(
                time.perf_counter() - start
            )

    def answered(self, surface: str, status: str) -> None:
        """Counts an answer of any kind, a prediction's and every other.

        Args:
            surface: "grpc" or "rest".
            status: gRPC's name of the code, or HTTP's number.
        """
        self._answers.labels(surface, status).inc()

    def page(self) -> bytes:
        """All of it, as text."""
        page: bytes = prometheus_client.generate_latest(self._registry)
        return page


def _number_of(version: int | None) -> int:
    return -1 if version is None else version
