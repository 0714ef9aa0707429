"""Users' states in SQLite, and in a real Redis server where a test is marked for it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx
from redis_server import RedisServer

import tfrs_decay as td
from tfrs_decay import cli
from tfrs_decay.decay import Exponential, Gaussian
from tfrs_decay.interest import InterestState, State
from tfrs_decay.serving import (
    InterestStore,
    RedisHome,
    SQLiteHome,
    UnreadableStates,
)
from tfrs_decay.serving.homes import MARK, TRAIL, Change, Record

DAY = 86_400
INTEREST = InterestState(Exponential("1d"), dim=1)
OTHER = InterestState(Exponential("2d"), dim=1)
USERS = [
    "ann",
    "ann ",
    "Ann",
    "a\0b",
    "a\0",
    "\u00e9",  # one character, and the two that look the same
    "e\u0301",
    "\U0001f6d2 李",
    "*?[x]\\",
    "'; DROP TABLE interest; --",
    "\u00e9" * 512,
]


class Clock:
    """Seconds since the epoch, which stand still."""

    def __init__(self, now=0):
        self.now = now

    def __call__(self):
        return float(self.now)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with contextlib.closing(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        server.start()
        yield server


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.integration)])
def url(request, tmp_path):
    """Where there is nothing yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/states.db"
    server = request.getfixturevalue("redis_server")
    server.client.flushall()
    return server.url


@pytest.fixture
def open_store(url):
    """Opens stores at one place."""
    with contextlib.ExitStack() as stack:

        def opened(interest=INTEREST, **options):
            return stack.enter_context(InterestStore.open(url, interest, **options))

        yield opened


def events_of(state, interest=INTEREST):
    """How many events of one time a state stands for."""
    weight = 0.0 if state.time < 0 else interest.weight(state, state.time)[0]
    assert weight == approx(round(weight))
    return round(weight)


def same(one, other):
    return all(map(np.array_equal, one, other))


def put_in(store, user, state, **fields):
    """Writes bytes as no store would."""
    (record,) = store.home.read([user])
    seen = b"" if record is None else record.marks[:MARK]
    new = Record(state, 0, None, os.urandom(MARK * TRAIL))._replace(**fields)
    assert store.home.swap([Change(user, seen, new)]) == [True]


def test_every_user_has_a_state_of_her_own(open_store):
    store = open_store()
    for number, user in enumerate(USERS):
        assert user not in store
        store.update(user, [[number], [number]], times=[0, DAY])
    again = open_store()
    for number, user in enumerate(USERS):
        assert user in again
        assert INTEREST.read(again.get(user), DAY) == approx(number)
    assert [again.delete(user) for user in USERS] == [1] * len(USERS)


def test_a_user_who_is_not_there_has_the_empty_state(open_store):
    store = open_store()
    assert same(store.get("ann"), INTEREST.empty())
    assert store.export("ann") is None
    assert store.delete("ann") == 0
    assert store.sweep() == 0


def test_an_update_gives_the_state_that_is_kept(open_store):
    store = open_store()
    store.update("ann", [[4.0]], times=[0])
    given = store.update("ann", [[1.0]], times=[2 * DAY])
    assert given.denominator == approx(1.25)  # 1/4 + 1
    assert given.numerator == approx(2.0)  # 4/4 + 1
    assert same(given, store.get("ann"))


def test_actions_categories_and_weights_reach_the_state(open_store):
    interest = InterestState(
        Exponential({"shoe": "1d", "*": "2d"}, group="category"),
        dim=1,
        action_weights={"view": 0.5, "buy": 1.0},
    )
    events = {
        "times": [0, 0],
        "actions": ["view", "buy"],
        "categories": ["mug", "shoe"],
        "event_weights": [1.0, 3.0],
    }
    expected = interest.update(interest.empty(), [[1.0], [2.0]], **events)
    store = open_store(interest)
    assert same(store.update("ann", [[1.0], [2.0]], **events), expected)
    many = {name: [column] for name, column in events.items()}
    of_many = store.update_many(["bob"], [[[1.0], [2.0]]], **many)
    assert same(State(*(field[0] for field in of_many)), expected)


def test_many_users_are_read_in_the_order_in_which_they_are_asked_for(open_store):
    store = open_store()
    store.update("ann", [[1.0]], times=[0])
    store.update("bob", [[2.0]], times=[0])
    states = store.get_many(["bob", "new", "ann", "bob"])
    assert INTEREST.read(states, 0).tolist() == [[2.0], [0.0], [1.0], [2.0]]
    assert same(store.get_many([]), INTEREST.empty([0]))


def test_many_users_are_updated_as_each_by_herself(open_store):
    store = open_store()
    users = [f"user {number}" for number in range(1_100)]  # more than one command's
    vectors = np.arange(2_200.0).reshape(1_100, 2, 1)
    times = np.arange(2_200).reshape(1_100, 2)
    mask = np.arange(2_200).reshape(1_100, 2) % 3 > 0
    store.update("user 7", [[5.0]], times=[3])
    given = store.update_many(users, vectors, times, mask=mask)
    assert same(given, store.get_many(users))
    for row in (0, 7, 499, 500, 1_099):
        state = INTEREST.empty()
        if row == 7:
            state = INTEREST.update(state, [[5.0]], [3])
        state = INTEREST.update(state, vectors[row], times[row], mask=mask[row])
        assert same(state, store.get(users[row]))


