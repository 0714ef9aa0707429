"""Commands that tell which of two recommenders does better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfrs_decay.cli.console import without_notices, write_json
from tfrs_decay.cli.options import outcome_options, read_arms, read_traffic

if TYPE_CHECKING:
    from tfrs_decay.experiments import Outcome


@click.command()
@click.argument("control", metavar="A")
@click.argument("other", metavar="B")
@outcome_options
@click.option(
    "--history",
    metavar="FILE",
    help="The log that knows what the users had done before: a table with the columns "
    "user, item, time and, optionally, action.",
)
@click.option("--run", "run_directory", help="Or the run whose log knows it.")
@click.option("--k", default=20, show_default=True, help="Items a list.")
@click.option(
    "--clip", type=float, help="Cut weights above this.  [default: none are cut]"
)
def compare(
    control: str,
    other: str,
    history: str | None,
    run_directory: str | None,
    k: int,
    clip: float | None,
    html: str | None,
    json_path: str | None,
    **options: Any,
) -> None:
    """Replay two exports, A and B, over traffic that a third recommender served.

    --log has the columns user, time, item, propensity (the chance with which this item
    was shown at this place) and click, purchase or conversion; where they are known
    position (from 1 on), request (its list's id) and segment. Each export is asked what
    it would have shown; both should have been trained on what came before that traffic.
    """
    if (history is None) == (run_directory is None):
        raise click.UsageError(
            "give --history or --run: one log that knows the users' histories."
        )
    from tfrs_decay import data, experiments

    if run_directory is not None:
        events = data.load_events(Path(run_directory) / "events.npz")
    else:
        cleaned = data.clean(data.open_log(str(history)))
        click.echo(cleaned.report())
        events = cleaned.events
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

    --log has the columns user, arm, item, time and click, purchase or conversion; where
    they are known position (from 1 on), request (its list's id) and segment.
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
