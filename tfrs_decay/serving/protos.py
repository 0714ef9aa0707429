"""TensorFlow Serving's own protocol buffers, without the rest of TensorFlow.

The messages of `tensorflow-serving-api` are made of those in the `tensorflow` wheel,
and importing those the usual way imports all of TensorFlow, Keras 3 with it. Here they
are imported alone, and so a client starts in a fraction of a second, and a process that
serves has one TensorFlow in it, the loader's.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_decay.serving.names import INSTALL, WARMUP
from tfrs_decay.serving.native import Signature
from tfrs_decay.serving.rest_format import (
    DEFAULT_SIGNATURE,
    proto_name,
    signature_as_json,
    signature_of_json,
)

_NEEDED = (
    "tensorflow.core.framework.tensor_pb2",
    "tensorflow.core.framework.types_pb2",
    "tensorflow.core.protobuf.error_codes_pb2",
    "tensorflow_serving.apis.get_model_metadata_pb2",
    "tensorflow_serving.apis.get_model_status_pb2",
    "tensorflow_serving.apis.model_service_pb2_grpc",
    "tensorflow_serving.apis.predict_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tensorflow_serving.apis.prediction_service_pb2_grpc",
)


def _import_alone() -> None:
    """Imports the messages; where TensorFlow was imported before, they are its own.

    Python runs `tensorflow/__init__.py` before it looks at a module within, unless a
    module of that name is there: for the time of the import an empty one is, that only
    knows the folder. It is taken away again, so that a later `import tensorflow` finds
    nothing and loads all of it, with these same messages in it.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("tensorflow is not installed: pip install tensorflow")
    alone = types.ModuleType("tensorflow")
    alone.__path__ = list(spec.submodule_search_locations)
    there = sys.modules.setdefault("tensorflow", alone)
    try:
        for name in _NEEDED:
            importlib.import_module(name)
    finally:
        if there is alone:
            del sys.modules["tensorflow"]


try:
    import grpc

    _import_alone()
    from tensorflow.core.framework import tensor_pb2, types_pb2
    from tensorflow.core.protobuf import error_codes_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
    )
except ModuleNotFoundError as error:
    raise ImportError(
        f"serving over gRPC needs {error.name}, which is not installed: {INSTALL}"
    ) from error

# What brings the messages brings the library of all messages.
from google.protobuf import json_format  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402

__all__ = [
    "array_bytes",
    "array_of",
    "error_codes_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "grpc",
    "json_format",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "proto_of",
    "signature_definitions",
    "signatures_of",
    "tensor_type",
    "warm_up_requests",
]

# Where a TensorProto keeps its values when they are no plain bytes.
_FIELDS = {
    "float16": "half_val",
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
}
_TYPES = {types_pb2.DataType.Value(proto_name(name)): name for name in _FIELDS}

# What every NumPy holds. The size of a shape of a million is a number of megabytes.
_MOST_DIMENSIONS = 32


def array_of(proto: Any, where: str, *, most: int | None = None) -> NDArray[Any]:
    """A `TensorProto` as an array.

    Args:
        proto: The message. Fewer values than its shape has places are followed by
            copies of the last one, as in TensorFlow.
        where: What it is, for messages.
        most: Bytes that the array may have, where a string counts as a reference: what
            the strings hold is for `array_bytes` to tell.

    Returns:
        An array of the same dtype; an object array of bytes for strings.

    Raises:
        ValueError: The message contradicts itself, its type is one that NumPy lacks, or
            the array would be too large.
    """
    name = _TYPES.get(proto.dtype)
    if name is None:
        raise ValueError(f"{where} has DataType {proto.dtype}, which is not served.")
    rank = len(proto.tensor_shape.dim)
    if rank > _MOST_DIMENSIONS:
        raise ValueError(
            f"{where} has {rank:,} dimensions, and {_MOST_DIMENSIONS} are taken."
        )
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"{where} has no complete shape: {shape}.")
    dtype = np.dtype(object if name == "string" else name)
    places = math.prod(shape)
    if most is not None and places * dtype.itemsize > most:
        raise ValueError(f"{where} has the shape {shape}, of more than {most:,} bytes.")
    if proto.tensor_content and name != "string":
        if len(proto.tensor_content) != places * dtype.itemsize:
            raise ValueError(
                f"{where} has {len(proto.tensor_content)} bytes, and its shape {shape} "
                f"of {name} takes {places * dtype.itemsize}."
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape).copy()
    values = getattr(proto, _FIELDS[name])
    if len(values) > places or (places and not len(values)):
        raise ValueError(
            f"{where} has {len(values)} values, and its shape {shape} takes {places}."
        )
    data = np.empty(places, dtype)
    try:
        if name == "float16":
            # Its bits stand in the low half of an integer.
            data[: len(values)] = np.array(values, np.uint16).view(np.float16)
        else:
            data[: len(values)] = list(values)
    except OverflowError as error:
        raise ValueError(f"{where} has values that are no {name}: {error}.") from error
    if places:
        data[len(values) :] = data[len(values) - 1]
    return data.reshape(shape)


