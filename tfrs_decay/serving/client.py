"""Questions to a served model, from another process: over gRPC, or over HTTP.

The server is TensorFlow Serving, or `tfrs-decay serve`. HTTP needs nothing besides this
package; gRPC needs the extra `serving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

from numpy.typing import NDArray

from tfrs_decay.serving import asking, rest_format
from tfrs_decay.serving.asking import Event
from tfrs_decay.serving.homes import without_password
from tfrs_decay.serving.names import location
from tfrs_decay.serving.native import Signature
from tfrs_decay.serving.statuses import HTTP_STATUS

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "NotServed",
    "Recommendations",
    "Retries",
    "ServingError",
    "Unavailable",
]

Arrays = dict[str, NDArray[Any]]
Signatures = dict[str, Signature]
Question = tuple[str, Mapping[str, Any]]
T = TypeVar("T")


class ServingError(RuntimeError):
    """A server did not answer.

    status: gRPC's name of the reason, such as "INTERNAL"; HTTP's are read as these.
    input: the input that the server, or this client, finds fault with; None where it is
        none, or is not named.
    """

    def __init__(self, message: str, status: str, input: str | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.input = input


class InvalidRequest(ServingError, ValueError):
    """The request is wrong, and would be wrong again: `input` says which input."""


class NotServed(ServingError, LookupError):
    """The server has no such model, or no such version of it."""


class Unavailable(ServingError, ConnectionError):
    """The server is not reached or has too much to do; all tries ended so."""


class DeadlineExceeded(ServingError, TimeoutError):
    """There was no answer in time."""


_KINDS: dict[str, type[ServingError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "FAILED_PRECONDITION": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotServed,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
_OF_HTTP = {
    **{status: code for code, status in reversed(HTTP_STATUS.items())},
    500: "INTERNAL",
    # Not of the model, but of what stands before it.
    408: "DEADLINE_EXCEEDED",
    502: "UNAVAILABLE",
}
# One code for a queue that is full, which passes, and a message that is too large.
_TOO_LARGE = 413
_TOO_LARGE_MESSAGE = "larger than max"


class Retries(NamedTuple):
    """How a client tries again where the server is not there or is full.

    A prediction changes nothing on the server, so that asking twice does no harm.

    attempts: tries in all, the first one included.
    first_pause: seconds before the second try at most; a random part of them, so that
        clients do not all come back at once. It doubles with each try.
    longest_pause: seconds.

    A client refuses less than one attempt, and a pause that is negative or not finite.
    """

    attempts: int = 5
    first_pause: float = 0.05
    longest_pause: float = 2.0


class Recommendations(NamedTuple):
    """What a server recommends.

    item_ids: best first; shorter than k where no more were left.
    scores: as many.
    """

    item_ids: list[str]
    scores: list[float]


class _Client:
    """What `Client` and `AsyncClient` have in common: all but waiting."""

    _transports: list[Any]

    def __init__(
        self,
        address: str,
        *,
        model: str,
        version: int | None = None,
        fallback: str | None = None,
        timeout: float = 5.0,
        retries: Retries = Retries(),  # noqa: B008
    ) -> None:
        _check_timeout(timeout)
        _check_retries(retries)
        served = _Model(model, version)
        self._transports = [
            self._way(_parts(one), served)
            for one in (address, fallback)
            if one is not None
        ]
        self._timeout = timeout
        self._retries = retries
        # Of the version that answered last; None where it is to be read again. Other
        # threads put another in its place: a call looks once, and keeps what it saw.
        self._known: Signatures | None = None

    def _way(self, address: _Address, model: _Model) -> Any:
        raise NotImplementedError

    def _patience(self, timeout: float | None) -> _Patience:
        if timeout is None:
            timeout = self._timeout
        _check_timeout(timeout)
        return _Patience(timeout, self._retries)

    def _checked(
        self, known: Signatures, question: Question
    ) -> tuple[str, Signature, Arrays]:
        """What to send, by these signatures."""
        name, inputs = question
        signature = known.get(name)
        try:
            if signature is None:
                raise ValueError(
                    f"There is no signature {name!r}: the model has {sorted(known)}."
                )
            return name, signature, signature.arrays(inputs, name)
        except ValueError as error:
            raise _error("INVALID_ARGUMENT", str(error), inputs) from error

    def _forget(self, known: Signatures) -> None:
        """Where a request does not fit, another version may be served by now."""
        if self._known is known:
            self._known = None

    def _question(
        self,
        known: Signatures,
        history: Sequence[Event],
        query_time: int | None,
        k: int,
        exclude: Sequence[str],
    ) -> Question:
        by_text = asking.has_texts(history)
        name = "recommend_by_text" if by_text else "recommend"
        shape = None
        if by_text and name in known:
            shape = known[name].inputs["history_text"].shape
        fields = shape[2] if shape is not None and len(shape) == 3 else 1
        return name, asking.request(
            history,
            int(time.time()) if query_time is None else query_time,
            k=k,
            by_text=by_text,
            fields=fields or 1,
            exclude=exclude,
        )


class Client(_Client):
    """Asks a served model.

    One client serves many threads. Inputs are nested lists or arrays, checked and
    converted as by `NativeModel`, by the signatures that the server names.

    Args:
        address: "grpc://host:8500" or "http://host:8501"; "grpcs://" and "https://" for
            servers behind TLS. An IPv6 address stands in brackets, "http://[::1]:8501".
        model: What the server calls the model.
        version: The version to ask; the server's choice when left out.
        fallback: A second address, asked where the first is not reached, is full, or
            does not answer within half of the time that is left.
        timeout: Seconds for a call, all its tries together.
        retries: How to try again.

    Raises:
        ValueError: An address or a number is none.
        ImportError: The address is gRPC's, and its libraries are not installed.

    Example:
        with Client("grpc://localhost:8500", model="shop") as client:
            client.recommend([Event("85123A", "", 1_764_000_000, "purchase")], k=5)
    """

    _transports: list[_Transport]

    def _way(self, address: _Address, model: _Model) -> _Transport:
        if address.scheme in _GRPC:
            return _Grpc(address, model)
        return _Rest(address, model)

    def signatures(self, *, timeout: float | None = None) -> Signatures:
        """What the served version offers.

        Args:
            timeout: Seconds; the client's when left out.

        Raises:
            ServingError: The server does not answer.
        """
        return dict(self._read(self._patience(timeout)))

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> Arrays:
        """Runs one signature.

        Args:
            signature: Its name.
            inputs: Nested lists or arrays, by the input's name.
            timeout: Seconds; the client's when left out.

        Returns:
            An array for each output; object arrays of bytes for strings.

        Raises:
            InvalidRequest: The request does not fit; nothing is asked again.
            NotServed: The server has no such model or version.
            Unavailable: The server is not reached, or is full, in all tries.
            DeadlineExceeded: There was no answer in time.
            ServingError: It failed otherwise.
        """
        patience = self._patience(timeout)
        return self._predict(patience, lambda known: (signature, inputs))

    def recommend(
        self,
        history: Sequence[Event],
        *,
        query_time: int | None = None,
        k: int = 10,
        exclude: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Recommendations:
        """Items for one user.

        Args:
            history: What the user did, in any order; where an event has a text,
                `recommend_by_text` is asked.
            query_time: Seconds since the epoch; now when left out.
            k: Items wanted.
            exclude: Ids that are not wanted.
            timeout: Seconds; the client's when left out.

        Raises:
            ServingError: As for `predict`.
        """
        outputs = self._predict(
            self._patience(timeout),
            lambda known: self._question(known, history, query_time, k, exclude),
        )
        return _recommendations(outputs)

    def close(self) -> None:
        """Closes the connections."""
        for transport in self._transports:
            transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _predict(
        self, patience: _Patience, question: Callable[[Signatures], Question]
    ) -> Arrays:
        known = self._known
        fresh = known is None
        if known is None:
            known = self._read(patience)
        try:
            name, asked, arrays = self._checked(known, question(known))
        except InvalidRequest:
            if fresh:
                raise
            known = self._read(patience)
            name, asked, arrays = self._checked(known, question(known))
        try:
            return self._ask(
                patience,
                lambda transport, left: transport.predict(name, asked, arrays, left),
            )
        except InvalidRequest:
            self._forget(known)
            raise

    def _read(self, patience: _Patience) -> Signatures:
        known = self._ask(patience, lambda transport, left: transport.signatures(left))
        self._known = known
        return known

    def _ask(self, patience: _Patience, ask: Callable[[_Transport, float], T]) -> T:
        while True:
            try:
                return self._try(patience, ask)
            except ServingError as error:
                pause = patience.pause_after(error)
            time.sleep(pause)

    def _try(
        self,
        patience: _Patience,
        ask: Callable[[_Transport, float], T],
    ) -> T:
        *others, last = self._transports
        for transport in others:
            with contextlib.suppress(Unavailable, DeadlineExceeded):
                return ask(transport, patience.left() / len(self._transports))
        return ask(last, patience.left())


class AsyncClient(_Client):
    """Asks a served model without blocking an event loop.

    The arguments and methods are those of `Client`, the methods to be awaited. HTTP
    runs in threads.
    """

    _transports: list[_AsyncTransport]

    def _way(self, address: _Address, model: _Model) -> _AsyncTransport:
        if address.scheme in _GRPC:
            return _AsyncGrpc(address, model)
        return _AsyncRest(address, model)

    async def signatures(self, *, timeout: float | None = None) -> Signatures:
        """What the served version offers; see `Client.signatures`."""
        return dict(await self._read(self._patience(timeout)))

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        timeout: float | None = None,
    ) -> Arrays:
        """Runs one signature; see `Client.predict`."""
        patience = self._patience(timeout)
        return await self._predict(patience, lambda known: (signature, inputs))

    async def recommend(
        self,
        history: Sequence[Event],
        *,
        query_time: int | None = None,
        k: int = 10,
        exclude: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Recommendations:
        """Items for one user; see `Client.recommend`."""
        outputs = await self._predict(
            self._patience(timeout),
            lambda known: self._question(known, history, query_time, k, exclude),
        )
        return _recommendations(outputs)

    async def close(self) -> None:
        """Closes the connections."""
        for transport in self._transports:
            await transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _predict(
        self, patience: _Patience, question: Callable[[Signatures], Question]
    ) -> Arrays:
        known = self._known
        fresh = known is None
        if known is None:
            known = await self._read(patience)
        try:
            name, asked, arrays = self._checked(known, question(known))
        except InvalidRequest:
            if fresh:
                raise
            known = await self._read(patience)
            name, asked, arrays = self._checked(known, question(known))
        try:
            return await self._ask(
                patience,
                lambda transport, left: transport.predict(name, asked, arrays, left),
            )
        except InvalidRequest:
            self._forget(known)
            raise

    async def _read(self, patience: _Patience) -> Signatures:
        known = await self._ask(
            patience, lambda transport, left: transport.signatures(left)
        )
        self._known = known
        return known

    async def _ask(
        self,
        patience: _Patience,
        ask: Callable[[_AsyncTransport, float], Awaitable[T]],
    ) -> T:
        while True:
            try:
                return await self._try(patience, ask)
            except ServingError as error:
                pause = patience.pause_after(error)
            await asyncio.sleep(pause)

    async def _try(
        self,
        patience: _Patience,
        ask: Callable[[_AsyncTransport, float], Awaitable[T]],
    ) -> T:
        *others, last = self._transports
        for transport in others:
            with contextlib.suppress(Unavailable, DeadlineExceeded):
                return await ask(transport, patience.left() / len(self._transports))
        return await ask(last, patience.left())


# Addresses, models, waiting.


def _check_timeout(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ValueError(f"timeout={seconds} must be finite and more than 0 seconds.")


def _check_retries(retries: Retries) -> None:
    if not isinstance(retries.attempts, int) or retries.attempts < 1:
        raise ValueError(
            f"retries.attempts={retries.attempts} must be a whole number from 1 on."
        )
    for name in ("first_pause", "longest_pause"):
        seconds = getattr(retries, name)
        if not 0 <= seconds < math.inf:
            raise ValueError(
                f"retries.{name}={seconds} must be finite and 0 seconds or more."
            )


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return location(self.host, self.port)


class _Model(NamedTuple):
    name: str
    version: int | None


_GRPC = ("grpc", "grpcs")
_PORTS = {"grpc": 8500, "grpcs": 443, "http": 8501, "https": 443}


def _parts(address: str) -> _Address:
    shown = without_password(address)
    wrong = ValueError(
        f"{shown!r} is no address of a server: give one such as "
        "'grpc://localhost:8500' or 'http://localhost:8501'."
    )
    try:
        parts = urllib.parse.urlsplit(address)
        port = parts.port
    except ValueError:
        # Python's own error may show a part of a password.
        raise wrong from None
    beyond = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _PORTS or not parts.hostname or beyond:
        raise wrong
    if "@" in parts.netloc:
        raise ValueError(
            f"{shown!r} has a user or a password, which a client does not send: leave "
            "them out, and let what stands before the server see who may ask."
        )
    return _Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


class _Patience:
    """The time and the tries that a call has left."""

    def __init__(self, timeout: float, retries: Retries) -> None:
        self._until = time.monotonic() + timeout
        self._timeout = timeout
        self._retries = retries
        self._tried = 0

    def left(self) -> float:
        """Seconds; more than 0."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                f"no answer within {self._timeout:g} s.", "DEADLINE_EXCEEDED"
            )
        return left

    def pause_after(self, error: ServingError) -> float:
        """Seconds to wait before trying again; raises `error` where that is no use."""
        self._tried += 1
        retries = self._retries
        if not isinstance(error, Unavailable) or self._tried >= retries.attempts:
            raise error
        longest = retries.first_pause * 2 ** (self._tried - 1)
        pause = random.uniform(0, min(longest, retries.longest_pause))
        if pause >= self.left():
            raise error
        return pause


