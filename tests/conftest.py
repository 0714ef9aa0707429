"""What several test files share. Importing the package first settles legacy Keras."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable

import pandas as pd
import pytest
from tiny_bert import write_checkpoint

import tfrs_decay as td


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Everything but the integration suites works with sockets blocked."""
    if "integration" in request.keywords:
        return

    connect = socket.socket.connect

    def refuse(self, address):
        # What a test serves itself is no network.
        if isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1"):
            return connect(self, address)
        raise OSError(f"a test tried to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """A TF-Hub preprocessor and encoder of a few thousand random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint = write_checkpoint(folder / "checkpoint")
    return td.encoders.convert(checkpoint, folder / "hub", seq_length=16)


@pytest.fixture(scope="session")
def shop_events():
    """Clean events of a small simulated shop: 60 users, 60 days."""
    shop = td.data.simulated_shop(users=60, days=60)
    return td.data.clean(shop.log).events


@pytest.fixture(scope="session")
def make_events() -> Callable[..., td.data.Events]:
    """Makes events of (user, time, item) rows, whatever order they come in."""

    def make(*rows: tuple[str, int, str]) -> td.data.Events:
        mixed = random.Random(3).sample(rows, len(rows))
        table = pd.DataFrame(mixed, columns=["user", "time", "item"])
        return td.data.clean(td.data.RawLog(table, None, {})).events

    return make
