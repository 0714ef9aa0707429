"""A SavedModel under TensorFlow's own C++ loader, with no Python TensorFlow.

`NativeModel` calls `TF_LoadSessionFromSavedModel` in the installed wheel's
`libtensorflow_cc.so.2` through ctypes. TensorFlow Serving loads an export with the same
C++ code, so what fails to load here (an op that only Python has registered, a table
that was not tracked) is found before it is deployed; it is the loader, not the server.

The module needs the standard library, NumPy and the files of the `tensorflow` wheel. It
imports neither TensorFlow, nor Keras, nor the rest of this package. The first load sets
TF_CPP_MIN_LOG_LEVEL=2 where the environment does not set it. As a script, which needs
nothing of this package to be importable:

    python -I native.py EXPORT_DIR < request.json > answer.json

with `{"inputs": {name: nested lists}}` as the request and `{"outputs": {name: nested
lists}, "modules": {name: was it imported?}}` as the answer. That is why it is one file,
however long.

Source: TensorFlow's `c/c_api.h`, `c/tf_tensor.h`, `c/tf_tstring.h`, and
`protobuf/meta_graph.proto` for the signatures.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import functools
import importlib
import importlib.util
import json
import os
import sys
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NativeModel",
    "Signature",
    "TensorFlowError",
    "TensorSpec",
    "numbered_directories",
    "tensorflow_library",
    "text_op_libraries",
    "version_directories",
    "version_directory",
]

# Values of the enum DataType (framework/types.proto) that NumPy can hold.
_STRING = 7
_NUMBERS = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": _STRING,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}
# Others that a signature may well have, so that a refusal can name them.
_REFUSED = {
    8: "complex64",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    18: "complex128",
    20: "resource",
    21: "variant",
}
# Which NumPy kinds may be widened to which: a bool is no number, a float no integer.
_ACCEPTED_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}

_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature.

    name:  the tensor in the graph, such as "serving_default_query:0".
    dtype: TensorFlow's name for its type, such as "float32" or "string".
    shape: one entry for each axis, None where any size fits; None for any rank.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """What a SavedModel offers under one name.

    inputs:      the tensors that a call gives, by the name a client uses.
    outputs:     the tensors that it returns.
    method_name: "tensorflow/serving/predict" for what `tf.saved_model.save` writes.
    optional:    inputs that have a default in the export, and may be left out.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str
    optional: frozenset[str] = frozenset()

    def arrays(self, inputs: Mapping[str, Any], name: str) -> dict[str, NDArray[Any]]:
        """What a call gives, as the arrays that the inputs take.

        Args:
            inputs: For each input an array or nested lists; see `NativeModel.__call__`.
            name: What this signature is called, for messages.

        Raises:
            ValueError: An input is missing or unknown, its dtype or shape does not fit,
                or a dtype is one that NumPy lacks.
        """
        for kind, specs in (("Input", self.inputs), ("Output", self.outputs)):
            for key, spec in specs.items():
                if spec.dtype not in _NUMBERS:
                    raise ValueError(
                        f"{kind} {key!r} of signature {name!r} is {spec.dtype}, which "
                        f"NumPy cannot hold here; {', '.join(sorted(_NUMBERS))} can be."
                    )
        self.check_names(inputs, name)
        return {
            key: _convert(
                value, self.inputs[key], f"Input {key!r} of signature {name!r}"
            )
            for key, value in inputs.items()
        }

    def check_names(self, inputs: Collection[str], name: str) -> None:
        """Refuses inputs that a call cannot have, before anything is made of them.

        Args:
            inputs: Names of what is given.
            name: What this signature is called, for messages.

        Raises:
            ValueError: An input is missing or unknown.
        """
        missing = sorted(set(self.inputs) - set(inputs) - self.optional)
        unknown = sorted(set(inputs) - set(self.inputs))
        if missing or unknown:
            raise ValueError(
                f"Signature {name!r} takes the inputs {sorted(self.inputs)}: "
                f"missing are {missing}, unknown are {unknown}."
            )