def _error(status: str, message: str, inputs: Mapping[str, Any]) -> ServingError:
    kind = _KINDS.get(status, ServingError)
    if kind is Unavailable and _TOO_LARGE_MESSAGE in message:
        kind = InvalidRequest
    return kind(message, status, _input_named(message, inputs))


def _input_named(message: str, inputs: Mapping[str, Any]) -> str | None:
    """The input that a message is about: the one in quotes, or the first it has.

    Where inputs are missing or unknown it is the first of these.
    """
    if re.search(r"(takes|must have) the inputs \[", message):
        odd = re.search(r"(?:missing|unknown) are \['([^']+)'", message)
        return odd[1] if odd else None
    quoted = re.search(r"[Ii]nput '(\w+)'", message)
    if quoted:
        return quoted[1]
    places = {
        found.start(): name
        for name in inputs
        if (found := re.search(rf"\b{re.escape(name)}\b", message))
    }
    return places[min(places)] if places else None


def _recommendations(outputs: Arrays) -> Recommendations:
    found = asking.ranked(outputs)
    return Recommendations([item for item, _ in found], [score for _, score in found])


# Ways to the server.


class _Transport(Protocol):
    def signatures(self, seconds: float) -> Signatures: ...

    def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays: ...

    def close(self) -> None: ...


