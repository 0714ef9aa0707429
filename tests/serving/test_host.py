"""A host's two surfaces, asked over real sockets of this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import queue
import socket
import struct
import sys
import threading

import numpy as np
import pytest
from tiny_served import write_tiny

from tfrs_decay import cli
from tfrs_decay.serving import (
    Client,
    Host,
    Limits,
    NativeModel,
    grpc_surface,
    host,
    rest,
)
from tfrs_decay.serving.grpc_surface import GrpcServer
from tfrs_decay.serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    grpc,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import tensorflow as tf  # isort: skip  # After tfrs_decay, which settles legacy Keras.
from grpc_health.v1 import health_pb2, health_pb2_grpc  # isort: skip
from tensorflow.core.protobuf import saved_model_pb2  # isort: skip
from tensorflow_serving.apis import prediction_log_pb2  # isort: skip

CODE = grpc.StatusCode
ROW = {"x": [1.5, 2.0], "time": 1_700_000_000_000, "item": "caf\u00e9"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    base = tmp_path_factory.mktemp("served") / "shop"
    base.mkdir()
    write_tiny(base, 7)
    return base


@pytest.fixture(scope="module")
def served(exported):
    limits = Limits(request_bytes=100_000)
    with Host(
        exported, rest_port=0, grpc_port=0, limits=limits, poll=3_600, say=str
    ) as up:
        yield up


def over_http(served, path, body=None):
    """The status, and what the JSON is."""
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    try:
        if not isinstance(body, (bytes, type(None))):
            body = json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def predicted(served, body, path="/v1/models/shop:predict"):
    status, answer = over_http(served, path, body)
    assert status == 200, answer
    return answer


@pytest.fixture(scope="module")
def channel(served):
    with grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as made:
        yield made


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(signature="", name="shop", **inputs):
    """A request as TensorFlow's own functions make it."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    made.model_spec.signature_name = signature
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def mixed(**changed):
    inputs = {"x": np.float32([ROW["x"]]), "time": np.int64([ROW["time"]])}
    return request(**{**inputs, "item": [ROW["item"]], **changed})


# REST.


def test_rows(served):
    answer = predicted(served, {"instances": [ROW, {**ROW, "x": [0, 0]}]})
    assert answer == {
        "predictions": [
            {
                "total": total,
                "next": 1_700_000_000_001,  # an integer that float64 would hold, too
                "item": "caf\u00e9!",
                "raw_bytes": {"b64": "Y2Fmw6k="},
            }
            for total in (3.5, 0.0)
        ]
    }


def test_columns(served):
    columns = {"x": [[1, 2], [3, 4]], "time": [2**62, -1], "item": ["a", "b"]}
    assert predicted(served, {"inputs": columns}) == {
        "outputs": {
            "total": [3.0, 7.0],
            "next": [2**62 + 1, 0],
            "item": ["a!", "b!"],
            "raw_bytes": [{"b64": "YQ=="}, {"b64": "Yg=="}],
        }
    }


def test_the_only_input_and_the_only_output_need_no_name(served):
    ask = {"signature_name": "plus"}
    for body, answer in [
        ({"inputs": [1, 2.5]}, {"outputs": [1.0, 2.5]}),
        ({"inputs": {"x": [1, 2.5]}}, {"outputs": [1.0, 2.5]}),
        ({"instances": [1, 2.5]}, {"predictions": [1.0, 2.5]}),
        ({"instances": [{"x": 1}, {"x": 2.5}]}, {"predictions": [1.0, 2.5]}),
    ]:
        assert predicted(served, {**ask, **body}) == answer


def test_bytes_are_base64(served):
    ask = {"signature_name": "raw"}
    body = {"inputs": {"raw_bytes": [{"b64": "/wA="}, "\u00fc"]}}  # ff 00
    status, answer = over_http(served, "/v1/models/shop:predict", {**ask, **body})
    # What comes back is no UTF-8, under a name that says text.
    assert status == 400
    assert "Output 'text' has b'\\xff\\x00', which is not UTF-8" in answer["error"]
    rows = {"instances": [{"b64": "YWI="}, {"b64": "YQ=="}]}
    assert predicted(served, {**ask, **rows}) == {
        "predictions": [{"length": 2, "text": "ab"}, {"length": 1, "text": "a"}]
    }


def test_a_version_by_its_number(served):
    body = {"signature_name": "plus", "inputs": [1]}
    assert predicted(served, body, "/v1/models/shop/versions/7:predict")
    status, answer = over_http(served, "/v1/models/shop/versions/8:predict", body)
    assert (status, answer) == (404, {"error": "Version 8 is not served: 7 is."})
    status, answer = over_http(
        served, f"/v1/models/shop/versions/{2**63}:predict", body
    )
    assert status == 400
    assert "Failed to convert version" in answer["error"]


