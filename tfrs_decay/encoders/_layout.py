"""Where a checkpoint folder keeps what, and what sentence-transformers added to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tfrs_decay.encoders._files import check_size, read_json, read_settings

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
# As 1_Pooling/config.json names them, old style and new, and as `Pool` does.
_POOLING = {
    "mean_tokens": "mean",
    "mean": "mean",
    "cls_token": "cls",
    "cls": "cls",
    "max_tokens": "max",
    "max": "max",
}
# Sentence-transformers once had a class for each kind of model.
_LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
)


class Layout(NamedTuple):
    """A checkpoint folder, looked through.

    transformer:    the folder with config.json, weights and tokenizer.
    pooling:        "mean", "cls" or "max"; None where nothing says.
    normalize:      whether vectors are scaled to length 1.
    max_seq_length: tokens after which sentence-transformers cuts; None for no limit.
    lower_case:     whether it lower-cases texts before the tokenizer sees them.
    length_file:    the file that says the last two, for an error to name.
    """

    transformer: Path
    pooling: str | None
    normalize: bool
    max_seq_length: int | None
    lower_case: bool
    length_file: Path


def read_layout(root: Path) -> Layout:
    """Reads modules.json and its companions, where there are any."""
    modules = _read_modules(root)
    transformer = root / modules[0] if modules else root
    if not modules and not (root / "config.json").exists():
        # Sentence-transformers' folder of old, without the list that says so.
        nested = root / "0_Transformer"
        transformer = nested if (nested / "config.json").exists() else root
    pooling = None
    path = root / (modules[1] if modules else "1_Pooling") / "config.json"
    if modules or path.exists():
        pooling = _read_pooling(path)
    prompts = root / "config_sentence_transformers.json"
    prompt = read_settings(prompts).get("default_prompt_name")
    if prompt is not None:
        raise ValueError(
            f"{prompts} has default_prompt_name={prompt!r}; expected null: no prompt "
            "is added here, so set it to null and begin your texts with the prompt"
        )
    length_file = next(
        (transformer / name for name in _LENGTH_FILES if (transformer / name).exists()),
        transformer / _LENGTH_FILES[0],
    )
    settings = read_settings(length_file)
    longest = settings.get("max_seq_length")
    if longest is not None:
        check_size(length_file, "max_seq_length", longest, least=3)
    return Layout(
        transformer=transformer,
        pooling=pooling,
        normalize=len(modules) == 3,
        max_seq_length=longest,
        lower_case=settings.get("do_lower_case") is True,
        length_file=length_file,
    )


def _read_modules(root: Path) -> list[str]:
    """The folders of sentence-transformers' modules; none without its list."""
    path = root / "modules.json"
    if not path.exists():
        return []
    modules: list[Any] = read_json(path, list)
    kinds = [
        str(module.get("type")).rpartition(".")[2]
        if isinstance(module, dict)
        else json.dumps(module)
        for module in modules
    ]
    if kinds not in _MODULES:
        raise ValueError(
            f"{path} lists {', '.join(kinds)}; expected Transformer, Pooling and "
            "perhaps Normalize"
        )
    return [str(module.get("path", "")) for module in modules]


def _read_pooling(path: Path) -> str:
    settings = read_json(path, dict)
    modes = [
        key.removeprefix("pooling_mode_")
        for key, chosen in settings.items()
        if key.startswith("pooling_mode_") and chosen is True
    ] or [str(settings.get("pooling_mode"))]
    if len(modes) > 1 or modes[0] not in _POOLING:
        raise ValueError(
            f"{path} pools by {' and '.join(modes)}; expected mean_tokens, cls_token "
            "or max_tokens"
        )
    return _POOLING[modes[0]]
