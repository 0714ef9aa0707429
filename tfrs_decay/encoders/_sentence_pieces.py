"""SentencePiece models, and what ALBERT and XLM-RoBERTa put around them.

Kudo and Richardson (2018), "SentencePiece: A simple and language independent subword
tokenizer", https://arxiv.org/abs/1808.06226; its `sentencepiece_model.proto` for the
file. The few fields that are read or written here do not warrant its protobuf classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from tfrs_decay.encoders._text_ops import WHITE_SPACE, lower

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
# Fields of ModelProto, SentencePiece and NormalizerSpec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_CHARSMAP = 2
# Wire types, and the length of those that have a fixed one.
_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}


class Piece(NamedTuple):
    """One piece, its log probability, and NORMAL or another kind."""

    text: str
    score: float
    kind: int = NORMAL


class SentencePieceModel(NamedTuple):
    """What a model file holds.

    trainer:    the trainer's settings, as they are in the file.
    normalizer: those of the text's normalisation, its table of replacements included.
    """

    pieces: list[Piece]
    trainer: bytes
    normalizer: bytes

    @classmethod
    def read(cls, data: bytes) -> SentencePieceModel:
        """Reads a model file.

        Raises:
            ValueError: The bytes are no such file.
        """
        pieces, trainer, normalizer = [], b"", b""
        try:
            for field, value in _fields(data):
                if field == _PIECES:
                    pieces.append(_piece(_bytes(value)))
                elif field == _TRAINER:
                    trainer = _bytes(value)
                elif field == _NORMALIZER:
                    normalizer = _bytes(value)
        except (IndexError, struct.error, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a SentencePiece model: {error}") from None
        if not pieces:
            raise ValueError("not a SentencePiece model: it has no pieces")
        return cls(pieces, trainer, normalizer)

    @classmethod
    def unigram(cls, pieces: Sequence[Piece], charsmap: bytes) -> SentencePieceModel:
        """Makes one of pieces and a compiled table of replacements."""
        unigram = bytes([3 << 3 | _VARINT, 1])  # TrainerSpec.model_type
        table = _tagged(_CHARSMAP, charsmap) if charsmap else b""
        return cls(list(pieces), unigram, table)

    def write(self) -> bytes:
        """The file's bytes."""
        written = [
            _tagged(
                _PIECES,
                _tagged(_TEXT, piece.text.encode())
                + bytes([_SCORE << 3 | 5])
                + struct.pack("<f", piece.score)
                + bytes([_KIND << 3 | _VARINT, piece.kind]),
            )
            for piece in self.pieces
        ]
        written += [_tagged(_TRAINER, self.trainer)]
        return b"".join([*written, _tagged(_NORMALIZER, self.normalizer)])


class Cleaning(NamedTuple):
    """What ALBERT does to a text before SentencePiece; XLM-RoBERTa does none of it.

    quotes:        `` and '' become ".
    strip_accents: compatibility forms are folded and all marks dropped.
    lower_case:    letters lose their case.
    """

    quotes: bool = False
    strip_accents: bool = False
    lower_case: bool = False


class SentencePieces(tf.Module):
    """Texts to ids by a SentencePiece model.

    Args:
        model: The model.
        ids: The checkpoint's id for each piece of it.
        cleaning: What to do to a text first.

    Raises:
        ValueError: SentencePiece refuses the model.
    """

    def __init__(
        self, model: SentencePieceModel, ids: Sequence[int], cleaning: Cleaning
    ) -> None:
        super().__init__()
        self._cleaning = cleaning
        # The usual table turns white space into spaces, or drops it, but for one.
        table = any(field == _CHARSMAP for field, _ in _fields(model.normalizer))
        self._space = r"\x{85}" if table else f"[{WHITE_SPACE}]"
        self._ids = tf.constant(ids, tf.int32)
        try:
            self._pieces = tf_text.SentencepieceTokenizer(
                model.write(), out_type=tf.int32
            )
            self._pieces.tokenize(["a"])
        except tf.errors.OpError as error:
            raise ValueError(
                f"SentencePiece refuses the model: {error.message}"
            ) from None

    def normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """What is done to texts `[n]` before SentencePiece's own normalisation."""
        texts = tf.strings.regex_replace(texts, self._space, " ")
        if self._cleaning.quotes:
            texts = tf.strings.regex_replace(texts, "``|''", '"')
        if self._cleaning.strip_accents:
            # TF Text's normalisation ends at a NUL; no piece has either of the two.
            texts = tf.strings.regex_replace(texts, r"\x00", "\uffff")
            texts = tf_text.normalize_utf8(texts, "NFKD")
            texts = tf.strings.regex_replace(texts, r"\p{M}", "")
        return lower(texts) if self._cleaning.lower_case else texts

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Normalised texts `[n]` to ids, int32 `[n, (tokens)]`."""
        tokens = self._pieces.tokenize(texts)
        return tokens.with_values(tf.gather(self._ids, tokens.values))


def _piece(data: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for field, value in _fields(data):
        if field == _TEXT:
            text = _bytes(value).decode()
        elif field == _SCORE:
            (score,) = struct.unpack("<f", _bytes(value))
        elif field == _KIND and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number, and an integer or bytes."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise TypeError(f"wire type {wire} at byte {position}")
        if position + length > len(data):
            raise IndexError(f"it ends within a field at byte {position}")
        yield tag >> 3, data[position : position + length]
        position += length


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number stands where bytes are due")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The integer at a position, seven bits a byte, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _tagged(field: int, data: bytes) -> bytes:
    """A field of bytes: its number, its length, itself."""
    size, length = bytearray(), len(data)
    while length >= 0x80:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([field << 3 | _BYTES]) + bytes(size) + bytes([length]) + data