def test_status_over_http(served):
    available = {
        "model_version_status": [
            {
                "version": "7",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    assert over_http(served, "/v1/models/shop") == (200, available)
    assert over_http(served, "/v1/models/shop/versions/7") == (200, available)
    assert over_http(served, "/v1/models/shop/versions/6") == (
        404,
        {"error": "Could not find version 6 of model shop."},
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("/v1/models/shop:predict", None, 400, "Malformed request: GET"),
        ("/v1/models/shop", {}, 400, "Malformed request: POST /v1/models/shop"),
        ("/v1/models/shop:classify", {}, 400, "Malformed request: POST"),
        ("/v1/models/other:predict", {}, 404, "There is no model 'other': 'shop' is"),
        ("/v1/models/other/metadata", None, 404, "There is no model 'other'"),
        ("/v1/models/other", None, 404, "There is no model 'other'"),
    ],
)
def test_what_is_not_there(served, path, body, status, message):
    answered, answer = over_http(served, path, body)
    assert answered == status
    assert message in answer["error"]


BAD = [
    (b"", "JSON Parse error"),
    (b"instances = [1, 2]", "JSON Parse error"),
    (b"[" * 50_000, "JSON Parse error"),
    ([1], "the request is a JSON list, no object"),
    ({"signature_name": 3, "inputs": {}}, "'signature_name' is 3"),
    ({"signature_name": "sum", "inputs": {}}, "There is no signature 'sum'"),
    ({}, "give one of the keys 'instances' and 'inputs'"),
    ({"inputs": {}, "instances": []}, "give one of the keys"),
    ({"instances": []}, "'instances' must be a list of at least one row"),
    ({"instances": {"x": 1}}, "'instances' must be a list"),
    ({"instances": [1, 2]}, "'instances' names no inputs, and there are 3"),
    ({"inputs": [1, 2]}, "'inputs' names no inputs, and there are 3"),
    ({"instances": [ROW, {"x": [1, 2], "time": 3}]}, "row 1 of 'instances' must"),
    ({"instances": [{"x": [1, 2], "time": 3}]}, "missing are ['item'], unknown are []"),
    ({"instances": [{**ROW, "k": 3}]}, "missing are [], unknown are ['k']"),
    ({"instances": [ROW, 3]}, "row 1 of 'instances' is no object"),
    ({"inputs": {"x": [[1, 2]], "time": [3]}}, "missing are ['item']"),
    ({"instances": [{**ROW, "time": 1.5}]}, "Input 'time' of signature 'serving_def"),
    ({"instances": [{**ROW, "time": "3"}]}, "Input 'time'"),
    ({"instances": [{**ROW, "time": 2**63}]}, "Input 'time'"),
    ({"instances": [{**ROW, "x": [1, 2, 3]}]}, "Input 'x' of signature"),
    ({"instances": [ROW, {**ROW, "x": [1]}]}, "Input 'x' of signature 'serving_defau"),
    ({"instances": [{**ROW, "x": [1, float("nan")]}]}, "Input 'x' of signature 's"),
    ({"instances": [{**ROW, "item": 3}]}, "Input 'item' of signature"),
    ({"instances": [{**ROW, "item": None}]}, "Input 'item' of signature"),
    ({"instances": [{**ROW, "item": {"b64": "?"}}]}, "Input 'item' has bad base64"),
    ({"instances": [{**ROW, "item": {"b65": ""}}]}, "Input 'item' has an object that"),
    ({"instances": [{**ROW, "item": {"b64": "/w=="}}]}, "Input 'item' of signature"),
    (
        b'{"inputs": {"x": [[1, 2]], "time": [3], "item": ["\xff"]}}',
        "Input 'item' of signature 'serving_default' has '\\udcff', which is no valid",
    ),
    ({"signature_name": "positive", "inputs": [3, -1]}, "count is below 1."),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_request_over_http_names_what_is_wrong(served, body, message):
    status, answer = over_http(served, "/v1/models/shop:predict", body)
    assert (status, set(answer)) == (400, {"error"})
    assert message in answer["error"]
    assert len(answer["error"]) <= 1_000
    # And the process lives.
    assert predicted(served, {"instances": [ROW]})


def test_a_request_that_is_too_large_over_http(served):
    body = json.dumps({"inputs": ["x" * (10 << 20)]}).encode()
    status, answer = over_http(served, "/v1/models/shop:predict", body)
    assert status == 413
    assert "bytes, and 100,000 are taken." in answer["error"]


def test_a_body_of_unknown_length_is_refused(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    # Much of it comes after the answer, which the client reads all the same.
    body = iter([b"x" * (1 << 16)] * 32)
    connection.request("POST", "/v1/models/shop:predict", body, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 411
    assert "no Content-Length" in json.loads(response.read())["error"]
    connection.close()


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_length_of_thousands_of_digits_is_refused(served, expect):
    address = "127.0.0.1", served.rest_port
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(
            b"POST /v1/models/shop:predict HTTP/1.1\r\nHost: here\r\n"
            b"Content-Length: " + b"9" * 5_000 + b"\r\n" + expect + b"\r\n"
            b"GET /v1/models/shop HTTP/1.1\r\nHost: here\r\n\r\n"  # its body
        )
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in head
    # The only answer: what came after is not taken for a request.
    assert "Content-Length is no length: 999" in json.loads(body)["error"]


def test_a_version_of_thousands_of_digits_is_refused(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    path = f"/v1/models/shop/versions/{'7' * 5_000}"
    for method, url in (("GET", path), ("POST", f"{path}:predict")):
        connection.request(method, url, json.dumps({"instances": [ROW]}))
        response = connection.getresponse()
        assert response.status == 400
        assert "Failed to convert version: 777" in json.loads(response.read())["error"]
    connection.close()


def test_a_connection_is_kept(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    body = json.dumps({"instances": [ROW]})
    used = set()
    for _ in range(3):
        connection.request("POST", "/v1/models/shop:predict", body)
        assert connection.getresponse().read()
        used.add(connection.sock)
    assert None not in used
    assert len(used) == 1
    connection.close()


def test_a_client_that_waits_to_send_is_told_to(served):
    address = "127.0.0.1", served.rest_port
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(
            b"POST /v1/models/shop:predict HTTP/1.1\r\nHost: here\r\n"
            b"Content-Length: 46\r\nExpect: 100-continue\r\n\r\n"
        )
        answered = client.makefile("rb")
        assert answered.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answered.readline() == b"\r\n"
        client.sendall(b'{"signature_name": "plus", "inputs": [1, 2.5]}')
        assert answered.readline() == b"HTTP/1.1 200 OK\r\n"


def test_the_body_of_a_get_is_no_request(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    for _ in range(2):
        connection.request("GET", "/v1/models/shop", b"GET /v1/foo HTTP/1.1\r\n\r\n")
        response = connection.getresponse()
        assert response.status == 200
        assert b"AVAILABLE" in response.read()
    connection.close()


# gRPC.


def test_predict(stub):
    response = stub.Predict(mixed())
    assert response.model_spec.name == "shop"
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"
    outputs = {name: tf.make_ndarray(one) for name, one in response.outputs.items()}
    assert outputs["total"].tolist() == [3.5]
    assert outputs["total"].dtype == np.float32
    assert outputs["next"].tolist() == [ROW["time"] + 1]
    assert outputs["item"].tolist() == ["caf\u00e9!".encode()]
    assert outputs["raw_bytes"].tolist() == ["caf\u00e9".encode()]


def test_an_output_filter(stub):
    asked = mixed()
    asked.output_filter.append("next")
    assert set(stub.Predict(asked).outputs) == {"next"}
    asked.output_filter.append("previous")
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert refused.value.code() == CODE.INVALID_ARGUMENT
    assert "output_filter has ['previous']" in refused.value.details()


def test_values_in_fields_of_their_own(stub):
    """What other languages write, and a last value that stands for all that follow."""
    asked = request("plus")
    asked.inputs["x"].dtype = 1  # DT_FLOAT
    asked.inputs["x"].float_val.extend([1.0, 2.0])
    asked.inputs["x"].tensor_shape.dim.add(size=4)
    response = stub.Predict(asked)
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [1.0, 2.0, 2.0, 2.0]


def filled_up(name, size, text):
    asked = request("raw") if name == "raw_bytes" else mixed()
    proto = asked.inputs[name]
    proto.Clear()
    proto.dtype = 7  # DT_STRING
    proto.tensor_shape.dim.add(size=size)
    proto.string_val.append(text)
    return asked


def test_copies_of_a_last_value_are_charged(stub):
    assert stub.Predict(filled_up("raw_bytes", 90, b"x" * 1_000))  # 90,720 bytes
    for asked, message in [
        (filled_up("raw_bytes", 1_000, b"x" * 1_000), "to 1,008,000 bytes, copies"),
        (filled_up("k", 10**15, b""), "unknown are ['k']"),  # before it is looked at
    ]:
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(asked)
        assert refused.value.code() == CODE.INVALID_ARGUMENT
        assert message in refused.value.details()


def test_all_inputs_are_charged_together(stub):
    asked = mixed(item=["a"])
    for name, value in (("time", 5), ("item", b"a")):
        asked.inputs[name].Clear()
        asked.inputs[name].dtype = {"time": 9, "item": 7}[name]  # DT_INT64, DT_STRING
        asked.inputs[name].tensor_shape.dim.add(size=7_000)
        field = {"time": "int64_val", "item": "string_val"}[name]
        getattr(asked.inputs[name], field).append(value)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert "bytes, copies of a last value included" in refused.value.details()


@pytest.mark.parametrize(
    ("dtype", "field", "name"), [(6, "int_val", "int8"), (19, "half_val", "float16")]
)
def test_a_value_out_of_its_types_range(stub, dtype, field, name):
    asked = mixed()
    wrong(asked.inputs["time"], dtype=dtype)
    getattr(asked.inputs["time"], field).append(70_000)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert refused.value.code() == CODE.INVALID_ARGUMENT
    assert f"has values that are no {name}" in refused.value.details()


def test_a_shape_of_too_many_dimensions(stub):
    asked = mixed()
    for _ in range(33):
        asked.inputs["time"].tensor_shape.dim.add(size=1)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert "has 34 dimensions, and 32 are taken" in refused.value.details()


def wrong(proto, *, size=1, dtype=None, content=None, values=()):
    proto.ClearField("tensor_shape")
    if size is not None:
        proto.tensor_shape.dim.add(size=size)
    proto.dtype = dtype or proto.dtype
    proto.tensor_content = content or b""
    proto.ClearField("int64_val")
    proto.int64_val.extend(values)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"content": b"12345678"}, None),
        ({"content": b"1234"}, "Input 'time' of signature 'serving_default' has 4 byt"),
        ({"values": [1, 2]}, "has 2 values, and its shape (1,) takes 1"),
        ({}, "Input 'time' of signature 'serving_default' has 0 values"),
        (
            {"size": -1, "values": [1]},
            "Input 'time' of signature 'serving_default' has",
        ),
        ({"size": 10**15, "values": [1]}, "of more than 100,000 bytes"),
        ({"dtype": 9_999, "values": [1]}, "Input 'time' of signature"),
        ({"dtype": 14, "values": [1]}, "has DataType 14, which is not served"),
        ({"dtype": 3}, "Input 'time' of signature"),
    ],
    ids=str,
)
def test_a_tensor_that_contradicts_itself(stub, broken, message):
    asked = mixed()
    wrong(asked.inputs["time"], **broken)
    if message is None:  # what `wrong` does is all that is wrong
        assert stub.Predict(asked)
        return
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert refused.value.code() == CODE.INVALID_ARGUMENT
    assert message in refused.value.details()
    assert stub.Predict(mixed())


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (lambda: mixed(time=[3]), "INVALID_ARGUMENT", "Input 'time' of signature 'ser"),
        (lambda: mixed(x=[["a", "b"]]), "INVALID_ARGUMENT", "Input 'x' of signature"),
        (lambda: mixed(x=[[1.0]]), "INVALID_ARGUMENT", "Input 'x' of signature"),
        (lambda: mixed(x=[[1.0, np.nan]]), "INVALID_ARGUMENT", "default' has NaN."),
        (
            lambda: mixed(item=[b"\xff"]),
            "INVALID_ARGUMENT",
            "Input 'item' of signature",
        ),
        (lambda: mixed(item=["a", "b"]), None, None),
        (lambda: mixed(k=[1]), "INVALID_ARGUMENT", "unknown are ['k']"),
        (lambda: request("raw"), "INVALID_ARGUMENT", "missing are ['raw_bytes']"),
        (
            lambda: request("positive", count=np.int64([-3])),
            "INVALID_ARGUMENT",
            "count",
        ),
        (lambda: request("sum"), "INVALID_ARGUMENT", "There is no signature 'sum'"),
        (lambda: request(name="other"), "NOT_FOUND", "There is no model 'other'"),
        (
            lambda: mixed(item=["x" * 200_000]),
            "RESOURCE_EXHAUSTED",
            "larger than max (",
        ),
    ],
)
def test_a_bad_request_over_grpc_names_what_is_wrong(stub, asked, code, message):
    if code is None:  # outputs of different lengths are only REST's concern
        assert stub.Predict(asked())
        return
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked())
    assert refused.value.code() == CODE[code]
    assert message in refused.value.details()
    assert stub.Predict(mixed())


def test_bytes_need_not_be_text(stub):
    response = stub.Predict(request("raw", raw_bytes=[b"\xff\x00"]))
    assert tf.make_ndarray(response.outputs["text"]).tolist() == [b"\xff\x00"]


def test_versions_over_grpc(stub):
    asked = mixed()
    asked.model_spec.version.value = 7
    assert stub.Predict(asked)
    asked.model_spec.version.value = 8
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert refused.value.code() == CODE.NOT_FOUND
    asked.model_spec.version_label = "stable"
    with pytest.raises(grpc.RpcError) as refused:
        stub.Predict(asked)
    assert "version_label is 'stable'" in refused.value.details()


def test_metadata_is_what_the_export_says(served, exported, stub):
    """The signatures of the file itself, read by TensorFlow's own messages."""
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "shop"
    with pytest.raises(
        grpc.RpcError, match=r"the one that is known is 'signature_def'"
    ):
        stub.GetModelMetadata(asked)
    asked.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(asked)
    assert response.model_spec.version.value == 7
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    saved = saved_model_pb2.SavedModel.FromString(
        (exported / "7" / "saved_model.pb").read_bytes()
    )
    expected = dict(saved.meta_graphs[0].signature_def)
    del expected["__saved_model_init_op"]
    assert dict(found.signature_def) == expected
    status, answer = over_http(served, "/v1/models/shop/metadata")
    assert status == 200
    assert answer["model_spec"] == {
        "name": "shop",
        "signature_name": "",
        "version": "7",
    }
    as_json = answer["metadata"]["signature_def"]["signature_def"]
    assert set(as_json) == set(expected)
    assert as_json["plus"]["inputs"] == {
        "x": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}],
                "unknown_rank": False,
            },
            "name": "plus_x:0",
        }
    }