class TensorFlowError(RuntimeError):
    """TensorFlow refused or failed.

    code: its status code's name, such as "INVALID_ARGUMENT".
    """

    def __init__(self, doing: str, code: str, message: str) -> None:
        super().__init__(f"{doing}: {code}: {message}")
        self.code = code


class NativeModel:
    """A SavedModel, loaded and run by TensorFlow's C++ runtime.

    Calls are thread safe: `Session::Run` is, and each call has its own tensors. `close`
    waits for the calls that are running.

    Args:
        path: A directory with a `saved_model.pb`, or its parent: of subdirectories
            named by an integer, the highest with a `saved_model.pb` is then used, as
            TensorFlow Serving does.
        op_libraries: Shared libraries of ops that TensorFlow does not have itself, such
            as `text_op_libraries()`. Once loaded they stay in the process, and from
            the first on TensorFlow's symbols are global in it, as they are after
            `import tensorflow`.

    Raises:
        FileNotFoundError: There is no SavedModel at `path`, no file of that name among
            `op_libraries`, or no TensorFlow wheel.
        TensorFlowError: TensorFlow could not load the model or a library.

    Example:
        with NativeModel("export", op_libraries=text_op_libraries()) as model:
            answer = model("serving_default", {"query": ["milk"]})
    """

    path: Path
    signatures: Mapping[str, Signature]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        op_libraries: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if isinstance(op_libraries, (str, os.PathLike)):
            raise ValueError(
                f"op_libraries is the one path {os.fspath(op_libraries)!r}, and a list "
                "of paths is expected."
            )
        self.path = version_directory(Path(path))
        self._lib = _library()
        for library in op_libraries:
            _load_op_library(self._lib, Path(library))
        session, graph, meta_graph = _load_session(self._lib, self.path)
        self._session = session
        # Not at exit: the process ends anyway, and a daemon thread may be in a call.
        self._finalizer = weakref.finalize(
            self, _delete_session, self._lib, session, graph
        )
        self._finalizer.atexit = False
        try:
            self.signatures = MappingProxyType(_signatures(memoryview(meta_graph)))
            self._endpoints = {
                spec.name: self._endpoint(graph, name, spec)
                for name, signature in self.signatures.items()
                for spec in [*signature.inputs.values(), *signature.outputs.values()]
                if spec.dtype in _NUMBERS
            }
        except BaseException:
            self._finalizer()
            raise
        self._idle = threading.Condition()
        self._running = 0
        self._closed = False

    def __call__(
        self, signature: str, inputs: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        """Runs one signature.

        Args:
            signature: Its name, one of `signatures`.
            inputs: For each input an array, or nested lists, of the shape and dtype in
                `signatures[signature].inputs`. Text is encoded as UTF-8. Integers are
                widened where every value stays what it is; lists of floats are rounded
                to the input's precision, arrays of a higher precision are refused. An
                array of NumPy's `S` type has lost its strings' trailing zero bytes: use
                an object array for such.

        Returns:
            An array for each output, of its dtype; object arrays of bytes for strings.

        Raises:
            ValueError: There is no such signature, an input is missing or unknown, its
                dtype or shape does not fit, or a dtype is one that NumPy lacks.
            TensorFlowError: TensorFlow failed while running.
            RuntimeError: The model is closed.
        """
        found, feeds = self._check(signature, inputs)
        lib = self._lib
        names = list(found.outputs)
        values = (ctypes.c_void_p * len(feeds))()
        results = (ctypes.c_void_p * len(names))()
        with self._open_session() as session:
            try:
                for index, (_, data) in enumerate(feeds):
                    values[index] = _tensor(lib, data)
                with _status(lib, f"signature {signature!r}") as status:
                    lib.TF_SessionRun(
                        session,
                        None,
                        (_Output * len(feeds))(*(end for end, _ in feeds)),
                        values,
                        len(feeds),
                        (_Output * len(names))(
                            *(self._endpoints[found.outputs[n].name] for n in names)
                        ),
                        results,
                        len(names),
                        None,
                        0,
                        None,
                        status,
                    )
                return {
                    name: _array(lib, result)
                    for name, result in zip(names, results, strict=True)
                }
            finally:
                # This frees the strings of an input too, where nothing else holds them.
                for tensor in filter(None, [*values, *results]):
                    lib.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Frees the session and its graph, after the calls that are running."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._running == 0)
            self._finalizer()

    def __enter__(self) -> NativeModel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _open_session(self) -> Iterator[int]:
        """Keeps the session from being closed under a call."""
        with self._idle:
            if self._closed:
                raise RuntimeError(f"The model of {self.path} is closed.")
            self._running += 1
        try:
            yield self._session
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _endpoint(self, graph: int, signature: str, spec: TensorSpec) -> _Output:
        operation, _, index = spec.name.rpartition(":")
        pointer = self._lib.TF_GraphOperationByName(graph, operation.encode())
        if not pointer:
            raise RuntimeError(
                f"Signature {signature!r} of {self.path} names the tensor "
                f"{spec.name!r}, which its graph lacks."
            )
        return _Output(pointer, int(index))

    def _check(
        self, name: str, inputs: Mapping[str, Any]
    ) -> tuple[Signature, list[tuple[_Output, NDArray[Any]]]]:
        """Gives what to feed where, or says what is wrong with the request."""
        signature = self.signatures.get(name)
        if signature is None:
            raise ValueError(
                f"There is no signature {name!r}: {self.path} has "
                f"{sorted(self.signatures)}."
            )
        arrays = signature.arrays(inputs, name)
        feeds = [
            (self._endpoints[signature.inputs[key].name], data)
            for key, data in arrays.items()
        ]
        return signature, feeds


def text_op_libraries() -> list[Path]:
    """Finds TensorFlow Text's op libraries, which an export that reads texts needs.

    All of them: which ones an export uses depends on the encoder's preprocessor. The
    package is looked up and not imported.

    Raises:
        FileNotFoundError: TensorFlow Text, or any library of it, is not installed.
    """
    folder = _wheel("tensorflow_text", "tensorflow-text") / "python" / "ops"
    libraries = sorted(folder.glob("*.so"))
    if not libraries:
        raise FileNotFoundError(
            f"{folder} has no op library: pip install --force-reinstall tensorflow-text"
        )
    return libraries


# Files.


def tensorflow_library() -> Path:
    """Finds TensorFlow's shared library. The package is looked up and not imported.

    Raises:
        FileNotFoundError: TensorFlow, or this library of it, is not installed.
    """
    folder = _wheel("tensorflow", "tensorflow")
    file = folder / "libtensorflow_cc.so.2"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {file.name}: this needs the tensorflow wheel for Linux, "
            "2.18 or later."
        )
    return file


