"""TensorFlow Serving's REST interface over a `Service`; see `rest_format`."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tfrs_decay.serving import rest_format
from tfrs_decay.serving.metrics import CONTENT_TYPE
from tfrs_decay.serving.service import RETRY_AFTER, Service
from tfrs_decay.serving.statuses import RequestRefused

METRICS_PATH = "/monitoring/prometheus/metrics"
"""Where TensorFlow Serving's own documentation puts them."""

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?"
_PREDICT = re.compile(_MODEL + ":predict")
_METADATA = re.compile(_MODEL + "/metadata")
_STATUS = re.compile(_MODEL)
_LARGEST_VERSION = 2**63 - 1

# Of a version or a length: those of _LARGEST_VERSION. Python's int refuses thousands.
_MOST_DIGITS = 19

# A client writes all of a request before it reads the answer: as much is read of one
# that is too large, so that it gets to see why, and no more.
_MOST_UNREAD = 64 << 20

# A connection is closed once its client has hung up, too, or after so many seconds: to
# close at once would take the last answer from a client that is still writing. So many
# may be there.
_LEAVING_SECONDS = 1.0
_MOST_LEAVING = 64
_READ_AT_ONCE = 1 << 16
_READS_AT_ONCE = 64

# A connection before its first request, within one, and between two.
_FRESH, _BUSY, _IDLE = "fresh", "busy", "idle"