def test_status_over_grpc(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "shop"
    (status,) = stub.GetModelStatus(asked).model_version_status
    assert (status.version, status.state) == (7, status.AVAILABLE)
    assert status.status.error_code == 0
    asked.model_spec.version.value = 8
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetModelStatus(asked)
    assert refused.value.code() == CODE.NOT_FOUND


def test_what_is_not_offered(stub):
    with pytest.raises(grpc.RpcError) as refused:
        stub.MultiInference(prediction_log_pb2.MultiInferenceLog().request)
    assert refused.value.code() == CODE.UNIMPLEMENTED


# What a host keeps of itself.


class Held(NativeModel):
    """A model that answers when it is let."""

    asked = None
    let = None

    def __call__(self, signature, inputs):
        if self.asked is not None:
            type(self).asked.set()
            assert type(self).let.wait(60)
        return super().__call__(signature, inputs)


@pytest.fixture
def held(monkeypatch):
    monkeypatch.setattr(host, "NativeModel", Held)
    monkeypatch.setattr(Held, "asked", threading.Event())
    monkeypatch.setattr(Held, "let", threading.Event())
    yield Held
    Held.let.set()


def ask_beside(served, answers):
    thread = threading.Thread(
        target=lambda: answers.append(
            over_http(served, "/v1/models/shop:predict", {"instances": [ROW]})
        )
    )
    thread.start()
    return thread


def make_host(base, **options):
    return Host(base, rest_port=0, grpc_port=0, poll=3_600, say=str, **options)


def test_beyond_the_queue_requests_are_refused(exported, held, monkeypatch):
    limits = Limits(concurrent=1, queued=1)
    answers = []
    with make_host(exported, limits=limits) as up:
        running = ask_beside(up, answers)
        assert held.asked.wait(60)
        with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:  # waits, and no longer
                stub.Predict(mixed(), timeout=0.2, wait_for_ready=True)
            assert refused.value.code() == CODE.DEADLINE_EXCEEDED
            waits = threading.Event()
            acquire = up.service._running.acquire
            monkeypatch.setattr(
                up.service._running,
                "acquire",
                lambda timeout: waits.set() or acquire(timeout=timeout),
            )
            waiting = stub.Predict.future(mixed(), wait_for_ready=True)
            assert waits.wait(60)  # one runs and one waits
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(mixed(), timeout=20)
            assert refused.value.code() == CODE.RESOURCE_EXHAUSTED
            assert "1 requests run and 1 wait" in refused.value.details()
            status, answer = over_http(
                up, "/v1/models/shop:predict", {"instances": [ROW]}
            )
            assert status == 503
            assert "try again later" in answer["error"]
            held.let.set()
            assert waiting.result().model_spec.version.value == 7
        running.join(60)
        assert [status for status, _ in answers] == [200]
        page = up.service.metrics.page().decode()
    for line in (
        'tfrs_decay_requests_total{signature="serving_default",status="OK",'
        'surface="rest"} 1.0',
        'tfrs_decay_requests_total{signature="serving_default",'
        'status="RESOURCE_EXHAUSTED",surface="rest"} 1.0',
        'tfrs_decay_request_seconds_count{signature="serving_default",'
        'surface="rest"} 2.0',
        "tfrs_decay_requests_in_flight 0.0",
        "tfrs_decay_model_version 7.0",
    ):
        assert line in page


@contextlib.contextmanager
def a_full_host(base, held, monkeypatch):
    """One request runs, none may wait; what is refused waits until it is let go."""
    asked, answers = queue.SimpleQueue(), []
    let_go = threading.Event()

    def wait(seconds):
        asked.put(seconds)
        assert let_go.wait(60)

    with make_host(base, limits=Limits(concurrent=1, queued=0)) as up:
        monkeypatch.setattr(up.service, "_wait", wait)
        running = ask_beside(up, answers)
        assert held.asked.wait(60)
        try:
            yield up, asked, let_go
        finally:
            let_go.set()
            held.let.set()
            running.join(60)
    assert [status for status, _ in answers] == [200]


def test_over_http_who_is_one_too_many_waits_for_the_refusal(
    exported, held, monkeypatch
):
    with a_full_host(exported, held, monkeypatch) as (up, asked, let_go):
        connection = http.client.HTTPConnection("127.0.0.1", up.rest_port, timeout=60)
        body = json.dumps({"instances": [ROW]}).encode()
        connection.request("POST", "/v1/models/shop:predict", body)
        assert asked.get(timeout=60) == 0.1
        # It holds neither the model nor a place in the queue, and others are answered.
        assert up.live._current.leases == 1
        assert over_http(up, "/v1/models/shop")[0] == 200
        let_go.set()
        response = connection.getresponse()
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert "try again later" in json.loads(response.read())["error"]
        # What is wrong is told at once, and is as wrong a second later.
        connection.request("POST", "/v1/models/shop:predict", b"{}")
        response = connection.getresponse()
        assert (response.status, response.headers["Retry-After"]) == (400, None)
        connection.close()
        assert asked.empty()


def test_over_grpc_those_who_wait_for_their_refusal_keep_nobody_waiting(
    exported, held, monkeypatch
):
    monkeypatch.setattr(grpc_surface, "_MOST_KEPT_WAITING", 9)
    with a_full_host(exported, held, monkeypatch) as (up, asked, let_go):
        with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            waiting = [stub.Predict.future(mixed(), timeout=600) for _ in range(9)]
            assert [asked.get(timeout=60) for _ in waiting] == [0.1] * 9
            assert not any(one.done() for one in waiting)
            # There are threads for health, and for the refusal of one more.
            asked_health = health_pb2.HealthCheckRequest()
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(asked_health, timeout=60).status == 1
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(mixed(), timeout=60)
            assert refused.value.code() == CODE.RESOURCE_EXHAUSTED
            assert asked.empty()
            let_go.set()
            codes = [one.exception().code() for one in waiting]
            assert codes == [CODE.RESOURCE_EXHAUSTED] * 9


def test_over_grpc_who_waits_for_a_refusal_holds_no_request(
    exported, held, monkeypatch
):
    requests, predict = [], grpc_surface._predict

    def remember(service, request, seconds):
        requests.append(request)
        return predict(service, request, seconds)

    monkeypatch.setattr(grpc_surface, "_predict", remember)
    with a_full_host(exported, held, monkeypatch) as (up, asked, let_go):
        with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            waiting = stub.Predict.future(mixed(), timeout=600)
            assert asked.get(timeout=60) == 0.1
            (holders,) = map(sys.getrefcount, requests)
            assert holders == 2  # The list here, and the call that counts.
            let_go.set()
            assert waiting.exception().code() == CODE.RESOURCE_EXHAUSTED


def test_nobody_is_kept_waiting_until_the_deadline(served, monkeypatch):
    asked = []
    monkeypatch.setattr(served.service, "_wait", asked.append)
    for seconds in (None, 60.0, 0.1, -1.0):
        served.service.keep_waiting(seconds)
    assert asked == [0.1, 0.1, 0.05, 0.0]


def test_stopping_finishes_what_runs(exported, held):
    up = make_host(exported)
    up.start()
    answers = []
    running = ask_beside(up, answers)
    assert held.asked.wait(60)
    stopping = threading.Thread(target=up.stop)
    with grpc.insecure_channel(f"127.0.0.1:{up.grpc_port}") as channel:
        # Those who watch are told first.
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), wait_for_ready=True
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
    # Longer than it waits for those who have connected and not asked.
    stopping.join(3)
    assert stopping.is_alive()
    held.let.set()
    stopping.join(60)
    running.join(60)
    assert [status for status, _ in answers] == [200]
    assert up.live.version is None
    with pytest.raises(ConnectionRefusedError):
        over_http(up, "/v1/models/shop")


