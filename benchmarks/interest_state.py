"""How many events a second bring users' interest up to date, and in how many bytes.

A million events of many users arrive in batches. Each batch takes the states of its
users out of an array, updates them, and puts them back: in NumPy, and through the
"update" signature of a SavedModel that was exported and loaded again. The peer keeps
every user's last thousand events instead, and pools them again at each event.

    python benchmarks/interest_state.py --json interest_state.json

Keys of the JSON, of an exponential decay and vectors of 64 features:
  numpy_updates_per_s           events a second in NumPy, one for each user of a batch
  graph_updates_per_s           the same through the SavedModel's signature
  bytes_per_user                the length of one user's state, written as bytes
  history_length_ratio          time of one user's update after 100,000 events over that
                                after 10: 1 where the past costs nothing
  recent_history_length_ratio   the same for a decay that is read from recent events
  recompute_ratio               time of pooling 1,000 events again over that of an
                                update, both for a batch of users at a time
  single_recompute_ratio        the same for one user at a time
  single_update_us              microseconds of an update of one user by one event

How many exponentials power laws become, and how near, is printed below.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed import machine, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it
from tfrs_decay.decay import Exponential, Gaussian, PowerLaw
from tfrs_decay.interest import InterestState, State

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip

DIM = 64
HALF_LIFE = "7d"
DAY = 86_400
NOW = 1_700_000_000
LONG, SHORT = 100_000, 10
KEPT_BY_PEER = 1_000

Update = Callable[[State, np.ndarray, np.ndarray], State]


def updates_per_second(
    update: Update, interest: InterestState, *, events: int, batch: int, seed: int
) -> float:
    """Streams events of twenty times as many users as a batch has.

    From the median batch: a machine that does something else for a while does not
    change it.
    """
    random = np.random.default_rng(seed)
    states = interest.empty((20 * batch,))
    vectors = random.normal(size=(8, batch, 1, DIM)).astype(np.float32)
    rows = [random.permutation(20 * batch)[:batch] for _ in range(64)]
    batches = -(-events // batch)
    times = NOW + np.sort(random.integers(0, 30 * DAY, batches + 3))
    spent = []
    for number in range(-3, batches):  # three to warm up
        row = rows[number % len(rows)]
        moment = np.full((batch, 1), times[number + 3])
        start = time.perf_counter()
        of_batch = State(*(field[row] for field in states))
        updated = update(of_batch, vectors[number % 8], moment)
        for field, values in zip(states, updated, strict=True):
            field[row] = values
        if number >= 0:
            spent.append(time.perf_counter() - start)
    return batch / float(np.median(spent))


def exported_update(interest: td.layers.InterestState, folder: Path) -> Update:
    """The "update" signature of the layer, exported and loaded."""
    tf.saved_model.save(interest, str(folder), signatures=interest.signatures())
    loaded = tf.saved_model.load(str(folder))
    served = loaded.signatures["update"]
    fields = list(served.structured_outputs)

    def update(state: State, vectors: np.ndarray, times: np.ndarray) -> State:
        # The model goes with its signatures: they do not keep it alive.
        assert loaded is not None
        given = {field: tf.constant(getattr(state, field)) for field in fields}
        found = served(
            **given,
            vectors=tf.constant(vectors),
            times=tf.constant(times),
            mask=tf.constant(np.ones(times.shape, np.bool_)),
            event_weights=tf.constant(np.ones(times.shape, np.float32)),
        )
        return state._replace(**{field: one.numpy() for field, one in found.items()})

    return update


def history_length_ratio(interest: InterestState, *, rounds: int, seed: int) -> float:
    """The median time of an update after many events over that after a few."""
    random = np.random.default_rng(seed)
    states = {}
    for count in (LONG, SHORT):
        state = interest.empty()
        for part in np.array_split(np.arange(count), max(1, count // 1_000)):
            vectors = random.normal(size=(len(part), DIM)).astype(np.float32)
            state = interest.update(state, vectors, NOW - count + part)
        states[count] = state
    vector = random.normal(size=(1, DIM)).astype(np.float32)
    now = np.array([NOW])
    spent = medians(
        {
            str(count): functools.partial(interest.update, state, vector, now)
            for count, state in states.items()
        },
        rounds=rounds,
    )
    return spent[str(LONG)] / spent[str(SHORT)]


def recompute_ratios(
    interest: InterestState, *, users: int, rounds: int, seed: int
) -> dict[str, float]:
    """Pooling a thousand events again at each event, over an update of the state.

    The peer is as fast as NumPy makes it: float32 weights, one matrix product, and
    nothing is checked.
    """
    random = np.random.default_rng(seed)
    history = random.normal(size=(users, KEPT_BY_PEER, DIM)).astype(np.float32)
    at = np.sort(NOW - random.integers(0, 90 * DAY, (users, KEPT_BY_PEER)))
    rate = np.float32(np.log(2) / (7 * DAY))

    def pooled(vectors: np.ndarray, times: np.ndarray) -> np.ndarray:
        weights = np.exp(-rate * (NOW - times).astype(np.float32))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.matmul(weights[..., None, :], vectors)

    states = interest.update(interest.empty((users,)), history, at)
    newest = history[:, -1:]
    now = np.full((users, 1), NOW)
    one = State(*(field[0] for field in states))
    together = medians(
        {
            "update": lambda: interest.update(states, newest, now),
            "recompute": lambda: pooled(history, at),
        },
        rounds=max(1, rounds // 20),
    )
    # Apart from these, which leave nothing of the processor's caches.
    alone = medians(
        {
            "update": lambda: interest.update(one, newest[0], now[0]),
            "recompute": lambda: pooled(history[0], at[0]),
        },
        rounds=rounds,
    )
    expected = pooled(history, at)[:, 0]
    np.testing.assert_allclose(interest.read(states, NOW), expected, atol=1e-4)
    return {
        "recompute_ratio": together["recompute"] / together["update"],
        "single_recompute_ratio": alone["recompute"] / alone["update"],
        "single_update_us": 1e6 * alone["update"],
    }


def medians(steps: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each step, taken in turns after a few to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 5:
                spent[name].append(time.perf_counter() - start)
    return {name: float(np.median(one)) for name, one in spent.items()}


def main() -> None:
    """Measures all, and prints it with the machine, the versions and the seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1_000, help="users in a batch")
    parser.add_argument("--rounds", type=int, default=2_000, help="turns of medians")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    rounds, seed = arguments.rounds, arguments.seed
    print(
        f"{machine()}; seed {seed}, "
        f"{arguments.events} events in batches of {arguments.batch}, medians of "
        f"{rounds} rounds"
    )
    decay = Exponential(HALF_LIFE)
    interest = InterestState(decay, DIM)
    recent = InterestState(Gaussian(HALF_LIFE), DIM)
    many = {"events": arguments.events, "batch": arguments.batch, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        served = exported_update(td.layers.InterestState(decay, DIM), Path(folder))
        figures = {
            "numpy_updates_per_s": updates_per_second(
                interest.update, interest, **many
            ),
            "graph_updates_per_s": updates_per_second(served, interest, **many),
        }
    figures["bytes_per_user"] = interest.bytes_per_user
    for name, one in (("", interest), ("recent_", recent)):
        figures[f"{name}history_length_ratio"] = history_length_ratio(
            one, rounds=rounds, seed=seed
        )
    figures |= recompute_ratios(interest, users=512, rounds=rounds, seed=seed)
    for name, figure in figures.items():
        print(f"  {name:<28} {figure:>12,.4g}")
    print("What power laws become:")
    for scale, exponent in itertools.product(("1h", "1s"), (0.25, 0.5, 1.0, 2.0)):
        fitted = InterestState(PowerLaw(scale, exponent), DIM)
        print(f"  {fitted.describe()}; {fitted.bytes_per_user:,} bytes a user")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