def test_a_state_that_a_graph_made_is_kept(open_store):
    layer = td.layers.InterestState(Exponential("1d"), dim=1)
    store = open_store(layer.arrays)
    users = ["ann", "bob"]
    for day in (0, 1):
        store.change_many(
            users,
            lambda states, day=day: layer.update(
                states, [[[2.0]], [[4.0]]], [[day * DAY]] * 2
            ),
        )
    states = store.get_many(users)
    assert layer.weight(states, [DAY] * 2).numpy().tolist() == [[1.5], [1.5]]
    assert layer.read(states, [DAY] * 2).numpy() == approx(np.array([[2.0], [4.0]]))


def test_what_a_function_raises_is_raised_and_nothing_is_kept(open_store):
    store = open_store()
    store.update("ann", [[1.0]], times=[0])
    before = store.export("ann")

    def fails(state):
        raise ConnectionError("the model's server is away")

    with pytest.raises(ConnectionError, match=r"^the model's server is away$"):
        store.change("ann", fails)
    with pytest.raises(TypeError, match="what function gives is a NoneType: hand in"):
        store.change("ann", lambda state: None)
    with pytest.raises(ValueError, match=r"gives for user 'ann' cannot be kept.*nan"):
        store.change("ann", lambda state: state._replace(mean=state.mean * np.nan))
    with pytest.raises(ValueError, match=r"shapes \[\(1, 1, 1\).*must be of users, 2"):
        store.change_many(["ann", "bob"], lambda states: INTEREST.empty([1]))
    with pytest.raises(ValueError, match="vectors have the shape"):
        store.update("ann", [1.0], times=[0])
    assert store.export("ann") == before
    assert store.counts.retried == 0


def test_a_user_twice_in_a_batch_is_refused(open_store):
    with pytest.raises(ValueError, match=r"users hold 'ann' twice: put a user's"):
        open_store().update_many(["ann", "bob", "ann"], np.ones((3, 1, 1)), [[0]] * 3)


def test_an_update_starts_again_where_another_writer_was_faster(open_store):
    mine, theirs = open_store(), open_store()
    mine.update("bob", [[1.0]], times=[0])
    seen = []

    def slow(states):
        seen.append([events_of(State(*(one[row] for one in states))) for row in (0, 1)])
        if len(seen) < 3:
            theirs.update("ann", [[1.0]], times=[0])
        return INTEREST.update(states, [[[1.0]], [[1.0]]], [[0], [0]])

    states = mine.change_many(["ann", "bob"], slow)
    # Bob's was there at the first attempt, and is not added to at those for Ann's.
    assert seen == [[0, 1], [1, 2], [2, 2]]
    assert INTEREST.weight(states, 0) == approx(np.array([[3.0], [2.0]]))
    assert same(states, theirs.get_many(["ann", "bob"]))
    assert mine.counts.retried == 2
    assert theirs.counts.retried == 0


def test_an_update_is_given_up_after_its_attempts(open_store):
    mine, theirs = open_store(attempts=3), open_store()

    def too_slow(state):
        theirs.update("ann", [[1.0]], times=[0])
        return INTEREST.update(state, [[1.0]], [0])

    with pytest.raises(TimeoutError, match=r"faster with user 'ann' in \w+://.*: try"):
        mine.change("ann", too_slow)
    assert events_of(mine.get("ann")) == 3  # theirs


@pytest.mark.parametrize("comes_back", [False, True])
def test_an_update_under_way_does_not_bring_a_deleted_user_back(open_store, comes_back):
    mine, theirs = open_store(), open_store()
    mine.update("ann", [[1.0], [1.0]], times=[0, 0])
    deletions = []

    def slow(state):
        if not deletions:
            deletions.append(theirs.delete("ann"))
            if comes_back:
                theirs.update("ann", [[1.0]], times=[0])
        return INTEREST.update(state, [[1.0]], [0])

    state = mine.change("ann", slow)
    assert deletions == [1]
    assert events_of(state) == 1 + comes_back
    assert same(state, theirs.get("ann"))


def add_one_by_one(store, users, count):
    for number in range(count):
        store.update(users[number % len(users)], [[1.0]], times=[0])


def test_no_update_of_many_threads_is_lost(open_store):
    shared, own = open_store(attempts=100), open_store(attempts=100)
    failed = []

    def work(store):
        try:
            add_one_by_one(store, ["ann", "bob"], 20)
        except Exception as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=[store]) for store in (shared, shared, own)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failed
    assert [events_of(own.get(user)) for user in ("ann", "bob")] == [30, 30]


PROCESS = """
import sys
from tfrs_decay.decay import Exponential
from tfrs_decay.interest import InterestState
from tfrs_decay.serving import InterestStore
interest = InterestState(Exponential("1d"), dim=1)
with InterestStore.open(sys.argv[1], interest, attempts=100) as store:
    print("open", flush=True)
    sys.stdin.read()  # until all are
    for number in range(20):
        store.update("ann", [[1.0]], times=[0])
"""