def test_stopping_does_not_wait_for_what_never_ends(exported, held):
    up = make_host(exported)
    up.start()
    connection = http.client.HTTPConnection("127.0.0.1", up.rest_port, timeout=60)
    body = json.dumps({"instances": [ROW]})
    connection.request("POST", "/v1/models/shop:predict", body)
    assert held.asked.wait(60)
    stopping = threading.Thread(target=up.stop, args=(0.1,), daemon=True)
    stopping.start()
    stopping.join(60)
    assert not stopping.is_alive()
    assert up.live.version is None
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()


def test_a_host_that_never_started_stops(exported, monkeypatch):
    up = make_host(exported)

    def fail():
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(up._answering, "start", fail)
    with pytest.raises(RuntimeError, match=r"can't start new thread"):
        up.start()  # gRPC answers, REST does not
    for one in (up, make_host(exported)):
        for _ in range(2):  # and once more changes nothing
            stopping = threading.Thread(target=one.stop, daemon=True)
            stopping.start()
            stopping.join(60)
            assert not stopping.is_alive()
        assert one.live.version is None
        with pytest.raises(ConnectionRefusedError):
            over_http(one, "/v1/models/shop")


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "tensorflow.serving.PredictionService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as refused:
        stub.Check(health_pb2.HealthCheckRequest(service="other"))
    assert refused.value.code() == CODE.NOT_FOUND


