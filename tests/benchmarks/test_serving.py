"""The benchmark of serving: what it asks, what it makes of seconds, versions."""

from __future__ import annotations

import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def serving(benchmark_named):
    return benchmark_named("serving")


def test_requests_are_what_a_server_is_sent(serving):
    asked = serving.requests_for(9, np.random.default_rng(0))
    assert len(asked) == serving.REQUESTS
    for one in asked:
        assert one["history_item"].shape == (1, serving.EVENTS)
        assert set(one["history_item"].ravel()) <= {f"item {n}" for n in range(9)}
        assert (one["history_time"] <= one["query_time"]).all()


def test_ratios_are_of_the_bare_list(serving):
    spent = {"bare": np.full(200, 2e-3), "recommend": np.linspace(2e-3, 6e-3, 201)}
    figures = serving.figures_of(spent, "10k")
    assert figures["recommend_p50_ratio_10k"] == pytest.approx(2)
    assert figures["recommend_p99_ms_10k"] == pytest.approx(5.96)
    assert figures["bare_per_second_10k"] == pytest.approx(500)
    assert "bare_p50_ratio_10k" not in figures


def test_a_version_is_published_whole_under_a_later_number(serving, tmp_path):
    version = tmp_path / "7"
    version.mkdir()
    (version / "saved_model.pb").write_bytes(b"model")
    assert serving.publish(version, 3) == 10
    assert (tmp_path / "10" / "saved_model.pb").read_bytes() == b"model"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["10", "7"]


@pytest.mark.integration  # slow
def test_a_run_writes_what_was_measured(serving, run_main, monkeypatch, tmp_path):
    """Of catalogues too small to tell anything."""
    monkeypatch.setattr(serving, "SIZES", {"10k": 50, "1m": 60})
    path = tmp_path / "serving.json"
    run_main(serving, "--rounds", 1, "--no-load", "--json", path)
    figures = json.loads(path.read_text())
    for size in ("10k", "1m"):
        for name in ("recommend", "from_interest", "gru"):
            own, bare = (figures[f"{one}_p50_ms_{size}"] for one in (name, "bare"))
            assert figures[f"{name}_p50_ratio_{size}"] == pytest.approx(own / bare)
