"""Reads a checkpoint's tokenizer: its kind, its vocabulary, its settings, its names.

A checkpoint says how texts become ids in one file that holds all (`tokenizer.json`), or
in a vocabulary of its kind's own format beside `tokenizer_config.json`, or in both.
Where both say a thing they must say the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfrs_decay.encoders._files import check, check_size, read_settings
from tfrs_decay.encoders._preprocessor import AddedToken, Packing, Tokenizer
from tfrs_decay.encoders._sentence_piece_files import (
    ALBERT_MODEL,
    XLM_MODEL,
    read_sentence_pieces,
)
from tfrs_decay.encoders._tokenizer_files import (
    SpecialPieces,
    TokenizerFiles,
    Vocabulary,
)
from tfrs_decay.encoders._vocabularies import (
    BERT_NAMES,
    read_byte_pairs,
    read_word_pieces,
)

# The kind, as `tokenizer.json` names it, of each vocabulary file.
_KINDS = {
    ALBERT_MODEL: "Unigram",
    XLM_MODEL: "Unigram",
    "vocab.txt": "WordPiece",
    "vocab.json": "BPE",
}
# The tokenizers of transformers that work as those here do. One that is not among them
# may share a file's name and no more: BertJapaneseTokenizer has a vocab.txt.
_ANY_KIND = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")
_CLASSES = {
    "WordPiece": ("BertTokenizer", "DistilBertTokenizer", "MPNetTokenizer"),
    "Unigram": ("AlbertTokenizer", "XLMRobertaTokenizer"),
    "BPE": ("RobertaTokenizer",),
}


class ReadTokenizer(NamedTuple):
    """A checkpoint's tokenizer.

    tokenizer:  texts to ids.
    added:      tokens that are looked for in a text first.
    packing:    what stands around the segments.
    kind:       "WordPiece", "Unigram" (SentencePiece) or "BPE" (of bytes).
    lower_case: whether letters lose their case.
    files:      what was read, for a fingerprint.
    """

    tokenizer: Tokenizer
    added: list[AddedToken]
    packing: Packing
    kind: str
    lower_case: bool
    files: list[Path]


def read_tokenizer(root: Path, model_type: str, vocab_size: int) -> ReadTokenizer:
    """Reads the tokenizer of a folder, for a model of that type and that many rows."""
    files = TokenizerFiles.read(root)
    kind = _kind(files)
    _check_class(kind, files)
    for key in ("padding_side", "truncation_side"):
        check(files.settings_path, key, files.settings.get(key), ("right", None))
    if kind == "WordPiece":
        vocabulary = read_word_pieces(files, model_type, vocab_size)
    elif kind == "BPE":
        vocabulary = read_byte_pairs(files)
    else:
        vocabulary = read_sentence_pieces(files)
    names = files.names(vocabulary.names)
    _check_packing(files, names)
    added = _added(files, vocabulary, names)
    ids = {**vocabulary.ids, **{token.content: token.id for token in added}}
    for name in names[:-1]:  # No mask is needed to read a text.
        if name not in ids:
            raise ValueError(
                f"{vocabulary.paths[0]} has no piece {name!r}; expected it, every "
                "sequence is made with it"
            )
    highest = max(ids.values())
    if highest >= vocab_size:
        raise ValueError(
            f"{vocabulary.paths[0]} has the id {highest}; expected ids below "
            f"vocab_size={vocab_size} of config.json: the files are of two checkpoints"
        )
    as_roberta = names.start == "<s>"
    read = [*vocabulary.paths, files.settings_path, files.older_path, files.whole_path]
    return ReadTokenizer(
        tokenizer=vocabulary.tokenizer,
        added=added,
        packing=Packing(
            pad=ids[names.pad],
            start=ids[names.start],
            end=ids[names.end],
            ends=2 if as_roberta else 1,
            second_type=0 if as_roberta else 1,
        ),
        kind=kind,
        lower_case=vocabulary.lower_case,
        files=list(dict.fromkeys(path for path in read if path.exists())),
    )


def _kind(files: TokenizerFiles) -> str:
    """Which kind a folder's tokenizer is; tokenizer.json has the last word."""
    kind = files.part("model").get("type")
    if kind is None:
        # tokenizer.json of old does not name it, and is never alone.
        found = (kind for name, kind in _KINDS.items() if (files.root / name).is_file())
        kind = next(found, None)
    if kind is None:
        first, *others = sorted(_KINDS, key=lambda name: name != "vocab.txt")
        raise FileNotFoundError(
            f"{files.root / first} is missing; expected it, or tokenizer.json, or "
            f"{' or '.join(others)}"
        )
    check(files.whole_path, "model.type", kind, _CLASSES)
    return str(kind)


