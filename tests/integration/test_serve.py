"""`tfrs-decay serve` as a process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading

import pytest
from served_process import serving
from tiny_served import write_tiny

from tfrs_decay.serving import Client, InvalidRequest, Retries

pytestmark = pytest.mark.integration

PATIENT = Retries(attempts=20, first_pause=0.05, longest_pause=0.5)


@pytest.fixture
def serve():
    """Starts the command; gives the process and the addresses that it prints."""
    with serving() as start:
        yield start


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
            # Each answers otherwise than the one before, so that it is seen.
            publish(versions[(number + 1) % 2], base, number)
            expected = 1.0 + (number + 1) % 2
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
