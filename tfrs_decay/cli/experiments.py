"""Commands that tell which of two recommenders does better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfrs_decay.cli.console import without_notices, write_json
from tfrs_decay.cli.options import (
    history_options,
    outcome_options,
    read_arms,
    read_history,
    read_traffic,
    served_options,
)

if TYPE_CHECKING:
    from tfrs_decay.experiments import Outcome


@click.command()
@click.argument("control", metavar="A")
@click.argument("other", metavar="B")
@served_options(required=True)
@outcome_options
@history_options
@click.option("--k", default=20, show_default=True, help="Items a list.")
@click.option(
    "--clip", type=float, help="Cut weights above this.  [default: none are cut]"
)
def compare(
    control: str,
    other: str,
    k: int,
    clip: float | None,
    html: str | None,
    json_path: str | None,
    **options: Any,
) -> None:
    """Replay two exports, A and B, over traffic that a third recommender served.

    --served has the columns user, time, item, propensity (the chance with which this
    item was shown at this place) and click, purchase or conversion; where they are
    known position (from 1 on), request (its list's id) and segment. --data or --run
    knows what these users had done before. Each export is asked what it would have
    shown; both should have been trained on what came before that traffic.
    """
    from tfrs_decay import experiments

    events = read_history(options)
    traffic, how = read_traffic(options)
    names = [Path(one).resolve().name for one in (control, other)]
    if names[0] == names[1]:
        names = [control, other]
    with without_notices():
        outcome = experiments.compare_recommenders(
            traffic,
            dict(zip(names, (control, other), strict=True)),
            events,
            k=k,
            clip=clip,
            **how,
        )
    _tell(outcome, html, json_path)


@click.command()
@served_options(required=True)
@outcome_options
@click.option(
    "--arm",
    "arms",
    multiple=True,
    required=True,
    metavar="NAME=WEIGHT",
    help="An arm, and its share of the users relative to the others; for each, the one "
    "to compare with first.",
)
@click.option(
    "--interleaved",
    is_flag=True,
    help="Users were shown lists mixed of two arms, and the arm is whose choice the "
    "item was.",
)
def experiment(
    arms: tuple[str, ...],
    interleaved: bool,
    html: str | None,
    json_path: str | None,
    **options: Any,
) -> None:
    """Tell what a live experiment found, from its impressions.

    --served has the columns user, arm, item, time and click, purchase or conversion;
    where they are known position (from 1 on), request (its list's id) and segment.
    """
    from tfrs_decay import experiments

    of_arm = read_arms(arms)
    traffic, how = read_traffic(options)
    if interleaved:
        outcome = experiments.interleaved(traffic, list(of_arm), **how)
    else:
        outcome = experiments.live(traffic, of_arm, **how)
    _tell(outcome, html, json_path)


def _tell(outcome: Outcome, html: str | None, json_path: str | None) -> None:
    click.echo(outcome.report())
    if html is not None:
        from tfrs_decay.experiments import write_page

        click.echo(f"Page: {write_page(outcome, html)}")
    write_json(json_path, outcome.to_dict())