def test_no_update_of_two_processes_is_lost(open_store, url):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [one.stdout.readline() for one in processes] == ["open\n"] * 2
    for one in processes:
        one.stdin.close()
        one.stdin = None
    errors = [one.communicate()[1] for one in processes]
    assert [one.returncode for one in processes] == [0, 0], errors
    assert events_of(open_store().get("ann")) == 40


class Unreliable:
    """A home that loses questions or answers on the way, as it is told."""

    def __init__(self, home, *losses):
        self._home = home
        self._losses = list(losses)

    def __getattr__(self, name):
        return getattr(self._home, name)

    def swap(self, changes):
        loss = self._losses.pop(0) if self._losses else None
        if loss == "question":
            raise ConnectionError("no answer")
        swapped = self._home.swap(changes)
        if loss is not None:
            if loss != "answer":
                loss()
            raise ConnectionError("no answer")
        return swapped


@pytest.mark.parametrize(
    "losses",
    [
        [],
        ["question"],
        ["answer"],
        ["question", "answer"],
        ["question", "question", "answer"],
    ],
    ids=repr,
)
def test_an_update_whose_answer_is_lost_is_not_made_twice(open_store, losses):
    store = open_store()
    store.update("ann", [[1.0]], times=[0])
    unsure = InterestStore(INTEREST, Unreliable(store.home, *losses))
    states = unsure.update_many(["ann", "bob"], np.ones((2, 1, 1)), [[0], [0]])
    assert INTEREST.weight(states, 0) == approx(np.array([[2.0], [1.0]]))
    assert same(states, store.get_many(["ann", "bob"]))
    assert unsure.counts.retried == len(losses)


@pytest.mark.parametrize("was_there", [0, 1])
@pytest.mark.parametrize("others", [1, TRAIL - 1, TRAIL])
def test_an_update_is_found_under_those_of_others(open_store, was_there, others):
    store = open_store()
    for _ in range(was_there):
        store.update("ann", [[1.0]], times=[0])

    def write_over():
        add_one_by_one(store, ["ann"], others)

    unsure = InterestStore(INTEREST, Unreliable(store.home, write_over))
    if others < TRAIL:
        state = unsure.update("ann", [[1.0]], times=[0])
        assert events_of(state) == was_there + 1 + others
    else:
        with pytest.raises(RuntimeError, match=r"'ann' in \w+://.* been made, or not"):
            unsure.update("ann", [[1.0]], times=[0])
    assert events_of(store.get("ann")) == was_there + 1 + others


def test_a_write_that_arrives_late_is_not_made_twice(open_store):
    """The question was lost as far as anyone knows, and then turns up."""
    store = open_store()

    class Late(Unreliable):
        def swap(self, changes):
            if not self._losses:
                self._losses = [changes]
                raise ConnectionError("no answer")
            if len(self._losses) == 1:
                assert self._home.swap(self._losses[0]) == [True]
                self._losses.append(None)
            return self._home.swap(changes)

    late = InterestStore(INTEREST, Late(store.home))
    assert events_of(late.update("ann", [[1.0]], times=[0])) == 1
    assert events_of(store.get("ann")) == 1


def test_a_home_that_does_not_answer_is_named_with_what_is_not_known(open_store):
    store = open_store()
    away = Unreliable(store.home, *["question"] * 3)
    unsure = InterestStore(INTEREST, away, attempts=2)
    with pytest.raises(
        ConnectionError,
        match=r"user 'ann' was given up: no answer It may have been made, or not\.",
    ):
        unsure.update("ann", [[1.0]], times=[0])
    assert "ann" not in store


def test_a_state_lives_from_its_last_update_on(open_store):
    clock = Clock()
    store = open_store(time_to_live="10d", clock=clock)
    store.update("ann", [[1.0]], times=[0])
    clock.now = 9 * DAY
    store.update("ann", [[1.0]], times=[0])
    clock.now = 19 * DAY - 1
    assert "ann" in store
    assert events_of(store.get("ann")) == 2
    clock.now += 1
    assert "ann" not in store
    assert events_of(store.get("ann")) == 0
    assert store.counts.expired == 1
    assert store.export("ann")["expired"]  # it is still there to be asked for
    assert events_of(store.update("ann", [[1.0]], times=[0])) == 1
    assert "ann" in store


def test_sweeping_deletes_what_has_expired_and_counts_it(open_store):
    clock = Clock()
    store = open_store(time_to_live=0.5, clock=clock)  # a whole second
    for_ever = open_store(clock=clock)
    for number in range(3):
        store.update(f"user {number}", [[1.0]], times=[0])
    for_ever.update("stays", [[1.0]], times=[0])
    assert store.sweep() == 0
    clock.now = 1
    store.update("user 1", [[1.0]], times=[0])
    assert store.sweep() == 2
    assert store.sweep() == 0
    assert [store.export(f"user {number}") is None for number in range(3)] == [
        True,
        False,
        True,
    ]
    clock.now = 10**9
    assert "stays" in store


