"""A tokenizer's two files of settings, read side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_decay.encoders._files import check, read_settings
from tfrs_decay.encoders._preprocessor import Tokenizer


class SpecialPieces(NamedTuple):
    """The names of the pieces that are no part of a text's words.

    pad, start, end: what stands after and around a text.
    unknown:         for a word that no pieces spell.
    mask:            for a word to be guessed; a vocabulary may be without.
    """

    pad: str
    unknown: str
    start: str
    end: str
    mask: str


# What tokenizer_config.json calls them.
_KEYS = SpecialPieces("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


class TokenizerFiles(NamedTuple):
    """tokenizer_config.json and tokenizer.json, empty where they are not there.

    settings: what the former says.
    older:    what special_tokens_map.json says, where the names were before.
    whole:    what the latter says, which is all of a tokenizer.
    """

    root: Path
    settings: dict[str, Any]
    older: dict[str, Any]
    whole: dict[str, Any]

    @classmethod
    def read(cls, root: Path) -> TokenizerFiles:
        """Reads the files of a folder."""
        names = ("tokenizer_config", "special_tokens_map", "tokenizer")
        return cls(root, *(read_settings(root / f"{name}.json") for name in names))

    @property
    def settings_path(self) -> Path:
        """Where the settings are, for an error to name."""
        return self.root / "tokenizer_config.json"

    @property
    def older_path(self) -> Path:
        """Where the names were."""
        return self.root / "special_tokens_map.json"

    @property
    def whole_path(self) -> Path:
        """Where all of it is."""
        return self.root / "tokenizer.json"

    def part(self, name: str) -> dict[str, Any]:
        """A part of tokenizer.json; empty where it is null or absent."""
        part = self.whole.get(name) or {}
        if not isinstance(part, dict):
            raise ValueError(
                f"{self.whole_path} has {name} that is no JSON object; copy it again"
            )
        return part

    def agreed(
        self, key: str, default: object, part: str, name: str, *allowed: object
    ) -> Any:
        """A setting of tokenizer_config.json, or of tokenizer.json by another name."""
        of_whole = self.part(part)
        if key in self.settings:
            check(self.settings_path, key, self.settings[key], allowed)
        if name in of_whole:
            check(self.whole_path, f"{part}.{name}", of_whole[name], allowed)
        values = [
            one[one_key]
            for one, one_key in ((self.settings, key), (of_whole, name))
            if one_key in one
        ]
        if len(values) == 2 and values[0] != values[1]:
            raise ValueError(
                f"{self.settings_path} has {key}={json.dumps(values[0])} and "
                f"{self.whole_path} has {part}.{name}={json.dumps(values[1])}; "
                "expected them to agree: change the wrong one"
            )
        return values[0] if values else default

    def same_pieces(self, path: Path, vocab: Mapping[str, int]) -> None:
        """Refuses a tokenizer.json that has another vocabulary than the file."""
        whole = self.part("model").get("vocab", vocab)
        if isinstance(whole, list):  # SentencePiece's, each with its score.
            whole = {piece: number for number, (piece, _) in enumerate(whole)}
        if whole != vocab:
            raise ValueError(
                f"{path} and {self.whole_path} have other pieces or ids; expected the "
                "same: remove the one that is not the checkpoint's"
            )

    def fixed(self, part: str, **allowed: tuple[object, ...]) -> None:
        """Refuses a part of tokenizer.json that differs from what is done here."""
        settings = self.part(part)
        for key, values in allowed.items():
            check(self.whole_path, f"{part}.{key}", settings.get(key), values)

    def names(self, defaults: SpecialPieces) -> SpecialPieces:
        """The special pieces, those of the defaults where no file names them."""
        found: list[str] = []
        for key, default in zip(_KEYS, defaults, strict=True):
            value = self.settings.get(key) or self.older.get(key) or default
            found.append(str(value["content"] if isinstance(value, dict) else value))
        return SpecialPieces(*found)


class Vocabulary(NamedTuple):
    """A tokenizer, its ids by piece, and its kind's names of the special pieces.

    `paths` are the files it was read from, first the one with the pieces.
    """

    tokenizer: Tokenizer
    ids: Mapping[str, int]
    names: SpecialPieces
    lower_case: bool
    paths: list[Path]