def _wheel(package: str, distribution: str) -> Path:
    """Finds a package's folder without running the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"{distribution} is not installed: pip install {distribution}"
        )
    return Path(spec.submodule_search_locations[0])


def version_directory(path: Path) -> Path:
    """The folder of the version that is served from `path`.

    Args:
        path: A version's folder, or the model's, whose highest version is then meant.

    Raises:
        FileNotFoundError: There is no SavedModel.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"There is no directory {path}.")
    if (path / "saved_model.pb").is_file():
        return path
    versions = version_directories(path)
    if not versions:
        raise FileNotFoundError(
            f"{path} has no saved_model.pb, and no version directory (named by an "
            "integer) that has one."
        )
    return versions[max(versions)]


def version_directories(path: Path) -> dict[int, Path]:
    """The versions of a model's folder: its folders that are named by an integer.

    Args:
        path: The model's folder.

    Returns:
        The folders that have a `saved_model.pb`, by version.
    """
    return {
        version: child
        for version, child in numbered_directories(path).items()
        if (child / "saved_model.pb").is_file()
    }


def numbered_directories(path: Path) -> dict[int, Path]:
    """What of a model's folder is named by an integer, a model in it or not.

    Args:
        path: The model's folder.

    Returns:
        The paths, by version.
    """
    return {
        int(child.name): child
        for child in path.iterdir()
        # Not int(): that takes "1_0", "+1" and digits of other scripts too.
        if child.name.isascii() and child.name.isdigit()
    }


