"""Reads SentencePiece models, as ALBERT and XLM-RoBERTa keep them."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from tfrs_decay.encoders._files import check, read_bytes
from tfrs_decay.encoders._sentence_pieces import (
    CONTROL,
    NORMAL,
    UNKNOWN,
    Cleaning,
    Piece,
    SentencePieceModel,
    SentencePieces,
)
from tfrs_decay.encoders._tokenizer_files import (
    SpecialPieces,
    TokenizerFiles,
    Vocabulary,
)

ALBERT_MODEL, XLM_MODEL = "spiece.model", "sentencepiece.bpe.model"
_ALBERT_NAMES = SpecialPieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_XLM_NAMES = SpecialPieces("<pad>", "<unk>", "<s>", "</s>", "<mask>")


def read_sentence_pieces(files: TokenizerFiles) -> Vocabulary:
    """Reads a model's file, or what tokenizer.json has of one."""
    paths = [files.root / name for name in (ALBERT_MODEL, XLM_MODEL)]
    found = [path for path in paths if path.exists()]
    steps = _normalizer_steps(files) if files.whole else None
    if found:
        path = found[0]
        try:
            model = SentencePieceModel.read(read_bytes(path))
        except ValueError as error:
            raise ValueError(f"{path} is {error}; copy it again") from None
        albert = path.name == ALBERT_MODEL
    else:
        path = files.whole_path
        albert = steps is not None and steps.quotes
        model = _model_of(files)
    names = _ALBERT_NAMES if albert else _XLM_NAMES
    cleaning, ids = Cleaning(), list(range(len(model.pieces)))
    if albert:
        cleaning = _albert_cleaning(files, steps)
        if found:
            model = model._replace(pieces=[_without_comma(p) for p in model.pieces])
    elif found:
        ids = _fairseq_ids(path, model)
    if steps is not None and steps != cleaning:
        raise ValueError(
            f"{files.whole_path} has a normalizer with {_said(steps)}; expected "
            f"{_said(cleaning)} by the other files: change or remove the wrong one"
        )
    try:
        tokenizer = SentencePieces(model, ids, cleaning)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    by_piece = {
        piece.text: number for piece, number in zip(model.pieces, ids, strict=True)
    }
    if found and not albert:
        by_piece |= {
            "<s>": 0,
            "<pad>": 1,
            "</s>": 2,
            "<unk>": 3,
            "<mask>": 1 + len(ids),
        }
    files.same_pieces(path, by_piece)
    return Vocabulary(tokenizer, by_piece, names, cleaning.lower_case, [path])


def _said(steps: Cleaning) -> str:
    return ", ".join(f"{name}={json.dumps(on)}" for name, on in steps._asdict().items())


def _fairseq_ids(path: Path, model: SentencePieceModel) -> list[int]:
    """XLM-RoBERTa's ids: fairseq put <pad> second and the unknown piece fourth."""
    first = [piece.text for piece in model.pieces[:3]]
    if first != ["<unk>", "<s>", "</s>"]:
        raise ValueError(
            f"{path} begins with {', '.join(first)}; expected <unk>, <s>, </s>, of "
            "which XLM-RoBERTa's ids are made"
        )
    return [3, 0, 2, *range(4, len(model.pieces) + 1)]


def _without_comma(piece: Piece) -> Piece:
    """ALBERT cuts the comma after a number off, by making such pieces unlikely."""
    number = piece.text[-1:] == "," and piece.text[-2:-1].isdigit()
    return piece._replace(score=piece.score - 100) if number else piece


def _albert_cleaning(files: TokenizerFiles, steps: Cleaning | None) -> Cleaning:
    settings = files.settings
    for key, allowed in (
        ("remove_space", (True, None)),
        ("sp_model_kwargs", ({}, None)),
    ):
        check(files.settings_path, key, settings.get(key), allowed)
    lower = settings.get("do_lower_case", True if steps is None else steps.lower_case)
    keep = settings.get("keep_accents", steps is not None and not steps.strip_accents)
    check(files.settings_path, "do_lower_case", lower, (True, False))
    check(files.settings_path, "keep_accents", keep, (True, False))
    return Cleaning(quotes=True, strip_accents=not keep, lower_case=lower)


def _normalizer_steps(files: TokenizerFiles) -> Cleaning:
    """What tokenizer.json does to a text before the table of replacements."""
    normalizer = files.part("normalizer")
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    done = []
    for step in steps:
        kind = step.get("type")
        if kind == "Replace":
            done.append(f"Replace {next(iter(step.get('pattern', {}).values()), '')}")
        else:
            done.append(str(kind))
    # SentencePiece itself does the last three.
    for own in ("Precompiled", "Strip", "Replace  {2,}"):
        if own in done:
            done.remove(own)
    quotes = done[:2] == ["Replace ``", "Replace ''"]
    done = done[2:] if quotes else done
    strip = done[:2] == ["NFKD", "StripAccents"]
    done = done[2:] if strip else done
    lower = done[:1] == ["Lowercase"]
    done = done[1:] if lower else done
    if done:
        raise ValueError(
            f"{files.whole_path} normalises by {' and '.join(done)}; expected no more "
            "than ALBERT's or XLM-RoBERTa's steps"
        )
    splitter = files.part("pre_tokenizer")
    for part in splitter.get("pretokenizers", [splitter]):
        kind = part.get("type")
        check(
            files.whole_path,
            "pre_tokenizer.type",
            kind,
            ("WhitespaceSplit", "Metaspace"),
        )
        if kind == "Metaspace":
            prefix = part.get(
                "prepend_scheme", "always" if part.get("add_prefix_space") else "never"
            )
            check(files.whole_path, "prepend_scheme", prefix, ("always",))
    return Cleaning(quotes=quotes, strip_accents=strip, lower_case=lower)


def _model_of(files: TokenizerFiles) -> SentencePieceModel:
    """A SentencePiece model of what tokenizer.json holds of one."""
    files.fixed("model", byte_fallback=(False, None))
    path, model = files.whole_path, files.part("model")
    normalizer = files.part("normalizer")
    steps = normalizer.get("normalizers", [normalizer])
    try:
        special = {str(token["content"]) for token in files.whole["added_tokens"]}
        pieces = [
            Piece(text, float(score), CONTROL if text in special else NORMAL)
            for text, score in model["vocab"]
        ]
        unknown = model["unk_id"]
        pieces[unknown] = pieces[unknown]._replace(kind=UNKNOWN)
        charsmap = b"".join(
            base64.b64decode(step["precompiled_charsmap"])
            for step in steps
            if step.get("type") == "Precompiled"
        )
    except (KeyError, TypeError, ValueError, IndexError, binascii.Error) as error:
        raise ValueError(
            f"{path} has no whole Unigram model ({type(error).__name__}: {error}); "
            "copy it again"
        ) from None
    return SentencePieceModel.unigram(pieces, charsmap)