def test_a_state_of_other_decays_is_refused_with_both_fingerprints(open_store):
    open_store(OTHER).update("ann", [[1.0]], times=[0])
    store = open_store()
    for ask in (
        lambda: store.get("ann"),
        lambda: store.get_many(["bob", "ann"]),
        lambda: store.update("ann", [[1.0]], times=[0]),
    ):
        with pytest.raises(
            ValueError,
            match=rf"user 'ann' in \w+://.* fingerprint {OTHER.fingerprint}, and this "
            rf'store reads {INTEREST.fingerprint}: open it .*foreign="replace"',
        ):
            ask()
    assert "ann" in store
    exported = store.export("ann")
    assert exported["fingerprint"] == OTHER.fingerprint
    assert exported["state"] is None
    assert "written under other rates" in exported["unreadable"]
    assert same(OTHER.from_bytes(base64.b64decode(exported["bytes"])).mean, [[1.0]])


def test_a_state_of_other_decays_is_replaced_if_asked_for(open_store):
    open_store(OTHER).update("ann", [[1.0], [1.0]], times=[0, 0])
    store = open_store(foreign="replace")
    assert events_of(store.get("ann")) == 0
    assert events_of(store.update("ann", [[3.0]], times=[0])) == 1
    assert store.counts.replaced == 2
    assert events_of(open_store().get("ann")) == 1


def test_damaged_bytes_are_refused_with_the_user_and_the_store(open_store, url):
    store = open_store(foreign="replace")  # which is not about these
    sound = INTEREST.to_bytes(INTEREST.empty())
    where = rf"user 'ann' in {url}.*" if url.startswith("sqlite") else "user 'ann' in "
    for data, said in [
        (sound[:-1], "cut off, or damaged"),
        (sound[:50] + b"?" + sound[51:], "its checksum does not fit"),
        (b"{}", "is no state of a user: it begins with b'{}'"),
        (b"", "has 0 bytes only"),
        (sound[:4] + b"\2" + sound[5:], "is of version 2"),
    ]:
        put_in(store, "ann", data)
        for ask in (
            lambda: store.get("ann"),
            lambda: store.update("ann", [[1.0]], times=[0]),
        ):
            with pytest.raises(ValueError, match=where) as raised:
                ask()
            assert said in str(raised.value)
            assert "delete(user) removes it" in str(raised.value)
        exported = store.export("ann")
        assert base64.b64decode(exported["bytes"]) == data
        assert said in exported["unreadable"]
    assert store.delete("ann") == 1
    assert events_of(store.update("ann", [[1.0]], times=[0])) == 1


def test_every_user_who_cannot_be_read_is_named(open_store):
    store = open_store()
    users = [f"user {number}" for number in range(30)]
    for user in users[1:]:
        put_in(store, user, b"{}")
    put_in(store, "other", OTHER.to_bytes(OTHER.empty()))
    asked = [*users, "other"]
    for ask in (
        lambda: store.get_many(asked),
        lambda: store.update_many(asked, np.ones([31, 1, 1]), np.zeros([31, 1], int)),
    ):
        with pytest.raises(
            UnreadableStates, match=r"the state of user 'user 1' in .*Nor"
        ) as raised:
            ask()
        assert list(raised.value.users) == asked[1:]
        assert "begins with b'{}'" in raised.value.users["user 29"]
        assert "the fingerprint" in raised.value.users["other"]
        assert "'user 2', 'user 3'" in str(raised.value)
        assert str(raised.value).endswith("and 9 more.")
    assert "user 0" not in store  # nothing of a batch that is refused is kept


def test_the_rest_of_a_batch_is_read_where_the_damaged_are_taken_care_of(open_store):
    store = open_store()
    for user in ("ann", "bob"):
        store.update(user, [[2.0]], times=[0])
    put_in(store, "broken", b"{}")
    told = {}
    states = store.get_many(
        ["ann", "broken", "new", "bob"], on_damaged=told.__setitem__
    )
    assert INTEREST.read(states, 0).tolist() == [[2.0], [0.0], [0.0], [2.0]]
    assert list(told) == ["broken"]
    assert "the state of user 'broken' in" in told["broken"]
    assert store.counts.damaged == 1
    # It is there still, and is not written over.
    assert base64.b64decode(store.export("broken")["bytes"]) == b"{}"
    with pytest.raises(UnreadableStates, match=r"delete\(user\) removes it"):
        store.update("broken", [[1.0]], times=[0])
    # A store that reads by other decays is a mistake, not damage.
    put_in(store, "other", OTHER.to_bytes(OTHER.empty()))
    told.clear()
    with pytest.raises(UnreadableStates, match=r"the fingerprint") as raised:
        store.get_many(["broken", "other"], on_damaged=told.__setitem__)
    assert (list(raised.value.users), told) == (["other"], {})


def test_states_are_counted_readable_or_not(open_store):
    clock = Clock()
    store = open_store(time_to_live=10, clock=clock)
    assert store.count() == (0, 0)
    for user in USERS:
        store.update(user, [[1.0]], times=[0])
    put_in(store, "broken", b"{}")  # for ever
    assert store.count() == (len(USERS) + 1, 0)
    if isinstance(store.home, SQLiteHome):  # Redis has a clock of its own
        clock.now = 10
        assert store.count() == (len(USERS) + 1, len(USERS))
        store.sweep()
        assert store.count() == (1, 0)


