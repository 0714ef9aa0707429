"""What every benchmark prints and writes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay.writing import write_text

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip


def machine() -> str:
    """The machine and the versions that a figure depends on, in one line."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, TensorFlow {tf.__version__}, TF-Hub "
        f"{importlib.metadata.version('tensorflow-hub')}, NumPy {np.__version__}, "
        f"tfrs-decay {td.__version__}"
    )


def own_peak_gib() -> float:
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # What getrusage tells on Linux includes the parent's.
        (line,) = (one for one in status.read_text().splitlines() if "VmHWM" in one)
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Writes figures, whole or not at all; nowhere without a path."""
    if path is None:
        return
    write_text(json.dumps(figures, indent=2) + "\n", path)
