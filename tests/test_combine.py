"""`tfrs-decay combine`: from a log to an answer, in one command."""

from __future__ import annotations

import json

import pytest

from tfrs_decay.cli import main

LOG = ["--data", "simulated", "--sample", "40", "--windows", "2"]


def test_a_list_is_fitted_written_and_asked(tmp_path, capsys):
    out = tmp_path / "export"
    assert main(["combine", *LOG, "--track", "new", "--out", str(out), "-k", "7"]) == 0
    printed = capsys.readouterr().out
    assert "window 2, track new: " in printed
    assert "Chosen: " in printed
    (version,) = out.glob("[0-9]*")
    assert f"Written: {version}" in printed
    told = json.loads((version / "assets.extra" / "tfrs_decay.json").read_text())
    assert (told["k"], told["exclude_seen"]) == (7, True)
    assert 0 < told["combined"]["recall"] <= 1
    chosen = told["combined"]["head"]["name"]
    assert f"Chosen: {chosen}: Recall " in printed
    item = next(iter(told["texts"]))
    asked = ["--item", f"{item}@2024-06-20", "--at", "2024-06-28", "--k", "3"]
    assert main(["recommend", "--export", str(version), *asked]) == 0
    answer = capsys.readouterr().out.partition("Recommended:")[2]
    assert len(answer.strip().splitlines()) == 3
    assert item not in answer


@pytest.mark.parametrize("words", [[], ["--towers"]])
def test_towers_of_every_cut_are_handed_on(words, tmp_path, capsys, monkeypatch):
    from tfrs_decay import ranking

    def trained(events, settings, decay, cuts, **_):
        assert settings.action_weights == {"browse": 0.2, "purchase": 1.0}
        return dict.fromkeys(cuts, settings.target_actions)

    def fitted(events, *, towers, **_):
        last = int(events.time.max())
        of_each = {last - n * 30 * 86_400: ["purchase"] for n in range(3)}
        assert towers == (of_each if words else None)
        raise ValueError("that is all")

    monkeypatch.setattr(ranking, "tower_vectors", trained)
    monkeypatch.setattr(ranking, "fit_combined_list", fitted)
    assert main(["combine", *LOG, *words, "--out", str(tmp_path / "export")]) == 2
    assert "that is all" in capsys.readouterr().err


@pytest.mark.integration
def test_two_towers_name_candidates_too(tmp_path, capsys):
    out = tmp_path / "export"
    small = ["--data", "simulated", "--sample", "20", "--windows", "2"]
    assert main(["combine", *small, "--towers", "--out", str(out)]) == 0
    # Up to the start of each window, and to the end of the log.
    assert capsys.readouterr().out.count("two towers are trained up to 20") == 3
    (version,) = out.glob("[0-9]*")
    told = json.loads((version / "assets.extra" / "tfrs_decay.json").read_text())
    assert "two towers" in told["combined"]["head"]["features"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "300d"], "length='300d': fewer than two windows of that length"),
        (["--length", "soon"], "soon"),
        (["--target-action", "sold"], "sold"),
        (["--windows", "1"], "1 windows: give two or more"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, capsys):
    out = tmp_path / "export"
    assert main(["combine", *LOG, *words, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-k", "0"], "-k 0 must be 1 or more"),
        (["--cache", "somewhere"], "--cache keeps what an encoder made: give --enc"),
    ],
)
def test_what_is_refused_before_the_log_is_read(words, message, tmp_path, capsys):
    assert main(["combine", *LOG, *words, "--out", str(tmp_path / "export")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Reading" not in captured.out
