"""The command that tells what came of what was recommended."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tfrs_decay.cli.console import write
from tfrs_decay.cli.options import read_columns, read_pairs


@click.command()
@click.option(
    "--served",
    "served_path",
    required=True,
    metavar="FILE",
    help="What was shown, one row an item (.csv, .parquet, .jsonl, .xlsx): user, item, "
    "time and position; where they are known request, version, segment, propensity and "
    "score.",
)
@click.option(
    "--log",
    "log_path",
    required=True,
    metavar="FILE",
    help="What happened, one row an event: user, item, time and action.",
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
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="Likewise, of --log.",
)
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
    default=10.0,
    show_default=True,
    help="Cut the weights of places above this.",
)
@click.option("--out", metavar="FILE", help="Also write the joined rows (.parquet).")
@click.option("--seed", default=0, show_default=True, help="Of the intervals.")
@click.option("--html", metavar="FILE", help="Also write a page for people.")
@click.option("--json", "json_path", metavar="FILE", help="Also write all numbers.")
def feedback(
    served_path: str,
    log_path: str,
    served_columns: tuple[str, ...],
    columns: tuple[str, ...],
    windows: tuple[str, ...],
    within: str | None,
    clip: float,
    out: str | None,
    seed: int,
    html: str | None,
    json_path: str | None,
) -> None:
    """Tell what came of what was shown: by day, by segment and by version.

    A click or a purchase counts for the latest time that its item was shown to its
    user, if that was not too long before.
    """
    from tfrs_decay import data
    from tfrs_decay import feedback as library

    served = library.Served.read(
        served_path, columns=read_columns(served_columns, "--served-column")
    )
    cleaned = data.clean(data.event_table(log_path, columns=read_columns(columns)))
    window = read_pairs("--window", windows, "ACTION=TIME, as in click=30m")
    joined = library.join(served, cleaned, window=window or None)
    examination = weights = None
    if within is not None:
        alike = [] if within == "chance" else within.split(",")
        action = "click" if "click" in joined.count else next(iter(joined.count))
        examination = library.fit_examination(joined, action=action, within=alike)
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