class _AsyncTransport(Protocol):
    async def signatures(self, seconds: float) -> Signatures: ...

    async def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays: ...

    async def close(self) -> None: ...


class _Rest:
    """HTTP over connections that are kept."""

    def __init__(self, address: _Address, model: _Model) -> None:
        self._address = address
        version = "" if model.version is None else f"/versions/{model.version}"
        self._path = f"/v1/models/{urllib.parse.quote(model.name, safe='')}{version}"
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def signatures(self, seconds: float) -> Signatures:
        answer = self._ask("GET", "/metadata", None, seconds, {})
        return self._understood(answer, rest_format.read_signatures)

    def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays:
        body = rest_format.write_request(name, arrays)
        answer = self._ask("POST", ":predict", body, seconds, arrays)
        return self._understood(
            answer, lambda body: rest_format.read_answer(body, signature)
        )

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        seconds: float,
        inputs: Mapping[str, Any],
    ) -> bytes:
        try:
            status, answer = self._exchange(method, path, body, seconds)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {seconds:g} s.", "DEADLINE_EXCEEDED"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"{self._address}: {error or type(error).__name__}", "UNAVAILABLE"
            ) from error
        if status != 200:
            raise _http_error(status, answer, inputs)
        return answer

    def _understood(self, answer: bytes, read: Callable[[bytes], T]) -> T:
        try:
            return read(answer)
        except ValueError as error:
            raise ServingError(f"{self._address}: {error}", "UNKNOWN") from error

    def _exchange(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        if kept is not None:
            # The server may have closed it meanwhile.
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                return self._over(kept, method, path, body, seconds)
        return self._over(self._connection(seconds), method, path, body, seconds)

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._address.host, self._address.port, timeout=seconds)

    def _over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        seconds: float,
    ) -> tuple[int, bytes]:
        try:
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            headers = {"Content-Type": "application/json"}
            connection.request(method, self._path + path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except BaseException:
            connection.close()
            raise
        # Where the server has said that it closes, `http.client` has closed it.
        if connection.sock is not None:
            with self._lock:
                self._idle.append(connection)
        return response.status, answer


def _http_error(status: int, body: bytes, inputs: Mapping[str, Any]) -> ServingError:
    try:
        message = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        # Not of the model's server, but of what stands before it.
        message = f"HTTP {status}: {body[:200].decode(errors='replace')}"
    if status == _TOO_LARGE:
        return InvalidRequest(message, "RESOURCE_EXHAUSTED")
    return _error(_OF_HTTP.get(status, "UNKNOWN"), message, inputs)


class _AsyncRest:
    """HTTP in threads."""

    def __init__(self, address: _Address, model: _Model) -> None:
        self._rest = _Rest(address, model)

    async def signatures(self, seconds: float) -> Signatures:
        return await asyncio.to_thread(self._rest.signatures, seconds)

    async def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays:
        return await asyncio.to_thread(
            self._rest.predict, name, signature, arrays, seconds
        )

    async def close(self) -> None:
        self._rest.close()


class _GrpcMessages:
    """What is said over gRPC, whoever waits for it."""

    def __init__(self, model: _Model) -> None:
        # Needs the extra `serving`, which HTTP does not.
        from tfrs_decay.serving import protos

        self.protos = protos
        self._model = model

    def channel(self, address: _Address, module: Any) -> Any:
        target = str(address)
        options = [
            ("grpc.max_receive_message_length", -1),
            # `Retries` says how often; and a server that is back is soon seen.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if address.scheme == "grpc":
            return module.insecure_channel(target, options)
        credentials = self.protos.grpc.ssl_channel_credentials()
        return module.secure_channel(target, credentials, options)

    def stub(self, channel: Any) -> Any:
        return self.protos.prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def metadata_request(self) -> Any:
        request = self.protos.get_model_metadata_pb2.GetModelMetadataRequest(
            metadata_field=["signature_def"]
        )
        self._fill(request.model_spec)
        return request

    def signatures(self, response: Any) -> Signatures:
        definitions = self.protos.get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(definitions)
        return self.protos.signatures_of(definitions)

    def predict_request(self, name: str, arrays: Arrays) -> Any:
        request = self.protos.predict_pb2.PredictRequest()
        self._fill(request.model_spec)
        request.model_spec.signature_name = name
        for key, data in arrays.items():
            request.inputs[key].CopyFrom(self.protos.proto_of(data))
        return request

    def outputs(self, response: Any) -> Arrays:
        return {
            name: self.protos.array_of(proto, f"Output {name!r}")
            for name, proto in response.outputs.items()
        }

    @contextlib.contextmanager
    def errors(self, inputs: Mapping[str, Any]) -> Iterator[None]:
        try:
            yield
        except self.protos.grpc.RpcError as error:
            raise _error(error.code().name, error.details() or "", inputs) from error

    def _fill(self, spec: Any) -> None:
        spec.name = self._model.name
        if self._model.version is not None:
            spec.version.value = self._model.version


class _Grpc:
    """gRPC by TensorFlow Serving's own stubs."""

    def __init__(self, address: _Address, model: _Model) -> None:
        self._messages = _GrpcMessages(model)
        self._channel = self._messages.channel(address, self._messages.protos.grpc)
        self._stub = self._messages.stub(self._channel)

    def signatures(self, seconds: float) -> Signatures:
        with self._messages.errors({}):
            request = self._messages.metadata_request()
            response = self._stub.GetModelMetadata(request, timeout=seconds)
        return self._messages.signatures(response)

    def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays:
        with self._messages.errors(arrays):
            request = self._messages.predict_request(name, arrays)
            response = self._stub.Predict(request, timeout=seconds)
        return self._messages.outputs(response)

    def close(self) -> None:
        self._channel.close()


class _AsyncGrpc:
    """The same in an event loop, the one that asks first."""

    def __init__(self, address: _Address, model: _Model) -> None:
        self._messages = _GrpcMessages(model)
        self._channel = self._messages.channel(address, self._messages.protos.grpc.aio)
        self._stub = self._messages.stub(self._channel)

    async def signatures(self, seconds: float) -> Signatures:
        with self._messages.errors({}):
            request = self._messages.metadata_request()
            response = await self._stub.GetModelMetadata(request, timeout=seconds)
        return self._messages.signatures(response)

    async def predict(
        self, name: str, signature: Signature, arrays: Arrays, seconds: float
    ) -> Arrays:
        with self._messages.errors(arrays):
            request = self._messages.predict_request(name, arrays)
            response = await self._stub.Predict(request, timeout=seconds)
        return self._messages.outputs(response)

    async def close(self) -> None:
        await self._channel.close()
