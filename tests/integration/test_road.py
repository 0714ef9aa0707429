"""The whole road with a real encoder, on real purchases and where interest drifts."""

from __future__ import annotations

import json
import re
import resource
from pathlib import Path

import pytest

from tfrs_decay import cli

CACHE = Path(__file__).parents[2] / ".cache"


@pytest.mark.integration
def test_the_demo_on_real_purchases(tmp_path, capsys):
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--cache", str(CACHE)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    # Whoever wins is printed, and the answer came from a process of its own.
    for name in ("decay", "mean pooling", "personal frequency", "popularity"):
        assert re.search(rf"^{name} ", printed, re.MULTILINE)
    assert "asked in a second process" in printed
    assert (out / "history.png").is_file() and (out / "recommended.png").is_file()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kilobytes < 6 * 2**20


@pytest.mark.integration
def test_decay_wins_where_interest_is_known_to_drift(tmp_path):
    out = tmp_path / "demo"
    arguments = ["demo", "--data", "simulated", "--out", str(out)]
    assert cli.main([*arguments, "--cache", str(CACHE)]) == 0
    figures = tmp_path / "figures.json"
    arguments = ["evaluate", "--run", str(out / "run"), "--json", str(figures)]
    assert cli.main(arguments) == 0
    for track in json.loads(figures.read_text()).values():
        decay = track.pop("decay")
        for other in track.values():
            assert decay["recall@20"] > other["recall@20"]
            assert decay["ndcg@20"] > other["ndcg@20"]
