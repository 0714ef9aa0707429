"""A random BERT of two layers of 16, as a checkpoint folder: an encoder for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 16, 2, 4, 32, 64
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Pieces whose meaning a compatibility fold, a wrong case or a lost accent would change.
VOCAB = (
    ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    + [f"##{letter}" for letter in LETTERS]
    + "the ##ing 1 2 ##2 10 ! , . - # ' $ [ ] ½ ² ##² ß ##ß ss … ™ ##™ º ##º".split()
    + "é ##é σ ##σ ς ##ς ı 中 文 。 ａ １ Ａ A ##A µ ᄀ ##ᅡ ไ ##ท ☕ 👍 🏽".split()  # noqa: RUF001
)
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(VOCAB),
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": WIDE,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "position_embedding_type": "absolute",
}
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
MEAN = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
CLS = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}


def weights(seed: int = 0, pooler: bool = True) -> dict[str, np.ndarray]:
    """A checkpoint's tensors, large enough that attention is far from uniform."""
    rng = np.random.default_rng(seed)
    tensors = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        tensors[name] = (around + 0.4 * rng.normal(size=shape)).astype(np.float32)

    def norm(name: str) -> None:
        add(f"{name}.weight", HIDDEN, around=1.0)
        add(f"{name}.bias", HIDDEN)

    def dense(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    add("embeddings.word_embeddings.weight", len(VOCAB), HIDDEN)
    add("embeddings.position_embeddings.weight", POSITIONS, HIDDEN)
    add("embeddings.token_type_embeddings.weight", 2, HIDDEN)
    norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        dense(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", HIDDEN, WIDE)
        dense(f"{layer}.output.dense", WIDE, HIDDEN)
        norm(f"{layer}.output.LayerNorm")
    if pooler:
        dense("pooler.dense", HIDDEN, HIDDEN)
    return tensors


def write_checkpoint(
    folder: Path,
    *,
    tensors: dict[str, np.ndarray] | None = None,
    pooling: dict[str, Any] | None = MEAN,
    modules: list[dict[str, str]] | None = MODULES,
    **config: Any,
) -> Path:
    folder.mkdir()
    safetensors.numpy.save_file(
        weights() if tensors is None else tensors, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if modules is not None:
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder
