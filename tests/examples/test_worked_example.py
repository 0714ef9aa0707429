"""The article's example, against its formulas worked out with a calculator."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_numbers_are_those_of_the_formulas(tmp_path, capsys):
    example = runpy.run_path(str(EXAMPLES / "worked_example.py"))
    scores = example["main"](tmp_path)
    # u(2) = [.8, .6, .4] e^-.2 and .2 e^-.1: [.65498, .49124, .32749, .18097].
    assert scores == {
        "A": pytest.approx(1.15139, abs=5e-5),
        "B": pytest.approx(1.10054, abs=5e-5),
        "C": pytest.approx(1.00230, abs=5e-5),
        "D": pytest.approx(0.62136, abs=5e-5),
    }
    printed = capsys.readouterr().out
    assert "u(1) = [0.7239 0.5429 0.3619 0.2   ]" in printed
    assert "recommended: A" in printed
    assert {one.name for one in tmp_path.iterdir()} == {
        "scores.png",
        "decay_curves.png",
    }
