"""Training by several processes ends where training by one does, whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.integration


def run(*command):
    """A process of its own, for what has to be said before TensorFlow starts."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_workers_train_what_one_process_does_and_a_killed_one_comes_back(tmp_path):
    printed = run(
        ROOT / "examples" / "many_machines.py",
        *("--epochs", 3, "--kill-after", 1, "--folder", tmp_path),
    )
    # The first epoch is before the kill, the others are after both started again.
    _, _, together = printed.partition("two workers:")
    before, _, after = together.partition("killed the second worker")
    assert "epoch 1:" in before and "starting both again" in after
    assert "epoch 1:" not in after and "epoch 3:" in after
    curves = [
        np.concatenate(
            [
                json.loads((tmp_path / way / f"losses-{epoch}.json").read_text())
                for epoch in range(3)
            ]
        )
        for way in ("alone", "together")
    ]
    assert len(curves[0]) > 20
    np.testing.assert_allclose(*curves, atol=1e-4)
    assert np.mean(curves[0][-10:]) < np.mean(curves[0][:10]) - 0.3


def test_tables_are_split_over_parameter_servers(tmp_path):
    run(ROOT / "tests" / "parameter_servers.py", tmp_path / "fitted.npz")
    fitted = dict(np.load(tmp_path / "fitted.npz"))
    parts = [one for one in fitted["parts"] if "id_embedding" in one]
    assert len(parts) == 2
    # There is one worker, so that steps come one after the other.
    for what in ("losses", "vectors", "loss", "seen"):
        alone, spread = fitted[f"alone/{what}"], fitted[f"spread/{what}"]
        np.testing.assert_allclose(spread, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fitted["spread/seen before"], fitted["alone/seen"])
    assert 0 < fitted["alone/seen"].mean() < 1