def test_metrics_over_http(served):
    predicted(served, {"instances": [ROW]})
    over_http(served, "/v1/models/shop:predict", {"signature_name": "made up"})
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    connection.request("GET", "/monitoring/prometheus/metrics")
    response = connection.getresponse()
    page = response.read().decode()
    connection.close()
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert "# TYPE tfrs_decay_request_seconds histogram" in page
    assert (
        'tfrs_decay_requests_total{signature="unknown",status="INVALID_ARGUMENT",'
        'surface="rest"}' in page
    )
    assert "made up" not in page  # whatever clients make up


def answers(served, surface, status):
    """How many answers of a status are counted."""
    page = served.service.metrics.page().decode()
    row = f'tfrs_decay_answers_total{{status="{status}",surface="{surface}"}} '
    found = [line for line in page.splitlines() if line.startswith(row)]
    return float(found[0].removeprefix(row)) if found else 0.0


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models/shop", {"Content-Length": "46"}, 400),
        ("/v1/models/other:predict", {"Content-Length": "46"}, 404),
        ("/v1/models/shop:predict", {"Transfer-Encoding": "chunked"}, 411),
        ("/v1/models/shop:predict", {"Content-Length": "100001"}, 413),
        (
            "/v1/models/shop:predict",
            {"Content-Length": "100001", "Expect": "100-continue"},
            413,
        ),
        ("/v1/models/shop:predict", {"Content-Length": "46"}, 200),
    ],
)
def test_answers_that_no_model_gave_are_counted_too(served, path, headers, status):
    before = answers(served, "rest", status)
    connection = http.client.HTTPConnection("127.0.0.1", served.rest_port, timeout=60)
    connection.putrequest("POST", path)
    for header in headers.items():
        connection.putheader(*header)
    connection.endheaders()
    connection.send(b'{"signature_name": "plus", "inputs": [1, 2.5]}')
    if "100001" in headers.values():
        connection.sock.shutdown(socket.SHUT_WR)  # the rest is not worth sending
    assert connection.getresponse().status == status
    connection.close()
    assert answers(served, "rest", status) == before + 1


