"""Reads WordPiece and byte-level BPE vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfrs_decay.encoders._byte_pairs import BYTE_LETTERS, BytePairs
from tfrs_decay.encoders._files import check, check_size, read_json, read_text
from tfrs_decay.encoders._tokenizer_files import (
    SpecialPieces,
    TokenizerFiles,
    Vocabulary,
)
from tfrs_decay.encoders._word_pieces import WordPieces, WordPieceSettings

BERT_NAMES = SpecialPieces("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MPNET_NAMES = SpecialPieces("<pad>", "[UNK]", "<s>", "</s>", "<mask>")
_ROBERTA_NAMES = SpecialPieces("<pad>", "<unk>", "<s>", "</s>", "<mask>")


def read_word_pieces(
    files: TokenizerFiles, model_type: str, vocab_size: int
) -> Vocabulary:
    """Reads `vocab.txt`, or what tokenizer.json has of it, and how words are made."""
    names = _MPNET_NAMES if model_type == "mpnet" else BERT_NAMES
    path = files.root / "vocab.txt"
    whole = files.part("model").get("vocab")
    if not path.exists() and isinstance(whole, dict):
        path = files.whole_path
        vocab = _by_id(path, whole)
    else:
        vocab = _read_vocab(path, vocab_size)
        files.same_pieces(path, {piece: n for n, piece in enumerate(vocab)})
    if files.whole:
        files.fixed("normalizer", type=("BertNormalizer",), clean_text=(True,))
        files.fixed("pre_tokenizer", type=("BertPreTokenizer",))
        files.fixed("model", continuing_subword_prefix=("##", None))
    both = (True, False)
    lower = files.agreed("do_lower_case", True, "normalizer", "lowercase", *both)
    strip = files.agreed(
        "strip_accents", None, "normalizer", "strip_accents", None, *both
    )
    ideographs = files.agreed(
        "tokenize_chinese_chars", True, "normalizer", "handle_chinese_chars", *both
    )
    for key, allowed in (("do_basic_tokenize", (True, None)), ("never_split", (None,))):
        check(files.settings_path, key, files.settings.get(key), allowed)
    unknown = files.names(names).unknown
    if unknown not in vocab:
        raise ValueError(
            f"{path} has no piece {unknown!r}; expected it for words it cannot spell"
        )
    longest = files.part("model").get("max_input_chars_per_word", 100)
    check_size(files.whole_path, "model.max_input_chars_per_word", longest)
    check(
        files.whole_path,
        "model.unk_token",
        files.part("model").get("unk_token", unknown),
        (unknown,),
    )
    settings = WordPieceSettings(
        lower_case=lower,
        strip_accents=lower if strip is None else strip,
        ideographs=ideographs,
        unknown=unknown,
        longest=longest,
    )
    ids = {piece: number for number, piece in enumerate(vocab)}
    return Vocabulary(WordPieces(vocab, settings), ids, names, lower, [path])


def _read_vocab(path: Path, vocab_size: int) -> list[str]:
    """Reads `vocab.txt`: word pieces by id."""
    text = read_text(path)
    # Not splitlines: a vocabulary may hold U+2028 and its kind as pieces.
    vocab = text.removesuffix("\n").split("\n")
    if len(vocab) != vocab_size:
        # Too few would be a file cut short, which nothing else would show.
        raise ValueError(
            f"{path} has {len(vocab)} lines; expected vocab_size={vocab_size} of "
            "config.json (for an embedding with spare rows, add a line for each)"
        )
    if len(set(vocab)) != len(vocab):
        twice = next(piece for piece in vocab if vocab.count(piece) > 1)
        raise ValueError(f"{path} has {twice!r} twice; expected each piece once")
    return vocab


def _by_id(path: Path, vocab: Mapping[str, int]) -> list[str]:
    """The pieces of a JSON vocabulary in the order of their ids."""
    by_id = {number: piece for piece, number in vocab.items()}
    if len(by_id) != len(vocab) or min(by_id, default=-1) < 0:
        raise ValueError(
            f"{path} has a vocabulary with an id twice or none at all; expected one of "
            "its own for each piece, from 0 on"
        )
    # No word has a space, so that none is spelled with a piece that is not there.
    return [by_id.get(number, f" {number}") for number in range(max(by_id) + 1)]


def read_byte_pairs(files: TokenizerFiles) -> Vocabulary:
    """Reads `vocab.json` and `merges.txt`, or what tokenizer.json has of them."""
    path = files.root / "vocab.json"
    model = files.part("model")
    if path.exists() or "vocab" not in model:
        vocab = read_json(path, dict)
        merges_path = files.root / "merges.txt"
        lines = read_text(merges_path).split("\n")
        merges = [one.split(" ") for one in lines if one and one[:8] != "#version"]
        files.same_pieces(path, vocab)
    else:
        path = merges_path = files.whole_path
        vocab = model["vocab"]
        # A string in files of before 2024, a list since.
        merges = [
            one.split(" ") if isinstance(one, str) else list(one)
            for one in model.get("merges", [])
        ]
    if files.whole:
        check(files.whole_path, "normalizer", files.whole.get("normalizer"), (None,))
        files.fixed("pre_tokenizer", type=("ByteLevel",), use_regex=(True, None))
        files.fixed(
            "model",
            dropout=(None,),
            unk_token=(None,),
            continuing_subword_prefix=("", None),
            end_of_word_suffix=("", None),
            byte_fallback=(False, None),
            ignore_merges=(False, None),
        )
    prefix_space = files.agreed(
        "add_prefix_space", False, "pre_tokenizer", "add_prefix_space", True, False
    )
    pairs = _check_merges(path, vocab, merges_path, merges)
    paths = [path, merges_path]
    return Vocabulary(
        BytePairs(vocab, pairs, prefix_space), vocab, _ROBERTA_NAMES, False, paths
    )


def _check_merges(
    path: Path, vocab: Mapping[str, int], merges_path: Path, merges: list[list[str]]
) -> list[tuple[str, str]]:
    """Refuses what the merging does not allow for, and gives the pairs."""
    for letter in BYTE_LETTERS:
        if letter not in vocab:
            raise ValueError(
                f"{path} has no piece {letter!r}; expected one for each of the 256 "
                "bytes, as byte-level BPE has"
            )
    lines = [" ".join(merge) for merge in merges]
    if len(set(lines)) != len(lines):
        twice = next(line for line in lines if lines.count(line) > 1)
        raise ValueError(
            f"{merges_path} has the merge {twice!r} twice; expected each once"
        )
    # A piece that is made once more, by a later merge, would be merged out of turn.
    made = {letter: -1 for letter in BYTE_LETTERS}
    made |= {"".join(one): number for number, one in enumerate(merges) if len(one) == 2}
    pairs: list[tuple[str, str]] = []
    for number, merge in enumerate(merges):
        if len(merge) != 2 or any(made.get(one, number) >= number for one in merge):
            raise ValueError(
                f"{merges_path}: merge {number} is {' '.join(merge)!r}; expected two "
                "pieces that are single bytes or made by earlier merges, and by no "
                "later one"
            )
        left, right = merge
        if left + right not in vocab:
            raise ValueError(
                f"{path} has no piece {left + right!r}; expected it, merge {number} "
                "makes it"
            )
        pairs.append((left, right))
    return pairs
