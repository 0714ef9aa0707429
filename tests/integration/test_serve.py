"""`tfrs-decay serve` as a process, and one answer by every way to a model."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from tiny_served import write_tiny

from tfrs_decay.decay import Exponential
from tfrs_decay.layers import ItemTower, TextTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import (
    Client,
    Event,
    Host,
    InvalidRequest,
    NativeModel,
    Recommender,
    Retries,
    export,
    text_op_libraries,
)

import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

pytestmark = pytest.mark.integration

DAY = 86_400
NOW = 1_706_000_000
PATIENT = Retries(attempts=20, first_pause=0.05, longest_pause=0.5)

SERVE = """
import sys
from tfrs_decay.cli import main
status = main(sys.argv[1:])
loaded = {"tensorflow", "keras", "tf_keras", "pandas"} & set(sys.modules)
print("loaded", sorted(loaded), flush=True)
sys.exit(status)
"""


@pytest.fixture
def serve():
    """Starts the command; gives the process and the addresses that it prints."""
    started = []

    def start(base, *options):
        command = [sys.executable, "-c", SERVE, "serve", str(base), *options]
        process = subprocess.Popen(
            [*command, "--rest-port", "0", "--grpc-port", "0", "--poll", "1s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        line = process.stdout.readline()
        found = re.search(r"(http://[\d.:]+)/v1/models/\S+ and (grpc://[\d.:]+)", line)
        assert found, line + process.stderr.read()
        return process, found[1], found[2]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions to copy from, of which the second adds one."""
    base = tmp_path_factory.mktemp("versions")
    return [write_tiny(base, number, added=number) for number in (0, 1)]


def publish(version, base, number):
    partial = base / f".{number}"
    shutil.copytree(version, partial)
    partial.rename(base / str(number))


