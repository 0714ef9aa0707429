"""The Python of the README and of its pages runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tf_keras
from tiny_served import write_tiny

import tfrs_decay as td

ROOT = Path(__file__).parents[1]


def written(page):
    return (ROOT / page).read_text(encoding="utf-8")


def python_of(page):
    return re.findall(r"```python\n(.*?)```", written(page), re.DOTALL)


MODEL, SERVING = python_of("README.md")
(ITEMS,) = python_of("docs/items.md")
STATE, *_ = python_of("docs/users-state.md")


def run(block, **names):
    exec(compile(block, "<a page>", "exec"), names)
    return names


def test_the_model_of_the_readme_trains_and_exports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(MODEL)
    (version,) = (tmp_path / "export" / "shop").glob("[0-9]*")
    assert (version / "saved_model.pb").is_file()


def test_a_model_of_ones_own_saves_and_loads_as_the_readme_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(MODEL)

    @tf_keras.saving.register_keras_serializable("tests")
    class Saved(names["Shop"]):
        def __init__(self, items, **kwargs):
            super().__init__(items)
            self.item_tower.build(None)
            self.pooling.build([None, None, 32])
            self.built = True

        def get_config(self):
            items = self.item_tower.items
            return {"items": dict(zip(items.ids, items.texts, strict=True))}

    model = Saved(names["events"].items)
    data = td.data.batches(names["queries"], names["events"], max_targets=1)
    model.compile(tf_keras.optimizers.Adam(0.01))
    model.fit(data.take(3), verbose=0)
    batch = next(iter(data))
    loss = float(model.compute_loss(batch))
    model.save("shop.keras")
    assert float(
        tf_keras.models.load_model("shop.keras").compute_loss(batch)
    ) == pytest.approx(loss, rel=1e-5)
    model.save_weights("shop.weights.h5")
    fresh = Saved(names["events"].items)
    fresh.load_weights("shop.weights.h5")
    assert float(fresh.compute_loss(batch)) == pytest.approx(loss, rel=1e-5)


def test_the_item_tower_of_the_readme_reads_all_that_is_there(
    tmp_path, monkeypatch, tiny_encoder
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_encoder.encoder.parent, "minilm")
    vectors = pd.DataFrame({"item": ["a", "b"], "vector": [[1.0, 2.0], [3.0, 4.0]]})
    vectors.to_parquet("images.parquet")
    names = run(
        ITEMS,
        td=td,
        items=td.data.Items(["a", "b", "c"], ["red mug", "blue mug", "red lantern"]),
        brands=["one", "", "other"],
    )
    assert len(list(Path("vectors").iterdir())) == 1
    known = names["tower"](tf.constant(["a", "b", "c"]))
    more = names["more"](tf.constant(["a", "b", "c", "new"]))
    np.testing.assert_array_equal(more[:3], known)
    np.testing.assert_allclose(
        more[3:], names["tower"].embed_texts(["a red lantern"]), atol=1e-6
    )


def test_the_state_of_the_readme_is_what_it_says():
    names = run(STATE)
    read = names["interest"].read(names["state"], time=1_209_600)
    said = re.search(r"# \[([\d.]+), ([\d.]+)\]", STATE).groups()
    np.testing.assert_allclose(read, [float(one) for one in said], atol=5e-4)
    assert len(names["stored"]) == int(re.search(r"# (\d+) bytes", STATE)[1])


def test_what_the_readme_asks_a_server_and_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "shop"
    base.mkdir()
    write_tiny(base, 1)
    with td.serving.Host(base, rest_port=0, grpc_port=0, say=str) as up:
        assert SERVING.count("localhost:8500") == 1
        address = f"localhost:{up.grpc_port}"
        names = run(SERVING.replace("localhost:8500", address), td=td)
    with names["InterestStore"].open(
        "sqlite:///states.db", names["interest"], time_to_live="90d"
    ) as store:
        assert "ann" not in store


@pytest.mark.parametrize(
    "decay", re.findall(r"^\| `(\w+)\(", written("docs/decay.md"), re.M)
)
def test_every_decay_of_the_table_is_there(decay):
    assert hasattr(td.decay, decay)


LINKS = [
    (str(page.relative_to(ROOT)), link)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_what_a_page_links_to_is_there(page, link):
    assert ((ROOT / page).parent / link).exists()
