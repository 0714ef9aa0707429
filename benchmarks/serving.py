"""What a served answer costs, and what a server does under load.

First the graphs that `serving.export` writes, one request at a time, in turns with a
bare one in the same process: a vector times those of all items, and the best twenty
places. `recommend` gets the ids, times and actions of fifty events, `from_interest` a
kept state; both check what they are given. Beside them stands the same list from a GRU
over the history. All answer twenty ids.

Then a model of 10,000 items behind `tfrs-decay serve`, over REST, with `wrk` at rising
concurrency (apt-get install wrk); and while ten versions take each other's place and
the Redis that keeps users' states is killed and started again, with the package's own
client and `serving.InterestStore` (apt-get install redis-server).

    python benchmarks/serving.py --json serving.json

Keys of the JSON, vectors being of 64 features:
  recommend_p50_ratio_10k      the median time of `recommend` over that of the bare one,
                               at 10,000 items; and so `recommend_p50_ratio_1m`,
                               `from_interest_p50_ratio_10k`, `gru_p50_ratio_1m`, ...
  recommend_p99_ratio_10k      the same of the 99th percentiles
  recommend_p50_ms_10k, recommend_p99_ms_10k, recommend_per_second_10k, ...
                               the figures themselves; `bare_...`, too
  load                         for each number of connections: answers a second,
                               p50_ms, p99_ms, and how many were refused or failed
  swaps_errors                 of the requests over REST while ten versions came
  state_requests, state_errors, updates_lost
                               requests from kept states while ten versions came and
                               Redis was killed; those that failed, and acknowledged
                               updates that were not there in the end
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from printed import machine, write_json
from turns import turns

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay.evaluation.two_tower import GRURetrieval
from tfrs_decay.layers import ItemTower, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import Client, InterestStore, Recommender, export

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

DIM = 64
EVENTS = 50
K = 20
CALLS = 20
REQUESTS = 64
DAY = 86_400
NOW = 1_700_000_000
SIZES = {"10k": 10_000, "1m": 1_000_000}
VERSIONS = 10
USERS = 200

WRK = """
local bodies, at = {}, 0
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
request = function()
  at = at % #bodies + 1
  return wrk.format("POST", nil, headers, bodies[at])
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %f %f\\n", summary.requests,
    summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def model_of(n: int, kind: type[DecayRetrieval] = DecayRetrieval) -> DecayRetrieval:
    """Two towers that were not trained: what an answer costs is the same."""
    items = td.data.Items([f"item {place}" for place in range(n)])
    pooling = TimeDecayPooling(
        td.decay.Exponential("30d"), action_weights={"browse": 0.2, "purchase": 1.0}
    )
    return kind(ItemTower(items, dim=DIM), pooling)


