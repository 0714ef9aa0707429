"""Two replicas with shares of a batch learn what one learns of the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from two_replicas import CASES

SCRIPT = Path(__file__).parents[1] / "two_replicas.py"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """From a case, a way and a place to what was learned."""
    path = tmp_path_factory.mktemp("replicas") / "learned.npz"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(path))


@pytest.mark.parametrize("case", CASES)
def test_two_learn_of_their_shares_what_one_learns_of_the_whole(learned, case):
    places = [
        int(name.rpartition("/")[2])
        for name in learned
        if name.startswith(f"{case}/whole/")
    ]
    assert len(places) >= 7
    for place in places:
        whole, shared = (
            learned[f"{case}/{way}/{place}"] for way in ("whole", "shared")
        )
        assert np.isfinite(whole).all()
        np.testing.assert_allclose(shared, whole, rtol=1e-5, atol=1e-6)
    # The loss, and the gradient of the items' table.
    assert learned[f"{case}/whole/0"] > 1
    assert np.abs(learned[f"{case}/whole/1"]).max() > 0.1
