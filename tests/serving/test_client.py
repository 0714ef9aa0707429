"""A client, asked over each of its ways to a host on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import math
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tiny_served import write_tiny

from tfrs_decay.serving import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Event,
    Host,
    InvalidRequest,
    Limits,
    NativeModel,
    NotServed,
    Retries,
    ServingError,
    Unavailable,
    client,
    rest_format,
)
from tfrs_decay.serving.native import Signature, TensorSpec

NOW = 1_700_000_000
MIXED = {
    "x": [[1.5, 2.0], [0.1, 0.2]],
    "time": [NOW, 2**62],
    "item": ["caf\u00e9", "b"],
}
ONCE = Retries(attempts=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    base = tmp_path_factory.mktemp("served") / "my shop"
    base.mkdir()
    write_tiny(base, 7, added=0.25)
    return base


@pytest.fixture(scope="module")
def served(exported):
    limits = Limits(request_bytes=100_000)
    options = {"limits": limits, "poll": 3_600, "say": str}
    with Host(exported, rest_port=0, grpc_port=0, **options) as up:
        yield up


class Blocking:
    """An `AsyncClient` that is waited for, so that the tests of both are the same."""

    def __init__(self, address, **options):
        self._loop = asyncio.new_event_loop()
        self._client = self._run(self._made(address, options))

    async def _made(self, address, options):
        return AsyncClient(address, **options)

    def _run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **options: self._run(method(*args, **options))

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self._run(self._client.close())
        self._loop.close()


@pytest.fixture(
    params=[
        (kind, scheme) for kind in (Client, Blocking) for scheme in ("grpc", "http")
    ],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)
def way(request):
    return request.param


def address(host, scheme):
    port = host.grpc_port if scheme == "grpc" else host.rest_port
    return f"{scheme}://127.0.0.1:{port}"


@pytest.fixture
def ask(served, way):
    kind, scheme = way
    with kind(address(served, scheme), model="my shop", timeout=60) as made:
        yield made


def test_it_answers_as_the_loader_does(ask, exported):
    with NativeModel(exported) as model:
        asked = {
            "serving_default": MIXED,
            "plus": {"x": np.float32([0.1, -3e38, 1e-40])},
            "positive": {"count": [1, 2**62 + 1]},
            "raw": {"raw_bytes": [b"ab", "\u00fc"]},
        }
        for name, inputs in asked.items():
            answer, expected = ask.predict(name, inputs), model(name, inputs)
            assert set(answer) == set(expected)
            for output, data in expected.items():
                assert answer[output].dtype == data.dtype
                assert answer[output].tolist() == data.tolist()
        found = ask.signatures()
        assert set(found) == set(model.signatures)
        for name, signature in model.signatures.items():
            assert found[name] == type(signature)(
                dict(signature.inputs),
                dict(signature.outputs),
                signature.method_name,
                signature.optional,
            )


def test_bytes_that_are_no_text(served):
    for scheme in ("grpc", "http"):
        with Client(address(served, scheme), model="my shop") as ask:
            if scheme == "grpc":
                answer = ask.predict("raw", {"raw_bytes": [b"\xff\x00"]})
                assert answer["text"].tolist() == [b"\xff\x00"]
            else:  # they arrive, and do not come back under a name of text
                with pytest.raises(InvalidRequest, match=r"ask over gRPC") as refused:
                    ask.predict("raw", {"raw_bytes": [b"\xff\x00"]})
                assert refused.value.input is None


def test_recommend(ask):
    history = [Event("a", "", NOW - 5, "buy"), Event("b", "", NOW - 3, "buy")]
    answer = ask.recommend(history, query_time=NOW, k=3, exclude=["c"])
    assert answer.item_ids == ["a", "c"]  # and a place that no item takes
    assert answer.scores == [3.0, float(np.float32(NOW))]
    answer = ask.recommend(history)
    assert answer.scores[0] == 10.0
    with pytest.raises(InvalidRequest, match=r"no signature 'recommend_by_text'"):
        ask.recommend([Event("", "a red lantern", NOW, "buy")])


@pytest.mark.parametrize(
    ("name", "inputs", "message", "named"),
    [
        ("plus", {"x": ["a"]}, r"Input 'x' of signature 'plus' is <?.*str", "x"),
        ("plus", {"x": np.float64([1])}, r"Input 'x' .* is float64, and float32", "x"),
        ("plus", {"x": [[1.0], [2.0, 3.0]]}, r"rows of unequal length", "x"),
        ("plus", {"x": [float("nan")]}, r"Input 'x' of .* has NaN", "x"),
        ("plus", {}, r"missing are \['x'\]", "x"),
        ("plus", {"x": [1], "y": [2]}, r"unknown are \['y'\]", "y"),
        ("serving_default", {**MIXED, "k": [1]}, r"are \[\], unknown are", "k"),
        ("minus", {"x": [1]}, r"There is no signature 'minus': the model has", None),
        ("positive", {"count": [-1]}, r"count is below 1", "count"),
        ("raw", {"raw_bytes": ["x" * 200_000]}, r"RESOURCE_EXHAUSTED: ", None),
        ("serving_default", {**MIXED, "item": [b"\xff", b""]}, r"not UTF-8", "item"),
    ],
)
def test_a_wrong_request_is_named_and_asked_once(
    ask, monkeypatch, name, inputs, message, named
):
    def pause(seconds):
        raise AssertionError("it would be wrong again")

    monkeypatch.setattr(time, "sleep", pause)
    with pytest.raises(InvalidRequest, match=message) as refused:
        ask.predict(name, inputs)
    assert refused.value.input == named
    assert isinstance(refused.value, (ServingError, ValueError))
    assert ask.predict("plus", {"x": [1]})["y"].tolist() == [1.25]


def test_what_is_not_served(served, way):
    kind, scheme = way
    for options in ({"model": "other"}, {"model": "my shop", "version": 8}):
        with (
            kind(address(served, scheme), timeout=60, **options) as ask,
            pytest.raises(NotServed, match=r"NOT_FOUND: ") as refused,
        ):
            ask.predict("plus", {"x": [1]})
        assert refused.value.status == "NOT_FOUND"
    with kind(address(served, scheme), model="my shop", version=7) as ask:
        assert ask.predict("plus", {"x": [1]})["y"].tolist() == [1.25]


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def pauses(monkeypatch):
    """Seconds that were waited for between tries, the longest that they may be."""
    waited = []

    async def later(seconds):
        waited.append(seconds)

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(client.asyncio, "sleep", later)
    monkeypatch.setattr(client.random, "uniform", lambda low, high: high)
    return waited


def test_a_server_that_is_not_there(way, pauses):
    kind, scheme = way
    retries = Retries(attempts=5, first_pause=0.5, longest_pause=2.0)
    options = {"model": "shop", "timeout": 60, "retries": retries}
    with (
        kind(f"{scheme}://127.0.0.1:{closed_port()}", **options) as ask,
        pytest.raises(Unavailable, match=r"UNAVAILABLE: ") as refused,
    ):
        ask.predict("plus", {"x": [1]})
    assert isinstance(refused.value, ConnectionError)
    assert pauses == [0.5, 1.0, 2.0, 2.0]


def test_there_is_no_pause_beyond_the_deadline(way, pauses):
    kind, scheme = way
    options = {"model": "shop", "timeout": 5, "retries": Retries(9, 100.0, 100.0)}
    with (
        kind(f"{scheme}://127.0.0.1:{closed_port()}", **options) as ask,
        pytest.raises(Unavailable),
    ):
        ask.predict("plus", {"x": [1]})
    assert pauses == []


def test_a_fallback(served, way, pauses):
    kind, scheme = way
    other = address(served, "http" if scheme == "grpc" else "grpc")
    gone = f"{scheme}://127.0.0.1:{closed_port()}"
    with kind(gone, model="my shop", fallback=other, timeout=60) as ask:
        assert ask.predict("plus", {"x": [1]})["y"].tolist() == [1.25]
    assert pauses == []


def test_a_fallback_for_a_server_that_is_silent():
    """The first has half of the time, and the other what is left of it."""
    given = {}

    class Silent:
        def __init__(self, port):
            self.port = port

        def signatures(self, seconds):
            given[self.port] = seconds
            if self.port == 1:
                raise DeadlineExceeded("no answer", "DEADLINE_EXCEEDED")
            return {}

    class Made(Client):
        def _way(self, address, model):
            return Silent(address.port)

    options = {"model": "shop", "fallback": "http://localhost:2", "timeout": 1_000}
    assert Made("http://localhost:1", **options).signatures() == {}
    assert given[1] <= 500 < given[2] <= 1_000


@contextlib.contextmanager
def scripted(*answers):
    """An HTTP server that gives these answers, one after the other."""
    left = list(answers)
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.do_POST()

        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = left.pop(0)
            if status is None:  # hangs up
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            # It does not say that it closes the connection, and it does.
            self.close_connection = True

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def metadata(dtype="DT_FLOAT"):
    def spec(name):
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        return {"dtype": dtype, "tensor_shape": shape, "name": f"{name}:0"}

    signature = {
        "inputs": {"x": spec("x")},
        "outputs": {"y": spec("y")},
        "method_name": "tensorflow/serving/predict",
    }
    found = {"signature_def": {"signature_def": {"plus": signature}}}
    return 200, json.dumps({"metadata": found}).encode()


def test_what_passes_is_tried_again(pauses):
    """A full queue, a server that restarts, a proxy with no server behind it."""
    answer = 200, b'{"outputs": [2.0]}'
    script = [
        (503, b'{"error": "full"}'),
        metadata(),
        (429, b'{"error": "full"}'),
        (502, b"<html>Bad Gateway</html>"),
        (None, b""),
        answer,
        answer,
    ]
    with (
        scripted(*script) as (address, asked),
        Client(address, model="shop", retries=Retries(5, 1.0)) as ask,
    ):
        ask.predict("plus", {"x": [1]}, timeout=60)
        # The connection that was kept is closed: that is no try.
        assert ask.predict("plus", {"x": [1]})["y"].tolist() == [2.0]
    assert asked == ["/v1/models/shop/metadata"] * 2 + ["/v1/models/shop:predict"] * 5
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (500, b'{"error": "broken"}', ServingError, "INTERNAL: broken"),
        (501, b'{"error": "later"}', ServingError, "UNIMPLEMENTED: later"),
        (504, b'{"error": "slow"}', DeadlineExceeded, "DEADLINE_EXCEEDED: slow"),
        (418, b"\xff", ServingError, "UNKNOWN: HTTP 418: "),
        (404, b"[]", NotServed, r"NOT_FOUND: HTTP 404: \[\]"),
        (413, b'{"error": "10 bytes"}', InvalidRequest, "RESOURCE_EXHAUSTED: 10 by"),
        (400, b'{"error": "as x says"}', InvalidRequest, "INVALID_ARGUMENT: as x s"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(pauses, status, body, kind, message):
    with (
        scripted(metadata(), (status, body)) as (address, asked),
        Client(address, model="shop") as ask,
        pytest.raises(kind, match=message) as refused,
    ):
        ask.predict("plus", {"x": [1]}, timeout=60)
    assert type(refused.value) is kind
    assert refused.value.input == ("x" if status == 400 else None)
    assert len(asked) == 2
    assert pauses == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>Log in</html>", b"[]", b"{}", b"\xff", b'{"outputs": [{"a": 1}]}'),
        *(b'{"outputs": [[1], 2]}', b'{"outputs": {"y": [1]}}', b"[" * 100_000),
    ],
)
def test_what_is_no_answer_of_a_server_is_said(body):
    said = r"UNKNOWN: 127\.0\.0\.1:\d+: this is no answer of a model's server"
    for script in ([(200, body)], [metadata(), (200, body)]):
        with (
            scripted(*script) as (address, asked),
            Client(address, model="shop", timeout=60) as ask,
            pytest.raises(ServingError, match=said) as refused,
        ):
            ask.predict("plus", {"x": [1]})
        assert type(refused.value) is ServingError
        assert len(asked) == len(script)


def test_no_rows_are_as_wide_as_any():
    shapes = {"vector": ("float32", (None, 8)), "item_id": ("string", (None, None))}
    specs = {
        name: TensorSpec(f"{name}:0", dtype, shape)
        for name, (dtype, shape) in shapes.items()
    }
    body = b'{"outputs": {"vector": [], "item_id": [[], []]}}'
    answer = rest_format.read_answer(body, Signature({}, specs, ""))
    assert answer["vector"].shape == (0, 8)
    assert answer["vector"].dtype == np.float32
    assert answer["item_id"].shape == (2, 0)


def test_another_version_with_another_type():
    script = [metadata(), (200, b'{"outputs": [2.0]}'), metadata("DT_STRING")]
    with (
        scripted(*script, (200, b'{"outputs": ["b"]}')) as (address, asked),
        Client(address, model="shop", timeout=60) as ask,
    ):
        assert ask.predict("plus", {"x": [1]})["y"].tolist() == [2.0]
        assert ask.predict("plus", {"x": ["a"]})["y"].tolist() == [b"b"]
    assert len(asked) == 4


def test_no_answer_in_time(way):
    kind, scheme = way
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        there = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with (
            kind(there, model="shop", timeout=0.2) as ask,
            pytest.raises(DeadlineExceeded, match=r"DEADLINE_EXCEEDED") as refused,
        ):
            ask.signatures()
        assert isinstance(refused.value, TimeoutError)


@pytest.mark.parametrize(
    "wrong",
    [
        *("localhost:8500", "ftp://localhost", "grpc://", "http://localhost/v1"),
        *("http://localhost?a=1", "http://localhost:x", "http://me:sec/ret@localhost"),
    ],
)
def test_an_address_that_is_none(wrong):
    with pytest.raises(
        ValueError, match=r"is no address of a server: give one such as"
    ) as refused:
        Client(wrong, model="shop")
    assert "sec" not in str(refused.value)


def test_a_password_is_refused_and_not_shown():
    with pytest.raises(
        ValueError, match=r"'http://\.\.\.@localhost' has a user or a password, which a"
    ):
        Client("http://me:secret@localhost", model="shop")


def test_numbers_that_are_none():
    there = {"address": "http://localhost", "model": "shop"}
    for seconds in (0, -1.0, math.nan, math.inf):
        said = rf"timeout={seconds} must be finite and more than 0 seconds"
        with pytest.raises(ValueError, match=said):
            Client(**there, timeout=seconds)
        with Client(**there) as ask, pytest.raises(ValueError, match=said):
            ask.predict("plus", {"x": [1.0]}, timeout=seconds)
    for attempts in (0, -1, 1.5, math.nan):
        with pytest.raises(ValueError, match=rf"retries.attempts={attempts} must be a"):
            Client(**there, retries=Retries(attempts=attempts))
    for name in ("first_pause", "longest_pause"):
        for seconds in (-0.1, math.nan, math.inf):
            with pytest.raises(
                ValueError, match=rf"retries.{name}={seconds} must be f"
            ):
                Client(**there, retries=Retries(**{name: seconds}))


def test_a_server_on_ipv6_that_is_not_there_is_named_in_brackets():
    with (
        Client("http://[::1]:9", model="shop", retries=ONCE, timeout=60) as ask,
        pytest.raises(Unavailable, match=r"\[::1\]:9"),
    ):
        ask.signatures()


def test_what_is_imported_and_what_is_not():
    """A client pays for no TensorFlow, and one over HTTP for nothing at all."""
    code = """
