"""The weights of a checkpoint folder, by name, as float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_decay.encoders._files import read_bytes, read_json

Array = npt.NDArray[np.float32]
# Name, then shape, dtype and bytes.
_Stored = list[tuple[str, dict[str, Any]]]

_NAME = "model.safetensors"
# Every family has it, and has it once: what stands before is the prefix of all names.
_FIRST = "embeddings.word_embeddings.weight"
# The dtypes a weight may have on disk, as safetensors names them.
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(tf.bfloat16.as_numpy_dtype),
}
# Other files with weights, to say why a folder that has one is refused.
_OTHERS = {
    "adapter_model.safetensors": "an adapter, to be merged into its model first",
    "pytorch_model.bin": "a pickle, which can run code when it is read",
    "pytorch_model.bin.index.json": "pickles, which can run code when they are read",
    "tf_model.h5": "Keras weights",
    "flax_model.msgpack": "Flax weights",
    "model.onnx": "an ONNX graph",
}


class Tensors:
    """The weights in a folder's safetensors, whichever way its writer names them.

    A whole model, or a wrapper, has its encoder's tensors under a prefix (`bert.`,
    `0.auto_model.`); it is found and dropped. So are TensorFlow's old LayerNorm names.

    Args:
        folder: Where `model.safetensors` is, or an index and the parts it lists.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: safetensors is not installed.
        ValueError: A file is cut short or not of that format; the weights are in
            another format; or there are two encoders.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import safetensors
        except ImportError:
            raise ImportError(
                "converting a checkpoint needs safetensors: "
                "pip install 'tfrs-decay[encoders]'"
            ) from None
        deserialize: Callable[[bytes], _Stored] = safetensors.deserialize
        self.files = _files(folder)
        self._path = self.files[0]
        found: dict[str, dict[str, Any]] = {}
        for path in self.files:
            if path.suffix == ".json":
                continue
            try:
                # Not safetensors.numpy: it knows bfloat16 only from some version on.
                stored = deserialize(read_bytes(path))
            except safetensors.SafetensorError as error:
                raise ValueError(
                    f"{path} is not a whole safetensors file ({error}); copy it again"
                ) from None
            found.update((_modern(name), tensor) for name, tensor in stored)
        self._stored = self._without_prefix(found)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def take(self, name: str, *shape: int) -> Array:
        """One tensor as float32, or a ValueError that says what is wrong with it."""
        if name not in self._stored:
            raise ValueError(
                f"{self._path} has no tensor {name!r}; expected it for the layers of "
                "config.json, with one prefix for all or without any"
            )
        tensor = self._stored[name]
        if tensor["dtype"] not in _DTYPES:
            raise ValueError(
                f"{self._path} has {name!r} of dtype {tensor['dtype']}; expected "
                f"one of {', '.join(_DTYPES)}: quantised weights have no exact float32"
            )
        if list(tensor["shape"]) != list(shape):
            raise ValueError(
                f"{self._path} has {name!r} of shape {list(tensor['shape'])}; expected "
                f"{list(shape)} by config.json"
            )
        values = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
        values = values.reshape(shape).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(f"{self._path} has {name!r} with NaN or infinite weights")
        return values

    def linear(self, name: str, inputs: int, outputs: int) -> list[Array]:
        """A dense layer's kernel `[inputs, outputs]` and bias `[outputs]`."""
        # PyTorch, whose layout this is, stores a kernel as [outputs, inputs].
        kernel = self.take(f"{name}.weight", outputs, inputs).T
        return [kernel, self.take(f"{name}.bias", outputs)]

    def norm(self, name: str, size: int) -> list[Array]:
        """A layer normalisation's scale and offset, both `[size]`."""
        return [self.take(f"{name}.{part}", size) for part in ("weight", "bias")]

    def _without_prefix(
        self, found: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        prefixes = sorted(
            name.removesuffix(_FIRST) for name in found if name.endswith(_FIRST)
        )
        if not prefixes:
            raise ValueError(
                f"{self._path} has no tensor {_FIRST!r} under any prefix; expected it, "
                "every encoder that can be converted has it"
            )
        if len(prefixes) > 1:
            raise ValueError(
                f"{self._path} has {_FIRST!r} under the prefixes "
                f"{' and '.join(map(repr, prefixes))}; expected one encoder: save the "
                "one you want alone"
            )
        return {
            name.removeprefix(prefixes[0]): tensor
            for name, tensor in found.items()
            if name.startswith(prefixes[0])
        }


def _files(folder: Path) -> list[Path]:
    """The safetensors of a folder, and the index that lists them where there is one."""
    index = folder / f"{_NAME}.index.json"
    if (folder / _NAME).is_file():
        return [folder / _NAME]
    if not index.is_file():
        for name, what in _OTHERS.items():
            if (folder / name).is_file():
                raise ValueError(
                    f"{folder / name} is {what}; expected {_NAME}: where PyTorch is, "
                    "transformers' AutoModel.from_pretrained(...).save_pretrained(...) "
                    "writes it"
                )
        return [folder / _NAME]  # Reading it says that it is missing.
    parts = read_json(index, dict).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"{index} has no weight_map; expected tensors and their files")
    # By name alone: an index does not get to point out of its folder.
    return [
        index,
        *(folder / Path(str(one)).name for one in sorted(set(parts.values()))),
    ]


def _modern(name: str) -> str:
    """Replaces TensorFlow's old LayerNorm names."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
    return name.replace("LayerNorm.beta", "LayerNorm.bias")