# The C library.


class _Output(ctypes.Structure):
    """`TF_Output`: the index-th output of an operation."""

    _fields_ = (("oper", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    """`TF_Buffer`: bytes that TensorFlow owns."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("data_deallocator", ctypes.c_void_p),
    )


# `TF_TString` is 24 opaque bytes on every platform (core/platform/ctstring_internal.h);
# only the TF_String functions look into it.
_STRING_BYTES = 24


@functools.cache
def _library() -> ctypes.CDLL:
    """Loads TensorFlow's shared library, and declares what is used of it."""
    file = tensorflow_library()
    # Else each load writes ten lines. The few that the library writes while it is
    # being mapped heed no setting.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Where Python TensorFlow was imported, this is the copy that it has loaded. The
    # library finds libtensorflow_framework.so.2 beside itself.
    lib = ctypes.CDLL(str(file))

    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    integer, size = ctypes.c_int, ctypes.c_size_t
    dims = ctypes.POINTER(ctypes.c_int64)
    buffer = ctypes.POINTER(_Buffer)
    outputs, pointers = ctypes.POINTER(_Output), ctypes.POINTER(pointer)
    # Pointers to text that may hold zero bytes are `pointer`, as ctypes would end a
    # c_char_p result at the first.
    prototypes: dict[str, tuple[Any, list[Any]]] = {
        "TF_NewStatus": (pointer, []),
        "TF_DeleteStatus": (None, [pointer]),
        "TF_GetCode": (integer, [pointer]),
        "TF_Message": (text, [pointer]),
        "TF_NewBuffer": (buffer, []),
        "TF_DeleteBuffer": (None, [buffer]),
        "TF_NewSessionOptions": (pointer, []),
        "TF_DeleteSessionOptions": (None, [pointer]),
        "TF_NewGraph": (pointer, []),
        "TF_DeleteGraph": (None, [pointer]),
        "TF_GraphOperationByName": (pointer, [pointer, text]),
        "TF_LoadLibrary": (pointer, [text, pointer]),
        "TF_DeleteLibraryHandle": (None, [pointer]),
        "TF_LoadSessionFromSavedModel": (
            pointer,
            [
                pointer,
                pointer,
                text,
                ctypes.POINTER(text),
                integer,
                pointer,
                buffer,
                pointer,
            ],
        ),
        "TF_CloseSession": (None, [pointer, pointer]),
        "TF_DeleteSession": (None, [pointer, pointer]),
        "TF_SessionRun": (
            None,
            [
                pointer,
                pointer,
                outputs,
                pointers,
                integer,
                outputs,
                pointers,
                integer,
                pointers,
                integer,
                pointer,
                pointer,
            ],
        ),
        "TF_AllocateTensor": (pointer, [integer, dims, integer, size]),
        "TF_DeleteTensor": (None, [pointer]),
        "TF_TensorType": (integer, [pointer]),
        "TF_TensorData": (pointer, [pointer]),
        "TF_NumDims": (integer, [pointer]),
        "TF_Dim": (ctypes.c_int64, [pointer, integer]),
        "TF_StringInit": (None, [pointer]),
        "TF_StringCopy": (None, [pointer, text, size]),
        "TF_StringGetDataPointer": (pointer, [pointer]),
        "TF_StringGetSize": (size, [pointer]),
    }
    for name, (result, arguments) in prototypes.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@contextlib.contextmanager
def _status(lib: ctypes.CDLL, doing: str) -> Iterator[int]:
    """Gives a `TF_Status` to fill, and raises what was put in it."""
    status = lib.TF_NewStatus()
    try:
        yield status
        code = lib.TF_GetCode(status)
        if code:
            name = _CODES[code] if code < len(_CODES) else f"code {code}"
            message = lib.TF_Message(status).decode(errors="replace")
            if "Op type not registered" in message:
                message += (
                    " Pass the shared library that defines the op in op_libraries=..., "
                    "as op_libraries=text_op_libraries() for TensorFlow Text."
                )
            raise TensorFlowError(doing, name, message)
    finally:
        lib.TF_DeleteStatus(status)


@functools.cache
def _open_to_op_libraries() -> None:
    """Lets op libraries bind to TensorFlow's own symbols.

    TensorFlow Text's have a whole copy of protobuf in them, and abort the process
    ("Check failed: it != end() key not found") on reading a map that TensorFlow's copy
    has filled. Among global symbols, TensorFlow's come before a library's own: Python
    TensorFlow makes its libraries global too, and also imports `ssl` before, because
    they have a BoringSSL and a zlib in them that would take the place of the system's.
    """
    for module in ("hashlib", "ssl", "zlib"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    file = _wheel("tensorflow", "tensorflow") / "libtensorflow_framework.so.2"
    ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)


def _load_op_library(lib: ctypes.CDLL, path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"There is no op library {path}.")
    _open_to_op_libraries()
    with _status(lib, f"op library {path}") as status:
        # Absolute, because a bare name would be searched for on the system's path.
        handle = lib.TF_LoadLibrary(os.fsencode(path.resolve()), status)
    lib.TF_DeleteLibraryHandle(handle)  # The library itself stays.


def _load_session(lib: ctypes.CDLL, path: Path) -> tuple[int, int, bytes]:
    """Gives the session, its graph and the serialized MetaGraphDef."""
    options = lib.TF_NewSessionOptions()
    graph = lib.TF_NewGraph()
    buffer = lib.TF_NewBuffer()
    session = None
    try:
        with _status(lib, f"SavedModel {path}") as status:
            session = lib.TF_LoadSessionFromSavedModel(
                options,
                None,
                os.fsencode(path),
                (ctypes.c_char_p * 1)(b"serve"),
                1,
                graph,
                buffer,
                status,
            )
        found = buffer.contents
        return session, graph, ctypes.string_at(found.data, found.length)
    finally:
        lib.TF_DeleteBuffer(buffer)
        lib.TF_DeleteSessionOptions(options)
        if session is None:
            lib.TF_DeleteGraph(graph)


def _delete_session(lib: ctypes.CDLL, session: int, graph: int) -> None:
    with _status(lib, "closing the session") as status:
        lib.TF_CloseSession(session, status)
        lib.TF_DeleteSession(session, status)
        lib.TF_DeleteGraph(graph)


# Tensors.


def _tensor(lib: ctypes.CDLL, data: NDArray[Any]) -> int:
    """Copies an array (object arrays: of bytes) into a new `TF_Tensor`."""
    strings = data.dtype == object
    tensor: int = lib.TF_AllocateTensor(
        _STRING if strings else _NUMBERS[data.dtype.name],
        (ctypes.c_int64 * data.ndim)(*data.shape),
        data.ndim,
        data.size * _STRING_BYTES if strings else data.nbytes,
    )
    start = lib.TF_TensorData(tensor)
    if strings:
        for index, item in enumerate(data.reshape(-1).tolist()):
            lib.TF_StringInit(start + index * _STRING_BYTES)
            lib.TF_StringCopy(start + index * _STRING_BYTES, item, len(item))
    elif data.size:
        ctypes.memmove(start, data.ctypes.data, data.nbytes)
    return tensor


def _array(lib: ctypes.CDLL, tensor: int) -> NDArray[Any]:
    """Copies a `TF_Tensor` into a new array (strings: an object array of bytes)."""
    shape = tuple(lib.TF_Dim(tensor, axis) for axis in range(lib.TF_NumDims(tensor)))
    number = lib.TF_TensorType(tensor)
    start = lib.TF_TensorData(tensor)
    if number != _STRING:
        data = np.empty(shape, np.dtype(_NAMES[number]))
        if data.size:
            ctypes.memmove(data.ctypes.data, start, data.nbytes)
        return data
    strings = np.empty(shape, object)
    flat = strings.reshape(-1)  # A view: `strings` was just made, and is contiguous.
    for index in range(flat.size):
        string = start + index * _STRING_BYTES
        flat[index] = ctypes.string_at(
            lib.TF_StringGetDataPointer(string), lib.TF_StringGetSize(string)
        )
    return strings


# What a client gives.


def _convert(value: Any, spec: TensorSpec, where: str) -> NDArray[Any]:
    """Gives the array that an input takes, or says why `value` does not fit it."""
    if spec.dtype == "string":
        data = _strings(value, where)
    else:
        data = _numbers(value, np.dtype(spec.dtype), where)
    if spec.shape is not None and (
        len(data.shape) != len(spec.shape)
        or any(
            want is not None and want != have
            for want, have in zip(spec.shape, data.shape, strict=True)
        )
    ):
        raise ValueError(
            f"{where} has shape {data.shape}, and {spec.shape} is expected (None "
            "stands for any size)."
        )
    return data


def _strings(value: Any, where: str) -> NDArray[Any]:
    """Gives an object array of bytes."""
    typed = hasattr(value, "dtype")
    try:
        data = np.asarray(value) if typed else np.array(value, dtype=object)
    except ValueError as error:
        raise ValueError(f"{where} has rows of unequal length.") from error
    if data.dtype.kind not in "OSUT":
        raise ValueError(f"{where} is {data.dtype.name}, and string is expected.")
    encoded = np.empty(data.shape, object)
    flat = encoded.reshape(-1)
    for index, item in enumerate(data.reshape(-1).tolist()):
        if isinstance(item, str):
            try:
                flat[index] = item.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{where} has {item!r}, which is no valid Unicode."
                ) from error
        elif isinstance(item, bytes):
            flat[index] = item
        elif isinstance(item, (list, tuple)):
            raise ValueError(f"{where} has rows of unequal length.")
        else:
            raise ValueError(
                f"{where} has {item!r} ({type(item).__name__}), and string is expected."
            )
    return encoded


def _numbers(value: Any, expected: np.dtype[Any], where: str) -> NDArray[Any]:
    """Gives a C-contiguous array of the expected dtype with the values unchanged."""
    typed = hasattr(value, "dtype")
    try:
        data = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where} has rows of unequal length.") from error
    if data.size == 0 and not typed:
        # An empty list is no list of floats, though NumPy takes it for one.
        data = data.astype(expected)
    if data.dtype == expected:
        return np.asarray(data, dtype=expected, order="C")
    # A list has no precision of its own, an array has one that it may not lose.
    if data.dtype.kind not in _ACCEPTED_KINDS[expected.kind] or (
        typed and not np.can_cast(data.dtype, expected)
    ):
        raise ValueError(f"{where} is {data.dtype.name}, and {expected} is expected.")
    with np.errstate(over="ignore"):
        cast = data.astype(expected, order="C")
    if data.dtype.kind == "f":
        # Too large for the smaller float, it would have become infinite.
        bad = data[np.isfinite(data) & ~np.isfinite(cast)]
    else:
        low, high = _exact_integers(expected)
        bad = data[(data < low) | (data > high)]
    if bad.size:
        raise ValueError(
            f"{where} has {bad.flat[0]}, which {expected} cannot hold exactly."
        )
    return cast


