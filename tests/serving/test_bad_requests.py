"""Requests that a recommender cannot answer, over the wire and back."""

from __future__ import annotations

import http.client
import json
import re

import numpy as np
import pytest
import tf_keras
from served_requests import history, new_users, no_choice

from tfrs_decay.decay import Exponential, Window
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import Client, Host, InvalidRequest, Limits, export
from tfrs_decay.serving.protos import (
    array_of,
    grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    proto_of,
)
from tfrs_decay.serving.rest_format import read_answer, write_request

DAY = 86_400
NOW = 1_706_000_000
MEGABYTE = 1 << 20
EARLIEST = -(2**63)


@pytest.fixture(scope="module")
def exported(shop_events, tmp_path_factory):
    """With every signature but those of texts, and a state that keeps events."""
    tf_keras.utils.set_random_seed(2)
    model = DecayRetrieval(
        ItemTower(shop_events.items, dim=4),
        TimeDecayPooling(
            [Exponential("1d"), Window("2d")],
            action_weights={"browse": 0.5, "purchase": 1.0},
        ),
    )
    base = tmp_path_factory.mktemp("bad") / "shop"
    popularity = np.arange(len(shop_events.items))
    return export(model, base, k=3, popularity=popularity, warmup=False)


class Wire:
    """Asks a host, without what a client checks before it sends."""

    def __init__(self, host):
        ways = {"grpc": ("grpc", host.grpc_port), "rest": ("http", host.rest_port)}
        self.clients = {
            surface: Client(f"{scheme}://127.0.0.1:{port}", model="shop", timeout=60)
            for surface, (scheme, port) in ways.items()
        }
        with host.live.lease() as loaded:
            self.signatures = dict(loaded.model.signatures)
        self._rest = http.client.HTTPConnection("127.0.0.1", host.rest_port, timeout=60)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{host.grpc_port}")
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def ask(self, surface, signature, arrays):
        """A status, and the outputs or what is wrong."""
        if surface == "grpc":
            return self.grpc(grpc_request(signature, arrays))
        status, answer = self.rest(write_request(signature, arrays))
        if status == "OK":
            answer = read_answer(answer, self.signatures[signature])
        return status, answer

    def grpc(self, request):
        try:
            response = self._stub.Predict(request, timeout=60)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        outputs = response.outputs.items()
        return "OK", {name: array_of(one, name) for name, one in outputs}

    def rest(self, body):
        self._rest.request("POST", "/v1/models/shop:predict", body)
        response = self._rest.getresponse()
        answer = response.read()
        if response.status == 200:
            return "OK", answer
        codes = {400: "INVALID_ARGUMENT", 413: "RESOURCE_EXHAUSTED"}
        return codes[response.status], json.loads(answer)["error"]

    def close(self):
        for client in self.clients.values():
            client.close()
        self._rest.close()
        self._channel.close()


def grpc_request(signature, arrays):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shop"
    request.model_spec.signature_name = signature
    for name, data in arrays.items():
        request.inputs[name].CopyFrom(proto_of(data))
    return request


def wire_of(exported, **limits):
    with Host(
        exported.parent,
        rest_port=0,
        grpc_port=0,
        limits=Limits(**limits),
        poll=3_600,
        say=str,
    ) as host:
        wire = Wire(host)
        yield wire
        wire.close()


@pytest.fixture(scope="module")
def wire(exported):
    yield from wire_of(exported)


@pytest.fixture(scope="module")
def wide_wire(exported):
    """Of a host that takes larger requests."""
    yield from wire_of(exported, request_bytes=64 * MEGABYTE)


