"""Commands that look after an installation and what it keeps of users."""

from __future__ import annotations

import click

from tfrs_decay.cli.console import without_notices


@click.command()
@click.option("--user", required=True, metavar="ID", help="As the log spells it.")
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="DIR",
    help="A run, made by `train`; may be given again.",
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
@click.pass_context
def forget(
    context: click.Context,
    user: str,
    runs: tuple[str, ...],
    prepared: tuple[str, ...],
    stores: tuple[str, ...],
) -> None:
    """Remove a user from runs, prepared examples and stores of states.

    Says what was removed where, and what it cannot reach: the raw log, backups, and
    what models have learned. Ends with status 1 where a file could not be rewritten.
    """
    if not (runs or prepared or stores):
        raise click.UsageError("say where to look: --run, --prepared or --store.")
    with without_notices():
        from tfrs_decay import forgetting

        found = forgetting.forget(user, runs=runs, prepared=prepared, stores=stores)
    click.echo(found.report())
    if found.failed:
        context.exit(1)