def requests_for(n: int, random: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Histories of fifty events, as a server is sent them."""
    return [
        {
            "history_item": np.array(
                [[f"item {place}" for place in random.integers(0, n, EVENTS)]], object
            ),
            "history_time": NOW - random.integers(0, 300 * DAY, [1, EVENTS]),
            "history_action": np.array([["purchase"] * EVENTS], object),
            "history_length": np.array([EVENTS]),
            "query_time": np.array([NOW]),
        }
        for _ in range(REQUESTS)
    ]


def bare_list(n: int, random: np.random.Generator) -> Callable[..., Any]:
    """A vector in, the best twenty of all items out."""
    vectors = tf.Variable(random.normal(size=(DIM, n)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, DIM], tf.float32)])
    def bare(query: tf.Tensor) -> Any:
        return tf.math.top_k(query @ vectors, K)

    return bare.get_concrete_function()


def in_turn(function: Callable[..., Any], inputs: list[dict[str, Any]]) -> Any:
    """A step that asks the next of some questions each time, over and over."""
    at = iter(range(10**9))
    asked = [{name: tf.constant(one) for name, one in row.items()} for row in inputs]
    return lambda: function(**asked[next(at) % len(asked)])


def latencies(n: int, *, rounds: int, seed: int) -> dict[str, np.ndarray]:
    """Seconds of each call, by what was asked."""
    random = np.random.default_rng(seed)
    tf_keras.utils.set_random_seed(seed)
    asked = requests_for(n, random)
    popular = random.random(n)
    recommender = Recommender(model_of(n), k=K, popularity=popular)
    decay = recommender.signatures(texts=False)
    gru = Recommender(model_of(n, GRURetrieval), k=K, popularity=popular)
    states = kept_states(recommender, decay["update_interest"], asked)
    bare = bare_list(n, random)
    queries = random.normal(size=(REQUESTS, 1, DIM)).astype(np.float32)
    spent = turns(
        {
            "recommend": in_turn(decay["serving_default"], asked),
            "from_interest": in_turn(decay["recommend_from_interest"], states),
            "gru": in_turn(gru.signatures(texts=False)["serving_default"], asked),
            "bare": in_turn(bare, [{"query": one} for one in queries]),
        },
        rounds,
        calls=CALLS,
    )
    return {name: np.array(one) for name, one in spent.items()}


def kept_states(
    recommender: Recommender,
    update: Callable[..., Any],
    asked: list[dict[str, np.ndarray]],
) -> list[dict[str, np.ndarray]]:
    """The inputs of `recommend_from_interest` that stand for these histories."""
    assert recommender.kept is not None
    new = recommender.kept.of_new_user()
    nothing = {
        "exclude_item": np.array([[""]], object),
        "exclude_length": np.array([0]),
        "k": np.array([K], np.int32),
    }
    states = []
    for one in asked:
        events = {name: value for name, value in one.items() if name != "query_time"}
        after = update(
            **{name: tf.constant(value) for name, value in {**new, **events}.items()}
        )
        state = {name: value.numpy() for name, value in after.items()}
        states.append({**state, "query_time": one["query_time"], **nothing})
    return states


def figures_of(spent: dict[str, np.ndarray], size: str) -> dict[str, float]:
    """Ratios to the bare list and the figures themselves, by the keys above."""
    figures = {}
    for name, seconds in spent.items():
        figures[f"{name}_per_second_{size}"] = 1 / seconds.mean()
        for percent in (50, 99):
            own = np.percentile(seconds, percent)
            figures[f"{name}_p{percent}_ms_{size}"] = 1e3 * own
            if name != "bare":
                bare = np.percentile(spent["bare"], percent)
                figures[f"{name}_p{percent}_ratio_{size}"] = own / bare
    return {name: float(value) for name, value in figures.items()}


@contextlib.contextmanager
def served(base: Path) -> Iterator[tuple[str, str]]:
    """`tfrs-decay serve` as a process: its addresses for REST and gRPC."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfrs_decay", "serve", str(base)]
        + ["--rest-port", "0", "--grpc-port", "0", "--poll", "1s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"(http://[\d.:]+)/v1/models/\S+ and (grpc://[\d.:]+)", line)
        if found is None:
            raise RuntimeError(f"`tfrs-decay serve` did not start: {line!r}")
        yield found[1], found[2]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def publish(version: Path, further: int) -> int:
    """A copy of a version as a later one, which appears all at once; its number."""
    number = int(version.name) + further
    partial = version.with_name(f".{number}")
    shutil.copytree(version, partial)
    partial.rename(version.with_name(str(number)))
    return number


def wrk(url: str, bodies: Path, *, connections: int, seconds: float) -> dict[str, Any]:
    """One load run: answers a second, latencies, refused and failed requests."""
    script = bodies.with_name("wrk.lua")
    script.write_text(WRK, encoding="utf-8")
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "60s"]
        + ["-s", str(script), url],
        env={**os.environ, "BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"RESULT (.*)", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk printed no result: {done.stdout}")
    requests, spent, refused, failed, p50, p99 = map(float, found[1].split())
    return {
        "answers_per_second": 1e6 * (requests - refused) / spent,
        "p50_ms": p50 / 1e3,
        "p99_ms": p99 / 1e3,
        "refused": int(refused),
        "failed": int(failed),
    }


def under_load(folder: Path, *, seconds: float, seed: int) -> dict[str, Any]:
    """Load runs through `tfrs-decay serve`, printed as they end."""
    n = SIZES["10k"]
    tf_keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    model = model_of(n)
    base = folder / "shop"
    version = export(model, base, k=K, popularity=random.random(n))
    bodies = folder / "bodies.jsonl"
    asked = requests_for(n, random)
    with bodies.open("w", encoding="utf-8") as file:
        for one in asked:
            plain = {name: value.tolist() for name, value in one.items()}
            file.write(json.dumps({"inputs": plain}) + "\n")
    load: dict[str, Any] = {}
    with served(base) as (rest, grpc):
        url = f"{rest}/v1/models/shop:predict"
        wrk(url, bodies, connections=2, seconds=2)  # to warm up
        for connections in (1, 2, 4, 8, 16, 32, 64, 128):
            one = wrk(url, bodies, connections=connections, seconds=seconds)
            load[str(connections)] = one
            print(
                f"  {connections:>4} connections: {one['answers_per_second']:7,.0f} "
                f"answers/s, p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms, "
                f"{one['refused']} refused, {one['failed']} failed"
            )
        found: dict[str, Any] = {}

        def while_versions_come() -> None:
            found.update(wrk(url, bodies, connections=4, seconds=4 * VERSIONS))

        loading = threading.Thread(target=while_versions_come)
        loading.start()
        for further in range(1, VERSIONS + 1):
            wait_for(rest, publish(version, further))
        loading.join()
        errors = found["refused"] + found["failed"]
        print(f"  while {VERSIONS} versions came: {errors} requests failed")
        kept = from_kept_states(folder, version, grpc, rest, model)
    return {"load": load, "swaps_errors": errors, **kept}


def wait_for(rest: str, number: int) -> None:
    """Returns once a version is served."""
    url = f"{rest}/v1/models/shop"
    for _ in range(600):
        with urllib.request.urlopen(url, timeout=60) as answer:
            states = json.load(answer)["model_version_status"]
        if any(
            int(one["version"]) == number and one["state"] == "AVAILABLE"
            for one in states
        ):
            return
        time.sleep(0.1)
    raise RuntimeError(f"version {number} was not served within a minute: {states}")


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A Redis of one's own that writes every update to disk, and how to kill it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
        *("--dir", str(folder), "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "always"),
    ]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL)]

    def kill_and_start() -> None:
        running[-1].kill()
        running[-1].wait()
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))

    try:
        yield f"redis://127.0.0.1:{port}/0", kill_and_start
    finally:
        running[-1].kill()
        running[-1].wait()


