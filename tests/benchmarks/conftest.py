"""Benchmarks are scripts beside each other: each is found as `python` finds it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def benchmark_named():
    """Imports a benchmark by the name of its file."""

    def load(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
            return importlib.import_module(name)

    return load


@pytest.fixture
def run_main(monkeypatch):
    """Runs a benchmark as the command line does, with these words."""

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, words)])
        module.main()

    return run