def test_answers_over_grpc_are_counted_too(served, stub):
    for asked, code in ((mixed(), "OK"), (request(name="other"), "NOT_FOUND")):
        before = answers(served, "grpc", code)
        with contextlib.suppress(grpc.RpcError):
            stub.Predict(asked)
        assert answers(served, "grpc", code) == before + 1


def test_beyond_the_open_connections_more_are_refused(exported):
    with make_host(exported, limits=Limits(connections=2)) as up:
        address = "127.0.0.1", up.rest_port
        kept = [http.client.HTTPConnection(*address, timeout=60) for _ in range(2)]
        for one in kept:
            one.request("GET", "/v1/models/shop")
            assert one.getresponse().read()
        refused = http.client.HTTPConnection(*address, timeout=60)
        # It is told so although it has much to say.
        refused.request("POST", "/v1/models/shop:predict", b"x" * (1 << 20))
        response = refused.getresponse()
        assert response.status == 503
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Retry-After"] == "1"
        message = json.loads(response.read())["error"]
        assert message == "2 connections are open, and 2 are taken: try again later."
        assert refused.sock is None  # it was told that the server closes
        assert answers(up, "rest", 503) == 1
        # Those that are there go on, and who leaves makes room.
        kept[0].request("GET", "/v1/models/shop")
        assert kept[0].getresponse().read()
        kept[1].close()
        with up._rest._changed:
            assert up._rest._changed.wait_for(
                lambda: len(up._rest._connections) < 2, 60
            )
        assert over_http(up, "/v1/models/shop")[0] == 200
        kept[0].close()


