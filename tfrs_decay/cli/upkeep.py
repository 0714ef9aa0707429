"""Commands that look after an installation and what it keeps of users."""

from __future__ import annotations

import click

from tfrs_decay.cli.console import FOUND_WRONG, without_notices, write_json


@click.command()
@click.option(
    "--encoder",
    metavar="DIR_OR_HANDLE",
    help="Also load this text encoder and embed a text.  [default: the one that `demo` "
    "left in the cache, if any]",
)
@click.option(
    "--cache", default=".cache", show_default=True, help="Where encoders are kept."
)
@click.option("--json", "json_path", metavar="FILE", help="Also write it to this file.")
@click.pass_context
def doctor(
    context: click.Context, encoder: str | None, cache: str, json_path: str | None
) -> None:
    """See whether this machine has what is needed, and what to do if not.

    Looks at versions, which Keras `tf.keras` is, TF Text's ops, the libraries that
    `recommend` and `serve` load, extras, the cache, an encoder and the machine. Ends
    with status 1 where something is wrong.
    """
    with without_notices():
        from tfrs_decay.doctor import examine

        found = examine(encoder=encoder, cache=cache)
    click.echo(found.report())
    write_json(json_path, found.to_dict())
    if not found.healthy:
        context.exit(FOUND_WRONG)


@click.command()
@click.option("--user", required=True, metavar="ID", help="As the log spells it.")
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="DIR",
    help="A run, of `train` or `update`; may be given again.",
)
@click.option(
    "--prepared",
    multiple=True,
    metavar="DIR",
    help="Examples, made by `prepare`; may be given again.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="URL",
    help="Kept states of users, as in sqlite:///states.db or redis://host:6379/0; may "
    "be given again.",
)
@click.option(
    "--prefix",
    help="Of keys in Redis, where the stores were opened with one of their own.",
)
@click.pass_context
def forget(
    context: click.Context,
    user: str,
    runs: tuple[str, ...],
    prepared: tuple[str, ...],
    stores: tuple[str, ...],
    prefix: str | None,
) -> None:
    """Remove a user from runs, prepared examples and stores of states.

    Says what was removed where, and what it cannot reach: the raw log, backups, and
    what models have learned. Ends with status 1 where a file could not be rewritten.
    """
    if not (runs or prepared or stores):
        raise click.UsageError("say where to look: --run, --prepared or --store.")
    with without_notices():
        from tfrs_decay import forgetting

        found = forgetting.forget(
            user, runs=runs, prepared=prepared, stores=stores, prefix=prefix
        )
    click.echo(found.report())
    if found.failed:
        context.exit(FOUND_WRONG)
