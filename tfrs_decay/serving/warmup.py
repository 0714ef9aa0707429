"""Requests that a server runs before it serves, so that no user waits for the first."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_decay.serving.names import INSTALL

EVENTS = 8
"""Of the history that a server is warmed up with."""


def example(
    ids: np.ndarray, actions: Sequence[str] | None, values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A request of one user who had a few items of the catalogue.

    Args:
        ids: The catalogue's.
        actions: Those that weigh something; None where all do.
        values: [1, ...], of inputs beside the usual ones, by name.

    Returns:
        An array for each input that a signature may have.
    """
    some = ids[:EVENTS].astype(object)[None, :]
    if "text" in values:
        # The last event is of an item that the catalogue lacks: its text is read.
        some = np.append(some[:, : EVENTS - 1], [[""]], axis=1)
    now = int(time.time())
    given = {
        "history_item": some,
        "history_time": now - 3_600 * np.arange(some.size)[None, :],
        "history_action": np.full_like(some, actions[0] if actions else ""),
        "history_length": np.array([some.size]),
        "query_time": np.array([now]),
        "exclude_item": some[:, :1],
        "exclude_length": np.array([1]),
        "k": np.array([1], np.int32),
        **values,
    }
    if "text" in values:
        texts = values["text"].astype(object)[:, None]
        given["history_text"] = np.repeat(texts, some.size, axis=1)
    return given


def requests(
    signatures: Mapping[str, Any], given: Mapping[str, np.ndarray]
) -> dict[str, list[dict[str, np.ndarray]]]:
    """By signature, the inputs of a few requests.

    One with a history, and one of a user without any, if it takes one.

    Args:
        signatures: Concrete functions by name.
        given: From `example`.
    """
    found = {}
    for name, signature in signatures.items():
        inputs = signature.structured_input_signature[1]
        one = {key: given[key] for key in inputs}
        found[name] = [one]
        if "history_length" in one:
            found[name].append({**one, "history_length": np.array([0])})
    return found


def write(
    file: Path,
    model: str,
    asked: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    *,
    needed: bool | None,
) -> dict[str, Any]:
    """Writes requests as a server reads them.

    Args:
        file: To write.
        model: The name that it is served by; a server does not look at it here.
        asked: From `requests`.
        needed: Whether to write them; where that can be done when left out.

    Returns:
        `requests`, how many were written, and `why` where there are none.

    Raises:
        ImportError: They are needed, and the official stubs are not installed.
    """
    if needed is False:
        return {"requests": 0, "why": "not asked for"}
    try:
        predict = importlib.import_module("tensorflow_serving.apis.predict_pb2")
        log = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    except ImportError as error:
        why = f"tensorflow-serving-api is not installed: {INSTALL}"
        if needed:
            raise ImportError(f"warmup=True, and {why}") from error
        return {"requests": 0, "why": why}
    count = 0
    with tf.io.TFRecordWriter(str(file)) as out:
        for signature, several in asked.items():
            for inputs in several:
                request = predict.PredictRequest()
                request.model_spec.name = model
                request.model_spec.signature_name = signature
                for name, value in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
                record = log.PredictionLog(predict_log=log.PredictLog(request=request))
                out.write(record.SerializeToString())
                count += 1
    return {"requests": count, "why": None}
