"""SentencePiece models in TensorFlow beside the `tokenizers` library's Unigram.

The models here are written by hand and have no table of replacements; those that
SentencePiece itself trains are in tests/integration/test_encoder_families.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from mixed_texts import LONG
from tiny_tokenizers import (
    ALBERT_NAMES,
    PIECES,
    albert_library,
    assert_same_ids,
    model_file,
    write_albert,
    write_xlm,
    xlm_library,
)
from tiny_tokenizers import PLAIN_TEXTS as TEXTS

from tfrs_decay.encoders._preprocessor import Preprocessor
from tfrs_decay.encoders._sentence_pieces import SentencePieceModel
from tfrs_decay.encoders._tokenizer import read_tokenizer


def ids_of(root: Path, texts: list[str], model_type: str = "bert") -> list[list[int]]:
    read = read_tokenizer(root, model_type, 20_000)
    made = Preprocessor(read.tokenizer, read.added, read.packing, 16)
    return made.tokenize(tf.constant(texts)).to_list()


def test_xlm_roberta_ids_are_those_of_the_library(tmp_path: Path) -> None:
    reference = xlm_library()
    write_xlm(tmp_path)
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)
    assert_same_ids(LONG, ids_of(tmp_path, LONG), reference)
    found = [encoding.ids for encoding in reference.encode_batch(TEXTS)]
    unknown = sum(row.count(3) for row in found)
    assert 0 < unknown < 0.3 * sum(map(len, found))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_albert_ids_are_those_of_the_library(
    tmp_path: Path, lower: bool, keep: bool
) -> None:
    reference = albert_library(lower, keep)
    root = write_albert(tmp_path, do_lower_case=lower, keep_accents=keep)
    assert_same_ids(TEXTS, ids_of(root, TEXTS, "albert"), reference)


def test_albert_is_uncased_and_without_accents_where_nothing_says(
    tmp_path: Path,
) -> None:
    root = write_albert(tmp_path)
    assert_same_ids(TEXTS + LONG, ids_of(root, TEXTS + LONG), albert_library())
    one_two = [PIECES[one - 5][0] for one in ids_of(root, ["1,"])[0]]
    assert "1," in dict(PIECES)
    assert one_two[-1] == ","


@pytest.mark.parametrize("made", [xlm_library, albert_library])
def test_tokenizer_json_alone_is_enough(tmp_path: Path, made: Any) -> None:
    reference = made()
    reference.save(str(tmp_path / "tokenizer.json"))
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)


def test_both_files_may_agree(tmp_path: Path) -> None:
    reference = albert_library(lower=False)
    write_albert(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    reference.save(str(tmp_path / "tokenizer.json"))
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)


def test_a_model_file_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    data = (write_albert(tmp_path) / "spiece.model").read_bytes()
    model = SentencePieceModel.read(data)
    assert [piece.text for piece in model.pieces[:5]] == ALBERT_NAMES
    assert [piece.kind for piece in model.pieces[:6]] == [3, 2, 3, 3, 3, 1]
    assert model.pieces[5].text == "▁"
    assert model.pieces[5].score == pytest.approx(PIECES[0][1], rel=1e-6)
    assert b"a note" in model.trainer
    assert SentencePieceModel.read(model.write()) == model


# What is refused.


def whole(library: Any, **changed: Any) -> Any:
    def write(root: Path) -> None:
        for name in ("spiece.model", "sentencepiece.bpe.model"):
            (root / name).unlink(missing_ok=True)
        rest(library, **changed)(root)

    return write


def rest(library: Any, **changed: Any) -> Any:
    """Writes tokenizer.json beside what there is."""

    def write(root: Path) -> None:
        found = json.loads(library().to_str())
        for path, value in changed.items():
            part, _, key = path.partition("__")
            if key:
                found[part][key] = value
            else:
                found[part] = value
        (root / "tokenizer.json").write_text(json.dumps(found))

    return write


def put(name: str, data: bytes) -> Any:
    return lambda root: (root / name).write_bytes(data)


XLM = "sentencepiece.bpe.model"
REFUSED = {
    "no model": (put(XLM, b"PK\x03\x04 a zip"), "is not a SentencePiece model: .*copy"),
    "empty": (put(XLM, b""), "is not a SentencePiece model: it has no pieces; copy it"),
    "cut": (
        lambda root: put(XLM, (root / XLM).read_bytes()[:-5])(root),
        "is not a SentencePiece model: it ends within a field at byte",
    ),
    "order": (
        put(XLM, model_file([("<pad>", 0.0, 3), ("<unk>", 0.0, 2), ("a", 0.0, 1)])),
        "begins with <pad>, <unk>, a; expected <unk>, <s>, </s>",
    ),
    "no unknown": (
        put(XLM, model_file([(p, 0.0, 1) for p in ("<unk>", "<s>", "</s>", "a")])),
        "SentencePiece refuses the model: .*unk",
    ),
    "steps": (
        whole(xlm_library, normalizer={"type": "NFKC"}),
        "normalises by NFKC; expected no more than ALBERT's or XLM-RoBERTa's steps",
    ),
    "other steps": (
        rest(albert_library),
        "normalizer with quotes=true, strip_accents=true, lower_case=true; expected q",
    ),
    "splitter": (
        whole(xlm_library, pre_tokenizer={"type": "Whitespace"}),
        r'pre_tokenizer\.type="Whitespace"; expected "WhitespaceSplit" or "Metaspace"',
    ),
    "prefix": (
        whole(xlm_library, pre_tokenizer={"type": "Metaspace", "prepend_scheme": "no"}),
        'prepend_scheme="no"; expected "always"',
    ),
    "bytes": (
        whole(xlm_library, model__byte_fallback=True),
        "byte_fallback=true; expected false",
    ),
    "no vocabulary": (
        whole(xlm_library, model__vocab=[3]),
        r"no whole Unigram model \(TypeError: .*\); copy it again",
    ),
    "other pieces": (
        rest(xlm_library, model__vocab=[["<unk>", 0.0], ["a", -1.0]]),
        r"bpe\.model and .*tokenizer\.json have other pieces or ids; expected the same",
    ),
    "class": (
        put("tokenizer_config.json", b'{"tokenizer_class": "T5TokenizerFast"}'),
        'tokenizer_class="T5TokenizerFast"; expected "AlbertTokenizer"',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(tmp_path: Path, case: str) -> None:
    spoil, match = REFUSED[case]
    write_xlm(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=match) as raised:
        read_tokenizer(tmp_path, "xlm-roberta", 20_000)
    assert str(tmp_path) in str(raised.value)