def _check_class(kind: str, files: TokenizerFiles) -> None:
    """Refuses a class that does more with the same files, or something else."""
    config = files.root / "config.json"
    stated = {files.settings_path: files.settings, config: read_settings(config)}
    for path, settings in stated.items():
        found = settings.get("tokenizer_class")
        if found is not None:
            allowed = (*_CLASSES[kind], *_ANY_KIND)
            if str(found).removesuffix("Fast") not in allowed:
                check(path, "tokenizer_class", found, allowed)


def _check_packing(files: TokenizerFiles, names: SpecialPieces) -> None:
    """Refuses a tokenizer.json that puts something else around a text."""
    if not files.whole:
        return
    packer = files.part("post_processor")
    if packer.get("type") == "TemplateProcessing":
        around = [
            part.get("SpecialToken", part.get("Sequence", {})).get("id")
            for part in packer.get("single", [])
        ]
    else:
        around = [packer.get(key, [None])[0] for key in ("cls", "sep")]
        around.insert(1, "A")
    expected = [names.start, "A", names.end]
    if around != expected:
        raise ValueError(
            f"{files.whole_path} makes a sequence of {around}; expected {expected}"
        )


def _added(
    files: TokenizerFiles, vocabulary: Vocabulary, names: SpecialPieces
) -> list[AddedToken]:
    """The tokens that are looked for in a text before it is cut."""
    path, listed = files.whole_path, files.whole.get("added_tokens")
    if listed is None:
        path, by_id = files.settings_path, files.settings.get("added_tokens_decoder")
        if not isinstance(by_id, dict):
            return _usual(files, vocabulary, names)
        listed = [{"id": int(number), **token} for number, token in by_id.items()]
    added = []
    for token in listed:
        content = token.get("content")
        if not content or any(one.isspace() for one in content):
            raise ValueError(
                f"{path} adds the token {content!r}; expected one without white space"
            )
        check(path, f"{content!r} single_word", token.get("single_word"), (False, None))
        added.append(
            AddedToken(
                content,
                check_size(path, f"{content!r} id", token.get("id"), least=0),
                lstrip=bool(token.get("lstrip")),
                rstrip=bool(token.get("rstrip")),
                normalized=bool(token.get("normalized")),
            )
        )
    return added


def _usual(
    files: TokenizerFiles, vocabulary: Vocabulary, names: SpecialPieces
) -> list[AddedToken]:
    """The tokens that transformers adds where no file says how they are matched."""
    ids = vocabulary.ids
    path = files.root / "added_tokens.json"
    later = [name for name in read_settings(path) if name not in ids]
    if not later:
        path = files.settings_path
        more = "additional_special_tokens"
        later = files.settings.get(more) or files.older.get(more) or []
    if later:
        raise ValueError(
            f"{path} adds {', '.join(map(str, later[:3]))}; expected tokenizer.json "
            "beside it, which says how they are matched"
        )
    # The mask takes the space before it along, but for BERT's.
    mask = None if vocabulary.names == BERT_NAMES else names.mask
    return [
        AddedToken(name, ids[name], lstrip=name == mask)
        for name in dict.fromkeys(names)
        if name in ids
    ]