def test_a_refused_connection_that_stays_is_closed_all_the_same(exported, monkeypatch):
    monkeypatch.setattr(rest, "_LEAVING_SECONDS", 0.0)
    with make_host(exported, limits=Limits(connections=1)) as up:
        address = "127.0.0.1", up.rest_port
        kept = http.client.HTTPConnection(*address, timeout=60)
        kept.request("GET", "/v1/models/shop")
        assert kept.getresponse().read()
        let_go = threading.Event()
        close = up._rest._let_go
        monkeypatch.setattr(up._rest, "_let_go", lambda one: (close(one), let_go.set()))
        with socket.create_connection(address, timeout=20) as silent:
            assert (
                silent.makefile("rb")
                .readline()
                .endswith(b"503 Service Unavailable\r\n")
            )
            assert let_go.wait(60)
        assert not up._rest._leaving
        kept.close()


def test_of_the_refused_connections_few_are_kept(exported, monkeypatch):
    monkeypatch.setattr(rest, "_MOST_LEAVING", 2)
    up = make_host(exported, limits=Limits(connections=1))  # nobody accepts by itself
    with contextlib.ExitStack() as ends:
        for _ in range(4):
            here, there = socket.socketpair()
            ends.enter_context(here)
            up._rest._connections[here] = "idle"
            up._rest.process_request(there, None)
            assert there in up._rest._leaving
        assert len(up._rest._leaving) == 2
        up._rest._connections.clear()
        up.stop()
        assert not up._rest._leaving


def test_a_connection_that_is_silent_is_closed(exported):
    with make_host(exported, limits=Limits(idle_seconds=0.05)) as up:
        address = "127.0.0.1", up.rest_port
        with socket.create_connection(address, timeout=20) as client:
            client.sendall(b"GET /v1/models/shop HTTP/1.1\r\nHost: here\r\n\r\n")
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")