def test_a_store_without_an_interest_looks_after_states_it_does_not_read(open_store):
    written = open_store()
    written.update("ann", [[4.0]], times=[0])
    store = open_store(None)
    assert "ann" in store
    assert store.count().states == 1
    exported = store.export("ann")
    assert exported["fingerprint"] == INTEREST.fingerprint
    assert exported["bytes"] == written.export("ann")["bytes"]
    # It is sound, as far as anybody can tell who does not know its decays.
    assert (exported["state"], exported["unreadable"]) == (None, None)
    put_in(store, "broken", b"{}")
    broken = store.export("broken")
    assert broken["fingerprint"] is None and broken["unreadable"]
    store.delete("broken")
    for ask in (
        lambda: store.get("ann"),
        lambda: store.get("nobody"),
        lambda: store.update("ann", [[1.0]], times=[0]),
        lambda: store.interest,
    ):
        with pytest.raises(ValueError, match=r"was opened without an interest, and so"):
            ask()
    assert store.delete("ann") == 1
    assert written.count().states == 0


# What the commands print.


def say(url, capsys, *words):
    assert cli.main(["state", words[0], "--store", url, *words[1:]]) == 0
    return capsys.readouterr().out


def test_the_commands(open_store, url, capsys):
    clock = Clock(1_700_000_000)
    store = open_store(time_to_live="1d", clock=clock)
    store.update("ann", [[4.0]], times=[0])
    store.update("li \u674e", [[4.0]], times=[0])
    exported = json.loads(say(url, capsys, "export", "ann"))
    assert exported["bytes"] == store.export("ann")["bytes"]
    assert exported["written"] == "2023-11-14 22:13:20 UTC"
    assert json.loads(say(url, capsys, "export", "nobody")) is None
    printed = say(url, capsys, "count")
    assert printed.startswith("States: 2, of which expired: ")
    assert say(url, capsys, "delete", "li \u674e") == (
        f"Deleted the state of user 'li \u674e' in {url}.\n"
    )
    assert say(url, capsys, "delete", "nobody") == (
        f"Nothing is kept of user 'nobody' in {url}.\n"
    )
    assert "li \u674e" not in store
    assert say(url, capsys, "sweep") == "Expired and deleted: 1\n"
    assert say(url, capsys, "count") == "States: 0, of which expired: 0\n"


def test_a_command_makes_no_store(tmp_path, capsys):
    path = tmp_path / "mistyped.db"
    assert cli.main(["state", "count", "--store", f"sqlite:///{path}"]) == 2
    error = capsys.readouterr().err
    assert f"There is no file {path}, and none is to be made" in error
    assert error.count("\n") == 1
    assert not path.exists()
    SQLiteHome(path).close()
    told = ["state", "count", "--store", f"sqlite:///{path}", "--prefix", "shop:"]
    assert cli.main(told) == 2
    assert "prefix='shop:' is of keys in Redis" in capsys.readouterr().err


def test_an_export_is_all_that_is_kept(open_store, url):
    clock = Clock(1_700_000_000)
    store = open_store(time_to_live="1d", clock=clock)
    store.update("\U0001f6d2", [[4.0], [1.0]], times=[0, 2 * DAY])
    exported = store.export("\U0001f6d2")
    assert json.loads(json.dumps(exported)) == exported
    data = exported.pop("bytes")
    state = exported.pop("state")
    assert exported == {
        "user": "\U0001f6d2",
        "store": url,
        "written": "2023-11-14 22:13:20 UTC",
        "expires": "2023-11-15 22:13:20 UTC",
        "expired": False,
        "version": 1,
        "fingerprint": INTEREST.fingerprint,
        "unreadable": None,
    }
    assert base64.b64decode(data) == INTEREST.to_bytes(store.get("\U0001f6d2"))
    assert state["mean"] == [[approx(1.6)]]  # (4/4 + 1) / (1/4 + 1)
    assert state["time"] == 2 * DAY
    assert state["recent_vectors"] == []


def test_recent_events_are_a_history_and_have_to_be_allowed(open_store):
    interest = InterestState(Gaussian("1d"), dim=1, capacity=5)
    with pytest.raises(
        ValueError, match=r"holds its newest 5 events as they are .*recent_events=True"
    ):
        open_store(interest)
    store = open_store(interest, recent_events=True)
    store.update("ann", [[4.0], [1.0]], times=[0, DAY])
    assert store.export("ann")["state"]["recent_times"][-2:] == [0, DAY]


def test_a_store_that_is_closed_says_so(open_store):
    store = open_store()
    store.update("ann", [[1.0]], times=[0])
    store.close()
    store.close()
    for ask in (
        lambda: store.get("ann"),
        lambda: store.update("ann", [[1.0]], times=[0]),
        lambda: store.delete("ann"),
        store.sweep,
    ):
        with pytest.raises(ValueError, match=r"^\w+://.* is closed: open it again"):
            ask()
    assert "ann" in open_store()


