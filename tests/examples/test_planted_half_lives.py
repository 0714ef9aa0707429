"""Learning finds the half-lives that the simulated shop was made with."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLES / "planted_half_lives.py"))


def test_one_half_life_for_all_is_found(example):
    found = example["learn"]("7d", users=400)
    np.testing.assert_array_equal(found.planted, [7.0])
    np.testing.assert_allclose(found.learned, found.planted, rtol=0.15)


@pytest.mark.integration  # slow
def test_a_half_life_for_each_feature_is_found(example):
    found = example["learn"](("1d", "3d", "10d", "30d"), users=1_500)
    np.testing.assert_array_equal(found.planted, [1.0, 3.0, 10.0, 30.0])
    np.testing.assert_allclose(found.learned, found.planted, rtol=0.15)
