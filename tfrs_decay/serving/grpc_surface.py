"""TensorFlow Serving's gRPC interface over a `Service`, with its own protocol buffers.

`PredictionService` has Predict and GetModelMetadata, `ModelService` GetModelStatus; the
rest is answered with UNIMPLEMENTED. Beside them stands gRPC's own health service.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from numpy.typing import NDArray

from tfrs_decay.serving.names import INSTALL, location
from tfrs_decay.serving.native import Signature
from tfrs_decay.serving.protos import (
    array_bytes,
    array_of,
    error_codes_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    grpc,
    model_service_pb2_grpc,
    predict_pb2,
    proto_of,
    signature_definitions,
    tensor_type,
)
from tfrs_decay.serving.rest_format import DEFAULT_SIGNATURE
from tfrs_decay.serving.service import Service
from tfrs_decay.serving.statuses import RequestRefused

try:
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc
except ModuleNotFoundError as error:
    raise ImportError(
        f"a host's health needs grpcio-health-checking, which is not installed: "
        f"{INSTALL}"
    ) from error

# What of a thread pool never waits for a model: health, status, metadata.
_SPARE_THREADS = 4

# Requests beyond the queue that are kept waiting for their refusal, each with a thread
# of its own and nothing else; those beyond are refused at once.
_MOST_KEPT_WAITING = 256

# What still runs after its grace is told to end, and takes so long at most.
_LAST_SECONDS = 1.0


class GrpcServer:
    """A gRPC server.

    Args:
        address: Host and port; port 0 for any that is free.
        service: What is asked.

    Raises:
        OSError: The address cannot be had.
    """

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        limits = service.limits
        self._health = health.HealthServicer()
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(
                # One for each request that runs or waits, in the queue or for its
                # refusal, and one to refuse the next.
                limits.running() + limits.queued + _MOST_KEPT_WAITING + _SPARE_THREADS,
                thread_name_prefix="grpc",
            ),
            options=[
                ("grpc.max_receive_message_length", limits.request_bytes),
                ("grpc.max_send_message_length", -1),
                # Else two hosts may share a port, and neither knows.
                ("grpc.so_reuseport", 0),
            ],
        )
        self._server.add_generic_rpc_handlers((_prediction_service(service),))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            _model_service(service), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        where = location(*address)
        try:
            self.port: int = self._server.add_insecure_port(where)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen at {where}: {error}") from error

    def start(self) -> None:
        """Answers from now on."""
        self._server.start()
        for name in (
            "",
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
        ):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace: float) -> None:
        """Accepts nothing more, and waits for what runs.

        Args:
            grace: Seconds to wait at most; what still runs then has one more to end.
        """
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait(grace + _LAST_SECONDS)


def _prediction_service(service: Service) -> Any:
    places = threading.BoundedSemaphore(_MOST_KEPT_WAITING)

    def predict(handed: list[Any], context: Any) -> Any:
        with _told(service, context):
            try:
                return _predict(service, handed.pop(), context.time_remaining())
            except RequestRefused as refusal:
                if refusal.retry_after is None:
                    raise
                code, message = refusal.code, refusal.message
            # Here, where nothing of the request is kept any more: a refusal has the
            # frames in which it came about, and they have all of it.
            if places.acquire(blocking=False):
                try:
                    service.keep_waiting(context.time_remaining())
                finally:
                    places.release()
            raise RequestRefused(code, message)

    def metadata(request: Any, context: Any) -> Any:
        with _told(service, context):
            return _metadata(service, request)

    of_metadata = get_model_metadata_pb2
    return grpc.method_handlers_generic_handler(
        "tensorflow.serving.PredictionService",
        {
            "Predict": grpc.unary_unary_rpc_method_handler(
                predict,
                # gRPC keeps what it hands over until it is answered; a list can be
                # emptied.
                request_deserializer=lambda data: [
                    predict_pb2.PredictRequest.FromString(data)
                ],
                response_serializer=predict_pb2.PredictResponse.SerializeToString,
            ),
            "GetModelMetadata": grpc.unary_unary_rpc_method_handler(
                metadata,
                request_deserializer=of_metadata.GetModelMetadataRequest.FromString,
                response_serializer=(
                    of_metadata.GetModelMetadataResponse.SerializeToString
                ),
            ),
        },
    )


def _model_service(service: Service) -> Any:
    class ModelService(model_service_pb2_grpc.ModelServiceServicer):
        """Answers by a `Service`."""

        def GetModelStatus(self, request: Any, context: Any) -> Any:
            """Says where versions are."""
            with _told(service, context):
                return _statuses(service, request)

    return ModelService()


@contextlib.contextmanager
def _told(service: Service, context: Any) -> Iterator[None]:
    """Counts an answer, and tells the client why there is none."""
    try:
        yield
    except RequestRefused as refusal:
        _abort(service, context, refusal.code, refusal.message)
    except Exception:  # The process lives, whatever was asked.
        traceback.print_exc()
        _abort(service, context, "INTERNAL", "internal error")
    service.metrics.answered("grpc", "OK")


def _abort(service: Service, context: Any, code: str, message: str) -> NoReturn:
    service.metrics.answered("grpc", code)
    context.abort(getattr(grpc.StatusCode, code), message)
    raise AssertionError("abort raises")


def _predict(service: Service, request: Any, seconds: float | None) -> Any:
    spec = request.model_spec
    name = spec.signature_name or DEFAULT_SIGNATURE
    most = service.limits.request_bytes

    def inputs(signature: Signature) -> dict[str, NDArray[Any]]:
        signature.check_names(request.inputs, name)
        arrays = {}
        taken = 0
        for key, proto in request.inputs.items():
            where = f"Input {key!r} of signature {name!r}"
            arrays[key] = array_of(proto, where, most=most)
            taken += array_bytes(arrays[key])
            if taken > most:
                raise ValueError(
                    f"{where} takes the request to {taken:,} bytes, copies of a last "
                    f"value included, and {most:,} are taken."
                )
            wanted = signature.inputs[key].dtype
            have = tensor_type(arrays[key])
            # Lists have no type to insist on, tensors have: TensorFlow Serving does.
            if wanted != have:
                raise ValueError(f"{where} is {have}, and {wanted} is expected.")
        return arrays

    with service.model(spec.name, _version(spec)) as loaded:
        answer = service.predict(loaded, name, inputs, surface="grpc", seconds=seconds)
    wanted = list(request.output_filter) or list(answer.outputs)
    unknown = sorted(set(wanted) - set(answer.outputs))
    if unknown:
        raise RequestRefused(
            "INVALID_ARGUMENT",
            f"output_filter has {unknown}, and the outputs are "
            f"{sorted(answer.outputs)}.",
        )
    response = predict_pb2.PredictResponse()
    _fill(response.model_spec, service.name, answer.version, name)
    for key in wanted:
        response.outputs[key].CopyFrom(proto_of(answer.outputs[key]))
    return response


def _metadata(service: Service, request: Any) -> Any:
    fields = list(request.metadata_field)
    if not fields or set(fields) != {"signature_def"}:
        raise RequestRefused(
            "INVALID_ARGUMENT",
            f"metadata_field is {fields}: the one that is known is 'signature_def'.",
        )
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with service.model(request.model_spec.name, _version(request.model_spec)) as loaded:
        _fill(response.model_spec, service.name, loaded.version)
        definitions = signature_definitions(loaded.model.signatures)
    response.metadata["signature_def"].Pack(definitions)
    return response


def _statuses(service: Service, request: Any) -> Any:
    response = get_model_status_pb2.GetModelStatusResponse()
    found = service.statuses(request.model_spec.name, _version(request.model_spec))
    for version, one in found.items():
        status = response.model_version_status.add(version=version)
        status.state = get_model_status_pb2.ModelVersionStatus.State.Value(one.state)
        status.status.error_code = error_codes_pb2.Code.Value(one.code)
        status.status.error_message = one.message
    return response


def _version(spec: Any) -> int | None:
    if spec.version_label:
        raise RequestRefused(
            "INVALID_ARGUMENT",
            f"version_label is {spec.version_label!r}, and versions have no labels "
            "here: ask for a version's number, or for none.",
        )
    return spec.version.value if spec.HasField("version") else None


def _fill(spec: Any, name: str, version: int, signature: str = "") -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature
