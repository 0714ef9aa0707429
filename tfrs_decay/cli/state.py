"""Commands that look after users' states."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tfrs_decay.serving import InterestStore

_user = click.argument("user")


def _store(command: Callable[..., None]) -> Callable[..., None]:
    """Says where the states are."""
    for option in (
        click.option(
            "--prefix",
            help="Of keys in Redis, where the store was opened with one of its own.",
        ),
        click.option(
            "--store",
            "url",
            required=True,
            metavar="URL",
            help="sqlite:///PATH or redis://HOST:PORT/DATABASE.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def state() -> None:
    """Look after what an interest store keeps of users.

    The numbers within a state are of the model's decays, which none of these need.
    """


@state.command()
@_store
@_user
def export(url: str, prefix: str | None, user: str) -> None:
    """Print all that is kept of a user, as JSON; null where nothing is."""
    with _opened(url, prefix) as store:
        click.echo(json.dumps(store.export(user), indent=2))


@state.command()
@_store
@_user
def delete(url: str, prefix: str | None, user: str) -> None:
    """Delete all that is kept of a user, readable or not.

    Stop the user's events first: a later one starts the user anew.
    """
    with _opened(url, prefix) as store:
        deleted = store.delete(user)
        what = f"of user {user!r} in {store.home.name}"
    click.echo(f"Deleted the state {what}." if deleted else f"Nothing is kept {what}.")


@state.command()
@_store
def count(url: str, prefix: str | None) -> None:
    """Say how many states there are, and how many of them have expired."""
    with _opened(url, prefix) as store:
        kept = store.count()
    click.echo(f"States: {kept.states:,}, of which expired: {kept.expired:,}")


@state.command()
@_store
def sweep(url: str, prefix: str | None) -> None:
    """Delete the states that have expired, as a nightly job does for SQLite.

    Redis lets go of them by itself.
    """
    with _opened(url, prefix) as store:
        swept = store.sweep()
    click.echo(f"Expired and deleted: {swept:,}")


def _opened(url: str, prefix: str | None) -> InterestStore:
    """The store at a URL, if there is one: a mistyped path makes no empty file."""
    from tfrs_decay.serving import InterestStore

    return InterestStore.open(url, None, create=False, prefix=prefix)
