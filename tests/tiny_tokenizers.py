"""Small tokenizers of each kind: a folder with their files, and the library's own."""

from __future__ import annotations

import json
import random
import struct
import unicodedata
from pathlib import Path
from typing import Any

from mixed_texts import LONG, TEXTS
from tokenizers import (
    AddedToken,
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

BERT_NAMES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLM_NAMES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ALBERT_NAMES = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]


def assert_same_ids(
    texts: list[str], made: list[list[int]], reference: Tokenizer
) -> None:
    """Token ids without the special ones, text by text."""
    expected = reference.encode_batch(texts, add_special_tokens=False)
    differing = {
        text[:100]: (row, encoding.ids)
        for text, row, encoding in zip(texts, made, expected, strict=True)
        if row != encoding.ids
    }
    assert differing == {}


# WordPiece.


def _word_pieces() -> list[str]:
    """Every letter of the texts that some setting leaves, but for one in eleven."""
    letters = {
        letter
        for text in TEXTS + LONG
        for form in ("NFC", "NFD")
        for one in (text, text.lower())
        for letter in unicodedata.normalize(form, one)
        if not letter.isspace()
    }
    kept = [one for n, one in enumerate(sorted(letters)) if n % 11 or one < "\x80"]
    words = ["the", "quick", "##ing", "##wn", "中国", "灯笼", "ひら", "##カタ", "tea"]
    return [*BERT_NAMES, *kept, *(f"##{letter}" for letter in kept), *words]


VOCAB = _word_pieces()


def write_word_pieces(folder: Path, **settings: Any) -> Path:
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def word_piece_library(
    lower: bool = True, accents: bool | None = None, ideographs: bool = True
) -> Tokenizer:
    """The library's tokenizer with the special tokens of a published checkpoint."""
    made = BertWordPieceTokenizer(
        {piece: number for number, piece in enumerate(VOCAB)},
        handle_chinese_chars=ideographs,
        strip_accents=accents,
        lowercase=lower,
    )
    made.add_special_tokens(BERT_NAMES)
    return Tokenizer.from_str(made.to_str())


# Byte-level BPE.


def write_byte_pairs(folder: Path) -> Path:
    """A vocabulary of 900 pieces that was learned from the texts."""
    learner = ByteLevelBPETokenizer()
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(TEXTS, 900, special_tokens=names, show_progress=False)
    learner.save_model(str(folder))
    return folder


def byte_pair_library(folder: Path, prefix_space: bool = False) -> Tokenizer:
    """RoBERTa's, as published: all of its names are tokens that are looked for."""
    made = ByteLevelBPETokenizer.from_file(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        add_prefix_space=prefix_space,
    )
    mask = AddedToken("<mask>", lstrip=True, normalized=False)
    made.add_special_tokens([*XLM_NAMES[:4], mask])
    whole = Tokenizer.from_str(made.to_str())
    whole.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return whole


# SentencePiece.


# Without a table of replacements NUL is dropped by one and unknown to the other, and of
# a literal ▁ the library makes a space that is there once. Every real model has one.
PLAIN_TEXTS = [text for text in TEXTS if not {"\x00", "▁"} & set(text)]


def _sentence_pieces() -> list[tuple[str, float]]:
    """Letters of the texts, less one in eleven, and words of two to four of them."""
    rng = random.Random(0)
    kept = [unicodedata.normalize("NFKD", text) for text in PLAIN_TEXTS]
    letters = sorted(
        {one for text in PLAIN_TEXTS + kept for one in text + text.lower()}
    )
    letters = [one for n, one in enumerate(letters) if n % 11 and not one.isspace()]
    letters = [one for one in letters if one not in "\x00▁"]
    words = {"▁the", "▁a", "1,", "▁中", "灯笼", "1,2", "▁5,"}
    for text in PLAIN_TEXTS:
        for word in text.lower().split():
            begin = rng.randrange(len(word))
            words.add(word[begin : begin + rng.randint(2, 4)])
            words.add("▁" + word[: rng.randint(1, 3)])
    words = {one for one in words if len(one) > 1 and "\x00" not in one}
    words -= {*XLM_NAMES, *ALBERT_NAMES, "▁▁"}
    words = {one for one in words if "▁" not in one[1:]}
    pieces = ["▁", *letters, *sorted(words)]
    # Whole sixteenths: "aa" "a" and "a" "aa" are then equal in any float's arithmetic,
    # and both take the first.
    return [(piece, -rng.randint(32, 192) / 16) for piece in pieces]


PIECES = _sentence_pieces()


def _message(field: int, data: bytes) -> bytes:
    """A field of bytes as Protocol Buffers' specification has it."""
    size = len(data)
    length = bytearray()
    while size >= 128:
        length.append(size % 128 + 128)
        size //= 128
    return bytes([field * 8 + 2, *length, size]) + data


def model_file(pieces: list[tuple[str, float, int]]) -> bytes:
    """A `ModelProto` with a trainer's note and a normaliser's name."""
    written = b""
    for text, score, kind in pieces:
        piece = _message(1, text.encode()) + b"\x15" + struct.pack("<f", score)
        written += _message(1, piece + (bytes([0x18, kind]) if kind != 1 else b""))
    trainer = _message(7, b"a note") + b"\x18\x01" + b"\x20\x80\x20"
    return written + _message(2, trainer) + _message(3, _message(1, b"identity"))


def write_xlm(root: Path) -> Path:
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(text, score, 1) for text, score in PIECES]
    (root / "sentencepiece.bpe.model").write_bytes(model_file(pieces))
    return root


def write_albert(root: Path, **settings: Any) -> Path:
    kinds = [("<pad>", 0.0, 3), ("<unk>", 0.0, 2)]
    kinds += [(name, 0.0, 3) for name in ALBERT_NAMES[2:]]
    pieces = kinds + [(text, score, 1) for text, score in PIECES]
    (root / "spiece.model").write_bytes(model_file(pieces))
    (root / "tokenizer_config.json").write_text(json.dumps(settings))
    return root


def xlm_library() -> Tokenizer:
    """XLM-RoBERTa's, in the ids of fairseq."""
    vocab = [(name, 0.0) for name in XLM_NAMES[:4]]
    made = Tokenizer(models.Unigram([*vocab, *PIECES, ("<mask>", 0.0)], unk_id=3))
    return _dressed(made, XLM_NAMES, ("<s>", "</s>"))


def albert_library(lower: bool = True, keep_accents: bool = False) -> Tokenizer:
    """ALBERT's, where a number's comma is no part of a piece."""

    def unlikely(text: str) -> float:
        return 100.0 if text[-1] == "," and text[-2:-1].isdigit() else 0.0

    vocab = [(name, 0.0) for name in ALBERT_NAMES]
    vocab += [(text, score - unlikely(text)) for text, score in PIECES]
    made = Tokenizer(models.Unigram(vocab, unk_id=1))
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lower:
        steps.append(normalizers.Lowercase())
    made.normalizer = normalizers.Sequence(steps)
    return _dressed(made, ALBERT_NAMES, ("[CLS]", "[SEP]"))


def _dressed(made: Tokenizer, names: list[str], ends: tuple[str, str]) -> Tokenizer:
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.add_special_tokens(names[:-1])
    made.add_special_tokens([AddedToken(names[-1], lstrip=True, normalized=False)])
    start, end = ends
    pair = f"{start} $A {end} {end} $B {end}"
    if names == ALBERT_NAMES:
        pair = f"{start}:0 $A:0 {end}:0 $B:1 {end}:1"
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=pair,
        special_tokens=[(one, made.token_to_id(one)) for one in ends],
    )
    return made
