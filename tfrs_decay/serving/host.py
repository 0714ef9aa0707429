"""`tfrs-decay serve`: a small host for laptops and tests.

It speaks TensorFlow Serving's REST and gRPC over TensorFlow's C loader, and is not
TensorFlow Serving: no batching of requests, no TLS, one model. Neither Keras nor Python
TensorFlow is loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from tfrs_decay.serving.asking import reads_texts
from tfrs_decay.serving.grpc_surface import GrpcServer
from tfrs_decay.serving.live import LiveModel
from tfrs_decay.serving.names import location
from tfrs_decay.serving.native import NativeModel, text_op_libraries
from tfrs_decay.serving.protos import warm_up_requests
from tfrs_decay.serving.rest import RestServer
from tfrs_decay.serving.server_files import model_name
from tfrs_decay.serving.service import Limits, Service

__all__ = ["Host", "Limits", "serve"]


# Beyond its grace a surface takes so long to hang up.
_LAST_SECONDS = 3.0


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Host:
    """A model's folder, served over REST and gRPC.

    The arguments are the options of `tfrs-decay serve`, which is why there are many.

    Args:
        directory: The model's folder, which holds a folder a version. It is watched:
            the highest version takes over once it is loaded and has answered its
            warm-up requests, and no request is lost meanwhile.
        name: What clients call the model; the folder's name when left out.
        address: Where to listen: 127.0.0.1 for this machine alone, 0.0.0.0 for all that
            can reach it; ::1 and :: over IPv6.
        rest_port: Of HTTP; 0 for any that is free.
        grpc_port: Of gRPC; 0 for any that is free.
        limits: How much is taken on.
        poll: Seconds between looks at the folder.
        op_libraries: Shared libraries of ops, besides TensorFlow Text's, which are
            loaded for an export that says it reads texts.
        say: Told in a line what becomes of versions; standard error when left out.

    Raises:
        OSError: There is no such folder, it has no version that loads, or an address
            cannot be had.
        ValueError: A limit is out of range, the folder is a version's, or the name is
            none that a URL can hold.

    Example:
        with Host("export/shop", rest_port=0, grpc_port=0) as host:
            client = Client(f"grpc://127.0.0.1:{host.grpc_port}", model="shop")
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        name: str | None = None,
        address: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        limits: Limits = Limits(),  # noqa: B008
        poll: float = 1.0,
        op_libraries: Sequence[str | os.PathLike[str]] = (),
        say: Callable[[str], object] = _print,
    ) -> None:
        path = Path(directory)
        if not path.is_dir():
            raise FileNotFoundError(f"There is no directory {path}.")
        if (path / "saved_model.pb").is_file():
            raise ValueError(
                f"{path} is one version: give the folder that holds it, "
                f"{path.resolve().parent}."
            )
        if not poll > 0:
            raise ValueError(f"poll={poll} must be more than 0 seconds.")
        self._say = say
        self._address = address
        self._poll = poll
        self._op_libraries = tuple(op_libraries)
        self.live = LiveModel(path, load=self._load, say=say)
        self.service = Service(model_name(path, name), self.live, limits)
        self.live.refresh()
        if self.live.version is None:
            raise FileNotFoundError(
                f"{path} has no version that loads: "
                f"{ {one: why.message for one, why in self.live.statuses().items()} }"
            )
        with contextlib.ExitStack() as opened:
            opened.callback(self.live.close)
            self._rest = RestServer((address, rest_port), self.service)
            opened.callback(self._rest.server_close)
            self._grpc = GrpcServer((address, grpc_port), self.service)
            opened.pop_all()  # All that is needed is there: it stays open.
        self._stopping = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._answering = threading.Thread(
            target=self._serve_rest, name="rest", daemon=True
        )

    @property
    def rest_port(self) -> int:
        """The port of HTTP."""
        return self._rest.server_port

    @property
    def grpc_port(self) -> int:
        """The port of gRPC."""
        return self._grpc.port

    def report(self) -> str:
        """What is served where, and which versions do not load."""
        name = self.service.name
        lines = [
            f"Model {name}, version {self.live.version}: "
            f"http://{location(self._address, self.rest_port)}/v1/models/{name} and "
            f"grpc://{location(self._address, self.grpc_port)}"
        ]
        for version, one in self.live.statuses().items():
            if one.code != "OK":
                lines.append(f"Version {version} does not load: {one.message}")
        return "\n".join(lines)

    def start(self) -> None:
        """Answers from now on."""
        self._grpc.start()
        self._watching.start()
        self._answering.start()

    def stop(self, grace: float = 30.0) -> None:
        """Accepts nothing more, finishes what runs, and closes the model.

        A host that was not started, or only in part, is closed too.

        Args:
            grace: Seconds to wait at most for what runs.
        """
        self._stopping.set()
        end = time.monotonic() + grace + _LAST_SECONDS
        # A thread has a number from its start on.
        waiting = [
            thread
            for thread in (self._watching, self._answering)
            if thread.ident is not None
        ]
        if self._answering in waiting:
            stopping = threading.Thread(
                target=self._rest.stop, args=(grace,), name="stop", daemon=True
            )
            stopping.start()
            waiting.append(stopping)
        else:
            self._rest.server_close()
        self._grpc.stop(grace)
        for thread in waiting:
            thread.join(max(0.0, end - time.monotonic()))
        # Both surfaces have waited for it.
        self.live.close(timeout=0)

    def __enter__(self) -> Host:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _load(self, version: Path) -> NativeModel:
        libraries = [
            *self._op_libraries,
            *(text_op_libraries() if reads_texts(version) else []),
        ]
        model = NativeModel(version, op_libraries=libraries)
        try:
            for signature, inputs in warm_up_requests(version):
                model(signature, inputs)
        except BaseException:
            model.close()
            raise
        return model

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll):
            try:
                self.live.refresh()
            except OSError as error:
                self._say(f"The folder cannot be read: {error}")

    def _serve_rest(self) -> None:
        self._rest.serve_forever(poll_interval=0.1)


def serve(host: Host, *, grace: float = 30.0) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what runs.

    Must be called from the main thread, which signals reach.

    Args:
        host: What is served.
        grace: Seconds to wait at most for what runs.
    """
    asked = threading.Event()
    kept = {}

    def stop(number: int, frame: FrameType | None) -> None:
        asked.set()

    for one in (signal.SIGTERM, signal.SIGINT):
        kept[one] = signal.signal(one, stop)
    try:
        host.start()
        asked.wait()
    finally:
        # A second signal ends the process as it always does.
        for one, handler in kept.items():
            signal.signal(one, handler)
        host.stop(grace)
