"""TF-Hub modules: loaded, or refused with what would help; and told apart."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import tensorflow_text  # noqa: F401 - registers the ops that preprocessors consist of
import tf_keras

with warnings.catch_warnings():
    # tensorflow-hub 0.16 imports pkg_resources: setup.py bounds setuptools for it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import tensorflow_hub as hub

_BLOCK = 1 << 20


@tf_keras.saving.register_keras_serializable("tfrs_decay")
class FrozenHubLayer(hub.KerasLayer):
    """A module that is what its handle says: its weights are not saved once more."""

    def save_own_variables(self, store: Any) -> None:
        """Nothing: the handle stays in the config, and an encoder is large."""

    def load_own_variables(self, store: Any) -> None:
        """Nothing: the weights came with the handle."""


def absolute(handle: str | os.PathLike[str]) -> str:
    """A local handle that can be found again from another working directory."""
    handle = os.fspath(handle)
    return handle if "://" in handle else os.path.abspath(handle)


def load(handle: str, argument: str, *, trainable: bool) -> hub.KerasLayer:
    """Loads a TF-Hub handle.

    Args:
        handle: A folder that holds a SavedModel, or an https handle.
        argument: The argument that it was given as, for errors.
        trainable: Whether its variables are trained, and saved with the layer.

    Raises:
        FileNotFoundError: The handle is a path where no SavedModel is.
        RuntimeError: It cannot be loaded; the error says where to get another.
    """
    remedy = (
        "Where there is no network, make a local one from a checkpoint of BERT or its "
        "family (DistilBERT, ALBERT, RoBERTa, XLM-RoBERTa, MPNet) with "
        f"`tfrs-decay encoder --from DIR --out OUT` and pass OUT/{argument}."
    )
    local = "://" not in handle
    if local and not (Path(handle) / "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"{argument}={handle!r} is not a folder with a SavedModel. {remedy}"
        )
    try:
        layer = hub.KerasLayer if trainable else FrozenHubLayer
        return layer(handle, trainable=trainable, name=argument)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise RuntimeError(
            f"{argument}={handle!r} could not be loaded "
            f"({type(error).__name__}: {first_line}). {remedy}"
        ) from error


def content_hash(handle: str) -> str:
    """32 hexadecimal digits of a module's files: what it computes, wherever it lies.

    Args:
        handle: As in `load`; an https handle is fetched, as it is for loading. Or a
            single file.

    Raises:
        FileNotFoundError: There is nothing at this path.
    """
    there = Path(hub.resolve(handle) if "://" in handle else handle)
    if not there.exists():
        raise FileNotFoundError(f"{there}: no such file or folder.")
    paths = sorted(there.rglob("*")) if there.is_dir() else [there]
    files = tuple(
        (path, path.stat().st_size, path.stat().st_mtime_ns)
        for path in paths
        if path.is_file()
    )
    return _hash_of(there, files)


@functools.lru_cache(maxsize=32)
def _hash_of(root: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the files' names and contents; sizes and times say when to look again."""
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()[:32]