def from_kept_states(
    folder: Path, version: Path, grpc: str, rest: str, model: DecayRetrieval
) -> dict[str, Any]:
    """Users act and are recommended to, while versions come and Redis is killed.

    Each act adds an event of weight 1 to a state of a decay so slow that the weight of
    a state tells how many events it has.
    """
    interest = td.interest.InterestState(td.decay.Exponential("30d"), dim=DIM)
    vectors = model.item_tower.catalogue_vectors()
    acknowledged = np.zeros(USERS, np.int64)
    errors: list[Exception] = []
    asked_for = [0, 0]
    over = threading.Event()

    def act(worker: int, url: str) -> None:
        """Every user belongs to one of two workers."""
        random = np.random.default_rng(worker)
        options: dict[str, Any] = {"attempts": 200}
        with (
            InterestStore.open(url, interest, **options) as store,
            Client(grpc, model="shop", timeout=60) as client,
        ):
            while not over.is_set():
                user = worker + 2 * int(random.integers(0, USERS // 2))
                place = int(random.integers(0, len(vectors)))
                try:
                    store.update(f"user {user}", vectors[[place]], times=[NOW])
                    acknowledged[user] += 1
                    state = store.get(f"user {user}")
                    client.predict("recommend_from_interest", inputs_of(state))
                except Exception as error:
                    errors.append(error)
                asked_for[worker] += 1

    with redis_server(folder) as (url, kill_and_start):
        workers = [threading.Thread(target=act, args=(one, url)) for one in (0, 1)]
        for one in workers:
            one.start()
        for further in range(VERSIONS + 1, 2 * VERSIONS + 1):
            wait_for(rest, publish(version, further))
            if further == VERSIONS + VERSIONS // 2:
                kill_and_start()
        over.set()
        for one in workers:
            one.join()
        with InterestStore.open(url, interest, attempts=200) as store:
            states = store.get_many([f"user {user}" for user in range(USERS)])
    there = np.rint(interest.weight(states, time=NOW)).reshape(USERS).astype(np.int64)
    lost = int(np.maximum(acknowledged - there, 0).sum())
    print(
        f"  from kept states, while {VERSIONS} versions came and Redis was killed: "
        f"{sum(asked_for):,} requests, {len(errors)} failed, {lost} of "
        f"{acknowledged.sum():,} acknowledged updates lost"
    )
    for error in errors[:3]:
        print(f"    {type(error).__name__}: {error}")
    return {
        "state_requests": sum(asked_for),
        "state_errors": len(errors),
        "updates_lost": lost,
        "updates": int(acknowledged.sum()),
    }


def inputs_of(state: td.interest.State) -> dict[str, Any]:
    """One user's state as what `recommend_from_interest` takes."""
    return {
        "state_mean": state.mean[None],
        "state_log_weight": state.log_weight[None],
        "state_time": state.time[None],
        "query_time": [NOW + DAY],
        "exclude_item": [[""]],
        "exclude_length": [0],
        "k": [K],
    }


def main() -> None:
    """Measures what is asked for, and prints it with the machine and the seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="turns of 20 calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sizes", nargs="*", choices=list(SIZES), default=list(SIZES), help="catalogue"
    )
    parser.add_argument("--no-load", action="store_true", help="the graphs alone")
    parser.add_argument(
        "--seconds", type=float, default=8, help="of each load run, whole ones"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    for tool in () if arguments.no_load else ("wrk", "redis-server"):
        if shutil.which(tool) is None:
            parser.error(f"there is no {tool}: apt-get install {tool}, or --no-load")
    print(
        f"{machine()}; seed {arguments.seed}, {arguments.rounds} rounds of {CALLS} "
        "calls in turns"
    )
    figures: dict[str, Any] = {}
    for size in arguments.sizes:
        spent = latencies(SIZES[size], rounds=arguments.rounds, seed=arguments.seed)
        figures |= figures_of(spent, size)
        for name in spent:
            ratio = figures.get(f"{name}_p50_ratio_{size}", 1.0)
            print(
                f"  {SIZES[size]:>9,} items, {name:>13}: p50 "
                f"{figures[f'{name}_p50_ms_{size}']:.2f} ms, {ratio:.2f} times the "
                f"bare one; p99 {figures[f'{name}_p99_ms_{size}']:.2f} ms; "
                f"{figures[f'{name}_per_second_{size}']:,.0f}/s"
            )
    if not arguments.no_load:
        with tempfile.TemporaryDirectory() as folder:
            figures |= under_load(
                Path(folder), seconds=arguments.seconds, seed=arguments.seed
            )
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
