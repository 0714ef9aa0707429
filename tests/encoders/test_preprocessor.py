"""The preprocessor as TF-Hub's text API has it: tokenize, pack, load anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2
from tiny_tokenizers import (
    BERT_NAMES,
    PLAIN_TEXTS,
    VOCAB,
    albert_library,
    byte_pair_library,
    word_piece_library,
    write_albert,
    write_byte_pairs,
    write_word_pieces,
    write_xlm,
    xlm_library,
)

from tfrs_decay.encoders._preprocessor import Preprocessor
from tfrs_decay.encoders._tokenizer import read_tokenizer
from tfrs_decay.serving.native import NativeModel, text_op_libraries

LENGTH = 12
INPUTS = ("input_word_ids", "input_mask", "input_type_ids")


# What writes a folder, and the library's tokenizer of it.
KINDS = {
    "WordPiece": (write_word_pieces, lambda folder: word_piece_library()),
    "ALBERT": (write_albert, lambda folder: albert_library()),
    "XLM-RoBERTa": (write_xlm, lambda folder: xlm_library()),
    "BPE": (write_byte_pairs, byte_pair_library),
}


@pytest.fixture(scope="module")
def of_all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By kind: a folder's tokenizer in the library, and as a SavedModel."""
    found = {}
    for kind, (write, reference) in KINDS.items():
        folder = write(tmp_path_factory.mktemp("tokenizer"))
        rows = len(VOCAB) if kind == "WordPiece" else 20_000
        read = read_tokenizer(folder, "bert", rows)
        path = folder / "preprocessor"
        Preprocessor(read.tokenizer, read.added, read.packing, LENGTH).save(str(path))
        found[kind] = reference, folder, path
    return found


@pytest.fixture(scope="module", params=KINDS)
def saved(request: Any, of_all_kinds: Any) -> Any:
    """Its kind, a folder's tokenizer in the library, and as a SavedModel."""
    reference, folder, path = of_all_kinds[request.param]
    return request.param, reference(folder), path


@pytest.fixture(scope="module")
def plain() -> list[str]:
    return PLAIN_TEXTS[:120]


def test_packing_one_segment_is_the_librarys(saved: Any, plain: list[str]) -> None:
    _, reference, path = saved
    made = hub.load(str(path))
    pad = made.bert_pack_inputs([made.tokenize([""])], 3)["input_word_ids"][0, 2]
    reference.enable_truncation(LENGTH)
    reference.enable_padding(length=LENGTH, pad_id=int(pad))
    packed = made(plain)
    assert {name: (one.dtype, one.shape[1]) for name, one in packed.items()} == {
        name: (tf.int32, LENGTH) for name in INPUTS
    }
    expected = reference.encode_batch(plain)
    reference.no_truncation()
    reference.no_padding()
    assert packed["input_word_ids"].numpy().tolist() == [one.ids for one in expected]
    masks = [one.attention_mask for one in expected]
    assert packed["input_mask"].numpy().tolist() == masks
    assert not packed["input_type_ids"].numpy().any()


@pytest.mark.parametrize("length", [5, 6, 7, 12, 40])
def test_packing_two_segments_is_the_librarys(
    saved: Any, plain: list[str], length: int
) -> None:
    _, reference, path = saved
    made = hub.load(str(path))
    first, second = plain[:60], plain[60:120]
    packed = made.bert_pack_inputs(
        [made.tokenize(first), made.tokenize(second)], length
    )
    reference.enable_truncation(length)
    expected = reference.encode_batch(list(zip(first, second, strict=True)))
    reference.no_truncation()
    for number, encoding in enumerate(expected):
        size = len(encoding.ids)
        row = {name: one[number].numpy().tolist() for name, one in packed.items()}
        assert row["input_word_ids"][:size] == encoding.ids
        assert row["input_mask"] == [1] * size + [0] * (length - size)
        assert row["input_type_ids"] == encoding.type_ids + [0] * (length - size)


def test_the_subobjects_work_as_layers(saved: Any, plain: list[str]) -> None:
    """As in the usage that TF-Hub's page shows, the length given or left out."""
    made = hub.load(str(saved[2]))
    tokenize = hub.KerasLayer(made.tokenize)
    tokens = tokenize(tf.constant(plain))
    pack = hub.KerasLayer(made.bert_pack_inputs, arguments={"seq_length": 9})
    packed = pack([tokens])
    for name, expected in made(plain).items():
        assert packed[name].shape == [len(plain), 9]
        np.testing.assert_array_equal(
            hub.KerasLayer(made.bert_pack_inputs)([tokens])[name], expected
        )
    pairs = hub.KerasLayer(made.bert_pack_inputs)([tokens, tokens])
    assert pairs["input_word_ids"].shape == [len(plain), LENGTH]
    # And in a functional model.
    texts = tf_keras.Input([], dtype=tf.string)
    model = tf_keras.Model(texts, pack([tokenize(texts)]))
    np.testing.assert_array_equal(
        model(tf.constant(plain))["input_word_ids"], packed["input_word_ids"]
    )


