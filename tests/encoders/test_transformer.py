"""The forward pass of every family, on random models of three layers of 16."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_bert import VOCAB
from tiny_families import (
    CONFIGS,
    HIDDEN,
    LAYERS,
    POSITIONS,
    Tensors,
    distance_bucket,
    family_layers,
    family_weights,
    write_family,
)

from tfrs_decay.encoders._architecture import Architecture, read_architecture
from tfrs_decay.encoders._filling import set_weights
from tfrs_decay.encoders._transformer import build_encoder, distance_buckets
from tfrs_decay.encoders._weights import Tensors as Checkpoint

# One token, a few, the whole vocabulary, and more than MPNet's farthest distance.
ROWS = [[5], [9, 30, 4], list(range(2, 100)), [2 + n * 7 % 90 for n in range(200)]]


def encoder_of(
    folder: Path, pooling: str = "cls", normalize: bool = False
) -> tuple[tf_keras.Model, Architecture]:
    architecture = read_architecture(folder / "config.json")
    encoder = build_encoder(architecture, pooling, normalize)
    set_weights(encoder, architecture, Checkpoint(folder))
    return encoder, architecture


def inputs_of(rows: list[list[int]], pad: int, types: int) -> dict[str, tf.Tensor]:
    length = max(map(len, rows))
    ids = np.full([len(rows), length], pad, np.int32)
    mask = np.zeros([len(rows), length], np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    kinds = np.arange(ids.size).reshape(ids.shape) // 3 % max(types, 1)
    return {
        "input_word_ids": tf.constant(ids),
        "input_mask": tf.constant(mask),
        "input_type_ids": tf.constant(kinds.astype(np.int32)),
    }


def assert_equals_the_formula(
    model_type: str, encoder: Any, tensors: Tensors, rows: list[list[int]]
) -> None:
    pad = {"xlm-roberta": 1, "mpnet": 1}.get(model_type, 0)
    inputs = inputs_of(rows, pad, CONFIGS[model_type].get("type_vocab_size", 1))
    made = encoder(inputs)
    kinds = inputs["input_type_ids"].numpy()
    assert len(made["encoder_outputs"]) == LAYERS
    for number, row in enumerate(rows):
        given = kinds[number, : len(row)].tolist()
        layers = family_layers(model_type, tensors, row, given)
        for layer, expected in zip(made["encoder_outputs"], layers, strict=True):
            np.testing.assert_allclose(
                layer[number, : len(row)], expected, rtol=0, atol=1e-5
            )
        np.testing.assert_array_equal(
            made["sequence_output"][number, : len(row)],
            made["encoder_outputs"][-1][number, : len(row)],
        )


@pytest.mark.parametrize("model_type", CONFIGS)
def test_every_layer_equals_the_formula(tmp_path: Path, model_type: str) -> None:
    tensors = family_weights(model_type)
    encoder, _ = encoder_of(write_family(tmp_path / "one", model_type, tensors))
    assert_equals_the_formula(model_type, encoder, tensors, ROWS)
    stored = sum(one.size for name, one in tensors.items() if "pooler" not in name)
    assert sum(int(tf.size(one)) for one in encoder.trainable_weights) == stored


@pytest.mark.parametrize("groups", [2, 3])
def test_alberts_groups_share_their_layers(tmp_path: Path, groups: int) -> None:
    tensors = family_weights("albert", groups=groups)
    folder = write_family(tmp_path / "one", "albert", tensors, num_hidden_groups=groups)
    encoder, _ = encoder_of(folder)
    assert_equals_the_formula("albert", encoder, tensors, ROWS)
    names = [layer.name for layer in encoder.layers if "block" in layer.name]
    assert names == [f"block_{number}" for number in range(groups)]


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "mpnet"])
def test_positions_are_counted_over_tokens_that_are_not_padding(
    tmp_path: Path, model_type: str
) -> None:
    """A literal <pad> within a text is looked at, and has the pad's position."""
    tensors = family_weights(model_type)
    encoder, architecture = encoder_of(
        write_family(tmp_path / "one", model_type, tensors)
    )
    pad = architecture.padding_id
    assert pad is not None
    assert_equals_the_formula(model_type, encoder, tensors, [[9, pad, 30, pad, pad, 7]])
    assert architecture.longest == POSITIONS - pad - 1
    longest = inputs_of([[9] * architecture.longest], pad, 1)
    assert np.isfinite(encoder(longest)["sequence_output"]).all()
    longer = inputs_of([[9] * (architecture.longest + 1)], pad, 1)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=f"input_word_ids: expected a length up to {architecture.longest}, the en",
    ):
        encoder(longer)


def test_distances_fall_into_t5s_buckets() -> None:
    made = distance_buckets()
    assert made == [distance_bucket(distance) for distance in range(-128, 129)]
    assert (made[0], made[128 - 91], made[128], made[129], made[-1]) == (
        15,
        15,
        0,
        17,
        31,
    )
    # The buckets' starts are where the logarithm has them.
    for start in (8, 12, 16, 23, 32, 46, 64, 91):
        exact = 8 + 8 * math.log(start / 8) / math.log(16)
        assert made[128 - start] == math.floor(exact + 1e-9)