def _exact_integers(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Gives the range in which a dtype holds every integer."""
    if dtype.kind == "f":
        bound = 2 ** (np.finfo(dtype).nmant + 1)
        return -bound, bound
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


# Protocol buffers: as much of the wire format as signatures need. Field numbers are
# those of meta_graph.proto and tensor_shape.proto.


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Gives the integer at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _fields(view: memoryview) -> Iterator[tuple[int, Any]]:
    """Yields each field's number and its value: an int, or a view of its bytes."""
    position = 0
    while position < len(view):
        key, position = _varint(view, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(view, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _varint(view, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise RuntimeError(f"The MetaGraphDef has a field of type {wire_type}.")
        yield number, view[position : position + size]
        position += size


def _entry(view: memoryview) -> tuple[str, memoryview]:
    """Reads one entry of a map from strings to messages."""
    fields = dict(_fields(view))
    return bytes(fields.get(1, b"")).decode(), fields.get(2, memoryview(b""))


def _signatures(meta_graph: memoryview) -> dict[str, Signature]:
    entries = [_entry(value) for number, value in _fields(meta_graph) if number == 5]
    return {
        name: _signature(view)
        for name, view in sorted(entries)
        # The loader's own: an op that runs once, after variables are restored.
        if name != "__saved_model_init_op"
    }


def _signature(view: memoryview) -> Signature:
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    method_name = ""
    optional = set()
    for number, value in _fields(view):
        if number in (1, 2):
            name, info = _entry(value)
            (inputs if number == 1 else outputs)[name] = _tensor_spec(info)
        elif number == 3:
            method_name = bytes(value).decode()
        elif number == 4:
            # The value itself is in the graph too, as a PlaceholderWithDefault.
            optional.add(_entry(value)[0])
    return Signature(
        MappingProxyType(inputs),
        MappingProxyType(outputs),
        method_name,
        frozenset(optional),
    )


def _tensor_spec(view: memoryview) -> TensorSpec:
    fields = dict(_fields(view))
    if 1 not in fields:  # coo_sparse or composite_tensor, in its place.
        return TensorSpec("", "sparse or composite", None)
    number = fields.get(2, 0)
    dtype = _NAMES.get(number) or _REFUSED.get(number, f"DataType {number}")
    shape = _shape(fields[3]) if 3 in fields else None
    return TensorSpec(bytes(fields[1]).decode(), dtype, shape)


def _shape(view: memoryview) -> tuple[int | None, ...] | None:
    dims: list[int | None] = []
    for number, value in _fields(view):
        if number == 3 and value:
            return None
        if number == 2:
            size = dict(_fields(value)).get(1, 0)
            # -1, any size, is written as an unsigned integer of 64 bits.
            dims.append(size if size < 2**63 else None)
    return tuple(dims)


# The script.


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the C++ log off standard error, where one line tells of a failure.

    The library writes some of it before it knows a log level. To see it all, as after
    an abort, set TF_CPP_MIN_LOG_LEVEL=0.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
        yield
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    faulthandler.enable(kept)  # An abort in TensorFlow must not pass in silence.
    try:
        yield
    finally:
        faulthandler.disable()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _nested(name: str, data: NDArray[Any]) -> Any:
    """Gives an output as nested lists, its bytes decoded."""
    if data.dtype != object:
        return data.tolist()
    text = np.empty(data.shape, object)
    flat = text.reshape(-1)
    for index, item in enumerate(data.reshape(-1).tolist()):
        try:
            flat[index] = item.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"Output {name!r} has {item!r}, which is not UTF-8."
            ) from error
    return text.tolist()


def _answer(path: str, libraries: list[str], signature: str) -> dict[str, Any]:
    request = json.loads(sys.stdin.buffer.read())
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), dict):
        raise ValueError('The request is not {"inputs": {name: nested lists}}.')
    with NativeModel(path, op_libraries=libraries) as model:
        outputs = model(signature, request["inputs"])
    imported = {name.partition(".")[0] for name in sys.modules}
    return {
        "outputs": {name: _nested(name, data) for name, data in outputs.items()},
        "modules": {
            name: name in imported
            for name in ("tensorflow", "tf_keras", "keras", "tfrs_decay")
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers one request from standard input; see the module's docstring.

    Returns:
        The exit status: 0, or 2 after one line on standard error.
    """
    parser = _Parser(
        prog="native.py",
        description=(
            "Run a SavedModel by TensorFlow's C++ loader. JSON on standard input: "
            '{"inputs": {name: nested lists}}.'
        ),
    )
    parser.add_argument("export_dir", metavar="EXPORT_DIR")
    parser.add_argument("--signature", default="serving_default", metavar="NAME")
    parser.add_argument("--op-library", action="append", default=[], metavar="PATH")
    options = parser.parse_args(arguments)
    try:
        with _quiet():
            answer = _answer(options.export_dir, options.op_library, options.signature)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
