"""How commands write: progress, errors, files."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from tfrs_decay.writing import write_text

FOUND_WRONG = 1
"""Exit status: the command did its work, and found or left something wrong."""

WRONG_INPUT = 2
"""Exit status: an option, a file, a folder or a server is not as it must be, or a
package is not installed."""

REFUSED = 3
"""Exit status: the command did its work, and came to say no."""

INTERRUPTED = 130
"""Exit status: somebody stopped it by Ctrl-C, as shells count it."""

# What bad input raises: these end in one clear line. Anything else is a mistake of
# ours, and shows where it was made.
BAD_INPUT = (ValueError, OSError, ImportError, RuntimeError)


class RefusedError(click.ClickException):
    """A command did what it was asked and came to say no, which a script can tell."""

    exit_code = REFUSED


class StoppedError(click.ClickException):
    """A command was interrupted when it had written something that stays."""

    exit_code = INTERRUPTED


def complain(message: str, status: int = WRONG_INPUT) -> int:
    """Says on stderr, in one line, why a command ends; gives its exit status."""
    one_line = " ".join(message.split())
    click.echo(f"tfrs-decay: {one_line}", err=True)
    return status


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Holds back what TensorFlow's libraries write while they load.

    They write to the file descriptor, before they can be told not to. It is written
    out after all where loading fails.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            if not isinstance(sys.exc_info()[1], BAD_INPUT):
                held.seek(0)
                os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def progress(blocks: Iterable[Any], label: str) -> Iterator[Any]:
    """Blocks of work, with a bar on stderr that follows them."""
    with click.progressbar(list(blocks), label=label, file=sys.stderr) as bar:
        yield from bar


def write_json(path: str | None, found: Mapping[str, Any]) -> None:
    """Writes what a command found, where a file was asked for."""
    if path is not None:
        write_text(json.dumps(found, indent=2) + "\n", path)
