"""Gives an encoder the weights of a checkpoint, whatever its family calls them."""

from __future__ import annotations

import numpy as np
import tf_keras

from tfrs_decay.encoders._architecture import Architecture
from tfrs_decay.encoders._transformer import (
    Block,
    DistanceBias,
    Embeddings,
    Pool,
)
from tfrs_decay.encoders._weights import Array, Tensors


def set_weights(
    encoder: tf_keras.Model, architecture: Architecture, tensors: Tensors
) -> None:
    """Gives an encoder of `build_encoder` a checkpoint's weights.

    Args:
        encoder: The model to fill.
        architecture: What it was built by.
        tensors: The checkpoint's, by name.

    Raises:
        ValueError: A tensor is missing, has another shape, or is not finite.
    """
    blocks = 0
    for layer in encoder.layers:
        if isinstance(layer, Embeddings):
            layer.set_weights(_embedding_weights(layer, tensors))
        elif isinstance(layer, DistanceBias):
            name = "encoder.relative_attention_bias.weight"
            layer.set_weights([tensors.take(name, layer.buckets, layer.heads)])
        elif isinstance(layer, Block):
            layer.set_weights(_block_weights(layer, blocks, architecture, tensors))
            blocks += 1
        elif isinstance(layer, Pool) and layer.pooling == "pooler":
            size = architecture.hidden_size
            layer.set_weights(tensors.linear(architecture.names.pooler, size, size))


def _embedding_weights(layer: Embeddings, tensors: Tensors) -> list[Array]:
    size = layer.embedding_size or layer.hidden_size
    words, positions, types = layer.sizes
    weights = [
        tensors.take("embeddings.word_embeddings.weight", words, size),
        tensors.take("embeddings.position_embeddings.weight", positions, size),
    ]
    if types:
        weights.append(
            tensors.take("embeddings.token_type_embeddings.weight", types, size)
        )
    weights += tensors.norm("embeddings.LayerNorm", size)
    if layer.embedding_size is not None:
        name = "encoder.embedding_hidden_mapping_in"
        weights += tensors.linear(name, size, layer.hidden_size)
    return weights


def _block_weights(
    layer: Block, number: int, architecture: Architecture, tensors: Tensors
) -> list[Array]:
    size, wide = layer.widen.shape
    names = architecture.names
    prefix = names.block.format(number)
    parts = [
        tensors.linear(f"{prefix}.{part}", size, size)
        for part in (names.query, names.key, names.value)
    ]
    return [
        np.concatenate([kernel for kernel, _ in parts], axis=1),
        np.concatenate([bias for _, bias in parts]),
        *tensors.linear(f"{prefix}.{names.attended}", size, size),
        *tensors.norm(f"{prefix}.{names.attended_norm}", size),
        *tensors.linear(f"{prefix}.{names.widen}", size, wide),
        *tensors.linear(f"{prefix}.{names.narrow}", wide, size),
        *tensors.norm(f"{prefix}.{names.norm}", size),
    ]