operations = st.lists(
    st.one_of(
        st.tuples(
            st.just("update"), st.sampled_from("abc"), st.integers(-3, 3).map(float)
        ),
        st.tuples(st.just("delete"), st.sampled_from("abc")),
        st.tuples(st.just("wait"), st.integers(1, 8)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("open again")),
    ),
    max_size=20,
)


@settings(max_examples=15, deadline=None)
@given(operations)
def test_a_store_is_a_dictionary_whose_entries_expire(operations):
    clock, entries = Clock(), {}
    options = {"time_to_live": 10, "clock": clock}

    def alive(user):
        return user in entries and entries[user][1] > clock.now

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url = f"sqlite:///{folder}/states.db"
        store = stack.enter_context(InterestStore.open(url, INTEREST, **options))
        for kind, *what in operations:
            if kind == "update":
                user, x = what
                state = entries[user][0] if alive(user) else INTEREST.empty()
                state = INTEREST.update(state, [[x]], [clock.now])
                entries[user] = (state, clock.now + 10)
                assert same(store.update(user, [[x]], [clock.now]), state)
            elif kind == "delete":
                assert store.delete(what[0]) == (entries.pop(what[0], None) is not None)
            elif kind == "wait":
                clock.now += what[0]
            elif kind == "sweep":
                over = [user for user in entries if not alive(user)]
                assert store.sweep() == len(over)
                for user in over:
                    del entries[user]
            else:
                store.close()
                store = stack.enter_context(
                    InterestStore.open(url, INTEREST, **options)
                )
            for user in "abc":
                assert (user in store) == alive(user)
                state = entries[user][0] if alive(user) else INTEREST.empty()
                assert same(store.get(user), state)


@pytest.mark.parametrize(
    ("user", "error", "message"),
    [
        (7, TypeError, "user=7 is a int: give a string"),
        (b"ann", TypeError, "user=b'ann' is a bytes: give a string"),
        ("", ValueError, "user='' has 0 bytes in UTF-8, and must have 1 to 1,024"),
        ("\u00e9" * 513, ValueError, "has 1,026 bytes in UTF-8"),
        ("\ud800", ValueError, r"user='\\ud800' holds half a character"),
    ],
)
def test_what_is_no_user_is_refused(user, error, message):
    with InterestStore.open("sqlite:///:memory:", INTEREST) as store:
        for ask in (
            store.get,
            store.delete,
            store.export,
            store.__contains__,
            lambda user: store.update(user, [[1.0]], times=[0]),
            lambda user: store.get_many(["ann", user]),
        ):
            with pytest.raises(error, match=message):
                ask(user)
        with pytest.raises(TypeError, match="users='ann' must be a list of strings"):
            store.get_many("ann")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"time_to_live": "soon"}, ValueError, "time_to_live='soon' is not a duration"),
        ({"time_to_live": 0}, ValueError, "time_to_live=0 must be finite and longer"),
        ({"foreign": "ignore"}, ValueError, "foreign='ignore' must be 'refuse' or 're"),
        ({"attempts": 0}, ValueError, "attempts=0 must be a whole number from 1 on"),
        ({"attempts": True}, ValueError, "attempts=True must be a whole number"),
        (
            {"interest": "7d"},
            TypeError,
            "interest is a builtins.str: give a tfrs_decay",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        InterestStore.open("sqlite:///:memory:", **{"interest": INTEREST, **options})


@pytest.mark.parametrize(
    "url", ["states.db", "sqlite://", "sqlite:///", "sqlite://states.db", "mysql:///a"]
)
def test_a_url_of_nothing_that_is_known_is_refused(url):
    with pytest.raises(ValueError, match=rf"url='{url}' must be 'sqlite:///PATH' or"):
        InterestStore.open(url, INTEREST)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis:/me:s@ecr/t@shop:6379/0", "redis:/...@shop:6379/0"),
        ("me:secret@shop", "me:...@shop"),
        ("//me:secret@shop", "...@shop"),
    ],
)
def test_a_password_of_a_mistyped_url_is_not_shown(url, shown):
    with pytest.raises(ValueError, match=r"must be 'sqlite:///PATH' or") as refused:
        InterestStore.open(url, INTEREST)
    assert str(refused.value).startswith(f"url={shown!r} must be")


# SQLite alone.


def contents(folder):
    return b"".join(path.read_bytes() for path in Path(folder).iterdir())


def test_a_deleted_user_is_in_none_of_the_files(tmp_path):
    url = f"sqlite:///{tmp_path}/states.db"
    vector = np.float32([12345.678])
    with InterestStore.open(url, INTEREST, time_to_live=1, clock=Clock()) as store:
        for user in ("forget me", "let lapse", "stay"):
            store.update(user, [vector], times=[0])
            store.update(user, [vector], times=[0])
        assert contents(tmp_path).count(b"forget me") >= 1
        store.update("stay", [[1.0]], times=[0])
        assert store.delete("forget me") == 1
        assert b"forget me" not in contents(tmp_path)
        store._clock.now = 1
        assert store.sweep() == 2
        left = contents(tmp_path)
    for gone in (b"let lapse", b"stay", vector.tobytes(), INTEREST.fingerprint[:8]):
        assert (gone if isinstance(gone, bytes) else bytes.fromhex(gone)) not in left


