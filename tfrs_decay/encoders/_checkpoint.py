"""Reads and checks the files of a BERT checkpoint folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Array = npt.NDArray[np.float32]
# Name, then shape, dtype and bytes.
_Stored = list[tuple[str, dict[str, Any]]]

# Pieces a vocabulary must have; the preprocessor pads, starts and ends with them.
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_CONFIG = {
    "model_type": ("bert",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "hidden_act": ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu"),
}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_POOLING = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
# The dtypes a weight may have on disk, as safetensors names them.
_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(tf.bfloat16.as_numpy_dtype),
}


def read_config(path: Path) -> dict[str, Any]:
    """Reads `config.json` and checks what of it the encoder uses."""
    config = _read_json(path, dict)
    for key, allowed in _CONFIG.items():
        _check(path, key, config.get(key), allowed)
    for key in _SIZES:
        size = config.get(key)
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{path} has {key}={size!r}; expected an integer above 0")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if hidden % heads:
        raise ValueError(
            f"{path} has hidden_size={hidden} and num_attention_heads={heads}; "
            "expected a hidden size that the number of heads divides"
        )
    epsilon = config.setdefault("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ValueError(f"{path} has layer_norm_eps={epsilon!r}; expected 0 < eps < 1")
    return config


def read_vocab(path: Path, vocab_size: int) -> list[str]:
    """Reads `vocab.txt`: word pieces by id."""
    text = _read_text(path)
    # Not splitlines: a vocabulary may hold U+2028 and its kind as pieces.
    vocab = text.removesuffix("\n").split("\n")
    if len(vocab) != vocab_size:
        raise ValueError(
            f"{path} has {len(vocab)} lines; expected vocab_size={vocab_size} of "
            "config.json (for an embedding with spare rows, add a line for each)"
        )
    for piece in SPECIAL_PIECES:
        if piece not in vocab:
            raise ValueError(
                f"{path} has no line {piece!r}; expected it, BERT needs it"
            )
    if len(set(vocab)) != len(vocab):
        twice = next(piece for piece in vocab if vocab.count(piece) > 1)
        raise ValueError(f"{path} has {twice!r} twice; expected each piece once")
    return vocab


def read_lower_case(path: Path) -> bool:
    """Reads `tokenizer_config.json`: whether texts lose case and accents.

    They do where the file or its setting is absent, as in HF's BERT tokenizer.
    """
    settings = _read_json(path, dict) if path.exists() else {}
    lower_case = settings.get("do_lower_case", True)
    _check(path, "do_lower_case", lower_case, (True, False))
    _check(path, "strip_accents", settings.get("strip_accents"), (None, lower_case))
    chinese = settings.get("tokenize_chinese_chars", True)
    _check(path, "tokenize_chinese_chars", chinese, (True,))
    return bool(lower_case)


def read_pooling(root: Path) -> tuple[str | None, bool]:
    """Reads sentence-transformers' files, where there are any.

    Returns:
        "mean", "cls" or, without those files, None; and whether to normalise.
    """
    path, normalize, modules = root / "1_Pooling" / "config.json", False, []
    if (root / "modules.json").exists():
        modules = _read_json(root / "modules.json", list)
        kinds = [
            str(module.get("type")).rpartition(".")[2]
            for module in modules
            if isinstance(module, dict)
        ]
        if kinds not in _MODULES:
            raise ValueError(
                f"{root / 'modules.json'} lists {', '.join(kinds)}; expected "
                "Transformer, Pooling and perhaps Normalize"
            )
        path, normalize = (
            root / str(modules[1].get("path")) / "config.json",
            len(kinds) == 3,
        )
    elif not path.exists():
        return None, False
    settings = _read_json(path, dict)
    modes = [
        key.removeprefix("pooling_mode_")
        for key, chosen in settings.items()
        if key.startswith("pooling_mode_") and chosen is True
    ] or [str(settings.get("pooling_mode"))]
    if len(modes) > 1 or modes[0] not in _POOLING:
        raise ValueError(
            f"{path} pools by {' and '.join(modes)}; expected mean_tokens or cls_token"
        )
    return _POOLING[modes[0]], normalize


class Tensors:
    """The weights of a `model.safetensors`, whichever way its writer names them.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: safetensors is not installed.
        ValueError: The file is cut short or not of that format.
    """

    def __init__(self, path: Path) -> None:
        try:
            import safetensors
        except ImportError:
            raise ImportError(
                "converting a checkpoint needs safetensors: "
                "pip install 'tfrs-decay[encoders]'"
            ) from None
        deserialize: Callable[[bytes], _Stored] = safetensors.deserialize
        self._path = path
        try:
            # Not safetensors.numpy: it knows bfloat16 only from some version on.
            stored = deserialize(_read_bytes(path))
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path} is not a whole safetensors file ({error}); copy it again"
            ) from None
        self._stored = {self._modern(name): tensor for name, tensor in stored}

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def take(self, name: str, *shape: int) -> Array:
        """One tensor as float32, or a ValueError that says what is wrong with it."""
        if name not in self._stored:
            raise ValueError(
                f"{self._path} has no tensor {name!r}; expected it for the layers of "
                "config.json, with or without the prefix 'bert.'"
            )
        tensor = self._stored[name]
        if list(tensor["shape"]) != list(shape):
            raise ValueError(
                f"{self._path} has {name!r} of shape {list(tensor['shape'])}; expected "
                f"{list(shape)} by config.json"
            )
        if tensor["dtype"] not in _DTYPES:
            raise ValueError(
                f"{self._path} has {name!r} of dtype {tensor['dtype']}; expected "
                f"one of {', '.join(_DTYPES)}"
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

    @staticmethod
    def _modern(name: str) -> str:
        """Drops the prefix of a whole model, and TensorFlow's old LayerNorm names."""
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        return name.replace("LayerNorm.beta", "LayerNorm.bias")


def _check(path: Path, key: str, value: object, allowed: Iterable[object]) -> None:
    if value not in allowed:
        names = [json.dumps(one) for one in allowed]
        raise ValueError(
            f"{path} has {key}={json.dumps(value)}; expected {' or '.join(names)}"
        )


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected it in a BERT checkpoint")
    return path.read_bytes()


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); copy it again") from None


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); copy it again") from None
    if not isinstance(value, kind):
        raise ValueError(f"{path} is a JSON {type(value).__name__}; expected {kind}")
    return value