def test_no_request_is_lost_over_ten_versions_and_a_stop(serve, versions, tmp_path):
    base = tmp_path / "shop"
    base.mkdir()
    publish(versions[0], base, 1)
    process, rest, grpc = serve(base)
    done = threading.Event()
    answers = {rest: [], grpc: []}
    lost = []

    def ask(address):
        # No second try: what is lost is seen.
        with Client(address, model="shop", retries=Retries(1), timeout=120) as client:
            while not done.is_set():
                try:
                    y = client.predict("plus", {"x": [1.0, 2.0]})["y"].tolist()
                except Exception as error:
                    lost.append(error)
                else:
                    answers[address].append(y)

    threads = [
        threading.Thread(target=ask, args=(one,)) for one in answers for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    with Client(grpc, model="shop", timeout=120) as client:
        for number in range(2, 12):
            publish(versions[number % 2], base, number)
            expected = 1.0 + number % 2
            while client.predict("plus", {"x": [1.0]})["y"].tolist() != [expected]:
                done.wait(0.05)
            shutil.rmtree(base / str(number - 1))
    done.set()
    for thread in threads:
        thread.join(120)
    assert lost == []
    for given in answers.values():
        assert {tuple(y) for y in given} == {(1.0, 2.0), (2.0, 3.0)}
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "loaded []" in out
    assert err.count("is served.") == 10  # the first was there at the start
    assert err.count("is closed.") == 11


def test_a_broken_version_and_bad_input(serve, versions, tmp_path):
    base = tmp_path / "shop"
    base.mkdir()
    publish(versions[0], base, 1)
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"\xff")
    process, rest, grpc = serve(base, "--max-request-bytes", "1000", "--name", "other")
    assert "Version 2 does not load: SavedModel" in process.stdout.readline()
    for address in (rest, grpc):
        with Client(address, model="other", retries=PATIENT, timeout=120) as client:
            with pytest.raises(InvalidRequest, match=r"RESOURCE_EXHAUSTED"):
                client.predict("plus", {"x": list(range(1000))})
            assert client.predict("plus", {"x": [1]})["y"].tolist() == [1.0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def test_tensorflow_is_whole_after_a_client():
    """Its messages were imported alone before; a later import has all the rest."""
    code = """
import tfrs_decay as td
from tfrs_decay.serving import protos
import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.framework import tensor_pb2

assert tf.keras.layers.Layer is tf_keras.layers.Layer
proto = tf.make_tensor_proto([1.0, 2.0])
assert type(proto) is tensor_pb2.TensorProto is type(protos.proto_of(np.zeros(1)))
assert protos.array_of(proto, "it").tolist() == [1.0, 2.0]
td.layers.ItemTower
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def model(shop_events, tiny_encoder):
    """One that was not trained: how it answers is what counts, not what."""
    tf_keras.utils.set_random_seed(1)
    text = TextTower(tiny_encoder.preprocessor, tiny_encoder.encoder, dim=8)
    return DecayRetrieval(
        ItemTower(shop_events.items, text=text, dim=8).bake(),
        TimeDecayPooling(
            Exponential("3d"), action_weights={"browse": 0.2, "purchase": 1.0}
        ),
    )


@pytest.fixture(scope="module")
def popularity(shop_events):
    return np.bincount(shop_events.item, minlength=len(shop_events.items)) / 100


def random_request(rng, ids, *, choices, texts):
    """Histories of 0 to 30 events, padded; some items unknown, some excluded."""
    batch = int(rng.integers(1, 5))
    lengths = rng.integers(0, 31, batch)
    shape = batch, max(1, int(lengths.max()))
    item = rng.choice([*ids[:200], "", "nothing"], shape).astype(object)
    request = {
        "history_item": item,
        "history_time": NOW - rng.integers(0, 400 * DAY, shape),
        "history_action": rng.choice(["browse", "purchase"], shape).astype(object),
        "history_length": lengths,
        "query_time": np.full(batch, NOW) + rng.integers(0, DAY, batch),
    }
    if choices:
        request["exclude_item"] = rng.choice([*ids[:50], ""], (batch, 3)).astype(object)
        request["k"] = rng.integers(1, 25, batch).astype(np.int32)
    if texts:
        words = rng.choice(["", "red lantern", "a box of tea"], shape)
        request["history_text"] = words.astype(object)
    return request


def same_order(answer, expected):
    """Asserts that items agree, but where scores are equal to rounding.

    Those may change places, the last one with an item that is not in the list.
    """
    scores = expected["score"].numpy()
    apart = np.pad(np.abs(np.diff(scores)) > 1e-5, ((0, 0), (1, 1)))
    apart[:, 0] = True
    clear = apart[:, :-1] & apart[:, 1:]
    items = expected["item_id"].numpy()
    assert (answer["item_id"] == items)[clear].all()
    return int(clear.sum())


def test_parity(model, popularity, shop_events, tmp_path):
    """In memory = TensorFlow's loader = gRPC = REST, for every signature."""
    base = tmp_path / "shop"
    version = export(model, base, k=5, popularity=popularity, texts=True)
    in_memory = Recommender(model, k=5, popularity=popularity).signatures(texts=True)
    rng = np.random.default_rng(5)
    compared = 0
    ids = shop_events.items.ids.tolist()
    with (
        NativeModel(version, op_libraries=text_op_libraries()) as loaded,
        Host(base, rest_port=0, grpc_port=0, say=str) as host,
        Client(f"grpc://127.0.0.1:{host.grpc_port}", model="shop", timeout=120) as grpc,
        Client(f"http://127.0.0.1:{host.rest_port}", model="shop", timeout=120) as rest,
    ):
        assert set(loaded.signatures) == set(in_memory)
        for name, asked in [
            ("serving_default", 300),
            ("recommend", 400),
            ("recommend_by_text", 300),
        ]:
            for _ in range(asked):
                request = random_request(
                    rng,
                    ids,
                    choices=name != "serving_default",
                    texts=name == "recommend_by_text",
                )
                expected = in_memory[name](
                    **{key: tf.constant(value) for key, value in request.items()}
                )
                for way in (loaded, grpc.predict, rest.predict):
                    answer = way(name, request)
                    np.testing.assert_allclose(
                        answer["score"], expected["score"].numpy(), rtol=0, atol=1e-5
                    )
                    compared += same_order(answer, expected)
        assert compared > 10_000
        bad = {"history_time": [[NOW * 1_000]]}
        one = random_request(rng, ids, choices=False, texts=False)
        one = {key: value[:1] for key, value in one.items()}
        one |= {key: one[key][:, :1] for key in one if np.ndim(one[key]) == 2}
        one |= {"history_length": [1]}
        for client in (grpc, rest):
            for wrong, named, message in [
                (bad, "history_time", "looks like milliseconds"),
                ({"history_length": [9]}, "history_length", "history_length"),
                ({"history_time": [[1, 2]]}, "history_time", "same shape"),
                ({"query_time": [NOW, NOW]}, "query_time", "agree in batch"),
            ]:
                with pytest.raises(InvalidRequest, match=message) as refused:
                    client.predict("serving_default", {**one, **wrong})
                assert refused.value.input == named
            history = [Event(ids[0], "", NOW - DAY, "purchase")]
            with pytest.raises(InvalidRequest, match="k is below 1") as refused:
                client.recommend(history, query_time=NOW, k=-1)
            assert refused.value.input == "k"
            everything = client.recommend(history, query_time=NOW, k=10**6)
            assert len(everything.item_ids) == len(ids)
            by_text = [Event("", "a red lantern", NOW - DAY, "purchase")]
            assert len(client.recommend(by_text, query_time=NOW, k=3).item_ids) == 3
