"""Reads `config.json`: which family a checkpoint is of, its sizes, its names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_decay.encoders._activations import ACTIVATIONS
from tfrs_decay.encoders._files import check, check_size, read_json


class Names(NamedTuple):
    """What a family calls its tensors, without `.weight` and `.bias`.

    `block` is a layer's prefix, with the layer's number for `{}`; the names up to
    `norm` follow it. The last two stand alone.
    """

    block: str
    query: str
    key: str
    value: str
    attended: str
    attended_norm: str
    widen: str
    narrow: str
    norm: str
    pooler: str


_BERT = Names(
    block="encoder.layer.{}",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attended="attention.output.dense",
    attended_norm="attention.output.LayerNorm",
    widen="intermediate.dense",
    narrow="output.dense",
    norm="output.LayerNorm",
    pooler="pooler.dense",
)
_MPNET = _BERT._replace(
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    attended="attention.attn.o",
    attended_norm="attention.LayerNorm",
)
_DISTILBERT = Names(
    block="transformer.layer.{}",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attended="attention.out_lin",
    attended_norm="sa_layer_norm",
    widen="ffn.lin1",
    narrow="ffn.lin2",
    norm="output_layer_norm",
    pooler="pooler.dense",
)
_ALBERT = Names(
    block="encoder.albert_layer_groups.{}.albert_layers.0",
    query="attention.query",
    key="attention.key",
    value="attention.value",
    attended="attention.dense",
    attended_norm="attention.LayerNorm",
    widen="ffn",
    narrow="ffn_output",
    norm="full_layer_layer_norm",
    pooler="pooler",
)
_NAMES = {
    "bert": _BERT,
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": _MPNET,
}
# What DistilBERT's config.json calls what the others call by the key.
_DISTILBERT_KEYS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
}
# One value each, or the layers would be others than those of `_transformer`.
_FIXED: dict[str, tuple[object, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "inner_group_num": (1, None),
    "relative_attention_num_buckets": (32, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}


class Architecture(NamedTuple):
    """The sizes of an encoder, whichever way its family writes them.

    types:      rows of the type embeddings; 0 where a family has none.
    padding_id: in families that count positions as fairseq does, from the padding
                token's id + 1 on and over the other tokens only; None elsewhere.
    buckets:    rows of MPNet's bias for distances; 0 elsewhere.
    groups:     layers with weights of their own; `layers` but for ALBERT, which runs
                the same one again and again.
    factorised: whether a dense layer brings the embeddings to the hidden size.
    """

    model_type: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    activation: str
    epsilon: float
    positions: int
    types: int
    padding_id: int | None
    buckets: int
    groups: int
    factorised: bool
    names: Names

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that has a position for each."""
        return self.positions - (0 if self.padding_id is None else self.padding_id + 1)

    def group(self, layer: int) -> int:
        """Which weights the layer of that number runs with."""
        return layer * self.groups // self.layers


def read_architecture(path: Path) -> Architecture:
    """Reads `config.json` and checks what of it the encoder uses."""
    config: dict[str, Any] = read_json(path, dict)
    model_type = config.get("model_type")
    if model_type not in _NAMES:
        raise ValueError(
            f"{path} has model_type={json.dumps(model_type)}; expected "
            f"{' or '.join(json.dumps(one) for one in _NAMES)}: other families have "
            "layers that are not built here"
        )
    if config.get("auto_map"):
        raise ValueError(
            f"{path} has auto_map={json.dumps(config['auto_map'])}: its layers are "
            "Python code of the checkpoint's own; expected those of transformers"
        )
    for key, allowed in _FIXED.items():
        check(path, key, config.get(key), allowed)

    distilbert, albert = model_type == "distilbert", model_type == "albert"
    keys = _DISTILBERT_KEYS if distilbert else {}

    def size(key: str, least: int = 1) -> int:
        key = keys.get(key, key)
        return check_size(path, key, config.get(key), least)

    activation = keys.get("hidden_act", "hidden_act")
    check(path, activation, config.get(activation), ACTIVATIONS)
    hidden, heads = size("hidden_size"), size("num_attention_heads")
    if hidden % heads:
        raise ValueError(
            f"{path} has hidden_size={hidden} and num_attention_heads={heads}; "
            "expected a hidden size that the number of heads divides"
        )
    # DistilBERT's is written into its code.
    epsilon = 1e-12 if distilbert else config.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ValueError(f"{path} has layer_norm_eps={epsilon!r}; expected 0 < eps < 1")
    layers, padding_id = size("num_hidden_layers"), None
    if model_type in ("roberta", "xlm-roberta"):
        padding_id = size("pad_token_id", least=0)
    elif model_type == "mpnet":
        padding_id = 1  # Whatever its config.json says.
    return Architecture(
        model_type=model_type,
        vocab_size=size("vocab_size"),
        embedding_size=size("embedding_size") if albert else hidden,
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=size("intermediate_size"),
        activation=config[activation],
        epsilon=epsilon,
        positions=size("max_position_embeddings"),
        types=0 if distilbert or model_type == "mpnet" else size("type_vocab_size"),
        padding_id=padding_id,
        buckets=32 if model_type == "mpnet" else 0,
        groups=size("num_hidden_groups") if albert else layers,
        factorised=albert,
        names=_NAMES[model_type],
    )
