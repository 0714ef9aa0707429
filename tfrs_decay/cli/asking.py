"""Commands that answer from an export."""

from __future__ import annotations

from typing import Any

import click

from tfrs_decay.cli.console import without_notices
from tfrs_decay.durations import to_seconds


@click.command()
@click.option("--export", "export_directory", required=True, help="An exported model.")
@click.option("--run", "run_directory", help="The run whose log knows the --user.")
@click.option("--user", help="A user of the run's log: all of their events.")
@click.option(
    "--item",
    multiple=True,
    metavar="ID[@TIME]",
    help="An event: an item's id and when, as in 85123A@2023-12-01. Now without time.",
)
@click.option(
    "--text",
    multiple=True,
    metavar="TEXT[@TIME]",
    help="An event with an item outside the catalogue, by its text.",
)
@click.option(
    "--action", default="purchase", show_default=True, help="Of these events."
)
@click.option(
    "--at", help="The query's time.  [default: now; with --user the log's end]"
)
@click.option("--k", default=10, show_default=True, help="Items to recommend.")
def recommend(export_directory: str, **options: Any) -> None:
    """Ask an export, as a server would: no Keras and no Python TensorFlow is loaded.

    With no event at all, the answer is what is popular.
    """
    from tfrs_decay.serving import asking

    k = options.pop("k")
    known = asking.texts_of(export_directory)
    history, query_time = asking.read_history(**options, known=known)
    with without_notices():
        answer = asking.ask(export_directory, history, query_time, k=k)
    click.echo(answer.report())


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--name", help="What clients call the model.  [default: DIR's name]")
@click.option(
    "--host",
    "address",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0, or :: over IPv6, lets other machines ask.",
)
@click.option("--rest-port", default=8501, show_default=True, help="0 for any.")
@click.option("--grpc-port", default=8500, show_default=True, help="0 for any.")
@click.option(
    "--max-request-bytes",
    default=4 << 20,
    show_default=True,
    help="Larger requests are refused.",
)
@click.option(
    "--max-concurrent",
    type=int,
    help="Requests that run at once.  [default: as many as there are processors]",
)
@click.option(
    "--max-queued",
    default=64,
    show_default=True,
    help="Requests that wait for a place; those beyond are refused.",
)
@click.option(
    "--max-connections",
    default=512,
    show_default=True,
    help="Connections of HTTP; those beyond are refused.",
)
@click.option(
    "--idle",
    default="60s",
    show_default=True,
    help="A connection of HTTP that is silent for so long is closed.",
)
@click.option(
    "--poll", default="1s", show_default=True, help="Time between looks at DIR."
)
@click.option(
    "--grace",
    default="30s",
    show_default=True,
    help="When stopped, longest wait for what runs.",
)
@click.option(
    "--op-library",
    "op_libraries",
    multiple=True,
    metavar="FILE",
    help="A library of ops that the model needs, besides TensorFlow Text's.",
)
def serve(
    directory: str,
    max_request_bytes: int,
    max_concurrent: int | None,
    max_queued: int,
    max_connections: int,
    idle: str,
    poll: str,
    grace: str,
    **options: Any,
) -> None:
    """Serve an exported model, on a laptop or in tests.

    Speaks TensorFlow Serving's REST and gRPC over TensorFlow's own loader; it is not
    TensorFlow Serving, which is what to run in production. DIR holds a folder a
    version, and the highest takes over when it appears. SIGTERM and Ctrl-C end it once
    what runs is answered. Prometheus metrics are at /monitoring/prometheus/metrics.
    """
    seconds = to_seconds(grace, "--grace")
    silent = to_seconds(idle, "--idle")
    with without_notices():
        from tfrs_decay.serving import host

        served = host.Host(
            directory,
            limits=host.Limits(
                max_request_bytes, max_concurrent, max_queued, max_connections, silent
            ),
            poll=to_seconds(poll, "--poll"),
            say=lambda line: click.echo(line, err=True),
            **options,
        )
    click.echo(served.report())
    host.serve(served, grace=seconds)
