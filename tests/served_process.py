"""`tfrs-decay serve` as processes of their own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_SERVE = """
import sys
from tfrs_decay.cli import main
status = main(sys.argv[1:])
loaded = {"tensorflow", "keras", "tf_keras", "pandas"} & set(sys.modules)
print("loaded", sorted(loaded), flush=True)
sys.exit(status)
"""


class Served(NamedTuple):
    """A process, and the addresses that it has printed."""

    process: subprocess.Popen[str]
    rest: str
    grpc: str


def serve_command(base: Path, *options: str) -> list[str]:
    """Serves a model's folder at free ports; at its end it says what it has loaded."""
    command = [sys.executable, "-c", _SERVE, "serve", str(base), *options]
    return [*command, "--rest-port", "0", "--grpc-port", "0", "--poll", "1s"]


@contextlib.contextmanager
def serving() -> Iterator[Callable[..., Served]]:
    """Gives what starts the command with its options; what still runs is then ended."""
    started = []

    def start(base: Path, *options: str) -> Served:
        process = subprocess.Popen(
            serve_command(base, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        line = process.stdout.readline()
        found = re.search(r"(http://[\d.:]+)/v1/models/\S+ and (grpc://[\d.:]+)", line)
        assert found, line + process.stderr.read()
        return Served(process, found[1], found[2])

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()
