"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"
MODEL, STATE = re.findall(
    r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
)


def run(block):
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    return names


def test_the_model_of_the_readme_trains_and_exports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(MODEL)
    (version,) = (tmp_path / "export" / "shop").iterdir()
    assert (version / "saved_model.pb").is_file()


def test_the_state_of_the_readme_is_what_it_says():
    names = run(STATE)
    read = names["interest"].read(names["state"], time=1_209_600)
    said = re.search(r"# \[([\d.]+), ([\d.]+)\]", STATE).groups()
    np.testing.assert_allclose(read, [float(one) for one in said], atol=5e-4)
    assert len(names["stored"]) == int(re.search(r"# (\d+) bytes", STATE)[1])


@pytest.mark.parametrize(
    "decay", re.findall(r"^\| `(\w+)\(", README.read_text("utf-8"), re.M)
)
def test_every_decay_of_the_table_is_there(decay):
    import tfrs_decay as td

    assert hasattr(td.decay, decay)
