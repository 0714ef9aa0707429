"""The Python of the README and of its pages runs as it stands.

What needs a training, many machines or a server of its own is compiled, and what it
names of the package is there, with the arguments that it is given.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import shutil
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tf_keras
from simulated_feedback import shown_lists
from simulated_traffic import logged_traffic
from tiny_served import write_tiny

import tfrs_decay as td

ROOT = Path(__file__).parents[1]


def written(page):
    return (ROOT / page).read_text(encoding="utf-8")


PAGES = [
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
]


def python_of(page):
    return re.findall(r"```python\n(.*?)```", written(page), re.DOTALL)


MODEL, SERVING = python_of("README.md")
(ITEMS,) = python_of("docs/items.md")
STATE, STORE, DAMAGED = python_of("docs/users-state.md")
(FEEDBACK,) = python_of("docs/feedback.md")
(EXPERIMENTS,) = python_of("docs/experiments.md")
(ASKING,) = python_of("docs/serving.md")
(INTEREST,) = python_of("docs/signatures.md")


def run(block, **names):
    exec(compile(block, "<a page>", "exec"), names)
    return names


def named(dotted):
    """What a name such as td.layers.TextTower stands for; an error where nothing is."""
    found = td
    for part in dotted.split(".")[1:]:
        found = getattr(found, part)
    return found


def calls_of(block):
    """What a block calls of the package, as dotted names, and each call."""
    tree = ast.parse(block)
    ours = {"td": "td"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tfrs_decay"):
            module = node.module.replace("tfrs_decay", "td", 1)
            ours |= {one.name: f"{module}.{one.name}" for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, *rest = ast.unparse(node.func).split(".")
            if first in ours and all(map(str.isidentifier, rest)):
                yield ".".join([ours[first], *rest]), node


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_of_the_package_is_there(page):
    for dotted in re.findall(r"\btd(?:\.\w+)+", written(page)):
        named(dotted)
    for block in python_of(page):
        compile(block, f"<{page}>", "exec")
        for dotted, call in calls_of(block):
            takes = inspect.signature(named(dotted)).parameters.values()
            if not any(one.kind is one.VAR_KEYWORD for one in takes):
                given = {keyword.arg for keyword in call.keywords}
                assert given <= {one.name for one in takes}, dotted


def test_the_model_of_the_readme_trains_and_exports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(MODEL)
    (version,) = (tmp_path / "export" / "toy").glob("[0-9]*")
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


def test_the_store_of_a_page_is_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(STORE)
    interest = names["interest"]
    read = interest.read(names["states"], time=86_400)
    np.testing.assert_allclose(read, [[1, 0], [0, 0]])
    with td.serving.InterestStore.open("sqlite:///states.db", interest) as store:
        assert "ann" not in store
        damaged = run(DAMAGED, store=store, users=["ann"], log=logging.getLogger())
    np.testing.assert_allclose(interest.read(damaged["states"], time=0), [[0, 0]])


def test_what_is_joined_on_a_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shown = shown_lists(0, users=80)
    pd.DataFrame(shown.table).to_parquet("served.parquet")
    log = pd.DataFrame(
        {
            "user": shown.clicks.users[shown.clicks.user],
            "item": shown.clicks.items.ids[shown.clicks.item],
            "time": shown.clicks.time,
            "action": "click",
        }
    )
    bought = log.iloc[::5].assign(action="purchase", time=log["time"] + 60)
    pd.concat([log, bought]).to_csv("log.csv", index=False)
    names = run(FEEDBACK)
    assert "conversion" in capsys.readouterr().out
    assert names["fair"].shape == (len(names["served"].items),)
    assert "negative_item" in next(iter(names["batches"]))
    assert {"feedback.html", "joined.parquet"} <= {one.name for one in Path().iterdir()}


def test_the_experiments_of_a_page(tmp_path, monkeypatch, capsys, make_events):
    monkeypatch.chdir(tmp_path)
    table, _ = logged_traffic(np.random.default_rng(0), users=80)
    table["arm"] = td.experiments.assign(
        table["user"], "decay in the basket", ["control", "decay"]
    )
    table.to_csv("shown.csv", index=False)
    events = make_events(("1", 10, "a"), ("2", 10, "b"))
    names = run(
        EXPERIMENTS,
        old=lambda requests: [["a"]] * len(requests),
        new=lambda requests: [["b"]] * len(requests),
        events=events,
    )
    said = re.search(r"# (\[.*?\]), (\[.*?\]):", EXPERIMENTS).groups()
    assert tuple(map(ast.literal_eval, said)) == tuple(names["draft"])
    assert "Users by arm: control" in capsys.readouterr().out
    assert names["replayed"].weights["new"].effective_size > 1
    assert Path("page.html").is_file()


def test_an_interest_of_ones_own_is_made_as_a_page_says():
    names = run(INTEREST, tf=tf)
    model = types.SimpleNamespace(pooling=lambda vectors, **when: vectors)
    model.interest_from_pooled = types.MethodType(names["interest_from_pooled"], model)
    interest = names["interest_from_vectors"](model, [[3.0, 4.0]], query_time=0)
    np.testing.assert_allclose(interest, [[0.6, 0.8]], rtol=1e-6)


def test_what_the_pages_ask_a_server_and_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "shop"
    base.mkdir()
    write_tiny(base, 1)
    asked = {"x": [[1.0, 2.0]], "time": [1], "item": ["a"]}
    with td.serving.Host(base, rest_port=0, grpc_port=0, say=str) as up:
        assert SERVING.count("localhost:8500") == ASKING.count("localhost:8500") == 1
        address = f"localhost:{up.grpc_port}"
        names = run(SERVING.replace("localhost:8500", address), td=td)
        assert ASKING.count("{...}") == 1
        asking = ASKING.replace("localhost:8500", address).replace("{...}", str(asked))
        run(asking)
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
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^):]+)\)", written(page))
]


def anchors_of(page):
    """What the headings of a page are called in links to them, as GitHub does it."""
    text = re.sub(r"^```.*?^```", "", written(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_what_a_page_links_to_is_there(page, link):
    file, _, anchor = link.partition("#")
    to = (ROOT / page).parent / file if file else ROOT / page
    assert to.exists()
    if anchor:
        assert anchor in anchors_of(to)
