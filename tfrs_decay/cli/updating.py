"""The command that makes the next version of what happened since the last."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tfrs_decay.cli.console import RefusedError, StoppedError, without_notices
from tfrs_decay.cli.options import (
    SERVED_NAMES,
    added_options,
    how_read,
    joining_options,
    read_alike,
    read_as_before,
    read_events_of,
    read_raw,
    read_served,
    read_windows,
    run_option,
    served_options,
    typed,
    was_given,
)


@click.command()
@run_option
@added_options
@click.option("--out", required=True, help="Folder of the next run; not there yet.")
@click.option(
    "--export",
    "export_directory",
    metavar="DIR",
    help="The served model's folder: the next version is written to it, made as the "
    "last one there.",
)
@click.option(
    "--vectors",
    metavar="FILE",
    help="Vectors of new items, of a run with --vectors.  [default: the run's file]",
)
@click.option(
    "--hold-out",
    default="6h",
    show_default=True,
    help="The last hours of the new period, by which the guard tells; none: no guard.",
)
@click.option(
    "--refuse-unsure",
    is_flag=True,
    help="Refuse where fewer than 30 users are held out, which is too few to tell.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Publish whatever the guard says; its figures are written down all the same.",
)
@click.option(
    "--passes", default=2, show_default=True, help="Over the new period's queries."
)
@click.option(
    "--learning-rate", type=float, help="[default: a third of the first fit's]"
)
@served_options(required=False)
@joining_options
@click.option(
    "--examination",
    "within",
    default="user,item",
    show_default=True,
    metavar="COLUMNS",
    help="With --served, what answers an impression weighs more in training the less "
    "its place is looked at, as impressions tell that are alike in these columns: "
    "user,item or item; chance, where all places were drawn by chance; none: all "
    "events weigh alike.",
)
@click.option(
    "--skipped/--no-skipped",
    "skips",
    default=True,
    show_default=True,
    help="With --served, what was taken of a list competes in training with what was "
    "passed over there alone; else with the batch or the whole catalogue, as ever.",
)
@click.option(
    "--html",
    metavar="FILE",
    help="The page of what came of --served.  [default: beside --out, ending in .html]",
)
def update(
    run_directory: str,
    out: str,
    export_directory: str | None,
    vectors: str | None,
    hold_out: str,
    html: str | None,
    **options: Any,
) -> None:
    """Make the next run, and the next version, of what happened since the last.

    --data may overlap the run's log: rows that it has are left out. It is read as that
    log was, with the run's columns, times and rules, which need not be said again. New
    users and items join; the model goes on from where it stands, over the new period
    alone. Nothing is published that is significantly worse on the last hours, or where
    the log is unlike the one before: the command then ends with
    status 3, says why, and writes nothing but the page of --served.

    --served is what was shown since the last update, with the columns user, item, time
    and position (from 1 on); where they are known request (its list's id), version,
    segment, arm, propensity and score. It is joined with --data, and its click-through
    and conversion are told by day, segment and version. In training what was clicked
    far down a list weighs more, and what was clicked competes with what was passed over
    in the list.
    """
    weighing = _weighing(options)
    with without_notices():
        from tfrs_decay import feedback, runs, serving, updating
        from tfrs_decay.data import described_items

    run = runs.load_run(run_directory)
    runs.refuse_existing(out)
    made_as: Mapping[str, Any] = {}
    if export_directory is not None:
        made_as = updating.check_export(export_directory)
    served = None if options["served_path"] is None else read_served(options)
    options = read_as_before(options, run.about.get("read") or {})
    log = read_raw({**options, "sample": None, "seed": run.settings.seed})
    cleaned = read_events_of(log, options)
    signal = None
    if served is not None:
        seed = run.settings.seed
        signal = feedback.training_signal(served, cleaned, seed=seed, **weighing)
        click.echo(signal.report.report())
        # Whatever becomes of the model.
        beside = Path(out).with_name(f"{Path(out).name}.html")
        click.echo(f"Page: {feedback.write_page(signal.report, html or beside)}")
    chosen = ("refuse_unsure", "force", "passes", "learning_rate")
    try:
        made = updating.update_run(
            run,
            cleaned,
            out,
            data=options["data"],
            read=how_read(options),
            items=described_items(log),
            vectors=vectors,
            hold_out=None if hold_out == "none" else hold_out,
            signal=signal,
            say=click.echo,
            **{name: options[name] for name in chosen},
        )
    except updating.Refused as error:
        raise RefusedError(str(error)) from error
    click.echo(f"Run: {made.directory}")
    if export_directory is not None:
        try:
            version = updating.export_like_last(made, export_directory)
        except BaseException as error:
            line = _export_line(made.directory, export_directory, made_as)
            left = f"the run {made.directory} is written, and no version of it: {line}"
            if isinstance(error, KeyboardInterrupt):
                raise StoppedError(f"interrupted; {left}") from error
            click.echo(f"tfrs-decay: {left}", err=True)
            raise
        click.echo(serving.report(version), err=True)
        click.echo(f"Written: {version}")


def _weighing(options: Mapping[str, Any]) -> dict[str, Any]:
    """How `feedback.training_signal` joins and weighs."""
    if options["served_path"] is None:
        for name in (*SERVED_NAMES, "html"):
            if was_given(name):
                raise click.UsageError(
                    f"{typed(name)} is about what was shown: give --served as well."
                )
    within = None if options["within"] == "none" else read_alike(options["within"])
    if within is None and was_given("clip"):
        raise click.UsageError(
            "--clip cuts weights, and --examination none makes none: leave one of them "
            "out."
        )
    return {
        "window": read_windows(options["windows"]),
        "within": within,
        "clip": options["clip"],
        "skips": options["skips"],
    }


def _export_line(run: Path, directory: str, made_as: Mapping[str, Any]) -> str:
    """The command that exports a run, with options of `updating.check_export`."""
    words = ["tfrs-decay", "export", "--run", str(run), "--out", directory]
    named = {"exclude_seen": "--no-repeats"}
    for name, value in made_as.items():
        option = named.get(name, f"--{name}")
        if value is True:
            words.append(option)
        elif name == "server" and value is None:
            words += [option, "any"]
        elif value is not None and value is not False:
            words += [option, str(value)]
    return shlex.join(words)