def test_a_file_holds_states_and_times_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "states.db"
    with InterestStore.open(f"sqlite:///{path}", INTEREST) as store:
        store.update("ann", [[1.0]], times=[0])
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            described = connection.execute("PRAGMA table_info(interest)").fetchall()
            (size,) = connection.execute(
                "SELECT length(state) FROM interest WHERE user = 'ann'"
            ).fetchone()
        modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert tables == [("interest",)]
    assert [column for _, column, *_ in described] == [
        "user",
        "state",
        "written",
        "expires",
        "marks",
    ]
    assert size == INTEREST.bytes_per_user
    assert set(modes.values()) == {0o600}, modes


def test_a_file_that_others_may_read_becomes_its_owners_alone(tmp_path, monkeypatch):
    path = tmp_path / "states.db"
    with InterestStore.open(f"sqlite:///{path}", INTEREST) as store:
        store.update("ann", [[1.0]], times=[0])
        for one in tmp_path.iterdir():
            one.chmod(0o664)
        with InterestStore.open(f"sqlite:///{path}", INTEREST) as again:
            assert "ann" in again
            modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
        assert len(modes) == 3
        assert set(modes.values()) == {0o600}, modes
    path.chmod(0o644)

    def refuse(self, mode):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(
        PermissionError, match=r"states\.db has the mode 644, .*chmod 600"
    ):
        SQLiteHome(path)


def test_another_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE interest (rate REAL)")
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"shop\.db is a database of something else"):
        SQLiteHome(path)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o644
    newer = tmp_path / "newer.db"
    SQLiteHome(newer).close()
    with contextlib.closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ValueError, match=r"newer\.db .* another version .*, layout 2;"):
        SQLiteHome(newer)


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "states.csv"
    path.write_text("user,state\n" * 200)
    with pytest.raises(ValueError, match=r"states\.csv is damaged, or no SQLite file"):
        SQLiteHome(path)
    with pytest.raises(FileNotFoundError, match=r"no folder/states\.db"):
        SQLiteHome(tmp_path / "no folder" / "states.db")


def test_a_file_that_another_process_keeps_locked_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrs_decay.serving.sqlite_home.WAIT_SECONDS", 0.01)
    path = tmp_path / "states.db"
    with (
        InterestStore.open(f"sqlite:///{path}", INTEREST) as store,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError, match=r"states\.db was locked for 0\.01s"):
            store.update("ann", [[1.0]], times=[0])
        assert "ann" not in store  # reading goes on
        other.execute("ROLLBACK")
        assert events_of(store.update("ann", [[1.0]], times=[0])) == 1


