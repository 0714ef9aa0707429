"""The command that tells what came of what was recommended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tfrs_decay.cli.console import write
from tfrs_decay.cli.options import (
    TIME_UNIT,
    event_options,
    read_columns,
    read_events,
    read_pairs,
    was_given,
)


def _weight_or_none(context: Any, option: Any, written: str) -> float | None:
    try:
        return None if written.strip() == "none" else float(written)
    except ValueError:
        raise click.BadParameter(f"{written!r} is neither a number nor none.") from None


@click.command()
@click.option(
    "--served",
    "served_path",
    required=True,
    metavar="FILE",
    help="What was shown, one row an item (.csv, .parquet, .jsonl, .xlsx): user, item, "
    "time and position; where they are known request, version, segment, arm, "
    "propensity and score.",
)
@click.option(
    "--served-column",
    "served_columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="What --served calls a column, such as user=customer_id; for each that it "
    "calls otherwise.",
)
@click.option(
    "--served-time-unit",
    type=TIME_UNIT,
    default="s",
    show_default=True,
    help="Of times of --served that are numbers.",
)
@click.option(
    "--served-time-zone",
    default="UTC",
    show_default=True,
    help="Of dates of --served that name none, as in Europe/London.",
)
@click.option(
    "--served-day-first/--served-month-first",
    default=None,
    help="How dates of --served such as 01/12/2010 are meant.  [default: as its other "
    "dates show]",
)
@event_options
@click.option(
    "--window",
    "windows",
    multiple=True,
    metavar="ACTION=TIME",
    help="How long after an impression an event answers it, for each action to be "
    "joined.  [default: click=30m, purchase=3d, of those that there are]",
)
@click.option(
    "--examination",
    "within",
    metavar="COLUMNS",
    help="Also learn how often each place of a list is looked at, from impressions "
    "that are alike in these columns: user,item or item; or chance, where all places "
    "were drawn by chance.",
)
@click.option(
    "--clip",
    default="10",
    show_default=True,
    metavar="WEIGHT",
    callback=_weight_or_none,
    help="Cut the weights of places above this, with --examination; none: no weight is "
    "cut.",
)
@click.option("--out", metavar="FILE", help="Also write the joined rows (.parquet).")
@click.option("--seed", default=0, show_default=True, help="Of the intervals.")
@click.option("--html", metavar="FILE", help="Also write a page for people.")
@click.option("--json", "json_path", metavar="FILE", help="Also write all numbers.")
def feedback(
    served_path: str,
    served_columns: tuple[str, ...],
    served_time_unit: str,
    served_time_zone: str,
    served_day_first: bool | None,
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
    window = read_pairs("--window", windows, "ACTION=TIME, as in click=30m")
    served = library.Served.read(
        served_path,
        columns=read_columns(served_columns, "--served-column"),
        time_unit=served_time_unit,
        time_zone=served_time_zone,
        day_first=served_day_first,
    )
    joined = library.join(served, read_events(options), window=window or None)
    examination = weights = None
    if within is not None:
        alike = [] if within == "chance" else [*map(str.strip, within.split(","))]
        examination = library.fit_examination(joined, within=alike)
        weights = library.position_weights(joined, examination, clip=clip)
    found = library.report(joined, examination=examination, weights=weights, seed=seed)
    click.echo(found.report())
    if html is not None:
        click.echo(f"Page: {library.write_page(found, html)}")
    if json_path is not None:
        write(Path(json_path), json.dumps(found.to_dict(), indent=2))
    if out is not None:
        weight = None if weights is None else weights.weight
        click.echo(f"Joined: {joined.write(out, weight)}")