def test_grpc_is_not_waited_for_without_end(served, monkeypatch):
    waited = []

    class Never(threading.Event):
        def wait(self, timeout=None):
            waited.append(timeout)
            return False

    made = GrpcServer(("127.0.0.1", 0), served.service)
    with monkeypatch.context() as patched:
        patched.setattr(made._server, "stop", lambda grace: Never())
        made.stop(2.0)
    assert waited == [3.0]  # its grace, and a second to hang up
    made.stop(0.0)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address(exported):
    with make_host(exported, address="::1") as up:
        connection = http.client.HTTPConnection("::1", up.rest_port, timeout=60)
        connection.request("GET", "/v1/models/shop")
        assert connection.getresponse().status == 200
        connection.close()
        for way, port in (("http", up.rest_port), ("grpc", up.grpc_port)):
            assert f"{way}://[::1]:{port}" in up.report()
            with Client(f"{way}://[::1]:{port}", model="shop") as client:
                assert client.predict("plus", {"x": [1.0]})["y"].tolist() == [1.0]


# Versions; how they are exchanged is in test_live.


def write_warm_up(version, *requests):
    extra = version / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for one in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(one)
            writer.write(log.SerializeToString())


def test_warm_up_requests_come_first(tmp_path, monkeypatch):
    asked = []

    class Asked(NativeModel):
        def __call__(self, signature, inputs):
            asked.append(
                (signature, {key: one.tolist() for key, one in inputs.items()})
            )
            return super().__call__(signature, inputs)

    monkeypatch.setattr(host, "NativeModel", Asked)
    base = tmp_path / "shop"
    base.mkdir()
    ask = request("plus", x=[1.0]), mixed()
    write_warm_up(write_tiny(base, 1), *ask)
    up = make_host(base)
    assert [name for name, _ in asked] == ["plus", "serving_default"]
    assert asked[0][1] == {"x": [1.0]}
    # One whose warm-up fails is not served.
    write_warm_up(write_tiny(base, 2, added=1), request("plus", y=[1.0]))
    assert not up.live.refresh()
    assert up.live.version == 1
    assert "missing are ['x']" in up.live.statuses()[2].message
    # Nor one whose file is cut off.
    path = write_tiny(base, 3) / "assets.extra"
    path.mkdir()
    record = struct.pack("<QI", 100, 0)
    (path / "tf_serving_warmup_requests").write_bytes(record)
    assert not up.live.refresh()
    assert "ends within a record" in up.live.statuses()[3].message
    # What is watched is seen.
    write_tiny(base, 4, added=10)
    up._poll = 0.01
    with up:
        with up.live._changed:
            assert up.live._changed.wait_for(lambda: up.live.version == 4, 60)
        body = {"signature_name": "plus", "inputs": [1]}
        assert predicted(up, body) == {"outputs": [11.0]}


def test_what_cannot_be_served_says_why(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no directory .*nowhere"):
        Host(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"7 is one version: give the folder that ho"):
        Host(exported / "7")
    with pytest.raises(FileNotFoundError, match=r"has no version that loads: \{\}"):
        Host(tmp_path)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(FileNotFoundError, match=r"no version that loads: \{1: .SavedM"):
        Host(tmp_path, say=str)
    with pytest.raises(ValueError, match=r"queued=-1 must be 0 or more"):
        Host(exported, limits=Limits(queued=-1))
    with pytest.raises(ValueError, match=r"connections=0 must be 1 or more"):
        Host(exported, limits=Limits(connections=0))
    for seconds in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"idle_seconds={seconds} must be finite"):
            Host(exported, limits=Limits(idle_seconds=seconds))
    with pytest.raises(ValueError, match=r"poll=0 must be more than 0 seconds"):
        Host(exported, poll=0)
    for name in ("", "my/shop", "shop:1", 'a"b'):
        with pytest.raises(
            ValueError, match=r"name='.*': give a model's name, as in a"
        ):
            Host(exported, name=name)


def test_the_command(exported, tmp_path, monkeypatch, capsys):
    assert cli.main(["serve", str(tmp_path / "nowhere")]) == 2
    assert "tfrs-decay: There is no directory" in capsys.readouterr().err
    assert cli.main(["serve", str(exported), "--max-concurrent", "0"]) == 2
    assert "concurrent=0 must be 1 or more" in capsys.readouterr().err
    assert cli.main(["serve", str(exported), "--poll", "often"]) == 2
    assert "--poll='often' is not a duration" in capsys.readouterr().err

    def ask(served, grace):
        assert (served.service.limits, grace) == (Limits(900, 3, 5, 7, 9.0), 2.0)
        with served:
            body = {"signature_name": "plus", "inputs": [1]}
            assert predicted(served, body, "/v1/models/other:predict")

    monkeypatch.setattr(host, "serve", ask)
    told = ["serve", str(exported), "--name", "other", "--grace", "2s"]
    told += ["--rest-port", "0", "--grpc-port", "0", "--max-request-bytes", "900"]
    told += ["--max-concurrent", "3", "--max-queued", "5"]
    assert cli.main([*told, "--max-connections", "7", "--idle", "9s"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Model other, version 7: http://127.0.0.1:")


def test_a_port_that_is_taken(exported, served):
    taken = served.grpc_port
    with pytest.raises(OSError, match=rf"gRPC cannot listen at 127.0.0.1:{taken}"):
        Host(exported, rest_port=0, grpc_port=taken, say=str)
    with pytest.raises(OSError, match=r"Address already in use"):
        Host(exported, rest_port=served.rest_port, grpc_port=0, say=str)