@pytest.fixture(scope="module")
def good(exported, wire, shop_events):
    """The arrays of a request by its signature; the state is one of an event."""
    event = (shop_events.items.ids[3], NOW - DAY, "purchase")
    given = {
        **history([event]),
        **no_choice(k=3),
        "query_time": [NOW],
        **new_users(exported),
    }
    updated = wire.signatures["update_interest"]
    asked = {name: given[name] for name in updated.inputs}
    arrays = updated.arrays(asked, "update_interest")
    given |= wire.ask("grpc", "update_interest", arrays)[1]

    def of(signature):
        inputs = wire.signatures[signature].inputs
        asked = {name: given[name] for name in inputs}
        return wire.signatures[signature].arrays(asked, signature)

    return of


@pytest.fixture(params=["grpc", "rest"])
def surface(request):
    return request.param


def strings(*rows):
    return np.array(rows, object)


def integers(*rows):
    return np.array(rows, np.int64)


def filled(value):
    """Puts a value in the last place of what is good."""

    def change(data):
        changed = data.copy()
        changed.reshape(-1)[-1] = value
        return changed

    return change


def twice(data):
    return np.concatenate([data, data])


BAD = [
    # Of another type.
    ("recommend", "history_time", np.array([[NOW + 0.5]]), "int64"),
    ("recommend", "history_item", integers([3]), "strings? "),
    ("recommend", "query_time", strings(b"now"), "int64"),
    ("recommend", "k", np.array([2.5]), "int32"),
    ("recommend_from_interest", "state_time", strings(b"now"), "int64"),
    ("update_interest", "history_action", np.array([[True]]), "strings? "),
    # Of another shape.
    ("recommend", "history_item", strings(b"a"), r"shape"),
    ("recommend", "history_time", integers(NOW), r"shape"),
    ("recommend_from_interest", "state_mean", np.zeros([1, 1, 5], "f4"), r"shape"),
    # Of other lengths than the rest.
    ("serving_default", "history_time", integers([NOW, NOW]), "the same shape"),
    ("recommend_now", "history_action", strings([b"a", b"b"]), "the same shape"),
    ("recommend", "query_time", twice, "must agree in batch"),
    ("recommend", "exclude_item", twice, "must agree in batch"),
    ("recommend", "exclude_length", twice, "must agree in batch"),
    ("embed_user", "history_length", twice, "must agree in batch"),
    ("explain", "query_time", twice, "must agree in batch"),
    ("update_interest", "history_length", twice, "must agree in batch"),
    ("update_interest", "state_log_weight", twice, "must agree in batch"),
    ("recommend_from_interest", "k", twice, "must agree in batch"),
    ("recommend_from_interest", "state_dropped", twice, "must agree in batch"),
    # Lengths that are none.
    ("serving_default", "history_length", filled(-1), "is below 0"),
    ("recommend_now", "history_length", filled(EARLIEST), "is below 0"),
    ("embed_user", "history_length", filled(2), "is above the width"),
    ("explain", "history_length", filled(2**62), "is above the width"),
    ("update_interest", "history_length", filled(-1), "is below 0"),
    ("recommend", "exclude_length", filled(-1), "is below 0"),
    ("recommend_from_interest", "exclude_length", filled(9), "is above the width"),
    # More or fewer items than there can be.
    ("recommend", "k", filled(0), "is below 1"),
    ("recommend", "k", filled(-3), "is below 1"),
    ("recommend", "k", filled(10_000), "is above the number of items"),
    ("recommend_from_interest", "k", filled(-3), "is below 1"),
    ("recommend_from_interest", "k", filled(10_000), "is above the number of items"),
    # Milliseconds, and what would overflow a difference of seconds.
    *(
        (signature, name, filled(value), "looks like milliseconds")
        for value in (NOW * 1_000, EARLIEST)
        for signature, name in [
            ("serving_default", "history_time"),
            ("serving_default", "query_time"),
            ("recommend", "history_time"),
            ("recommend", "query_time"),
            ("recommend_now", "history_time"),
            ("embed_user", "history_time"),
            ("embed_user", "query_time"),
            ("explain", "history_time"),
            ("update_interest", "history_time"),
            ("update_interest", "state_time"),
            ("update_interest", "state_recent_times"),
            ("recommend_from_interest", "query_time"),
            ("recommend_from_interest", "state_time"),
            ("recommend_from_interest", "state_recent_times"),
        ]
    ),
    # No text.
    ("recommend", "history_item", strings([b"caf\xe9"]), "not UTF-8"),
    ("recommend", "exclude_item", strings([b"\xff"]), "not UTF-8"),
    ("recommend_now", "history_item", strings([b"\xc3"]), "not UTF-8"),
    ("update_interest", "history_item", strings([b"\x80"]), "not UTF-8"),
    ("recommend_from_interest", "exclude_item", strings([b"\xff"]), "not UTF-8"),
    # No number.
    *(
        (signature, name, filled(value), message)
        for signature in ("update_interest", "recommend_from_interest")
        for name in (
            *("state_mean", "state_log_weight"),
            *("state_recent_vectors", "state_recent_log_weights"),
        )
        for value, message in ((np.nan, "has NaN"), (np.inf, "that is not finite"))
    ),
    ("recommend_from_interest", "query_time", filled(NOW - 2 * DAY), "is earlier than"),
]


