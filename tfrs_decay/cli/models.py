"""Commands that make a model, measure it and write it for a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tfrs_decay.cli.console import progress, without_notices, write_json
from tfrs_decay.cli.options import (
    MODEL_OPTIONS,
    combined_options,
    decay_options,
    how_read,
    log_options,
    model_options,
    read_decay,
    read_events,
    read_log,
    run_option,
    several,
    was_given,
)
from tfrs_decay.families import DEFAULT, NAMED, named_decay


@click.command()
@log_options
@click.option("--out", required=True, help="Folder of the run; it must not be there.")
@click.option(
    "--tensorboard",
    metavar="DIR",
    help="Folder that gets losses and learned half-lives, pass by pass, for "
    "`tensorboard --logdir DIR`.",
)
@model_options
@decay_options
def train(out: str, tensorboard: str | None, **options: Any) -> None:
    """Clean a log, train on it, and write a run.

    The same model with mean pooling is trained beside it, so that `evaluate` can say
    what decay is worth on this log.
    """
    with without_notices():
        from tfrs_decay import runs

    decay = read_decay(options)
    if Path(out).exists():
        raise FileExistsError(
            f"{out} is there already: remove it or choose another --out."
        )
    cleaned, split, settings = read_log(options)
    run = runs.train_run(
        out,
        cleaned,
        split,
        settings,
        decay,
        data=options["data"],
        read=how_read(options),
        cache=options["cache_directory"],
        tensorboard=tensorboard,
        say=click.echo,
    )
    for name, one in run.about["trained"].items():
        click.echo(f"{name}: {one['decay']}, passes: {one['epochs']}")
    click.echo(f"Run: {run.directory}")


@click.command()
@combined_options
@click.option(
    "--out", required=True, help="The served model's folder; it gets a version."
)
@click.option("-k", "k", default=20, show_default=True, help="Items an answer has.")
def combine(out: str, k: int, **options: Any) -> None:
    """Fit a combined list to a log, and write it for TensorFlow Serving.

    What a user had, what goes together, what is popular of late, with --encoder texts
    that are alike and with --towers what two towers learned name a bounded number of
    candidates; a small network ranks them by how all of it fades. It is trained window
    by window, each with what was known at its start, and falls back to less where the
    newest window says that less is better.

    The export knows what is popular up to the log's end: write a new version daily.
    """
    if options["cache_directory"] and not options["encoder_directory"]:
        raise click.UsageError("--cache keeps what an encoder made: give --encoder.")
    if k < 1:
        raise click.UsageError(f"-k {k} must be 1 or more.")
    with without_notices():
        from tfrs_decay import ranking, runs, serving
        from tfrs_decay.data.histories import actions_to_predict, with_actions

    events = read_events(options).events
    actions = actions_to_predict(events.actions, options["target_action"])
    with_actions(events, actions or ())  # refuses what the log does not have
    settings = runs.settings_for(
        events.actions,
        options["encoder_directory"],
        action_weights=runs.unusual_in_full(events.actions),
        target_actions=actions or (),
        seed=options["seed"],
    )
    vectors = runs.encode_texts(
        events, settings, cache=options["cache_directory"], say=click.echo
    )
    windows = {"length": options["length"], "windows": options["windows"]}
    towers = None
    if options["towers"]:
        towers = ranking.tower_vectors(
            events,
            settings,
            named_decay(DEFAULT, trainable=True),
            ranking.cuts(events, **windows),
            encoded=vectors,
            progress=click.echo,
        )
    found = ranking.fit_combined_list(
        events,
        track=options["track"],
        actions=actions,
        seed=options["seed"],
        progress=click.echo,
        vectors=vectors,
        towers=towers,
        **windows,
    )
    click.echo(f"Chosen: {found.choice}")
    version = serving.export_combined(
        found.candidates,
        found.choice.head,
        events.items,
        out,
        k=k,
        exclude_seen=found.exclude_own,
        max_history=found.max_history,
        recall=found.recall,
        chosen=found.choice.name,
        validated=found.choice.validated,
    )
    click.echo(f"Written: {version}")


@click.command()
@log_options
@click.option("--out", required=True, help="Folder for what is found.")
@click.option(
    "--family",
    "families",
    type=click.Choice(tuple(NAMED)),
    multiple=True,
    help="Families to search; may be given again. The best is one of them: the plain "
    "mean and the last 1, 5 and 20 events are tried beside them to compare with.  "
    "[default: all, and these may be the best as well]",
)
@click.option(
    "--by",
    type=click.Choice(["age", "rank"]),
    multiple=True,
    help="Clocks to search, and that the best has; may be given again.  "
    "[default: both]",
)
@click.option(
    "--trials",
    default=12,
    show_default=True,
    help="Decays tried for each family and clock; half as many again for each number "
    "that a family has besides its scale.",
)
@click.option(
    "--train",
    "trained",
    is_flag=True,
    help="Judge each decay by the two-tower model, trained anew for it: minutes a "
    "trial, so name few families. Without it, by a linear model in about a second.",
)
@model_options
def tune(out: str, trained: bool, **options: Any) -> None:
    """Search the decay that suits a log best, on its validation period.

    Every family and both clocks, beside the plain mean and the last few events: OUT
    gets curve.csv, curve.png and best.json, which `train --decay-from OUT` starts from.
    Nothing after the test cut is looked at. A search that was interrupted goes on when
    the same command is given again.
    """
    if not trained:
        for name in MODEL_OPTIONS:
            if was_given(name):
                typed = name.removesuffix("_directory").replace("_", "-")
                raise click.UsageError(
                    f"--{typed} says how the model is made: it goes with --train."
                )
    with without_notices():
        from tfrs_decay import runs, tuning

    search = tuning.Search(
        families=options["families"] or tuple(NAMED),
        by=options["by"] or ("age", "rank"),
        trials=options["trials"],
        seed=options["seed"],
    )
    tuning.TuningFolder.check(out)
    cleaned, split, settings = read_log(options)
    judge = tuning.TwoTowerObjective if trained else tuning.LinearObjective
    log = (cleaned.events, split, settings)
    folder = tuning.TuningFolder(
        out, *log, search, data=options["data"], judged_by=judge.name
    )
    if folder.known:
        click.echo(f"{len(folder.known)} trials of an interrupted search are kept.")
    objective: tuning.Objective
    if trained:
        encoded = runs.encode_texts(
            cleaned.events, settings, cache=options["cache_directory"], say=click.echo
        )
        vectors = runs.read_item_vectors(cleaned.events, settings, say=click.echo)
        objective = tuning.TwoTowerObjective(*log, encoded=encoded, vectors=vectors)
    else:
        objective = tuning.LinearObjective(*log)
    with click.progressbar(
        length=folder.planned, label="Searching", file=sys.stderr
    ) as bar:
        found = folder.run(objective, watch=lambda trial: bar.update(1))
        bar.update(folder.planned - len(found.trials))
    click.echo(
        f"{found.mean.score.queries:,} queries of the validation period, judged by the "
        f"{judge.name} model; +- is twice the standard error over users:"
    )
    click.echo(found.report())
    click.echo(f"Best: {folder.directory / 'best.json'}")


@click.command()
@run_option
@click.option(
    "--k",
    default="20",
    show_default=True,
    callback=several(int),
    help="Items a list, or several lengths, as in 1,5,10,20.",
)
@click.option(
    "--diversity",
    metavar="TRADE_OFFS",
    callback=several(float),
    help="Also measure what --diversity of `export` costs and brings, at each of "
    "these, as in 0.9,0.7.",
)
@click.option("--json", "json_path", help="Also write the figures to this file.")
def evaluate(
    run_directory: str,
    k: tuple[int, ...],
    diversity: tuple[float, ...],
    json_path: str | None,
) -> None:
    """Measure a run after its test cut, beside simple baselines.

    All items are ranked, none sampled. Track "any" allows repeats; track "new" asks
    for what the user never had. Below stand the figures of segments, such as new users
    and the long tail, and whether each baseline does better or worse than the model or
    may have been lucky with these users.
    """
    with without_notices():
        from tfrs_decay import measuring, runs

    measured = measuring.measure(
        runs.load_run(run_directory), k=k, diversity=diversity, progress=progress
    )
    click.echo(measured.report())
    for line in measured.warnings():
        click.echo(f"Warning {line}", err=True)
    write_json(json_path, measured.to_dict())


@click.command()
@run_option
@click.argument("texts", nargs=-1, required=True)
@click.option("--k", default=10, show_default=True, help="Items for each text.")
@click.option(
    "--untrained",
    is_flag=True,
    help="By what the encoder alone says of the texts, not by what the run learned.",
)
def similar(run_directory: str, texts: tuple[str, ...], **options: Any) -> None:
    """Show the items nearest to a text, as in: similar --run DIR "a red lantern".

    The score is the cosine. A run's vectors tell what is bought by the same people as
    well as what is called alike.
    """
    with without_notices():
        from tfrs_decay import runs, similar

    run = runs.load_run(run_directory)
    near = runs.similar_items(run, texts, **options)
    for number, (text, neighbours) in enumerate(zip(texts, near, strict=True)):
        click.echo(("\n" if number else "") + similar.table(text, neighbours))


@click.command()
@run_option
@click.option("--out", required=True, help="The served model's folder.")
@click.option("--k", type=int, help="Items an answer has.  [default: 20]")
@click.option(
    "--texts",
    is_flag=True,
    help="Also answer for items outside the catalogue, by their texts; the server then "
    "needs TF Text's ops.",
)
@click.option("--no-repeats", is_flag=True, help="Never return an item of the history.")
@click.option(
    "--diversity",
    type=float,
    metavar="TRADE_OFF",
    help="Answers whose items are less alike, by maximal marginal relevance: 1 is the "
    "plain answer, 0.7 gives up some relevance; `evaluate --diversity` says how much.",
)
@click.option(
    "--pool",
    type=int,
    help="Of how many of the best items --diversity picks.  [default: 100]",
)
@click.option(
    "--parts",
    type=click.Choice(["all", "recommend", "query"]),
    default="all",
    show_default=True,
    help="All signatures; those that answer a history; or the query side alone, with "
    "the item vectors beside it for an index of your own.",
)
@click.option(
    "--server",
    default="2.19",
    show_default=True,
    metavar="VERSION",
    help="The TensorFlow Serving whose stock image has to have every op; any: not "
    "checked, for an image of your own.",
)
def export(
    run_directory: str,
    out: str,
    server: str,
    no_repeats: bool,
    **options: Any,
) -> None:
    """Write a run's model as a version for TensorFlow Serving."""
    with without_notices():
        from tfrs_decay import runs, serving

    version = runs.export_run(
        runs.load_run(run_directory),
        out,
        exclude_seen=no_repeats,
        server=None if server == "any" else server,
        **options,
    )
    click.echo(serving.report(version), err=True)
    click.echo(version)


@click.command()
@click.option(
    "--data",
    type=click.Choice(["complete-journey", "simulated"]),
    default="complete-journey",
    show_default=True,
    help="Real grocery purchases, or a shop whose users' interest is known to drift.",
)
@click.option(
    "--sample", type=int, help="So many users.  [default: 400 households; 1500 users]"
)
@click.option("--out", default="out/demo", show_default=True, help="Folder to write.")
@click.option(
    "--cache", default=".cache", show_default=True, help="Where the encoder is kept."
)
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
def demo(data: str, sample: int | None, out: str, cache: str, seed: int) -> None:
    """Walk the whole road: real encoder, training, figures, export, an answer."""
    with without_notices():
        from tfrs_decay import demo as demonstration

    demonstration.run(
        data, Path(out), Path(cache), sample=sample, seed=seed, progress=progress
    )
