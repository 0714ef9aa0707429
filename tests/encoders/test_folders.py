"""What a checkpoint folder may look like, and which folders are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tiny_bert import CLS, MEAN, MODULES, VOCAB, weights, write_checkpoint
from tiny_families import write_family

from tfrs_decay import encoders
from tfrs_decay.encoders._layout import read_layout
from tfrs_decay.encoders._weights import Tensors

FIRST = "embeddings.word_embeddings.weight"


def put(folder: Path, name: str, content: Any) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def nested(folder: Path, *, listed: bool) -> Path:
    """Sentence-transformers' folder of old, with or without the list of modules."""
    write_checkpoint(folder / "0_Transformer", pooling=None, modules=None)
    put(folder, "1_Pooling/config.json", CLS)
    if listed:
        modules = [{**MODULES[0], "path": "0_Transformer"}, *MODULES[1:]]
        put(folder, "modules.json", modules)
    return folder


# Sentence-transformers' files.


@pytest.mark.parametrize("listed", [True, False])
def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path, listed: bool) -> None:
    (tmp_path / "one").mkdir()
    folder = nested(tmp_path / "one", listed=listed)
    layout = read_layout(folder)
    assert layout.transformer == folder / "0_Transformer"
    assert (layout.pooling, layout.normalize) == ("cls", listed)
    paths = encoders.convert(folder, tmp_path / "out", seq_length=5)
    made = encoders.describe(paths.encoder)
    assert (made.pooling, made.normalize) == ("cls", listed)


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        (MEAN, "mean"),
        ({"pooling_mode_max_tokens": True, "pooling_mode_cls_token": False}, "max"),
        ({"pooling_mode": "max", "embedding_dimension": 16}, "max"),
        ({"pooling_mode": "mean", "include_prompt": True}, "mean"),
    ],
)
def test_the_pooling_is_read(
    tmp_path: Path, settings: dict[str, Any], pooling: str
) -> None:
    assert read_layout(put(tmp_path, "1_Pooling/config.json", settings)).pooling == (
        pooling
    )


def test_a_plain_folder_says_nothing_of_pooling(tmp_path: Path) -> None:
    layout = read_layout(tmp_path)
    assert layout.transformer == tmp_path
    assert (layout.pooling, layout.normalize) == (None, False)
    assert (layout.max_seq_length, layout.lower_case) == (None, False)


@pytest.mark.parametrize(
    ("file", "limit", "given", "length"),
    [
        (None, None, None, 64),
        (None, None, 300, 300),
        ("sentence_bert_config.json", 100, None, 100),
        ("sentence_bert_config.json", 20, None, 20),
        ("sentence_bert_config.json", 20, 12, 12),
        ("sentence_roberta_config.json", 20, None, 20),
        ("sentence_bert_config.json", 500, None, 300),
        ("sentence_bert_config.json", None, 30, 30),
    ],
)
def test_the_length_is_that_of_sentence_transformers(
    tmp_path: Path, file: str | None, limit: Any, given: int | None, length: int
) -> None:
    source = write_family(tmp_path / "bert", "bert")
    if file is not None:
        put(source, file, {"max_seq_length": limit, "do_lower_case": False})
    paths = encoders.convert(source, tmp_path / "out", seq_length=given)
    made = encoders.describe(paths.encoder)
    assert (made.seq_length, made.max_seq_length) == (length, limit)
    assert made.max_length == 300


def test_a_length_that_sentence_transformers_would_cut_is_refused(
    tmp_path: Path,
) -> None:
    source = write_checkpoint(tmp_path / "bert")
    put(source, "sentence_bert_config.json", {"max_seq_length": 20})
    with pytest.raises(
        ValueError,
        match=r"seq_length=21: expected .* to 20, max_seq_length of .*bert_config\.json"
        "; longer texts need it changed",
    ):
        encoders.convert(source, tmp_path / "out", seq_length=21)


def test_lower_case_before_a_tokenizer_that_does_it_too_is_nothing(
    tmp_path: Path,
) -> None:
    source = write_checkpoint(tmp_path / "bert")
    put(source, "sentence_bert_config.json", {"do_lower_case": True})
    assert encoders.convert(source, tmp_path / "out").encoder.is_dir()


