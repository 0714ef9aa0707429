"""WordPiece in TensorFlow beside the `tokenizers` library: scripts and settings."""

from __future__ import annotations

import itertools
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from mixed_texts import LONG, TEXTS
from tiny_tokenizers import (
    BERT_NAMES,
    VOCAB,
    assert_same_ids,
    word_piece_library,
    write_word_pieces,
)
from tokenizers import AddedToken

from tfrs_decay.encoders._preprocessor import Preprocessor
from tfrs_decay.encoders._tokenizer import read_tokenizer
from tfrs_decay.encoders._word_pieces import WordPieces, WordPieceSettings

BOTH = (True, False)
# Lower case, accents, ideographs.
SETTINGS = list(itertools.product(BOTH, (True, False, None), BOTH))


def ids_of(root: Path, texts: list[str], vocab_size: int = len(VOCAB)) -> Any:
    read = read_tokenizer(root, "bert", vocab_size)
    made = Preprocessor(read.tokenizer, read.added, read.packing, 16)
    return made.tokenize(tf.constant(texts)).to_list()


@pytest.mark.parametrize(("lower", "accents", "ideographs"), SETTINGS)
def test_ids_are_those_of_the_library_in_every_setting(
    tmp_path: Path, lower: bool, accents: bool | None, ideographs: bool
) -> None:
    root = write_word_pieces(
        tmp_path,
        do_lower_case=lower,
        strip_accents=accents,
        tokenize_chinese_chars=ideographs,
    )
    assert len(TEXTS) > 450
    assert_same_ids(
        TEXTS, ids_of(root, TEXTS), word_piece_library(lower, accents, ideographs)
    )


def test_texts_of_ten_thousand_characters(tmp_path: Path) -> None:
    assert all(len(text) >= 9_999 for text in LONG)
    assert_same_ids(
        LONG, ids_of(write_word_pieces(tmp_path), LONG), word_piece_library()
    )


def test_the_texts_tell_the_settings_apart() -> None:
    """Else equal ids in each of them would say nothing."""
    rows = [
        [encoding.ids for encoding in word_piece_library(*setting).encode_batch(TEXTS)]
        for setting in SETTINGS
    ]
    # strip_accents=None is what the case says, so 8 of the 12 differ.
    assert len({json.dumps(row) for row in rows}) == 8
    unknown = sum(row.count(1) for row in rows[0])
    assert 0 < unknown < 0.2 * sum(map(len, rows[0]))


@pytest.mark.parametrize(("lower", "accents"), [(True, True), (False, False)])
def test_every_character_of_unicode_3_2_makes_the_words_of_the_library(
    lower: bool, accents: bool
) -> None:
    # U+166D was punctuation then, and is a symbol now.
    assigned = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.ucd_3_2_0.category(chr(code)) not in ("Cn", "Cs")
        and code != 0x166D
    ]
    if accents:
        # Marks that Unicode made, and unmade, since the library's tables were drawn up.
        assigned = [one for one in assigned if one not in "\u1734\u1885\u1886"]
    assert len(assigned) > 95_000
    texts = [f"a{letter}b" for letter in assigned]
    pieces = WordPieces(BERT_NAMES, WordPieceSettings(lower, accents, True, "[UNK]"))
    words = pieces.words(pieces.normalize(tf.constant(texts))).to_list()
    reference = word_piece_library(lower, accents)
    differing = []
    for text, row in zip(texts, words, strict=True):
        normal = reference.normalizer.normalize_str(text)
        expected = [
            word for word, _ in reference.pre_tokenizer.pre_tokenize_str(normal)
        ]
        if [word.decode() for word in row] != expected:
            differing.append((text, row, expected))
    assert differing == []


def test_a_word_of_100_characters_is_cut_and_a_longer_one_is_unknown(
    tmp_path: Path,
) -> None:
    write_word_pieces(tmp_path)
    rows = ids_of(tmp_path, ["a" * 100, "a" * 101, "丁" * 101, "カ" * 100, "カ" * 101])
    first, after = VOCAB.index("a"), VOCAB.index("##a")
    assert rows[0] == [first, *[after] * 99]
    assert rows[1] == [1]
    assert len(rows[2]) == 101
    assert len(rows[3]) > 40  # 300 bytes, and no longer than 100 characters.
    assert rows[4] == [1]