@pytest.mark.parametrize(("signature", "name", "change", "message"), BAD)
def test_a_bad_input_is_refused_by_name(
    wire, good, surface, signature, name, change, message
):
    asked = good(signature)
    asked[name] = change(asked[name]) if callable(change) else change
    status, said = wire.ask(surface, signature, asked)
    assert status == "INVALID_ARGUMENT", said
    assert re.search(rf"\b{name}\b", said)
    assert re.search(message, said)
    with pytest.raises(InvalidRequest) as refused:
        wire.clients[surface].predict(signature, asked)
    assert refused.value.input == name
    # And the next one is answered.
    assert wire.ask(surface, signature, good(signature))[0] == "OK"


def test_an_input_that_is_missing_or_unknown_is_named(wire, good, surface):
    for signature, one in wire.signatures.items():
        for name in one.inputs:
            asked = good(signature)
            del asked[name]
            status, said = wire.ask(surface, signature, asked)
            assert status == "INVALID_ARGUMENT", said
            assert f"missing are ['{name}']" in said
        asked = {**good(signature), "history_items": strings([b"a"])}
        status, said = wire.ask(surface, signature, asked)
        assert status == "INVALID_ARGUMENT", said
        assert "unknown are ['history_items']" in said
        assert wire.ask(surface, signature, good(signature))[0] == "OK"


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        # Rows of different lengths, which only lists can have.
        ("history_item", b'[["a", "b"], ["c"]]', "Input 'history_item'"),
        ("history_time", b"[[1], 2]", "Input 'history_time'"),
        ("history_item", b'[["caf\xe9"]]', "no valid"),
        ("history_item", rb'[["\ud800"]]', "no valid"),
        ("history_item", b'[[{"b64": "/w=="}]]', "not UTF-8"),
        ("history_item", b"[[null]]", "Input 'history_item'"),
        ("history_time", b"[[1e3]]", "Input 'history_time'"),
        ("history_time", b"[[9223372036854775808]]", "Input 'history_time'"),
        ("history_time", b"[[true]]", "Input 'history_time'"),
        ("k", b"[2147483648]", "Input 'k'"),
        ("query_time", b"[NaN]", "Input 'query_time'"),
        ("query_time", b"[null]", "Input 'query_time'"),
    ],
)
def test_what_only_json_can_say_is_refused_by_name(wire, good, name, written, message):
    asked = good("recommend")
    kept = write_request("recommend", {one: asked[one] for one in asked if one != name})
    body = kept.removesuffix(b"}}") + b', "%s": %s}}' % (name.encode(), written)
    status, said = wire.rest(body)
    assert status == "INVALID_ARGUMENT", said
    assert re.search(rf"\b{name}\b", said)
    assert message in said
    assert wire.ask("rest", "recommend", asked)[0] == "OK"


