"""One answer by every way to a model, for each signature of an export.

In memory = TensorFlow's C loader = `tfrs-decay serve` over gRPC = over REST.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from served_process import serve_command, serving
from served_requests import new_users
from tiny_combined import make_combined

from tfrs_decay.decay import Exponential, Window
from tfrs_decay.layers import ItemTower, TextTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import (
    Client,
    CombinedRecommender,
    Event,
    NativeModel,
    Recommender,
    export,
    export_combined,
    native,
    text_op_libraries,
)

import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

pytestmark = pytest.mark.integration

DAY = 86_400
NOW = 1_712_000_000  # After the last event of the shop.
K = 5

ASKED = {
    "serving_default": 110,
    "recommend": 150,
    "recommend_now": 110,
    "recommend_by_text": 110,
    "embed_item": 90,
    "embed_user": 100,
    "explain": 100,
    "update_interest": 110,
    "recommend_from_interest": 120,
}
"""How many random requests each signature is asked, 1,000 in all."""

TEXTS = ["", "tea", "a red lantern", "caf\u00e9 au lait", "lantern red", "a box of tea"]


@pytest.fixture(scope="module")
def model(shop_events, tiny_encoder):
    """One that was not trained: how it answers is what counts, not what.

    Interest cools to the prior, within hours too: an answer depends on the clock.
    """
    tf_keras.utils.set_random_seed(1)
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8)
    return DecayRetrieval(
        ItemTower(shop_events.items, text=text, dim=8).bake(),
        TimeDecayPooling(
            [Exponential("1h"), Exponential("30d"), Window("90d")],
            action_weights={"browse": 0.2, "purchase": 1.0},
            prior_mass=0.2,
        ),
    )


@pytest.fixture(scope="module")
def popularity(shop_events):
    return np.bincount(shop_events.item, minlength=len(shop_events.items)) / 100


@pytest.fixture(scope="module")
def version(model, popularity, tmp_path_factory):
    base = tmp_path_factory.mktemp("parity") / "shop"
    return export(model, base, k=K, popularity=popularity, texts=True, warmup=False)


class Ways:
    """A version, asked in memory and in every other way.

    memory: Concrete functions by signature.
    others: By a name for each way, what takes a signature's name and its inputs.
    clients: Those of gRPC and REST.
    """

    def __init__(self, memory, loaded, *clients):
        self._memory = memory
        grpc, rest = clients
        self.others = {"loader": loaded, "grpc": grpc.predict, "rest": rest.predict}
        self.clients = clients

    def memory(self, name, request):
        inputs = {
            key: tf.constant(value, tf.string if value.dtype == object else None)
            for key, value in request.items()
        }
        answer = self._memory[name](**inputs)
        return {key: value.numpy() for key, value in answer.items()}


def all_ways(memory, version):
    """Gives the ways; the host is a process of its own, with no Python TensorFlow."""
    with serving() as start:
        host = start(version.parent)
        with (
            NativeModel(version, op_libraries=text_op_libraries()) as loaded,
            Client(host.grpc, model="shop", timeout=120) as grpc,
            Client(host.rest, model="shop", timeout=120) as rest,
        ):
            assert set(loaded.signatures) == set(memory)
            yield Ways(memory, loaded, grpc, rest)


@pytest.fixture(scope="module")
def ways(model, popularity, version):
    recommender = Recommender(model, k=K, popularity=popularity)
    yield from all_ways(recommender.signatures(texts=True), version)


class Requests:
    """Draws random requests.

    Histories are of 0 to 30 events, some of unknown items or actions that weigh
    nothing, and are padded with anything to the longest of up to four.

    Args:
        rng: Of numpy.
        ids: The catalogue's.
        inputs: The names of inputs by signature.
        state: Gives the state of so many users after a request's events.
    """

    def __init__(self, rng, ids, inputs, state=None):
        self._rng = rng
        self._ids = ids
        self._inputs = inputs
        self._state = state

    def draw(self, name, now=NOW):
        rng = self._rng
        batch = int(rng.integers(1, 5))
        if name == "embed_item":
            return {"text": self._strings(TEXTS, [int(rng.integers(0, 5))])}
        given = {
            **self.events(batch, now),
            "query_time": now + rng.integers(0, DAY, batch),
            "exclude_item": self._strings([*self._ids[:50], "", "none"], [batch, 3]),
            "exclude_length": rng.integers(0, 4, batch),
            "k": rng.integers(1, 25, batch).astype(np.int32),
        }
        given["history_text"] = self._strings(TEXTS, given["history_item"].shape)
        if self._state is not None:
            # No event of a state may be later than what is asked of it.
            before = self.events(batch, now - 2 * DAY) if batch % 2 else None
            given |= self._state(before, batch)
        return {key: given[key] for key in self._inputs[name]}

    def events(self, batch, now):
        rng = self._rng
        lengths = rng.integers(0, 31, batch) * (rng.random(batch) < 0.8)
        shape = [batch, max(1, int(lengths.max()))]
        # Seconds to a year ago, and a few of tomorrow.
        ago = (10 ** rng.uniform(0, 7.5, shape)).astype(np.int64)
        ago[rng.random(shape) < 0.02] = -2 * DAY
        return {
            "history_item": self._strings([*self._ids[:200], "", "nothing"], shape),
            "history_time": now - ago,
            "history_action": self._strings(["browse", "purchase", "gaze"], shape),
            "history_length": lengths,
        }

    def _strings(self, among, shape):
        return self._rng.choice(among, shape).astype(object)


@pytest.fixture(scope="module")
def combined_ways(shop_events, tmp_path_factory):
    made, items = make_combined(shop_events), shop_events.items
    base = tmp_path_factory.mktemp("combined") / "shop"
    version = export_combined(
        made.candidates, made.head, items, base, k=K, warmup=False
    )
    recommender = CombinedRecommender(made.candidates, made.head, items, k=K)
    yield from all_ways(recommender.signatures(), version)


def requests_to(ways, items, state=None):
    signatures = ways.others["loader"].signatures
    inputs = {name: set(one.inputs) for name, one in signatures.items()}
    return Requests(np.random.default_rng(5), items.ids.tolist(), inputs, state)


@pytest.fixture(scope="module")
def requests(ways, version, shop_events):
    def state(events, batch):
        kept = new_users(version, batch)
        if events is None:
            return kept
        return ways.memory("update_interest", {**kept, **events})

    return requests_to(ways, shop_events.items, state)


def assert_alike(answer, expected):
    """Asserts that numbers agree to 1e-5 and the rest exactly.

    Items of scores that are equal to rounding may change places, the last one with an
    item that is not in the list.

    Returns:
        How many items or numbers were compared.
    """
    assert set(answer) == set(expected)
    compared = 0
    for name, one in expected.items():
        assert answer[name].shape == one.shape, name
        clear = np.ones(one.shape, bool)
        if one.dtype.kind == "f":
            np.testing.assert_allclose(answer[name], one, rtol=0, atol=1e-5)
        else:
            if name == "item_id":
                gaps = np.abs(np.diff(expected["score"].astype(np.float64))) > 1e-5
                apart = np.pad(gaps, ((0, 0), (1, 1)))
                apart[:, 0] = True
                clear = apart[:, :-1] & apart[:, 1:]
            assert (answer[name] == one)[clear].all(), name
        compared += int(clear.sum())
    return compared


def test_every_signature_is_asked(ways):
    assert set(ways.others["loader"].signatures) == set(ASKED)
    assert sum(ASKED.values()) == 1_000


@pytest.mark.parametrize("name", [one for one in ASKED if one != "recommend_now"])
def test_parity(ways, requests, name):
    compared = 0
    for _ in range(ASKED[name]):
        request = requests.draw(name)
        expected = ways.memory(name, request)
        for ask in ways.others.values():
            compared += assert_alike(ask(name, request), expected)
    assert compared > 3 * ASKED[name]


def assert_parity_by_the_clock(ways, requests, count):
    """Compares what a server answers "now" with the dated answer of that second.

    The clock is in the graph, in whole seconds: it read one of those between the
    asking and the answer, and for one of them the answer must be the same to 1e-5.

    Returns:
        How many answers an hour's difference of the clock would have changed.
    """
    told_apart = 0
    ask_in_memory = {"memory": ways.memory}
    for _ in range(count):
        request = requests.draw("recommend_now", now=int(time.time()))
        batch = len(request["history_length"])

        def dated(second, request=request, batch=batch):
            asked = {**request, "query_time": np.full(batch, second)}
            return ways.memory("serving_default", asked)

        for ask in (ask_in_memory | ways.others).values():
            first = int(time.time())
            answer = ask("recommend_now", request)
            last = int(time.time())
            for second in range(first, last):
                if is_alike(answer, dated(second)):
                    break
            else:
                assert assert_alike(answer, dated(last))
        told_apart += not is_alike(answer, dated(first - 3_600))
    return told_apart


def is_alike(answer, expected):
    try:
        assert_alike(answer, expected)
    except AssertionError:
        return False
    return True


def test_parity_by_the_clock(ways, requests):
    asked = ASKED["recommend_now"]
    assert assert_parity_by_the_clock(ways, requests, asked) > asked // 2


def test_a_client_asks_with_items_that_are_known_by_their_text(ways):
    history = [Event("", "a red lantern", NOW - DAY, "purchase")]
    found = [client.recommend(history, query_time=NOW, k=3) for client in ways.clients]
    assert found[0].item_ids == found[1].item_ids
    assert len(found[0].item_ids) == 3


def test_parity_of_a_combined_list(combined_ways, shop_events):
    requests = requests_to(combined_ways, shop_events.items)
    assert set(combined_ways.others["loader"].signatures) == {
        *("serving_default", "recommend", "recommend_now"),
    }
    compared = 0
    for name in ("serving_default", "recommend"):
        for _ in range(100):
            request = requests.draw(name)
            expected = combined_ways.memory(name, request)
            for ask in combined_ways.others.values():
                compared += assert_alike(ask(name, request), expected)
    assert compared > 2_000
    assert assert_parity_by_the_clock(combined_ways, requests, 50) > 25


@pytest.mark.parametrize("name", ["recommend_by_text", "embed_item"])
def test_without_the_libraries_of_texts_nothing_is_answered(
    ways, requests, version, name
):
    """The negative control, in processes that have loaded nothing before."""
    request = requests.draw(name)
    while not request[{"embed_item": "text"}.get(name, "history_text")].size:
        request = requests.draw(name)
    question = json.dumps(
        {"inputs": {key: value.tolist() for key, value in request.items()}}
    )
    ask = [sys.executable, "-I", native.__file__, str(version), "--signature", name]
    libraries = [
        word for one in text_op_libraries() for word in ("--op-library", str(one))
    ]
    done = subprocess.run(
        [*ask, *libraries], input=question, capture_output=True, text=True, check=True
    )
    outputs = json.loads(done.stdout)["outputs"]
    expected = ways.memory(name, request)
    key = "vector" if name == "embed_item" else "score"
    np.testing.assert_allclose(outputs[key], expected[key], rtol=0, atol=1e-5)
    without = subprocess.run(
        ask, input=question, capture_output=True, text=True, check=False
    )
    assert without.returncode == 2
    assert "Op type not registered" in without.stderr
    assert without.stdout == ""


def test_a_host_without_the_libraries_of_texts_does_not_start(version, tmp_path):
    """It loads them for an export that says it reads texts: this one does not."""
    base = tmp_path / "shop"
    copy = base / version.name
    shutil.copytree(version, copy)
    said = copy / "assets.extra" / "tfrs_decay.json"
    metadata = json.loads(said.read_text())
    assert metadata["reads_texts"] is True
    said.write_text(json.dumps({**metadata, "reads_texts": False}))
    done = subprocess.run(
        serve_command(base), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode not in (0, None)
    assert "has no version that loads" in done.stderr
    assert "Op type not registered" in done.stderr