# Where a tokenizer is written down.


def test_tokenizer_json_alone_is_enough(tmp_path: Path) -> None:
    reference = word_piece_library(False, None, True)
    reference.save(str(tmp_path / "tokenizer.json"))
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)


def test_both_files_may_agree(tmp_path: Path) -> None:
    reference = word_piece_library(False, None, False)
    reference.save(str(tmp_path / "tokenizer.json"))
    write_word_pieces(
        tmp_path, do_lower_case=False, tokenizer_class="BertTokenizerFast"
    )
    assert_same_ids(TEXTS, ids_of(tmp_path, TEXTS), reference)


def test_added_tokens_are_found_as_their_flags_say(tmp_path: Path) -> None:
    reference = word_piece_library()
    reference.add_tokens(
        [
            AddedToken("<brand>", normalized=False),
            AddedToken("<brand>x", normalized=False),
            AddedToken("Größe", normalized=True),
            AddedToken("<l>", lstrip=True, normalized=False),
            AddedToken("<r>", rstrip=True, normalized=False),
            AddedToken("中文", normalized=True),
            AddedToken("(c", normalized=False),
        ]
    )
    reference.save(str(tmp_path / "tokenizer.json"))
    texts = [
        *("<brand>xy <brand> y", "<BRAND>", "a<brand>[SEP]<brand>", "<brand><brand>x"),
        *("größe GRÖSSE GRO\u0308SSE grosse grösse GRÖßE", "XGrößex", "Größe"),
        *("a  <l>  b", "a \u3000\t<l>", " <l>", "<l><l> <l>", "a <r>  b", "<r> <r>"),
        *("a中文b", "中文 中文", "(c)(C)(cc", "a  中文  b"),
    ]
    made = ids_of(tmp_path, texts, reference.get_vocab_size())
    assert_same_ids(texts, made, reference)
    assert max(map(max, made)) == reference.get_vocab_size() - 1


def test_an_added_token_that_is_normalised_away_is_refused(tmp_path: Path) -> None:
    accent = {"id": 5, "content": "\u0301", "normalized": True}
    whole(added_tokens=[accent])(tmp_path)
    write_word_pieces(tmp_path)
    with pytest.raises(
        ValueError, match=r"token '.' is nothing once normalised; expec"
    ):
        ids_of(tmp_path, ["a"])


def test_the_names_of_the_special_pieces_are_read(tmp_path: Path) -> None:
    write_word_pieces(tmp_path, unk_token={"content": "the"}, cls_token="tea")
    (tmp_path / "special_tokens_map.json").write_text('{"sep_token": "中国"}')
    read = read_tokenizer(tmp_path, "bert", len(VOCAB))
    made = Preprocessor(read.tokenizer, read.added, read.packing, 4)
    ids = made(tf.constant(["x" * 101]))["input_word_ids"].numpy()[0].tolist()
    assert [VOCAB[one] for one in ids] == ["tea", "the", "中国", "[PAD]"]


def whole(**changed: Any) -> Any:
    """Writes tokenizer.json with parts or settings changed; None removes a part."""

    def write(root: Path) -> None:
        reference = json.loads(word_piece_library().to_str())
        for path, value in changed.items():
            part, _, key = path.partition("__")
            if key:
                reference[part][key] = value
            else:
                reference[part] = value
        (root / "tokenizer.json").write_text(json.dumps(reference))

    return write


def config(**settings: Any) -> Any:
    return lambda root: write_word_pieces(root, **settings)


