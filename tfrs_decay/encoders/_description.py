"""What `convert` writes beside an encoder about it, and reading that again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_decay.encoders._files import read_json

_NAME = "encoder.json"


class EncoderDescription(NamedTuple):
    """What a converted encoder is.

    model_type:     as config.json has it: "bert", "distilbert" and so on.
    hidden_size:    numbers of a vector.
    layers:         layers, of which each gives one of `encoder_outputs`.
    tokenizer:      "WordPiece", "Unigram" (SentencePiece) or "BPE" (of bytes).
    lower_case:     whether the tokenizer takes away letters' case.
    seq_length:     tokens to which the preprocessor cuts or pads a text.
    max_length:     tokens of the longest sequence that the encoder takes.
    max_seq_length: the limit that sentence-transformers' files set; None without one.
    pooling:        "mean", "max", "cls" or "pooler": what `pooled_output` is.
    normalize:      whether `pooled_output` has length 1.
    revision:       of the conversion; another one may give other vectors.
    fingerprint:    hexadecimal, of all files read and of all that stands above.
    """

    model_type: str
    hidden_size: int
    layers: int
    tokenizer: str
    lower_case: bool
    seq_length: int
    max_length: int
    max_seq_length: int | None
    pooling: str
    normalize: bool
    revision: int
    fingerprint: str

    def write(self, encoder: Path) -> None:
        """Writes it into an encoder's folder."""
        text = json.dumps(self._asdict(), indent=2) + "\n"
        (encoder / _NAME).write_text(text, encoding="utf-8")


def describe(encoder: str | os.PathLike[str]) -> EncoderDescription:
    """Says what a converted encoder is.

    Args:
        encoder: The folder `encoder` that `convert` wrote.

    Returns:
        What was converted, and its fingerprint, under which its vectors may be kept.

    Raises:
        FileNotFoundError: The folder has no encoder.json; only `convert` writes one.
        ValueError: The file is of another revision of this package, or damaged.
    """
    path = Path(encoder) / _NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"encoder={str(encoder)!r} has no {_NAME}; expected the folder `encoder` "
            "that the conversion of a checkpoint wrote"
        )
    said: dict[str, Any] = read_json(path, dict)
    missing = [name for name in EncoderDescription._fields if name not in said]
    if missing:
        raise ValueError(
            f"{path} does not say {', '.join(missing)}; expected a file of this "
            "version: convert the checkpoint again"
        )
    return EncoderDescription(*(said[name] for name in EncoderDescription._fields))