def test_a_length_without_room_for_the_ends_is_refused(saved: Any) -> None:
    made = hub.load(str(saved[2]))
    tokens = made.tokenize(["a b c"])
    # Two ends between the segments of RoBERTa's kind, and one of BERT's.
    least = 4 if saved[0] in ("XLM-RoBERTa", "BPE") else 3
    for segments, enough in (([tokens], 2), ([tokens, tokens], least)):
        mask = made.bert_pack_inputs(segments, enough)["input_mask"]
        assert mask.numpy().tolist() == [[1] * enough]
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=rf"seq_length: expected {enough} or more for {len(segments)} segment",
        ):
            made.bert_pack_inputs(segments, enough - 1)


def test_texts_can_be_cut_to_the_longest_of_the_batch(
    saved: Any, plain: list[str]
) -> None:
    made = hub.load(str(saved[2]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def cut(texts: tf.Tensor) -> Any:
        tokens = made.tokenize(texts)
        longest = tf.cast(tf.reduce_max(tokens.row_lengths()), tf.int32)
        return made.bert_pack_inputs([tokens], longest + 2)

    short = [text for text in plain if len(text) < 6]
    packed = cut(tf.constant(short))
    longest = int(packed["input_mask"].numpy().sum(1).max())
    assert packed["input_word_ids"].shape == [len(short), longest]
    whole = made.bert_pack_inputs([made.tokenize(short)], 64)
    for name, value in packed.items():
        np.testing.assert_array_equal(value, whole[name][:, :longest])
        assert not (whole["input_mask"][:, longest:]).numpy().any()


@pytest.mark.integration  # slow
def test_a_process_without_this_package_gives_the_same(
    of_all_kinds: Any, plain: list[str]
) -> None:
    """TensorFlow and TF Text alone, then TensorFlow's C++ loader with no Python."""
    paths = [path for _, _, path in of_all_kinds.values()]
    expected = [
        hub.load(str(path))(plain)["input_word_ids"].numpy().tolist() for path in paths
    ]
    code = (
        "import sys, json, tensorflow as tf, tensorflow_text\n"
        "texts = tf.constant(json.load(sys.stdin))\n"
        "made = [tf.saved_model.load(path)(texts) for path in sys.argv[1:]]\n"
        "print(json.dumps([one['input_word_ids'].numpy().tolist() for one in made]))\n"
        "assert 'tfrs_decay' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, paths)],
        input=json.dumps(plain),
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": ""},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == expected
    for path, ids in zip(paths, expected, strict=True):
        with NativeModel(path, op_libraries=text_op_libraries()) as native:
            answer = native("serving_default", {"texts": plain})
        assert answer["input_word_ids"].tolist() == ids


def test_a_model_around_it_saves_and_loads(
    saved: Any, plain: list[str], tmp_path: Path
) -> None:
    """Its resources, where it has some, go along."""
    texts = tf_keras.Input([], dtype=tf.string)
    made = hub.KerasLayer(str(saved[2]))(texts)
    model = tf_keras.Model(texts, made["input_word_ids"])
    model.save(tmp_path / "model", save_format="tf")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(loaded(tf.constant(plain)), model(tf.constant(plain)))


OWN = {
    "WordPiece": {"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"},
    "ALBERT": {"SentencepieceOp", "SentencepieceTokenizeOp", "NormalizeUTF8"},
    "XLM-RoBERTa": {"SentencepieceOp", "SentencepieceTokenizeOp"},
    "BPE": set(),
}


def test_only_ops_that_stock_serving_has(saved: Any) -> None:
    """Those here are in TF Text 2.12.1; its trimmers and normaliser are not needed."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((saved[2] / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    ops = {node.op for node in [*graph.node, *nodes]}
    assert ops - set(dir(tf.raw_ops)) == OWN[saved[0]]
    assert "PyFunc" not in ops and "EagerPyFunc" not in ops


def test_pieces_by_hand(tmp_path: Path) -> None:
    read = read_tokenizer(write_word_pieces(tmp_path), "bert", len(VOCAB))
    made = Preprocessor(read.tokenizer, read.added, read.packing, 8)
    packed = made.bert_pack_inputs(
        [made.tokenize(["THE tea", "中国", ""]), made.tokenize(["ok", "[MASK]?", ""])],
        9,
    )
    pieces = [[VOCAB[one] for one in row] for row in packed["input_word_ids"].numpy()]
    pad = "[PAD]"
    assert pieces == [
        ["[CLS]", "the", "tea", "[SEP]", "o", "##k", "[SEP]", pad, pad],
        ["[CLS]", "中", "国", "[SEP]", "[MASK]", "?", "[SEP]", pad, pad],
        ["[CLS]", "[SEP]", "[SEP]", *[pad] * 6],
    ]
    assert packed["input_type_ids"].numpy().tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0, 0],
    ]
    assert set(BERT_NAMES) <= set(VOCAB)