TOKEN = {"id": 5, "content": "<x>", "normalized": False}
REFUSED = {
    "class": (
        config(tokenizer_class="BertJapaneseTokenizer"),
        'tokenizer_class="BertJapaneseTokenizer"; expected "BertTokenizer" or',
    ),
    "never split": (config(never_split=["a"]), r'never_split=\["a"\]; expected null'),
    "no words": (config(do_basic_tokenize=False), "do_basic_tokenize=false; expected"),
    "case": (config(do_lower_case="yes"), 'do_lower_case="yes"; expected true or fal'),
    "case as a number": (config(do_lower_case=1), "do_lower_case=1; expected true or"),
    "accents": (config(strip_accents=0), "strip_accents=0; expected null or true or"),
    "unknown": (config(unk_token="<u>"), "no piece '<u>'; expected it for words"),
    "disagreement": (
        lambda root: (config(do_lower_case=False)(root), whole()(root)),
        r"do_lower_case=false and .*tokenizer\.json has normalizer\.lowercase=true; "
        "expected them to agree",
    ),
    "other vocabulary": (
        whole(model__vocab={"[UNK]": 0}),
        r"vocab\.txt and .*tokenizer\.json have other pieces or ids; expected the same",
    ),
    "model": (
        whole(model__type="WordLevel"),
        'model.type="WordLevel"; expected "WordP',
    ),
    "normalizer": (
        whole(normalizer={"type": "NFKC"}),
        r'normalizer\.type="NFKC"; expected "BertNormalizer"',
    ),
    "dirty": (whole(normalizer__clean_text=False), "clean_text=false; expected true"),
    "splitter": (
        whole(pre_tokenizer={"type": "Whitespace"}),
        r'pre_tokenizer\.type="Whitespace"; expected "BertPreTokenizer"',
    ),
    "prefix": (
        whole(model__continuing_subword_prefix="@@"),
        r'continuing_subword_prefix="@@"; expected "##"',
    ),
    "packing": (
        whole(post_processor=None),
        r"makes a sequence of \[None, 'A', None\]; expected \['\[CLS\]', 'A'",
    ),
    "part": (whole(model=3), "has model that is no JSON object; copy it again"),
    "single word": (
        whole(added_tokens=[{**TOKEN, "single_word": True}]),
        "'<x>' single_word=true; expected false",
    ),
    "white token": (
        whole(added_tokens=[{**TOKEN, "content": "a b"}]),
        "adds the token 'a b'; expected one without white space",
    ),
    "high id": (
        whole(added_tokens=[{**TOKEN, "id": 99_999}]),
        "has the id 99999; expected ids below vocab_size=",
    ),
    "left": (config(padding_side="left"), 'padding_side="left"; expected "right"'),
    "unknown in one": (
        whole(model__unk_token="the"),
        'unk_token="the"; expected "\\[UNK\\]"',
    ),
    "longest": (
        whole(model__max_input_chars_per_word=0),
        "max_input_chars_per_word=0; expected an integer above 0",
    ),
    "no id": (
        whole(added_tokens=[{**TOKEN, "id": None}]),
        "'<x>' id=None; expected an integer above -1",
    ),
    "more special ones": (
        config(additional_special_tokens=["<e1>"]),
        r"config\.json adds <e1>; expected tokenizer\.json beside it, which says how",
    ),
    "added by name only": (
        lambda root: (root / "added_tokens.json").write_text('{"<x>": 7, "a": 8}'),
        r"added_tokens\.json adds <x>; expected tokenizer\.json beside it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(tmp_path: Path, case: str) -> None:
    spoil, match = REFUSED[case]
    write_word_pieces(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=match) as raised:
        read_tokenizer(tmp_path, "bert", len(VOCAB))
    assert str(tmp_path) in str(raised.value)


def test_a_vocabulary_may_have_gaps_but_no_id_twice(tmp_path: Path) -> None:
    vocab = {piece: 2 * number for number, piece in enumerate(VOCAB)}
    tokens = json.loads(word_piece_library().to_str())["added_tokens"]
    tokens = [{**token, "id": 2 * token["id"]} for token in tokens]
    whole(model__vocab=vocab, added_tokens=tokens)(tmp_path)
    made = ids_of(tmp_path, TEXTS, 2 * len(VOCAB))
    expected = word_piece_library().encode_batch(TEXTS, add_special_tokens=False)
    assert made == [[2 * one for one in encoding.ids] for encoding in expected]
    whole(model__vocab={**vocab, "the": 2})(tmp_path)
    with pytest.raises(ValueError, match="with an id twice or none at all; expected"):
        read_tokenizer(tmp_path, "bert", 2 * len(VOCAB))


def test_a_folder_without_a_tokenizer_says_what_it_may_have(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"vocab\.txt is missing; expected it, or tokenizer\.js"
    ):
        read_tokenizer(tmp_path, "bert", 5)
