"""Random checkpoints of every family, and their forward pass straight from the papers.

Both spell out each family's own names: nothing of the package is used.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from tiny_bert import VOCAB

HIDDEN, HEADS, WIDE, LAYERS, POSITIONS = 16, 4, 24, 3, 300
Tensors = dict[str, np.ndarray]

_SIZES = {
    "vocab_size": len(VOCAB),
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": WIDE,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
_ROBERTA = {**_SIZES, "pad_token_id": 0, "type_vocab_size": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SIZES,
    "distilbert": {
        "vocab_size": len(VOCAB),
        "dim": HIDDEN,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dim": WIDE,
        "activation": "gelu",
        "max_position_embeddings": POSITIONS,
    },
    "albert": {**_SIZES, "embedding_size": 6, "num_hidden_groups": 1},
    "roberta": _ROBERTA,
    "xlm-roberta": {**_ROBERTA, "pad_token_id": 1},
    "mpnet": {**_SIZES, "relative_attention_num_buckets": 32},
}
# Of one layer: its prefix; query, key, value, output and its norm; two dense, a norm.
_LAYER = {
    "bert": (
        *(
            "encoder.layer.{}.attention.self.query",
            "encoder.layer.{}.attention.self.key",
        ),
        *("encoder.layer.{}.attention.self.value",),
        *("encoder.layer.{}.attention.output.dense",),
        *("encoder.layer.{}.attention.output.LayerNorm",),
        *("encoder.layer.{}.intermediate.dense", "encoder.layer.{}.output.dense"),
        "encoder.layer.{}.output.LayerNorm",
    ),
    "distilbert": (
        *(
            "transformer.layer.{}.attention.q_lin",
            "transformer.layer.{}.attention.k_lin",
        ),
        *("transformer.layer.{}.attention.v_lin",),
        *("transformer.layer.{}.attention.out_lin",),
        *("transformer.layer.{}.sa_layer_norm",),
        *("transformer.layer.{}.ffn.lin1", "transformer.layer.{}.ffn.lin2"),
        "transformer.layer.{}.output_layer_norm",
    ),
    "albert": tuple(
        "encoder.albert_layer_groups.{}.albert_layers.0." + name
        for name in (
            *("attention.query", "attention.key", "attention.value"),
            *("attention.dense", "attention.LayerNorm"),
            *("ffn", "ffn_output", "full_layer_layer_norm"),
        )
    ),
    "mpnet": (
        *("encoder.layer.{}.attention.attn.q", "encoder.layer.{}.attention.attn.k"),
        *("encoder.layer.{}.attention.attn.v",),
        *("encoder.layer.{}.attention.attn.o",),
        *("encoder.layer.{}.attention.LayerNorm",),
        *("encoder.layer.{}.intermediate.dense", "encoder.layer.{}.output.dense"),
        "encoder.layer.{}.output.LayerNorm",
    ),
}
_LAYER["roberta"] = _LAYER["xlm-roberta"] = _LAYER["bert"]


def family_weights(model_type: str, *, groups: int = 1, pooler: bool = True) -> Tensors:
    """A checkpoint's tensors, large enough that attention is far from uniform."""
    rng = np.random.default_rng(7)
    config, tensors = CONFIGS[model_type], {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        tensors[name] = (around + 0.4 * rng.normal(size=shape)).astype(np.float32)

    def norm(name: str, size: int) -> None:
        add(f"{name}.weight", size, around=1.0)
        add(f"{name}.bias", size)

    def dense(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    size = config.get("embedding_size", HIDDEN)
    add("embeddings.word_embeddings.weight", len(VOCAB), size)
    add("embeddings.position_embeddings.weight", POSITIONS, size)
    if model_type not in ("distilbert", "mpnet"):
        types = config["type_vocab_size"]
        add("embeddings.token_type_embeddings.weight", types, size)
    norm("embeddings.LayerNorm", size)
    if model_type == "albert":
        dense("encoder.embedding_hidden_mapping_in", size, HIDDEN)
    if model_type == "mpnet":
        add("encoder.relative_attention_bias.weight", 32, HEADS)
    for number in range(groups if model_type == "albert" else LAYERS):
        *attention, attended, widen, narrow, last = (
            name.format(number) for name in _LAYER[model_type]
        )
        for name in attention:
            dense(name, HIDDEN, HIDDEN)
        norm(attended, HIDDEN)
        dense(widen, HIDDEN, WIDE)
        dense(narrow, WIDE, HIDDEN)
        norm(last, HIDDEN)
    if pooler and model_type != "distilbert":
        dense("pooler" if model_type == "albert" else "pooler.dense", HIDDEN, HIDDEN)
    return tensors


def write_family(
    folder: Path, model_type: str, tensors: Tensors | None = None, /, **config: Any
) -> Path:
    """A checkpoint folder with the vocabulary of `tiny_bert`."""
    folder.mkdir(parents=True)
    safetensors.numpy.save_file(
        family_weights(model_type) if tensors is None else tensors,
        folder / "model.safetensors",
    )
    whole = {"model_type": model_type, **CONFIGS[model_type], **config}
    (folder / "config.json").write_text(json.dumps(whole))
    vocab = VOCAB
    if whole.get("pad_token_id") == 1 or model_type == "mpnet":
        # The pad is second there.
        vocab = [VOCAB[1], VOCAB[0], *VOCAB[2:]]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    if model_type == "mpnet":
        names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def family_layers(
    model_type: str, tensors: Tensors, ids: list[int], types: list[int]
) -> list[np.ndarray]:
    """Each layer's vectors for one text without padding, in float64."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    config = CONFIGS[model_type]
    # DistilBERT's code has its own.
    epsilon = 1e-12 if model_type == "distilbert" else config["layer_norm_eps"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + epsilon)
        return x * t[f"{name}.weight"] + t[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    places = list(range(len(ids)))
    pad = {"roberta": 0, "xlm-roberta": 1, "mpnet": 1}.get(model_type)
    if pad is not None:
        places, last = [], pad
        for one in ids:
            last += one != pad
            places.append(last if one != pad else pad)
    x = t["embeddings.word_embeddings.weight"][ids]
    x = x + t["embeddings.position_embeddings.weight"][places]
    if "embeddings.token_type_embeddings.weight" in t:
        x = x + t["embeddings.token_type_embeddings.weight"][types]
    x = norm(x, "embeddings.LayerNorm")
    if model_type == "albert":
        x = dense(x, "encoder.embedding_hidden_mapping_in")
    bias = np.zeros([HEADS, len(ids), len(ids)])
    if model_type == "mpnet":
        table = t["encoder.relative_attention_bias.weight"]
        for query in range(len(ids)):
            for key in range(len(ids)):
                bias[:, query, key] = table[distance_bucket(key - query)]
    groups = len({name.split(".")[2] for name in t if "albert_layer_groups" in name})
    layers, size = [], HIDDEN // HEADS
    for number in range(LAYERS):
        own = int(number / (LAYERS / groups)) if groups else number
        query, key, value, out, attended, widen, narrow, last_norm = (
            name.format(own) for name in _LAYER[model_type]
        )
        q, k, v = dense(x, query), dense(x, key), dense(x, value)
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size) + bias[head]
            scores = np.exp(scores - scores.max(1, keepdims=True))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        x = norm(x + dense(np.concatenate(heads, 1), out), attended)
        wide = dense(x, widen)
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + dense(wide, narrow), last_norm)
        layers.append(x)
    return layers


def distance_bucket(distance: int) -> int:
    """T5's buckets, as MPNet uses them: 16 a side, 8 of which are single distances.

    0 to 7 have one each; then 8-11, 12-15, 16-22, 23-31, 32-45, 46-63, 64-90, 91 on.
    """
    starts = [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]
    bucket = sum(abs(distance) >= start for start in starts) - 1
    return bucket + 16 if distance > 0 else bucket
