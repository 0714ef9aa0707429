"""The files that tell TensorFlow Serving what to serve and how to batch it."""

from __future__ import annotations

import os
from pathlib import Path

from tfrs_decay.writing import write_text

BATCH = 64
"""Rows that a server joins at most."""

TIMEOUT_MICROSECONDS = 1_000
"""How long the first row of a batch waits for others."""


def model_name(directory: str | os.PathLike[str], name: str | None = None) -> str:
    """What a server calls a model: a name that is given, or that of its folder.

    Raises:
        ValueError: The name is empty, or has a character that would need quoting in the
            server's files, or that ends a name in its URLs.
    """
    name = Path(directory).resolve().name if name is None else name
    if not name or any(character in name for character in '"\\\n/:'):
        raise ValueError(
            f"name={name!r}: give a model's name, as in a URL: not empty, and without "
            'any of " \\ / : and line ends.'
        )
    return name


def write_server_files(
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes `models.config` and `batching.config` beside a model's versions.

    They are for a folder that is mounted as the stock image has it, `/models/NAME`:

        tensorflow_model_server --model_config_file=/models/NAME/models.config
            --enable_batching --batching_parameters_file=/models/NAME/batching.config

    Requests with histories of different lengths are joined, too: the server pads them
    with the first element of each input, which `history_length` and `exclude_length`
    tell from what is meant.

    Args:
        directory: The model's folder, which holds a folder a version.
        name: The model's; that of the folder when left out.
        overwrite: Whether to replace files that are there, which may have been edited.

    Returns:
        The files that were written.

    Raises:
        ValueError: As in `model_name`.
    """
    base = Path(directory)
    name = model_name(base, name)
    sizes = [2**power for power in range(BATCH.bit_length())]
    texts = {
        "models.config": (
            "model_config_list {\n"
            "  config {\n"
            f'    name: "{name}"\n'
            f'    base_path: "/models/{name}"\n'
            '    model_platform: "tensorflow"\n'
            "  }\n"
            "}\n"
        ),
        "batching.config": (
            f"max_batch_size {{ value: {BATCH} }}\n"
            f"batch_timeout_micros {{ value: {TIMEOUT_MICROSECONDS} }}\n"
            "max_enqueued_batches { value: 100 }\n"
            "num_batch_threads { value: 4 }\n"
            "pad_variable_length_inputs: true\n"
            + "".join(f"allowed_batch_sizes: {size}\n" for size in sizes)
        ),
    }
    written = []
    for file, text in texts.items():
        path = base / file
        if path.exists() and not overwrite:
            continue
        written.append(write_text(text, path))
    return written
