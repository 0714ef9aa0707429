"""Byte-level BPE in TensorFlow operations beside the `tokenizers` library."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from mixed_texts import LONG, TEXTS
from tiny_tokenizers import (
    XLM_NAMES,
    assert_same_ids,
    byte_pair_library,
    write_byte_pairs,
)
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from tfrs_decay.encoders._byte_pairs import BYTE_LETTERS, BytePairs
from tfrs_decay.encoders._preprocessor import Preprocessor
from tfrs_decay.encoders._tokenizer import read_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_pairs(tmp_path_factory.mktemp("bpe"))


def ids_of(root: Path, texts: list[str]) -> list[list[int]]:
    read = read_tokenizer(root, "roberta", 2_000)
    made = Preprocessor(read.tokenizer, read.added, read.packing, 16)
    return made.tokenize(tf.constant(texts)).to_list()


@pytest.mark.parametrize("prefix_space", [False, True])
def test_ids_are_those_of_the_library(
    folder: Path, tmp_path: Path, prefix_space: bool
) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"add_prefix_space": prefix_space})
    )
    reference = byte_pair_library(folder, prefix_space)
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)
    lengths = [len(one.ids) for one in reference.encode_batch(TEXTS)]
    # It merges: there are many more bytes than tokens.
    assert sum(lengths) < 0.6 * sum(len(text.encode()) for text in TEXTS)


def test_texts_of_ten_thousand_characters(folder: Path) -> None:
    assert_same_ids(LONG, ids_of(folder, LONG), byte_pair_library(folder))


@pytest.mark.parametrize("older", [False, True])
def test_tokenizer_json_alone_is_enough(
    folder: Path, tmp_path: Path, older: bool
) -> None:
    reference = byte_pair_library(folder, prefix_space=True)
    whole = json.loads(reference.to_str())
    assert isinstance(whole["model"]["merges"][0], list)
    if older:
        whole["model"]["merges"] = [" ".join(one) for one in whole["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)


def test_every_character_of_unicode_3_2_is_cut_as_the_library_does(
    folder: Path,
) -> None:
    texts = [
        f"a{chr(code)}b 1{chr(code)}.{chr(code)}  {chr(code)}  "
        for code in range(0x110000)
        if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")
    ]
    assert len(texts) > 95_000
    # Private use and ideographs are alike: one in 16 of the many.
    texts = texts[:20_000] + texts[20_000::16]
    assert_same_ids(texts, ids_of(folder, texts), byte_pair_library(folder))


ALPHABET = st.text("ab c\t\n'stdrem1.éé中☕\u3000", max_size=24)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(ALPHABET, min_size=1, max_size=10))
def test_ids_of_any_text(folder: Path, texts: list[str]) -> None:
    read = read_tokenizer(folder, "roberta", 2_000)
    made = read.tokenizer.tokenize(tf.constant(texts)).to_list()
    assert_same_ids(texts, made, byte_pair_library(folder))


def test_merging_by_hand() -> None:
    vocab = {letter: number for number, letter in enumerate(BYTE_LETTERS)}
    for piece in ("aa", "ab", "aab", "bc"):
        vocab[piece] = len(vocab)
    pieces = {number: piece for piece, number in vocab.items()}
    merges = [("a", "a"), ("a", "b"), ("aa", "b"), ("b", "c")]
    made = BytePairs(vocab, merges, prefix_space=False)
    texts = ["a", "aa", "aaa", "aaaaa", "ab", "aab", "aaab", "abc", "aabc", "abcbc", ""]
    rows = [
        [pieces[one] for one in row]
        for row in made.tokenize(tf.constant(texts)).to_list()
    ]
    assert rows == [
        ["a"],
        ["aa"],
        ["aa", "a"],  # From the left.
        ["aa", "aa", "a"],
        ["ab"],
        ["aab"],
        ["aa", "ab"],  # aa first, then what is left of it: ab is earlier than aab.
        ["ab", "c"],  # Not a, bc: ab is earlier.
        ["aab", "c"],
        ["ab", "c", "bc"],
        [],
    ]


def test_many_merges_in_any_order_of_the_pieces(tmp_path: Path) -> None:
    """Merges that no training would give, each of pieces that are there already."""
    rng = random.Random(1)
    pieces, merges = list("abcd"), []
    while len(merges) < 60:
        pair = (rng.choice(pieces), rng.choice(pieces))
        if pair not in merges and "".join(pair) not in pieces:
            merges.append(pair)
            pieces.append("".join(pair))
    letters = [*BYTE_LETTERS, *(piece for piece in pieces if len(piece) > 1)]
    vocab = {piece: number for number, piece in enumerate(letters)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines) + "\n")
    texts = ["".join(rng.choices("abcd", k=rng.randint(1, 60))) for _ in range(300)]
    reference = Tokenizer(
        ByteLevelBPETokenizer.from_file(
            str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
        )._tokenizer.model
    )
    made = BytePairs(vocab, merges, prefix_space=False)
    assert_same_ids(texts, made.tokenize(tf.constant(texts)).to_list(), reference)


# What is refused.


def change(**changed: Any) -> Any:
    def write(root: Path) -> None:
        whole = json.loads(byte_pair_library(root).to_str())
        for path, value in changed.items():
            part, _, key = path.partition("__")
            if key:
                whole[part][key] = value
            else:
                whole[part] = value
        (root / "tokenizer.json").write_text(json.dumps(whole))

    return write


def merges(*lines: str) -> Any:
    return lambda root: (root / "merges.txt").write_text("\n".join(lines) + "\n")


def without(piece: str) -> Any:
    def write(root: Path) -> None:
        vocab = json.loads((root / "vocab.json").read_text())
        del vocab[piece]
        (root / "vocab.json").write_text(json.dumps(vocab))

    return write


REFUSED = {
    "a byte": (without("Ġ"), "no piece 'Ġ'; expected one for each of the 256 bytes"),
    "a special piece": (without("</s>"), "no piece '</s>'; expected it, every sequen"),
    "three": (merges("a b c"), r"merges\.txt: merge 0 is 'a b c'; expected two pieces"),
    "not made": (merges("a b", "zz a"), "merge 1 is 'zz a'; expected two pieces that"),
    "made later": (merges("th e", "t h"), "merge 0 is 'th e'; expected two pieces"),
    "unknown": (merges("Ġ ~"), "no piece 'Ġ~'; expected it, merge 0 makes it"),
    "twice": (
        lambda root: (root / "merges.txt").write_text(
            2 * (root / "merges.txt").read_text()
        ),
        r"merges\.txt has the merge '. .' twice; expected each once",
    ),
    "dropout": (change(model__dropout=0.1), r"dropout=0\.1; expected null"),
    "suffix": (change(model__end_of_word_suffix="</w>"), 'suffix="</w>"; expected ""'),
    "normalizer": (
        change(normalizer={"type": "NFC"}),
        r'normalizer=\{"type": "NFC"\}; expected null',
    ),
    "splitter": (
        change(pre_tokenizer={"type": "Split"}),
        r'pre_tokenizer\.type="Split"; expected "ByteLevel"',
    ),
    "prefix space": (
        lambda root: (
            change(pre_tokenizer__add_prefix_space=True)(root),
            (root / "tokenizer_config.json").write_text('{"add_prefix_space": false}'),
        ),
        r"add_prefix_space=false and .* pre_tokenizer\.add_prefix_space=true; expected",
    ),
    "packing": (
        change(post_processor={"type": "ByteLevel"}),
        r"makes a sequence of \[None, 'A', None\]; expected \['<s>', 'A', '</s>'\]",
    ),
    "class": (
        lambda root: (root / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "GPT2Tokenizer"}'
        ),
        'tokenizer_class="GPT2Tokenizer"; expected "RobertaTokenizer"',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(
    folder: Path, tmp_path: Path, case: str
) -> None:
    spoil, match = REFUSED[case]
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    spoil(tmp_path)
    with pytest.raises(ValueError, match=match) as raised:
        read_tokenizer(tmp_path, "roberta", 2_000)
    assert str(tmp_path) in str(raised.value)


def test_a_piece_that_is_made_again_after_its_use_is_refused(tmp_path: Path) -> None:
    """The library makes "abcab" "c" of abcabc; a merge at all places, "abc" "abc"."""
    pieces = [*BYTE_LETTERS, "bc", "abc", "ab", "abcab", *XLM_NAMES]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    merges("a b", "b c", "a bc", "abc ab", "ab c")(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"merge 3 is 'abc ab'; expected .* by earlier merges, and by no later",
    ):
        read_tokenizer(tmp_path, "roberta", 2_000)
    # Made twice, and used only then: in order.
    merges("a b", "b c", "a bc", "ab c", "abc ab")(tmp_path)
    made = read_tokenizer(tmp_path, "roberta", 2_000).tokenizer
    texts = ["abcabc", "abcab", "abc", "ababc", "abcababc"]
    reference = byte_pair_library(tmp_path)
    assert_same_ids(texts, made.tokenize(tf.constant(texts)).to_list(), reference)


def test_a_vocabulary_without_merges_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_bytes((folder / "vocab.json").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"merges\.txt is missing; expected it"):
        read_tokenizer(tmp_path, "roberta", 2_000)