def test_a_child_process_does_not_use_its_parents_connection(tmp_path):
    code = (
        "import os\n"
        "from tfrs_decay.serving import SQLiteHome\n"
        f"home = SQLiteHome({str(tmp_path / 'states.db')!r})\n"
        "if os.fork() == 0:\n"
        "    for ask in (lambda: home.read(['ann']), home.close):\n"
        "        try: ask()\n"
        "        except ValueError as error: print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("states.db was opened by process") == 2
    assert "open the store in each process, after the fork" in done.stdout


# Redis alone.


def test_without_the_library_the_error_says_how_to_install_it():
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from tfrs_decay.decay import Exponential\n"
        "from tfrs_decay.interest import InterestState\n"
        "from tfrs_decay.serving import InterestStore\n"
        "interest = InterestState(Exponential('1d'), dim=1)\n"
        "InterestStore.open('sqlite:///:memory:', interest).close()\n"
        "assert not {'tensorflow', 'tf_keras'} & set(sys.modules)\n"
        "InterestStore.open('redis://localhost', interest)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "need redis: pip install 'tfrs-decay[redis]'" in done.stderr
    assert done.returncode == 1


def test_a_redis_url_is_named_without_its_password():
    with contextlib.closing(RedisHome.at("redis://me:secret@shop:6380/3")) as home:
        assert home.name == "redis://shop:6380/3"
    with contextlib.closing(RedisHome.at("unix:///run/redis.sock?db=1")) as home:
        assert home.name == "redis:///run/redis.sock/1"
    with pytest.raises(ValueError, match="client decodes what it reads"):
        RedisHome.at("redis://shop?decode_responses=True")


@pytest.mark.integration
def test_a_killed_server_loses_no_update_and_makes_none_twice(tmp_path):
    with contextlib.closing(RedisServer(tmp_path)) as server:
        server.start()
        store = InterestStore.open(server.url, INTEREST, attempts=100)
        acknowledged = itertools.count()
        killed = threading.Event()

        def work():
            for _ in range(200):
                store.update("ann", [[1.0]], times=[0])
                if next(acknowledged) == 100:
                    server.kill()
                    server.start()
                    killed.set()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert killed.is_set()
        server.kill()
        server.start()
        assert events_of(store.get("ann")) == 400
        assert next(acknowledged) == 400
        store.close()


@pytest.fixture
def empty_redis(redis_server):
    redis_server.client.flushall()
    return redis_server


@pytest.mark.integration
def test_the_server_lets_go_of_what_has_expired(empty_redis):
    clock = Clock(1_700_000_000)
    with InterestStore.open(
        empty_redis.url, INTEREST, time_to_live="1d", clock=clock
    ) as store:
        store.update("ann", [[1.0]], times=[0])
        (key,) = empty_redis.client.keys()
        assert key == b"tfrs_decay:interest:ann"
        assert empty_redis.client.pttl(key) == approx(1_000 * DAY, rel=0.01)
    with InterestStore.open(empty_redis.url, INTEREST) as store:
        store.update("ann", [[1.0]], times=[0])  # whose states stay
        assert empty_redis.client.pttl(key) == -1


@pytest.mark.integration
def test_stores_of_several_prefixes_share_a_database(empty_redis):
    clock, client = Clock(), empty_redis.client
    stores = [
        InterestStore(INTEREST, RedisHome(client, prefix), time_to_live=1, clock=clock)
        for prefix in ("shop[1]*:", "shop1:", "shop[1]**:")
    ]
    for number, store in enumerate(stores):
        store.update("ann", [[number]], times=[0])
    assert [INTEREST.read(store.get("ann"), 0) for store in stores] == [0, 1, 2]
    clock.now = 1
    assert stores[0].sweep() == 1
    assert [store.export("ann") is None for store in stores] == [True, False, False]
    stores[1].close()
    assert client.ping()  # the client is the caller's
    with pytest.raises(ValueError, match=r"redis://.* is closed: open it again"):
        stores[1].get("ann")


@pytest.mark.integration
def test_the_commands_find_states_of_another_prefix(empty_redis, capsys):
    url = empty_redis.url
    with InterestStore.open(url, INTEREST, prefix="shop2:") as store:
        store.update("ann", [[1.0]], times=[0])
    assert empty_redis.client.keys() == [b"shop2:ann"]
    assert say(url, capsys, "count") == "States: 0, of which expired: 0\n"
    printed = say(url, capsys, "count", "--prefix", "shop2:")
    assert printed == "States: 1, of which expired: 0\n"


@pytest.mark.integration
def test_sweeping_leaves_what_was_written_meanwhile(empty_redis):
    clock = Clock()
    with InterestStore.open(
        empty_redis.url, INTEREST, time_to_live=1, clock=clock
    ) as store:
        store.update("ann", [[1.0]], times=[0])
        clock.now = 1
        records = store.home._records

        def read_then_lose(keys):
            found = records(keys)
            store.home._records = records
            store.update("ann", [[1.0]], times=[0])
            return found

        store.home._records = read_then_lose
        assert store.sweep() == 0
        assert "ann" in store


@pytest.mark.integration
def test_what_redis_refuses_is_said_with_its_name(empty_redis):
    client, key = empty_redis.client, "tfrs_decay:interest:ann"
    name = f"redis://127.0.0.1:{empty_redis.port}/0"
    with InterestStore.open(empty_redis.url, INTEREST) as store:
        client.set(key, "another's")
        with pytest.raises(
            ValueError, match=rf"user 'ann' in {name} cannot be read; .* b'anoth', and"
        ):
            store.get("ann")
        exported = store.export("ann")
        assert base64.b64decode(exported["bytes"]) == b"another's"
        assert "begins with b'anoth'" in exported["unreadable"]
        assert exported["written"] is exported["state"] is None
        assert store.sweep() == 0
        client.set(key, INTEREST.to_bytes(INTEREST.empty()))  # bare, without a record
        with pytest.raises(ValueError, match=r"cannot be read; delete\(user\) removes"):
            store.update("ann", [[1.0]], times=[0])
        client.delete(key)
        client.rpush(key, "a list")
        with pytest.raises(OSError, match=rf"^{name} refuses: .*WRONGTYPE"):
            store.get("ann")
        assert store.delete("ann") == 1
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(OSError, match=rf"^{name} refuses: .*maxmemory"):
                store.update("ann", [[1.0]], times=[0])
        finally:
            client.config_set("maxmemory", 0)
        client.config_set("requirepass", "secret")
        try:
            with (
                InterestStore.open(empty_redis.url, INTEREST) as other,
                pytest.raises(
                    PermissionError, match=rf"^{name} refuses this user or password"
                ),
            ):
                other.get("ann")
        finally:
            client.config_set("requirepass", "")


@pytest.mark.integration
def test_a_server_that_is_away_is_named(tmp_path):
    with contextlib.closing(RedisServer(tmp_path)) as server:
        server.start()
        with InterestStore.open(server.url, INTEREST, attempts=2) as store:
            store.update("ann", [[1.0]], times=[0])
            server.kill()
            for ask in (
                lambda: store.get("ann"),
                lambda: store.update("ann", [[1.0]], times=[0]),
                lambda: store.delete("ann"),
                store.sweep,
            ):
                with pytest.raises(
                    ConnectionError,
                    match=rf"redis://127\.0\.0\.1:{server.port}/0 does not answer",
                ):
                    ask()
            server.start()
            assert events_of(store.get("ann")) == 1
