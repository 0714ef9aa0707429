"""The JSON of TensorFlow Serving's REST interface, both ways.

A request is `{"signature_name": ..., "instances": [...]}` with one entry for each row,
or `{"signature_name": ..., "inputs": {...}}` with one for each input; its answer has
"predictions" or "outputs". Bytes are `{"b64": "..."}`, and so are string outputs whose
name ends in `_bytes`. Where a signature has one input, or one output, its name is left
out.

Source: TensorFlow Serving's `g3doc/api_rest.md` and `util/json_tensor.cc`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfrs_decay.serving.native import Signature, TensorSpec

DEFAULT_SIGNATURE = "serving_default"
"""The signature that is asked where a request names none."""

BYTES_SUFFIX = "_bytes"
"""Ends the name of a string tensor that holds bytes, and no text."""

# TensorFlow's names of types that are spelt otherwise in its protocol buffers.
_SPELT = {"float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}


class Question(NamedTuple):
    """What a request asks.

    signature: its name.
    inputs: nested lists, by the input's name.
    by_row: whether it came, and is to be answered, row by row.
    """

    signature: str
    inputs: dict[str, Any]
    by_row: bool


def read_request(body: bytes, signatures: Mapping[str, Signature]) -> Question:
    """Reads the body of a `:predict` request.

    As on TensorFlow Serving every input must be there, those with a default too.

    Raises:
        ValueError: It is no such request; the input is named where it is one's fault.
    """
    try:
        # What is no UTF-8 is found later, where the name of its input is known.
        document = json.loads(body.decode("utf-8", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"the request is a JSON {type(document).__name__}, no object.")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise ValueError(f"'signature_name' is {name!r}: give a string.")
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise ValueError(
            f"There is no signature {name!r}: the model has {sorted(signatures)}."
        )
    if ("instances" in document) == ("inputs" in document):
        raise ValueError("give one of the keys 'instances' and 'inputs'.")
    signature = signatures[name]
    by_row = "instances" in document
    if by_row:
        columns = _columns(document["instances"], signature)
    else:
        columns = document["inputs"]
        if not isinstance(columns, dict) or _is_base64(columns):
            columns = {_only_input(signature, "inputs"): columns}
    missing = sorted(set(signature.inputs) - set(columns))
    if missing:
        raise ValueError(
            f"Signature {name!r} takes the inputs {sorted(signature.inputs)}, each in "
            f"every REST request: missing are {missing}."
        )
    try:
        inputs = {key: _without_base64(one, key) for key, one in columns.items()}
    except RecursionError as error:
        raise ValueError("the request's lists are nested too deeply.") from error
    return Question(name, inputs, by_row)


def write_request(signature: str, inputs: Mapping[str, NDArray[Any]]) -> bytes:
    """The body of a `:predict` request, column by column.

    Args:
        signature: Its name.
        inputs: Arrays by the input's name; object arrays of bytes for strings.
    """
    columns = {key: _nested(data, key) for key, data in inputs.items()}
    document = {"signature_name": signature, "inputs": columns}
    return json.dumps(document).encode()


def write_answer(outputs: Mapping[str, NDArray[Any]], *, by_row: bool) -> bytes:
    """The body of an answer.

    Raises:
        ValueError: A string is no UTF-8 and its output is not named as bytes, or an
            answer by row has outputs of different lengths.
    """
    nested = {
        name: _nested(data, name, as_bytes=name.endswith(BYTES_SUFFIX))
        for name, data in outputs.items()
    }
    if not by_row:
        answer: Any = nested if len(nested) > 1 else next(iter(nested.values()))
        return json.dumps({"outputs": answer}).encode()
    lengths = {name: data.shape[:1] for name, data in outputs.items()}
    if len(set(lengths.values())) > 1 or () in lengths.values():
        raise ValueError(
            f"the outputs have no common number of rows: {lengths}. Ask with 'inputs'."
        )
    rows: list[Any] = [
        dict(zip(nested, row, strict=True))
        for row in zip(*nested.values(), strict=True)
    ]
    if len(nested) == 1:
        rows = [next(iter(row.values())) for row in rows]
    return json.dumps({"predictions": rows}).encode()


def read_answer(body: bytes, signature: Signature) -> dict[str, NDArray[Any]]:
    """The arrays of an answer column by column.

    Args:
        body: Of the answer.
        signature: The one that was asked.

    Raises:
        ValueError: It is no such answer.
    """
    with _reading(body):
        columns = json.loads(body)["outputs"]
        if len(signature.outputs) == 1:
            columns = {next(iter(signature.outputs)): columns}
        return {
            name: _array(_without_base64(columns[name], name), spec)
            for name, spec in signature.outputs.items()
        }


def read_signatures(body: bytes) -> dict[str, Signature]:
    """The signatures of an answer to `/metadata`, by name.

    Raises:
        ValueError: It is no such answer.
    """
    with _reading(body):
        definitions = json.loads(body)["metadata"]["signature_def"]["signature_def"]
        return {
            name: signature_of_json(one) for name, one in sorted(definitions.items())
        }


def signature_as_json(signature: Signature) -> dict[str, Any]:
    """A `SignatureDef` as protocol buffers are written as JSON."""
    return {
        "inputs": {key: _spec_as_json(one) for key, one in signature.inputs.items()},
        "outputs": {key: _spec_as_json(one) for key, one in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def signature_of_json(definition: Mapping[str, Any]) -> Signature:
    """What `signature_as_json` has written, or TensorFlow Serving.

    What has a default is not known from it.
    """
    return Signature(
        inputs={
            key: _spec_of_json(one)
            for key, one in sorted(definition.get("inputs", {}).items())
        },
        outputs={
            key: _spec_of_json(one)
            for key, one in sorted(definition.get("outputs", {}).items())
        },
        method_name=definition.get("method_name", ""),
        optional=frozenset(definition.get("defaults", {})),
    )


@contextlib.contextmanager
def _reading(body: bytes) -> Iterator[None]:
    """Whatever goes wrong with an answer of another shape, as one error."""
    try:
        yield
    except (
        *(ValueError, LookupError, TypeError, AttributeError),
        *(ArithmeticError, RecursionError),
    ) as error:
        raise ValueError(
            f"this is no answer of a model's server ({type(error).__name__}: {error}); "
            f"it begins with {body[:200]!r}."
        ) from error


def _columns(instances: Any, signature: Signature) -> dict[str, list[Any]]:
    """Rows to columns."""
    if not isinstance(instances, list) or not instances:
        raise ValueError("'instances' must be a list of at least one row.")
    if not isinstance(instances[0], dict) or _is_base64(instances[0]):
        return {_only_input(signature, "instances"): instances}
    wanted = set(signature.inputs)
    for number, row in enumerate(instances):
        if not isinstance(row, dict):
            raise ValueError(
                f"row {number} of 'instances' is no object, and the first one is."
            )
        if set(row) != wanted:
            raise ValueError(
                f"row {number} of 'instances' must have the inputs {sorted(wanted)}: "
                f"missing are {sorted(wanted - {*row})}, unknown are "
                f"{sorted({*row} - wanted)}."
            )
    return {key: [row[key] for row in instances] for key in signature.inputs}


def _only_input(signature: Signature, where: str) -> str:
    if len(signature.inputs) != 1:
        raise ValueError(
            f"{where!r} names no inputs, and there are {len(signature.inputs)}: "
            f"{sorted(signature.inputs)}."
        )
    return next(iter(signature.inputs))


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _without_base64(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_without_base64(one, name) for one in value]
    if not isinstance(value, dict):
        return value
    if not _is_base64(value) or not isinstance(value["b64"], str):
        raise ValueError(f"Input {name!r} has an object that is not {{'b64': '...'}}.")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"Input {name!r} has bad base64: {error}.") from error


def _nested(data: NDArray[Any], name: str, *, as_bytes: bool | None = None) -> Any:
    """An array as nested lists.

    Args:
        data: Object arrays are of bytes.
        name: Of the tensor.
        as_bytes: Whether strings are written in base64; those that need it when left
            out.
    """
    if data.dtype != object:
        return data.tolist()
    written = np.empty(data.shape, object)
    flat = written.reshape(-1)
    for index, item in enumerate(data.reshape(-1).tolist()):
        flat[index] = _string(item, name, as_bytes)
    return written.tolist()


def _string(item: bytes, name: str, as_bytes: bool | None) -> Any:
    if not as_bytes:
        try:
            return item.decode()
        except UnicodeDecodeError as error:
            if as_bytes is False:
                raise ValueError(
                    f"Output {name!r} has {item!r}, which is not UTF-8, and a name "
                    f"that does not end in {BYTES_SUFFIX!r}: ask over gRPC."
                ) from error
    return {"b64": base64.b64encode(item).decode()}


def _array(nested: Any, spec: TensorSpec) -> NDArray[Any]:
    data = np.array(nested, dtype=object if spec.dtype == "string" else spec.dtype)
    if spec.dtype == "string":
        flat = data.reshape(-1)
        for index, item in enumerate(flat.tolist()):
            flat[index] = item if isinstance(item, bytes) else item.encode()
    if not data.size and spec.shape is not None:
        # Lists of nothing do not say how wide it would be.
        width = [size or 0 for size in spec.shape[data.ndim :]]
        data = data.reshape([*data.shape, *width])
    return data


def _spec_as_json(spec: TensorSpec) -> dict[str, Any]:
    known = spec.shape is not None
    sizes: Sequence[int | None] = () if spec.shape is None else spec.shape
    return {
        "name": spec.name,
        "dtype": proto_name(spec.dtype),
        "tensor_shape": {
            # 64-bit integers are strings in the JSON of protocol buffers.
            "dim": [
                {"size": str(-1 if size is None else size), "name": ""}
                for size in sizes
            ],
            "unknown_rank": not known,
        },
    }


def _spec_of_json(info: Mapping[str, Any]) -> TensorSpec:
    shape = info.get("tensor_shape", {})
    sizes = [int(dim.get("size", 0)) for dim in shape.get("dim", [])]
    return TensorSpec(
        name=info.get("name", ""),
        dtype=_type_name(info.get("dtype", "DT_INVALID")),
        shape=None
        if shape.get("unknown_rank")
        else tuple(None if size < 0 else size for size in sizes),
    )


def proto_name(dtype: str) -> str:
    """What protocol buffers call a type: "DT_FLOAT" for "float32"."""
    known = dtype.isidentifier()
    return f"DT_{_SPELT.get(dtype, dtype.upper())}" if known else "DT_INVALID"


def _type_name(proto: str) -> str:
    spelt = proto.removeprefix("DT_")
    by_spelling = {written: name for name, written in _SPELT.items()}
    return by_spelling.get(spelt, spelt.lower())
