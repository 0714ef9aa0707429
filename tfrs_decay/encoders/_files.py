"""Reads the files of a checkpoint folder, or says which one is wrong and how."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any


def read_bytes(path: Path) -> bytes:
    """Reads a file that a checkpoint must have."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected it in the checkpoint")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Reads UTF-8, its lines ended by a line feed whatever wrote them."""
    try:
        return read_bytes(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); copy it again") from None


def read_json(path: Path, kind: type) -> Any:
    """Reads JSON of which the outermost value is a `kind`."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); copy it again") from None
    if not isinstance(value, kind):
        raise ValueError(
            f"{path} is a JSON {type(value).__name__}; expected a {kind.__name__}"
        )
    return value


def read_settings(path: Path) -> dict[str, Any]:
    """Reads a JSON object, or gives an empty one where there is no such file."""
    settings: dict[str, Any] = read_json(path, dict) if path.exists() else {}
    return settings


def check(path: Path, key: str, value: object, allowed: Collection[object]) -> None:
    """Refuses a setting that is none of those this package can follow."""
    # A JSON 1 equals a JSON true in Python, and is another thing.
    if not any(value == one and type(value) is type(one) for one in allowed):
        names = [json.dumps(one) for one in allowed]
        raise ValueError(
            f"{path} has {key}={json.dumps(value)}; expected {' or '.join(names)}"
        )


def check_size(path: Path, key: str, value: object, least: int = 1) -> int:
    """Gives back an integer that is large enough, and refuses anything else."""
    if type(value) is not int or value < least:
        raise ValueError(
            f"{path} has {key}={value!r}; expected an integer above {least - 1}"
        )
    return value