class RestServer(ThreadingHTTPServer):
    """Answers from a thread a connection, of which there are `Limits.connections`.

    Args:
        address: Host and port; port 0 for any that is free.
        service: What is asked.

    Raises:
        OSError: The address cannot be had.
    """

    daemon_threads = True
    # Connections that wait to be accepted: the default of 5 is soon full.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self.stopping = False
        # Of each open connection, the state of its request.
        self._connections: dict[socket.socket, str] = {}
        self._changed = threading.Condition()
        # Connections that are at an end, and until when they are kept.
        self._leaving: dict[socket.socket, float] = {}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Binds, and asks no name server for this machine's name as the parent does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a connection's thread, if there may be one more."""
        with self._changed:
            full = len(self._connections) >= self.service.limits.connections
        if full:
            self._refuse(request)
            return
        self.note(request, _FRESH)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Closes the connections at an end whose clients have hung up."""
        now = time.monotonic()
        with self._changed:
            for connection, end in list(self._leaving.items()):
                if now >= end or _has_ended(connection):
                    self._let_go(connection)

    def server_close(self) -> None:
        """Closes the port, and the connections that are at an end."""
        super().server_close()
        with self._changed:
            for connection in list(self._leaving):
                self._let_go(connection)

    def _refuse(self, connection: socket.socket) -> None:
        """Says that there are too many connections, and waits for nothing."""
        most = self.service.limits.connections
        body = _error(
            f"{most:,} connections are open, and {most:,} are taken: try again later."
        )
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_AFTER}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.service.metrics.answered("rest", "503")
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # The client has gone already.
            connection.sendall(head.encode() + body)
        self.shutdown_request(connection)

    def _let_go(self, connection: socket.socket) -> None:
        del self._leaving[connection]
        connection.close()

    def shutdown_request(self, request: Any) -> None:
        """Ends a connection: nothing more is said, and what still comes passed over."""
        request.setblocking(False)
        with contextlib.suppress(OSError):  # The client has gone already.
            request.shutdown(socket.SHUT_WR)
        with self._changed:
            if len(self._leaving) >= _MOST_LEAVING:
                self._let_go(next(iter(self._leaving)))
            self._leaving[request] = time.monotonic() + _LEAVING_SECONDS
            # Nobody looks after it once the port is closed.
            if self.stopping or _has_ended(request):
                self._let_go(request)
            self._connections.pop(request, None)
            self._changed.notify_all()

    def note(self, connection: socket.socket, state: str) -> None:
        """Keeps what a connection is at."""
        with self._changed:
            self._connections[connection] = state
            self._changed.notify_all()

    def stop(self, grace: float) -> None:
        """Accepts nothing more, waits for what runs, and ends all connections.

        Args:
            grace: Seconds to wait at most.
        """
        self.stopping = True
        self.shutdown()
        # Connections that were made and not yet accepted.
        with contextlib.suppress(OSError):
            self.socket.setblocking(False)
            while True:
                connection, client = self.socket.accept()
                connection.setblocking(True)
                self.process_request(connection, client)
        self.server_close()
        with self._changed:
            # Whoever has just connected is about to ask.
            states = self._connections.values()
            self._changed.wait_for(
                lambda: not {_FRESH, _BUSY} & {*states}, min(1.0, grace)
            )
            self._changed.wait_for(lambda: _BUSY not in states, grace)
            for connection in self._connections:
                # Its thread, which waits for a request, sees the end of it.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, min(1.0, grace))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that hang up."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    # An answer in one piece, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Begins a connection, which is closed when it is silent for too long."""
        super().setup()
        self.connection.settimeout(self.server.service.limits.idle_seconds)

    def do_GET(self) -> None:
        """Answers what is known of the model."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answers a prediction."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the metrics count."""

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """What the parent finds wrong with HTTP itself, as JSON too."""
        self.close_connection = True
        self._send(code, _error(message or explain or "bad request"))

    def handle_expect_100(self) -> bool:
        """Refuses a body that is too large before it is sent."""
        try:
            self._length()
        except RequestRefused as refusal:
            self.send_error(refusal.http, refusal.message)
            return False
        go_on = super().handle_expect_100()
        self.wfile.flush()  # The client waits for it, and sends nothing before.
        return go_on

    def _answer(self, ask: Callable[[], tuple[bytes, str]]) -> None:
        self.server.note(self.connection, _BUSY)
        again = None
        try:
            try:
                body, kind = ask()
                status = 200
            except RequestRefused as refusal:
                body, kind = _error(refusal.message), "application/json"
                status, again = refusal.http, refusal.retry_after
            except (TimeoutError, ConnectionError):
                self.close_connection = True
                return
            except Exception:  # The process lives, whatever was asked.
                traceback.print_exc()
                body, kind = _error("internal error"), "application/json"
                status = 500
            # Here, where nothing of the request is kept any more.
            if again is not None:
                self.server.service.keep_waiting()
            self._send(status, body, kind, again)
            self.wfile.flush()
        finally:
            self.server.note(self.connection, _IDLE)

    def _send(
        self,
        status: int,
        body: bytes,
        kind: str = "application/json",
        again: int | None = None,
    ) -> None:
        self.server.service.metrics.answered("rest", str(int(status)))
        if self.server.stopping:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if again is not None:
            self.send_header("Retry-After", str(again))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _get(self) -> tuple[bytes, str]:
        if {"Content-Length", "Transfer-Encoding"} & {*map(str.title, self.headers)}:
            self._body()  # Else it would be taken for the next request.
        service = self.server.service
        path = self._path()
        if path == METRICS_PATH:
            return service.metrics.page(), CONTENT_TYPE
        if found := _METADATA.fullmatch(path):
            with service.model(found["name"], _version(found["version"])) as loaded:
                answer = _metadata(service.name, loaded.version, loaded.model)
        elif found := _STATUS.fullmatch(path):
            answer = _statuses(service, found["name"], _version(found["version"]))
        else:
            raise self._malformed()
        return json.dumps(answer).encode(), "application/json"

    def _post(self) -> tuple[bytes, str]:
        found = _PREDICT.fullmatch(self._path())
        body = self._body()
        if not found:
            raise self._malformed()
        service = self.server.service
        with service.model(found["name"], _version(found["version"])) as loaded:
            try:
                question = rest_format.read_request(body, loaded.model.signatures)
            except ValueError as error:
                with service.metrics.request("rest", "unknown"):
                    raise RequestRefused("INVALID_ARGUMENT", str(error)) from error
            answer = service.predict(
                loaded, question.signature, lambda _: question.inputs, surface="rest"
            )
        try:
            written = rest_format.write_answer(answer.outputs, by_row=question.by_row)
        except ValueError as error:
            raise RequestRefused("INVALID_ARGUMENT", str(error)) from error
        return written, "application/json"

    def _length(self) -> int:
        text = self.headers.get("Content-Length", "")
        chunked = "Transfer-Encoding" in self.headers
        if chunked or not (text.isascii() and text.isdigit()):
            self.close_connection = True
            raise RequestRefused(
                "INVALID_ARGUMENT", "the request has no Content-Length.", http=411
            )
        if len(text) > _MOST_DIGITS:
            self.close_connection = True
            raise RequestRefused(
                "INVALID_ARGUMENT", f"the request's Content-Length is no length: {text}"
            )
        length = int(text)
        most = self.server.service.limits.request_bytes
        if length > most:
            self.close_connection = True
            raise RequestRefused(
                "RESOURCE_EXHAUSTED",
                f"the request has {length:,} bytes, and {most:,} are taken.",
                http=413,
            )
        return length

    def _body(self) -> bytes:
        try:
            length = self._length()
        except RequestRefused as refusal:
            if refusal.http == 413:
                self._pass_over()
            raise
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client hung up within its request.")
        return body

    def _pass_over(self) -> None:
        """Reads a body that is too large, and keeps nothing of it."""
        unread = min(int(self.headers["Content-Length"]), _MOST_UNREAD)
        while unread and (piece := self.rfile.read(min(unread, _READ_AT_ONCE))):
            unread -= len(piece)

    def _path(self) -> str:
        return urllib.parse.unquote(self.path.partition("?")[0])

    def _malformed(self) -> RequestRefused:
        return RequestRefused(
            "INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}"
        )


def _has_ended(connection: socket.socket) -> bool:
    """Whether a client has hung up; what it sends until then is passed over."""
    try:
        for _ in range(_READS_AT_ONCE):
            if not connection.recv(_READ_AT_ONCE):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if len(text) > _MOST_DIGITS or int(text) > _LARGEST_VERSION:
        raise RequestRefused(
            "INVALID_ARGUMENT", f"Failed to convert version: {text} to numeric."
        )
    return int(text)


def _metadata(name: str, version: int, model: Any) -> dict[str, Any]:
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    one: rest_format.signature_as_json(signature)
                    for one, signature in model.signatures.items()
                }
            }
        },
    }


def _statuses(service: Service, name: str, version: int | None) -> dict[str, Any]:
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": one.state,
                "status": {"error_code": one.code, "error_message": one.message},
            }
            for number, one in service.statuses(name, version).items()
        ]
    }