@pytest.mark.parametrize("written", [b"NaN", b"-Infinity", b"1e999"])
def test_a_state_that_json_says_is_no_number_is_refused(wire, good, written):
    asked = good("recommend_from_interest")
    body = write_request("recommend_from_interest", asked)
    number = json.dumps(asked["state_log_weight"].tolist()).encode()
    broken = body.replace(
        b'"state_log_weight": ' + number, b'"state_log_weight": [[%s]]' % written
    )
    assert broken != body
    status, said = wire.rest(broken)
    assert status == "INVALID_ARGUMENT", said
    assert re.search(r"state_log_weight.* (NaN|not finite)", said)
    assert wire.rest(body)[0] == "OK"


def long_history(arrays, events):
    """Before the one event, so many of items that nobody knows, of 64 digits each."""
    known = arrays["history_item"][0, 0]
    unknown = [b"%064d" % number for number in range(events)]
    return {
        **arrays,
        "history_item": strings([*unknown, known]),
        "history_time": np.full([1, events + 1], NOW - DAY),
        "history_action": np.full([1, events + 1], b"purchase", object),
        "history_length": integers(events + 1),
    }


def test_a_history_of_ten_megabytes_is_too_large(wire, good, surface):
    asked = good("recommend")
    long = {**asked, "history_item": strings([b"x" * 10 * MEGABYTE])}
    status, said = wire.ask(surface, "recommend", long)
    assert status == "RESOURCE_EXHAUSTED"
    assert re.search(r"4194304|4,194,304", said)
    with pytest.raises(InvalidRequest, match=r"RESOURCE_EXHAUSTED"):
        wire.clients[surface].predict("recommend", long)
    assert wire.ask(surface, "recommend", asked)[0] == "OK"


@pytest.mark.integration  # slow
def test_where_ten_megabytes_are_taken_they_are_a_history(wide_wire, good, surface):
    asked = good("recommend")
    many = long_history(asked, 150_000)
    one = {**asked, "history_item": strings([b"x" * 10 * MEGABYTE])}
    for long in (many, one):
        assert len(write_request("recommend", long)) > 10 * MEGABYTE
        assert grpc_request("recommend", long).ByteSize() > 10 * MEGABYTE
    expected = wide_wire.ask(surface, "recommend", asked)[1]
    status, answer = wide_wire.ask(surface, "recommend", many)
    assert status == "OK"
    np.testing.assert_array_equal(answer["item_id"], expected["item_id"])
    np.testing.assert_allclose(answer["score"], expected["score"], atol=1e-5)
    assert wide_wire.ask(surface, "recommend", one)[0] == "OK"
    # What is wrong in them is named, in a message of a readable length.
    for long, name, change in [
        (many, "history_time", filled(NOW * 1_000)),
        (many, "history_item", filled(b"\xff")),
        (one, "history_item", strings([b"x" * 10 * MEGABYTE + b"\xff"])),
        (one, "history_length", filled(2)),
    ]:
        data = change(long[name]) if callable(change) else change
        status, said = wide_wire.ask(surface, "recommend", {**long, name: data})
        assert status == "INVALID_ARGUMENT", said
        assert re.search(rf"\b{name}\b", said)
        assert len(said) <= 1_000
    assert wide_wire.ask(surface, "recommend", asked)[0] == "OK"


def test_a_history_that_is_large_only_once_it_is_read(wire, good):
    """TensorFlow's message may say a last value once for all places that follow."""
    asked = good("recommend")
    request = grpc_request("recommend", asked)
    request.inputs["history_item"].tensor_shape.dim[1].size = 10 * MEGABYTE
    assert request.ByteSize() < 1_000
    status, said = wire.grpc(request)
    assert status == "INVALID_ARGUMENT"
    assert "Input 'history_item'" in said
    assert wire.ask("grpc", "recommend", asked)[0] == "OK"