import sys
import tfrs_decay as td

heavy = {"tensorflow", "keras", "tf_keras", "pandas", "prometheus_client"}
td.serving.Client("http://localhost:8501", model="shop")
assert not {*heavy, "grpc", "google.protobuf"} & set(sys.modules)
sys.modules["grpc"] = None
try:
    td.serving.Client("grpc://localhost:8500", model="shop")
except ImportError as error:
    said = "grpc, which is not installed: pip install 'tfrs-decay[serving]'"
    assert said in str(error)
else:
    raise AssertionError("grpc is not there")
del sys.modules["grpc"]
td.serving.Client("grpc://localhost:8500", model="shop").close()
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.modules["prometheus_client"] = None
try:
    td.serving.Host
except ImportError as error:
    assert "pip install 'tfrs-decay[serving]'" in str(error)
else:
    raise AssertionError("prometheus_client is not there")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_one_client_for_many_threads(served):
    for scheme in ("grpc", "http"):
        with Client(address(served, scheme), model="my shop", timeout=60) as ask:
            answers = {}

            def one(number, ask=ask, answers=answers):
                answers[number] = ask.predict("plus", {"x": [number]})["y"].tolist()

            threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert answers == {number: [number + 0.25] for number in range(8)}


def test_a_refused_request_of_another_thread_takes_nothing_away(served):
    """What another thread does is done here between reading and looking."""

    class Interrupted(Client):
        refused = 0

        def _checked(self, *args):
            if not self.refused:
                self.refused += 1
                with pytest.raises(InvalidRequest, match=r"count is below 1"):
                    self.predict("positive", {"count": [-1]})
            return super()._checked(*args)

    made = Interrupted(address(served, "http"), model="my shop", timeout=60)
    with made as ask:
        assert ask.predict("plus", {"x": [1]})["y"].tolist() == [1.25]
        assert ask.refused