def array_bytes(data: NDArray[Any]) -> int:
    """Bytes that an array takes once it is handed on.

    Args:
        data: An array; an object array of bytes for strings, each of which counts as
            often as it is there, and its reference with it.
    """
    strings = data.reshape(-1).tolist() if data.dtype.kind == "O" else []
    return data.nbytes + sum(map(len, strings))


def tensor_type(data: NDArray[Any]) -> str:
    """TensorFlow's name for an array's type: an object array is one of strings."""
    return "string" if data.dtype.kind == "O" else data.dtype.name


def proto_of(data: NDArray[Any]) -> Any:
    """An array as a `TensorProto`.

    Args:
        data: An array; an object array of bytes for strings.
    """
    name = tensor_type(data)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(proto_name(name)))
    for size in data.shape:
        proto.tensor_shape.dim.add(size=size)
    if name == "string":
        proto.string_val.extend(data.reshape(-1).tolist())
    else:
        proto.tensor_content = np.ascontiguousarray(data).tobytes()
    return proto


def signature_definitions(signatures: Mapping[str, Signature]) -> Any:
    """Signatures as a `SignatureDefMap`."""
    return json_format.ParseDict(
        {
            "signature_def": {
                name: signature_as_json(one) for name, one in signatures.items()
            }
        },
        get_model_metadata_pb2.SignatureDefMap(),
    )


def signatures_of(definitions: Any) -> dict[str, Signature]:
    """A `SignatureDefMap` as signatures."""
    return {
        name: signature_of_json(
            json_format.MessageToDict(one, preserving_proto_field_name=True)
        )
        for name, one in definitions.signature_def.items()
    }


def warm_up_requests(version: Path) -> list[tuple[str, dict[str, NDArray[Any]]]]:
    """The requests that a version brings to be asked before it is served.

    Args:
        version: The version's folder. What `assets.extra/tf_serving_warmup_requests`
            has besides predictions is passed over.

    Returns:
        For each, the signature and the inputs.

    Raises:
        ValueError: The file is broken.
    """
    path = version / WARMUP
    requests = []
    for record in _records(path) if path.is_file() else []:
        log = prediction_log_pb2.PredictionLog()
        try:
            log.ParseFromString(record)
        except DecodeError as error:
            raise ValueError(
                f"{path} has a record that is no PredictionLog."
            ) from error
        if log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {
                name: array_of(proto, f"Input {name!r} of a request in {path}")
                for name, proto in request.inputs.items()
            }
            signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            requests.append((signature, inputs))
    return requests


def _records(path: Path) -> list[bytes]:
    """The records of a TFRecord file; their checksums are not looked at."""
    data = path.read_bytes()
    records = []
    position = 0
    while position < len(data):
        # Eight bytes of length and their checksum before, a checksum behind.
        start = position + 12
        size = int.from_bytes(data[position : position + 8], "little")
        position = start + size + 4
        if position > len(data):
            raise ValueError(f"{path} ends within a record.")
        records.append(data[start : start + size])
    return records