def test_positions_that_start_from_another_pad_are_refused(tmp_path: Path) -> None:
    source = write_family(tmp_path / "one", "roberta", pad_token_id=1)
    put(source, "tokenizer_config.json", {"pad_token": "[PAD]"})
    (source / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    with pytest.raises(
        ValueError,
        match="from pad_token_id=1 and the tokenizer pads with 0; expected the same",
    ):
        encoders.convert(source, tmp_path / "out")


@pytest.mark.integration  # slow
def test_the_fingerprint_follows_every_file_of_a_tokenizer(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        return encoders.describe(encoders.convert(folder, out).encoder).fingerprint

    source = write_checkpoint(tmp_path / "bert")
    found = [fingerprint(source)]
    put(source, "tokenizer_config.json", {"do_lower_case": True})
    found.append(fingerprint(source))
    put(source, "special_tokens_map.json", {"mask_token": "[MASK]"})
    found.append(fingerprint(source))
    assert len(set(found)) == 3


# Weights.


@pytest.mark.parametrize(
    "prefix", ["", "bert.", "model.", "0.auto_model.", "model.roberta.", "a.b.c."]
)
def test_any_prefix_is_found_and_dropped(tmp_path: Path, prefix: str) -> None:
    stored = {f"{prefix}{name}": value for name, value in weights().items()}
    stored["cls.predictions.bias"] = np.zeros(3, np.float32)
    safetensors.numpy.save_file(stored, tmp_path / "model.safetensors")
    tensors = Tensors(tmp_path)
    np.testing.assert_array_equal(tensors.take(FIRST, len(VOCAB), 16), weights()[FIRST])
    assert "pooler.dense.weight" in tensors
    assert ("cls.predictions.bias" in tensors) == (prefix == "")


def test_weights_in_parts_are_put_together(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "bert")
    (source / "model.safetensors").unlink()
    names = sorted(weights())
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        held = {name: weights()[name] for name in some}
        safetensors.numpy.save_file(held, source / file)
    where = {name: file for file, some in parts.items() for name in some}
    put(source, "model.safetensors.index.json", {"weight_map": where})
    tensors = Tensors(source)
    for name, value in weights().items():
        np.testing.assert_array_equal(tensors.take(name, *value.shape), value)
    assert [path.name for path in tensors.files] == [
        "model.safetensors.index.json",
        "a.safetensors",
        "b.safetensors",
    ]
    put(source, "model.safetensors.index.json", {"weight_map": {}})
    with pytest.raises(ValueError, match="has no weight_map; expected tensors and"):
        Tensors(source)
    put(source, "model.safetensors.index.json", {"weight_map": {"x": "../a"}})
    with pytest.raises(FileNotFoundError, match="bert/a is missing; expected it in"):
        Tensors(source)


def test_two_encoders_in_one_file_are_refused(tmp_path: Path) -> None:
    stored = {f"{one}.{FIRST}": np.ones([2, 2]) for one in ("query", "passage")}
    safetensors.numpy.save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError,
        match=r"under the prefixes 'passage\.' and 'query\.'; expected one encoder: ",
    ):
        Tensors(tmp_path)


def test_no_encoder_is_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file(
        {"transformer.wte.weight": np.ones([2, 2])}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match=f"no tensor '{FIRST}' under any prefix; exp"):
        Tensors(tmp_path)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("pytorch_model.bin", "is a pickle, which can run code when it is read; expec"),
        ("pytorch_model.bin.index.json", "is pickles, which can run code when they"),
        ("tf_model.h5", "is Keras weights; expected model.safetensors: where PyTorch"),
        ("model.onnx", "is an ONNX graph; expected model.safetensors"),
        ("adapter_model.safetensors", "is an adapter, to be merged into its model fir"),
    ],
)
def test_weights_of_another_format_are_refused_by_name(
    tmp_path: Path, name: str, match: str
) -> None:
    source = write_checkpoint(tmp_path / "bert")
    (source / "model.safetensors").rename(source / name)
    with pytest.raises(ValueError, match=f"bert/{name} {match}"):
        encoders.convert(source, tmp_path / "out")
    # Beside the right file they are of no account.
    right = write_checkpoint(tmp_path / "right")
    shutil.copy(source / name, right / name)
    assert encoders.convert(right, tmp_path / "out").encoder.is_dir()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_quantised_weights_are_refused_whatever_their_shape(
    tmp_path: Path, dtype: Any
) -> None:
    stored = {**weights(), FIRST: np.ones([5, 3], dtype)}
    source = write_checkpoint(tmp_path / "bert", tensors=stored)
    with pytest.raises(
        ValueError,
        match=f"'{FIRST}' of dtype [IU].*; expected one of F64, F32, F16, BF16: quanti",
    ):
        encoders.convert(source, tmp_path / "out")
