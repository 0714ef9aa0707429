"""The doctor: what it says of a sound installation, and of broken ones."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import types

import pytest

from tfrs_decay import cli, doctor
from tfrs_decay.doctor import Requirement, examine


def by_name(checkup):
    return {one.name: one for one in checkup.findings}


@pytest.fixture
def installed(monkeypatch):
    """Makes distributions be there in other versions, or not at all (None)."""
    there = importlib.metadata.version

    def install(**versions):
        versions = {name.replace("_", "-"): one for name, one in versions.items()}

        def version(name):
            if name not in versions:
                return there(name)
            if versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(importlib.metadata, "version", version)

    return install


def test_here_nothing_is_wrong(tmp_path, tiny_encoder, capsys):
    path = tmp_path / "found.json"
    folder = tiny_encoder.encoder.parent
    told = ["doctor", "--encoder", str(folder), "--cache", str(tmp_path / "new")]
    assert cli.main([*told, "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().splitlines()[-1].startswith("0 wrong, ")
    assert "tf.keras is tf_keras (TF_USE_LEGACY_KERAS=1)" in printed
    found = json.loads(path.read_text())
    assert found["healthy"] is True
    names = {one["name"]: one for one in found["findings"]}
    assert names["encoder"]["says"].endswith("'a red lantern' became 16 numbers")
    assert names["processors"]["says"].isdigit()
    assert not (tmp_path / "new").exists()  # asked about, and not made


def test_versions_are_held_against_the_metadata(installed, tmp_path):
    installed(tensorflow_hub=None, numpy="1.25.9", setuptools="81.0", pyarrow=None)
    found = by_name(examine(cache=tmp_path))
    assert found["tensorflow-hub"][1:3] == ("wrong", "not installed")
    assert found["tensorflow-hub"].remedy.startswith("pip install 'tensorflow-hub")
    assert found["numpy"][1:] == (
        "wrong",
        "1.25.9, and >=1.26 is needed",
        "pip install 'numpy>=1.26'",
    )
    assert found["setuptools"].verdict == "wrong"
    # What an extra lacks is told, and is no fault.
    assert found["extra data"].verdict == "ok"
    assert found["extra data"].says == "not installed: no pyarrow"
    assert "pip install 'tfrs-decay[data]'" in found["extra data"].remedy
    assert "extra test" not in found


def test_an_extra_out_of_its_bounds_is_to_look_at(installed, tmp_path):
    installed(pandas="1.5.3")
    found = by_name(examine(cache=tmp_path))
    assert found["extra data"].verdict == "warning"
    assert "pandas 1.5.3, and >=2.1 is needed" in found["extra data"].says


def test_releases_of_two_series_are_told(installed, tmp_path):
    installed(tensorflow="2.20.0", tf_keras="2.19.0", tensorflow_text="2.20.1")
    found = by_name(examine(cache=tmp_path))
    assert found["one series"].verdict == "wrong"
    assert "tf-keras 2.19" in found["one series"].says
    assert found["one series"].remedy == (
        "pip install 'tf-keras~=2.20.0' 'tensorflow-text~=2.20.0'"
    )


@pytest.mark.parametrize(
    ("version", "bounds", "verdict"),
    [
        ("2.18.0", "<2.22,>=2.18", "ok"),
        ("2.18", ">=2.18.0", "ok"),
        ("2.22", "<2.22,>=2.18", "wrong"),
        ("2.9.1", ">=2.18", "wrong"),
        ("2.22.0rc1", "<2.22", "wrong"),
        ("0.1.0", "==0.1.0", "ok"),
        ("0.1.1", "==0.1.0", "wrong"),
        ("3", "!=3.0", "wrong"),
        ("1.4.2", "~=1.4", "warning"),
        ("7", "", "ok"),
    ],
)
def test_versions_and_bounds(installed, version, bounds, verdict):
    installed(something=version)
    assert Requirement("something", bounds, None).finding().verdict == verdict


def test_lines_of_metadata_are_read():
    assert Requirement.read("tensorflow<2.22,>=2.18") == (
        "tensorflow",
        "<2.22,>=2.18",
        None,
    )
    assert Requirement.read('redis>=5; extra == "redis"') == ("redis", ">=5", "redis")
    assert Requirement.read("apache-beam[gcp] (>=2.77) ; extra == 'beam'") == (
        "apache-beam",
        ">=2.77",
        "beam",
    )


def test_keras_3_is_told(monkeypatch, tmp_path):
    import tensorflow as tf

    keras = types.SimpleNamespace(layers=types.SimpleNamespace(Layer=object))
    monkeypatch.setattr(tf, "keras", keras)
    found = by_name(examine(cache=tmp_path))["legacy Keras"]
    assert found.verdict == "wrong" and "tf.keras is Keras 3" in found.says
    assert found.remedy == "set TF_USE_LEGACY_KERAS=1 before Python starts"


def test_without_metadata_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "PACKAGE", "tfrs-decay-of-nobody")
    checkup = examine(cache=tmp_path)
    found = by_name(checkup)["tfrs-decay-of-nobody"]
    assert found.verdict == "warning" and "not installed" in found.says
    assert checkup.healthy


def test_an_encoder_that_is_none_is_told(tmp_path, capsys):
    gone = tmp_path / "gone"
    assert cli.main(["doctor", "--encoder", str(gone)]) == 1
    printed = capsys.readouterr().out
    assert f"{gone} cannot be used: FileNotFoundError" in printed
    assert "-> make a local one with `tfrs-decay encoder`" in printed
    assert printed.rstrip().splitlines()[-1].startswith("1 wrong, ")


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    def refuse(dir):
        assert dir == tmp_path
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = by_name(examine(cache=tmp_path / "not" / "there"))["cache"]
    assert found.verdict == "wrong" and found.says.endswith("Permission denied")


def test_the_least_is_asked_of_disk_and_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "LEAST_DISK", float("inf"))
    monkeypatch.setattr(doctor, "LEAST_MEMORY", float("inf"))
    found = by_name(examine(cache=tmp_path))
    assert found["cache"].verdict == found["memory"].verdict == "warning"


def test_it_works_where_the_system_does_not_say(monkeypatch):
    monkeypatch.delattr(doctor.os, "sched_getaffinity")
    monkeypatch.delattr(doctor.os, "sysconf")
    found = {one.name: one for one in doctor._machine()}
    assert found["processors"][1:3] == ("ok", str(os.cpu_count()))
    assert found["memory"][1:3] == ("ok", "not told here")


def test_a_line_of_metadata_that_is_none_is_told(monkeypatch):
    lines = ["numpy>=1.26", "@ https://example.org/x.whl"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    numpy, other = doctor._requirements()
    assert (numpy.name, numpy.verdict) == ("numpy", "ok")
    assert other.verdict == "warning"
    assert "requires '@ https://example.org/x.whl', which is not und" in other.says
    assert dict.fromkeys(one.verdict for one in doctor._extras()) == {"ok": None}


def test_it_works_where_tensorflow_is_broken(tmp_path):
    broken = tmp_path / "tensorflow"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise TypeError('Descriptors cannot be made')")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-m", "tfrs_decay", "doctor"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "TypeError: Descriptors cannot be made" in done.stdout
    assert "-> pip install --force-reinstall tfrs-decay" in done.stdout
    for line in ("wrong    import tensorflow", "ok       numpy", "ok       processors"):
        assert line in done.stdout
    assert "wrong    NativeModel" in done.stdout  # the folder has no library
    assert "Traceback" not in done.stderr