@pytest.mark.parametrize("model_type", ["bert", "albert", "roberta", "mpnet"])
def test_the_models_own_pooler(tmp_path: Path, model_type: str) -> None:
    tensors = family_weights(model_type)
    encoder, _ = encoder_of(
        write_family(tmp_path / "one", model_type, tensors), "pooler"
    )
    pad = 1 if model_type == "mpnet" else 0
    made = encoder(inputs_of(ROWS, pad, 1))
    name = "pooler" if model_type == "albert" else "pooler.dense"
    for number, row in enumerate(ROWS):
        last = family_layers(model_type, tensors, row, [0] * len(row))[-1]
        kernel = tensors[f"{name}.weight"].astype(np.float64)
        expected = np.tanh(kernel @ last[0] + tensors[f"{name}.bias"])
        np.testing.assert_allclose(
            made["pooled_output"][number], expected, rtol=0, atol=1e-5
        )
    np.testing.assert_array_equal(made["default"], made["pooled_output"])


@pytest.mark.parametrize("normalize", [False, True])
def test_the_maximum_is_over_the_tokens(tmp_path: Path, normalize: bool) -> None:
    tensors = family_weights("bert")
    encoder, _ = encoder_of(
        write_family(tmp_path / "one", "bert", tensors), "max", normalize
    )
    made = encoder(inputs_of([[], *ROWS], 0, 1))["pooled_output"].numpy()
    np.testing.assert_array_equal(made[0], np.zeros(HIDDEN))
    for row, pooled in zip(ROWS, made[1:], strict=True):
        expected = family_layers("bert", tensors, row, [0] * len(row))[-1].max(0)
        if normalize:
            expected /= math.sqrt(expected @ expected)
        np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model_type", CONFIGS)
def test_layers_come_back_from_their_configs(tmp_path: Path, model_type: str) -> None:
    encoder, _ = encoder_of(write_family(tmp_path / "one", model_type))
    again = tf_keras.Model.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    inputs = inputs_of(ROWS, 0, 1)
    np.testing.assert_array_equal(
        again(inputs)["pooled_output"], encoder(inputs)["pooled_output"]
    )


def test_weights_are_named_after_their_layer(tmp_path: Path) -> None:
    """So that a tower can train the last layers alone."""
    encoder, _ = encoder_of(write_family(tmp_path / "one", "mpnet"), "pooler")
    layers = [weight.name.partition("/")[0] for weight in encoder.trainable_weights]
    blocks = [f"block_{number}" for number in range(LAYERS)]
    order = ["embeddings", "distance_bias", *blocks, "pool"]
    assert list(dict.fromkeys(layers)) == order
    assert [layers.count(one) for one in order] == [4, 1, 12, 12, 12, 2]


# What a config.json may not say.


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "family": ("bert", {"model_type": "t5"}, 'model_type="t5"; expected "bert" or'),
    "no family": ("bert", {"model_type": None}, "model_type=null; expected "),
    "modern": ("bert", {"model_type": "modernbert"}, "layers that are not built here"),
    "own code": (
        "bert",
        {"auto_map": {"AutoModel": "own.Model"}},
        r"auto_map=.*: its layers are Python code of the checkpoint's own",
    ),
    "quantised": (
        "bert",
        {"quantization_config": {"bits": 4}},
        r'quantization_config=\{"bits": 4\}; expected null',
    ),
    "pruned": ("bert", {"pruned_heads": {"0": [1]}}, r"pruned_heads=.*; expected \{\}"),
    "relative": (
        "roberta",
        {"position_embedding_type": "relative_key"},
        'position_embedding_type="relative_key"; expected "absolute"',
    ),
    "inner": ("albert", {"inner_group_num": 2}, "inner_group_num=2; expected 1"),
    "factors": (
        "albert",
        {"embedding_size": None},
        "embedding_size=None; expected an integer above 0",
    ),
    "buckets": (
        "mpnet",
        {"relative_attention_num_buckets": 64},
        "relative_attention_num_buckets=64; expected 32",
    ),
    "pad": ("roberta", {"pad_token_id": None}, "pad_token_id=None; expected an inte"),
    "names": ("distilbert", {"n_heads": 0}, "n_heads=0; expected an integer above 0"),
    "activation": ("distilbert", {"activation": "silu"}, 'activation="silu"; expected'),
    "true is no size": (
        "bert",
        {"vocab_size": True},
        "vocab_size=True; expected an in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_that_means_other_layers_is_refused(tmp_path: Path, case: str) -> None:
    model_type, changed, match = REFUSED[case]
    folder = write_family(tmp_path / "one", model_type, **changed)
    with pytest.raises(ValueError, match=match) as raised:
        read_architecture(folder / "config.json")
    assert str(folder / "config.json") in str(raised.value)


def test_a_missing_tensor_is_named_as_its_family_names_it(tmp_path: Path) -> None:
    tensors = family_weights("distilbert")
    del tensors["transformer.layer.2.ffn.lin2.bias"]
    folder = write_family(tmp_path / "one", "distilbert", tensors)
    with pytest.raises(
        ValueError, match=r"no tensor 'transformer\.layer\.2\.ffn\.lin2\.bias'; expect"
    ):
        encoder_of(folder)
    assert len(VOCAB) > max(map(max, ROWS))
