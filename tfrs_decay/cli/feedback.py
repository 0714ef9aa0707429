"""The command that tells what came of what was recommended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfrs_decay.cli.console import write_json
from tfrs_decay.cli.options import (
    event_options,
    joining_options,
    read_alike,
    read_events,
    read_served,
    read_windows,
    served_options,
    was_given,
)


@click.command()
@served_options(required=True)
@event_options
@joining_options
@click.option(
    "--examination",
    "within",
    metavar="COLUMNS",
    help="Also learn how often each place of a list is looked at, from impressions "
    "that are alike in these columns: user,item or item; or chance, where all places "
    "were drawn by chance.",
)
@click.option("--out", metavar="FILE", help="Also write the joined rows (.parquet).")
@click.option("--seed", default=0, show_default=True, help="Of the intervals.")
@click.option("--html", metavar="FILE", help="Also write a page for people.")
@click.option("--json", "json_path", metavar="FILE", help="Also write all numbers.")
def feedback(
    windows: tuple[str, ...],
    within: str | None,
    clip: float | None,
    out: str | None,
    seed: int,
    html: str | None,
    json_path: str | None,
    **options: Any,
) -> None:
    """Tell what came of what was shown: by day, by segment and by version.

    --served has the columns user, item, time and position (from 1 on); where they are
    known request (its list's id), version, segment, arm, propensity and score.
    --data is what happened: user, item, time and action, one row an event.
    A click or a purchase counts for the latest time that its item was shown to its
    user, if that was not too long before.
    """
    from tfrs_decay import feedback as library

    if within is None and was_given("clip"):
        raise click.UsageError(
            "--clip cuts the weights that --examination finds: give both, or neither."
        )
    if out is not None and Path(out).suffix.lower() != ".parquet":
        raise click.UsageError(f"--out {out}: joined rows are written as .parquet.")
    window = read_windows(windows)
    served = read_served(options)
    joined = library.join(served, read_events(options), window=window)
    examination = weights = None
    if within is not None:
        examination = library.fit_examination(joined, within=read_alike(within))
        weights = library.position_weights(joined, examination, clip=clip)
    found = library.report(joined, examination=examination, weights=weights, seed=seed)
    click.echo(found.report())
    if html is not None:
        click.echo(f"Page: {library.write_page(found, html)}")
    write_json(json_path, found.to_dict())
    if out is not None:
        weight = None if weights is None else weights.weight
        click.echo(f"Joined: {joined.write(out, weight)}")
