"""What several commands ask for, and how it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from tfrs_decay.cli.console import without_notices
from tfrs_decay.durations import to_seconds
from tfrs_decay.families import DEFAULT, NAMED, NAMES, named_decay

if TYPE_CHECKING:
    import pandas as pd

    from tfrs_decay.data import Cleaned, Events, RawLog, Rules, TimeSplit
    from tfrs_decay.decay import Decay
    from tfrs_decay.feedback import Served
    from tfrs_decay.training import Settings

run_option = click.option(
    "--run",
    "run_directory",
    required=True,
    help="Folder of a run, of `train` or `update`.",
)

Options = Callable[[Callable[..., None]], Callable[..., None]]


def _together(*options: Options) -> Options:
    """Several options as one decorator, in the order of their mention."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _data(*, required: bool) -> Options:
    return click.option(
        "--data",
        required=required,
        help="What users did: complete-journey, simulated, or a file: UCI Online "
        "Retail (.parquet, .csv, .xlsx), reviews of Amazon Reviews 2023 (.jsonl, "
        ".jsonl.gz, .csv), any table (.csv, .parquet, .jsonl) with the columns user, "
        "item, time and, optionally, action and value; or a folder with MovieLens, "
        "MIND, or NAME.jsonl and meta_NAME.jsonl of Amazon Reviews.",
    )


_COLUMN = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    help="What your own log calls a column, such as user=customer_id; for each of "
    "user, item, time, action and value that it calls otherwise.",
)
TIME_UNIT = click.Choice(["s", "ms", "us", "ns"])
"""What a unit of times may be."""

_FILES = (
    _data(required=True),
    click.option(
        "--items",
        help="Table with the columns item and text, for your own log; or "
        "meta_NAME.jsonl, for reviews of Amazon.",
    ),
    _COLUMN,
    click.option(
        "--text-column",
        "text_columns",
        multiple=True,
        metavar="NAME",
        help="A column of --items that is an item's text; given again, items have "
        "several texts, such as title and description, encoded one by one.  "
        "[default: text; title and description of Amazon's products]",
    ),
)
_SAMPLE = click.option(
    "--sample", type=int, help="Only so many users, drawn at random."
)
_RULES = (
    click.option(
        "--time-unit",
        type=TIME_UNIT,
        default="s",
        show_default=True,
        help="Of times that are numbers.",
    ),
    click.option(
        "--time-zone",
        default="UTC",
        show_default=True,
        help="Of dates that name none, as in Europe/London.",
    ),
    click.option(
        "--day-first/--month-first",
        default=None,
        help="How dates such as 01/12/2010 are meant.  [default: as the log's other "
        "dates show]",
    ),
    click.option(
        "--missing-action",
        metavar="ACTION",
        help="What a row without an action did.  [default: it is left out]",
    ),
    click.option(
        "--missing-value",
        type=float,
        help="The value of a row without one, in a log that has the column.  "
        "[default: it is left out]",
    ),
    click.option(
        "--most-per-minute",
        type=int,
        help="A user with more events than this within a minute is a bot, and left "
        "out.  [default: nobody is]",
    ),
    click.option(
        "--taken-back",
        multiple=True,
        metavar="ACTION=ACTION",
        help="What takes what back, such as return=purchase: both are left out.",
    ),
)
_SOURCE = (*_FILES, _SAMPLE, *_RULES)
_TARGET_ACTION = click.option(
    "--target-action",
    multiple=True,
    help="Actions to predict.  [default: purchase where a log has it, else all]",
)
_SEED = click.option(
    "--seed", default=0, show_default=True, help="Of everything random."
)
_TARGETS = (
    _TARGET_ACTION,
    click.option(
        "--test", default="30d", show_default=True, help="Length of the test period."
    ),
    click.option(
        "--validation",
        default="30d",
        show_default=True,
        help="Length of the validation period before it.",
    ),
    click.option(
        "--max-history",
        default=100,
        show_default=True,
        help="Latest events that are read.",
    ),
    _SEED,
)

log_options = _together(
    *_SOURCE,
    click.option(
        "--action-weight",
        multiple=True,
        metavar="ACTION=WEIGHT",
        help="What an action weighs in a history, such as browse=0.2; for each action. "
        "[default: browse 0.2, cart 0.5, purchase 1 where a log has just these]",
    ),
    *_TARGETS,
)

# A log that is added to another holds all of its users.
added_options = _together(*_FILES, *_RULES)

event_options = _together(_data(required=True), _COLUMN, *_RULES)
"""Of a log whose events alone are read, those of all users."""

history_options = _together(
    _data(required=False),
    _COLUMN,
    *_RULES,
    click.option(
        "--run", "run_directory", help="Or the run whose log knows what users did."
    ),
)
"""Of such a log, or of a run that has read it; `read_history` asks for one."""

combined_options = _together(
    *_SOURCE,
    _TARGET_ACTION,
    click.option(
        "--track",
        type=click.Choice(["any", "new"]),
        default="any",
        show_default=True,
        help="Whether everything may be recommended, or only what a user never had.",
    ),
    click.option(
        "--windows",
        default=6,
        show_default=True,
        help="Windows before the end of the log that the list is trained on, at most; "
        "the newest decides what is best.",
    ),
    click.option(
        "--length", default="30d", show_default=True, help="Length of each window."
    ),
    click.option(
        "--encoder",
        "encoder_directory",
        help="Folder made by `tfrs-decay encoder`: texts that are alike are a further "
        "source of candidates.",
    ),
    click.option(
        "--towers",
        is_flag=True,
        help="Also train two towers, up to each window's start: what they score high "
        "is a further source of candidates. Takes minutes more.",
    ),
    click.option(
        "--cache",
        "cache_directory",
        metavar="DIR",
        help="Folder that keeps what the encoder made of each text.",
    ),
    _SEED,
)

example_options = _together(
    *_SOURCE,
    click.option(
        "--context",
        multiple=True,
        metavar="COLUMN",
        help="A further column of your own log, such as device, to write with each "
        "example: of the events of the history, and of the targets.",
    ),
    *_TARGETS,
    click.option(
        "--format",
        "file_format",
        type=click.Choice(["parquet", "tfrecord"]),
        default="parquet",
        show_default=True,
        help="Of the files of examples.",
    ),
    click.option(
        "--shards", default=1, show_default=True, help="Files of each period."
    ),
    click.option(
        "--most-per-user",
        default=100_000,
        show_default=True,
        help="Latest events of a user that are kept; those before are left out, and "
        "counted.",
    ),
)

model_options = _together(
    click.option(
        "--encoder",
        "encoder_directory",
        help="Folder made by `tfrs-decay encoder`, or any that holds preprocessor/ and "
        "encoder/; or encoder/ alone, where it reads strings itself, as the Universal "
        "Sentence Encoder does. Without it the model knows items by their ids only.",
    ),
    click.option(
        "--cache",
        "cache_directory",
        metavar="DIR",
        help="Folder that keeps what the encoder made of each text, for the next time "
        "and for when this one is interrupted.",
    ),
    click.option(
        "--vectors",
        metavar="FILE",
        help="Item vectors made elsewhere, read beside the text or instead: a .parquet "
        "with the columns item and vector, or an .npz with the arrays ids and vectors.",
    ),
    click.option(
        "--fusion",
        type=click.Choice(["sum", "concat", "gated"]),
        default="sum",
        show_default=True,
        help="How text, vectors and ids become one vector.",
    ),
    click.option(
        "--id-dropout",
        default=0.0,
        show_default=True,
        help="How often an item's id is silenced in training, so that the model learns "
        "what to make of an item that is new; 0.1 to 0.5 are usual.",
    ),
    click.option(
        "--repeats",
        type=click.Choice(["off", "on", "learned", "never"]),
        default="off",
        show_default=True,
        help="What a user had before: scored like any other item; with its decayed "
        "counts on top, as they are or weighed as is learned; or never recommended.",
    ),
    click.option(
        "--fine-tune",
        metavar="HOW",
        help="Train the encoder as well: all, last:2 (so many of its last layers) or "
        "low-rank:8 (an adapter of such a rank). Each step then encodes the texts of "
        "its items, where a frozen encoder reads each text once.",
    ),
    click.option(
        "--encoder-learning-rate",
        type=float,
        help="Of the encoder.  [default: 2e-5; of an adapter 2e-4]",
    ),
    click.option(
        "--warm-up",
        default=0.1,
        show_default=True,
        help="Share of the steps in which the encoder's rate rises from 0, with "
        "--fine-tune.",
    ),
    click.option(
        "--loss",
        type=click.Choice(["auto", "full", "sampled"]),
        default="sampled",
        show_default=True,
        help="What a target is told from: every item, or the targets of its batch, "
        "corrected for how often they are drawn; auto takes every item up to 5,000.",
    ),
    click.option(
        "--target-weight",
        multiple=True,
        metavar="ACTION=WEIGHT",
        help="What a target weighs in the loss by its action, such as cart=0.3; for "
        "each action to predict.  [default: all the same]",
    ),
    click.option(
        "--example-half-life",
        metavar="TIME",
        help="The training set fades: a basket this long before the end of training, "
        "as in 120d, weighs half.  [default: it does not]",
    ),
    click.option(
        "--weight-decay",
        default=0.0,
        show_default=True,
        help="How fast the ids' vectors shrink in training, times the learning rate.",
    ),
    click.option("--epochs", default=8, show_default=True, help="Most passes."),
    click.option("--dim", default=64, show_default=True, help="Width of the vectors."),
)

MODEL_OPTIONS = (
    "encoder_directory",
    "cache_directory",
    "vectors",
    "fusion",
    "id_dropout",
    "repeats",
    "fine_tune",
    "encoder_learning_rate",
    "warm_up",
    "loss",
    "target_weight",
    "example_half_life",
    "weight_decay",
    "epochs",
    "dim",
)
"""What `model_options` are called in Python."""

decay_options = _together(
    click.option(
        "--decay",
        "family",
        type=click.Choice(NAMES),
        help="How interest fades; none is a plain mean.  [default: power-law, a heavy "
        "tail that starts near the plain mean]",
    ),
    click.option(
        "--scale",
        help="Its time: 7d, 36h, 90m, or a number of events with --by rank. The "
        "half-life of exponential, and of the shorter part of mixture; the length of "
        "window; the midpoint of logistic; where gaussian and linear weigh half. "
        "Learned from there.  [default: the family's usual one]",
    ),
    click.option("--exponent", type=float, help="Of power-law.  [default: 0.25]"),
    click.option("--half-life", help="Short for --decay exponential --scale."),
    click.option(
        "--by",
        type=click.Choice(["age", "rank"]),
        help="Fade by the clock, or with every later event.  [default: age]",
    ),
    click.option("--per-feature", is_flag=True, help="Numbers of each feature's own."),
    click.option("--fixed", is_flag=True, help="Keep the decay as it is given."),
    click.option(
        "--decay-from", metavar="DIR", help="Start from what `tune` found instead."
    ),
)

outcome_options = _together(
    click.option(
        "--reward",
        "rewards",
        multiple=True,
        metavar="COLUMN",
        help="A column of numbers to compare by, such as revenue; may be given again.  "
        "[default: click, purchase and conversion, where they are there]",
    ),
    click.option(
        "--drop-duplicates",
        is_flag=True,
        help="Leave impressions that stand twice out, and count them; else they are "
        "refused.",
    ),
    click.option("--seed", default=0, show_default=True, help="Of the intervals."),
    click.option("--html", metavar="FILE", help="Also write a page for people."),
    click.option("--json", "json_path", metavar="FILE", help="Also write all numbers."),
)


def served_options(*, required: bool) -> Options:
    """Of what was shown, read by `read_served` or `read_traffic`.

    Each command says in its own help which columns it reads.
    """
    return _together(
        click.option(
            "--served",
            "served_path",
            required=required,
            metavar="FILE",
            help="What was shown, one row an item (.csv, .parquet, .jsonl, .xlsx), "
            "with the columns that are named above.",
        ),
        click.option(
            "--served-column",
            "served_columns",
            multiple=True,
            metavar="NAME=COLUMN",
            help="What --served calls a column, such as user=customer_id; for each "
            "that it calls otherwise.",
        ),
        click.option(
            "--served-time-unit",
            type=TIME_UNIT,
            default="s",
            show_default=True,
            help="Of times of --served that are numbers.",
        ),
        click.option(
            "--served-time-zone",
            default="UTC",
            show_default=True,
            help="Of dates of --served that name none, as in Europe/London.",
        ),
        click.option(
            "--served-day-first/--served-month-first",
            default=None,
            help="How dates of --served such as 01/12/2010 are meant.  [default: as "
            "its other dates show]",
        ),
    )


SERVED_NAMES = (
    *("served_columns", "served_time_unit", "served_time_zone", "served_day_first"),
    *("windows", "within", "clip", "skips"),
)
"""What the options are called in Python that are nothing without --served."""


def _weight_or_none(context: Any, option: Any, written: str) -> float | None:
    try:
        return None if written.strip() == "none" else float(written)
    except ValueError:
        raise click.BadParameter(f"{written!r} is neither a number nor none.") from None


joining_options = _together(
    click.option(
        "--window",
        "windows",
        multiple=True,
        metavar="ACTION=TIME",
        help="How long after an impression an event answers it, for each action to be "
        "joined.  [default: click=30m, purchase=3d, of those that there are]",
    ),
    click.option(
        "--clip",
        default="10",
        show_default=True,
        metavar="WEIGHT",
        callback=_weight_or_none,
        help="Cut the weights of places above this; none: no weight is cut.",
    ),
)
"""How what was shown is joined with a log and weighed."""


# The options that are fields of `Rules` under the same names.
_RULE_NAMES = (
    *("time_unit", "time_zone", "day_first"),
    *("missing_action", "missing_value", "most_per_minute"),
)
# As they are typed, where that is not their name in Python.
_OPTIONS = {
    "family": "--decay",
    "columns": "--column",
    "text_columns": "--text-column",
    "day_first": "--day-first/--month-first",
    "served_columns": "--served-column",
    "served_day_first": "--served-day-first/--served-month-first",
    "windows": "--window",
    "within": "--examination",
    "skips": "--skipped/--no-skipped",
}
# The options that are fields of `Settings` under the same names.
_FIELDS = (
    *(
        name
        for name in MODEL_OPTIONS
        if not name.endswith(("_directory", "target_weight", "half_life"))
    ),
    "max_history",
    "seed",
)


def read_log(options: Mapping[str, Any]) -> tuple[Cleaned, TimeSplit, Settings]:
    """The clean log, its cuts, and what to make models with."""
    from tfrs_decay import runs
    from tfrs_decay.data import split_by_time
    from tfrs_decay.decay import Exponential

    if options["cache_directory"] is not None:
        if options["encoder_directory"] is None or options["fine_tune"] is not None:
            raise click.UsageError(
                "--cache keeps the vectors of a frozen encoder: it goes with "
                "--encoder, without --fine-tune."
            )
    fading = None
    if options["example_half_life"] is not None:
        fading = Exponential(
            to_seconds(options["example_half_life"], "example_half_life")
        )
    cleaned = read_events(options)
    split = split_by_time(
        cleaned.events, test=options["test"], validation=options["validation"]
    )
    settings = runs.settings_for(
        cleaned.events.actions,
        options["encoder_directory"],
        action_weights=_weights("--action-weight", options["action_weight"]),
        target_actions=options["target_action"],
        target_weights=_weights("--target-weight", options["target_weight"]),
        example_decay=fading,
        **{name: options[name] for name in _FIELDS},
    )
    return cleaned, split, settings


def read_events(options: Mapping[str, Any]) -> Cleaned:
    """The clean log alone."""
    return read_events_of(read_raw(options), options)


def read_raw(options: Mapping[str, Any]) -> RawLog:
    """The log as it is."""
    from tfrs_decay.data import open_log

    rules = read_rules(options)
    click.echo(f"Reading {options['data']} ...")
    return open_log(
        options["data"],
        columns=read_columns(options["columns"]),
        returns="return" in rules.taken_back,
        # What `event_options` leave out.
        items=options.get("items"),
        texts=options.get("text_columns", ()),
        sample=options.get("sample"),
        seed=options.get("seed", 0),
    )


def read_events_of(log: RawLog, options: Mapping[str, Any]) -> Cleaned:
    """A log cleaned."""
    from tfrs_decay.data import clean

    # An event that has not happened would move the periods, and leave them empty.
    cleaned = clean(log, now=int(time.time()), rules=read_rules(options))
    click.echo(cleaned.report())
    return cleaned


def read_history(options: Mapping[str, Any]) -> Events:
    """The events of the log that `history_options` name, or of the run."""
    run = options["run_directory"]
    if (options["data"] is None) == (run is None):
        raise click.UsageError(
            "give --data or --run: one log that knows the users' histories."
        )
    if run is None:
        return read_events(options).events
    for name in ("columns", "taken_back", *_RULE_NAMES):
        if was_given(name):
            raise click.UsageError(
                f"{typed(name)} says how --data is read: a run's log has been read."
            )
    with without_notices():
        from tfrs_decay import runs

    return runs.load_run(run).events()


def read_served(options: Mapping[str, Any]) -> Served:
    """What was shown, as `served_options` tell it."""
    from tfrs_decay.feedback import Served

    return Served.read(
        options["served_path"],
        columns=read_columns(options["served_columns"], "--served-column"),
        **_served_times(options),
    )


def _served_times(options: Mapping[str, Any]) -> dict[str, Any]:
    """How the times of --served are meant, by the names of `Rules`."""
    return {
        name: options[f"served_{name}"]
        for name in ("time_unit", "time_zone", "day_first")
    }


def read_windows(written: Iterable[str]) -> dict[str, str] | None:
    """How long events answer impressions, by action; None where nobody says."""
    pairs = read_pairs("--window", written, "ACTION=TIME, as in click=30m")
    return pairs or None


def read_alike(written: str) -> list[str]:
    """What impressions are to be alike in, as --examination tells it."""
    return [] if written == "chance" else [*map(str.strip, written.split(","))]


def read_traffic(options: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What was shown, and how it is compared.

    As `served_options` and `outcome_options` tell it.
    """
    from tfrs_decay.data import Rules
    from tfrs_decay.data.tables import read_table, renamed

    path = options["served_path"]
    columns = read_columns(options["served_columns"], "--served-column")
    return renamed(read_table(path), columns, path), {
        "rewards": list(options["rewards"]) or None,
        "duplicates": "drop" if options["drop_duplicates"] else "refuse",
        "rules": Rules(**_served_times(options)),
        "seed": options["seed"],
    }


def read_arms(written: Iterable[str]) -> dict[str, float]:
    """The arms of an experiment and their weights, as they are typed."""
    return _numbers("--arm", written, "NAME=WEIGHT, as in control=9")


def read_rules(options: Mapping[str, Any]) -> Rules:
    """What cleaning does, as the options tell it."""
    from tfrs_decay.data import Rules

    taken_back = read_pairs(
        "--taken-back", options["taken_back"], "ACTION=ACTION, as in return=purchase"
    )
    return Rules(taken_back=taken_back, **{name: options[name] for name in _RULE_NAMES})


def how_read(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of the options says how the columns and rows of a log are meant.

    Returns:
        By the options' names in Python, for JSON.
    """
    rules = read_rules(options)
    return {
        "columns": read_columns(options["columns"]),
        "text_columns": list(options["text_columns"]),
        "taken_back": dict(rules.taken_back),
        **{name: getattr(rules, name) for name in _RULE_NAMES},
    }


def read_as_before(
    options: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Options that read a log as the one before it was read.

    Args:
        options: As they were typed.
        before: From `how_read`, of the log before.

    Returns:
        The options, those of the log before in the place of what was not typed.

    Raises:
        click.UsageError: Something was typed that says otherwise.
    """
    now, same = how_read(options), dict(options)
    for name, value in before.items():
        if was_given(name) and now[name] != value:
            raise click.UsageError(
                f"{typed(name)} is {now[name]!r} here, and the "
                f"run's log was read with {value!r}: leave it out, or train anew."
            )
        if isinstance(value, Mapping):
            value = tuple(f"{one}={other}" for one, other in value.items())
        same[name] = value
    return same


def read_decay(options: Mapping[str, Any]) -> Decay:
    """The decay to train with, as the options of `train` tell it."""
    told = ("family", "half_life", "scale", "exponent", "by", "per_feature")
    given = [
        name
        for name in told
        if options[name] is not None and options[name] is not False
    ]
    trainable = not options["fixed"]
    if options["decay_from"] is not None:
        if given:
            _refuse_both("decay_from", given[0])
        from tfrs_decay.tuning import read_best

        return read_best(options["decay_from"], trainable=trainable)
    family, scale = options["family"] or DEFAULT, options["scale"]
    if options["half_life"] is not None:
        if family != "exponential" and options["family"] is not None:
            _refuse_both("half_life", "family")
        if scale is not None:
            _refuse_both("half_life", "scale")
        family, scale = "exponential", options["half_life"]
    if family == "none" and not trainable:
        raise click.UsageError("--fixed: with --decay none there is nothing to learn.")
    # What has no scale refuses it as it was typed.
    if scale is not None and family in NAMED:
        name = "scale" if options["half_life"] is None else "half_life"
        scale = _extent(scale, name, options["by"] or "age")
    return named_decay(
        family,
        scale=scale,
        exponent=options["exponent"],
        by=options["by"],
        trainable=trainable,
        per_feature=options["per_feature"],
    )


def _refuse_both(one: str, other: str) -> None:
    raise click.UsageError(
        f"{typed(one)} and {typed(other)} both say what the decay is: leave one of "
        "them out."
    )


def typed(name: str) -> str:
    """An option's name in Python, as it is typed."""
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _extent(written: str, name: str, by: str) -> float:
    """A scale as it is typed: seconds, or a number of events."""
    if by == "age":
        return to_seconds(written, name)
    try:
        return float(written)
    except ValueError:
        raise click.UsageError(
            f"{typed(name)} {written!r}: --by rank counts events, as in 20."
        ) from None


def several(kind: type[int] | type[float]) -> Callable[..., tuple[float, ...]]:
    """Reads an option of numbers that are typed as one word, as in 1,5,20.

    Args:
        kind: What each of them is.

    Returns:
        The option's callback; of an option that was not typed, no number.
    """

    def read(context: Any, option: Any, written: str | None) -> tuple[float, ...]:
        try:
            return tuple(kind(one) for one in (written or "").split(",") if written)
        except ValueError:
            form = "1,5,20" if kind is int else "0.9,0.7"
            raise click.BadParameter(
                f"{written!r} is not numbers with commas between, as in {form}."
            ) from None

    return read


def was_given(name: str) -> bool:
    """Whether an option was typed, and does not only have its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def read_columns(written: Iterable[str], option: str = "--column") -> dict[str, str]:
    """What a log calls its columns, by our names."""
    return read_pairs(option, written, "NAME=COLUMN, as in user=customer_id")


def _weights(option: str, written: Iterable[str]) -> dict[str, float]:
    return _numbers(option, written, "ACTION=WEIGHT, as in cart=0.3")


def _numbers(option: str, written: Iterable[str], form: str) -> dict[str, float]:
    numbers = {}
    for name, number in read_pairs(option, written, form, at_last=True).items():
        try:
            numbers[name] = float(number)
        except ValueError:
            raise click.UsageError(
                f"{option} {f'{name}={number}'!r} is not {form}."
            ) from None
    return numbers


def read_pairs(
    option: str, written: Iterable[str], form: str, *, at_last: bool = False
) -> dict[str, str]:
    """What is typed as NAME=VALUE, by name.

    Args:
        option: As it is typed, for errors.
        written: What was given.
        form: What was expected, for errors.
        at_last: Whether names may hold "=", and values may not; else the reverse.
    """
    pairs: dict[str, str] = {}
    for one in written:
        name, _, value = one.rpartition("=") if at_last else one.partition("=")
        if not (name and value):
            raise click.UsageError(f"{option} {one!r} is not {form}.")
        if name in pairs:
            raise click.UsageError(
                f"{option} says {name} twice, {pairs[name]!r} and {value!r}: leave one "
                "of them out."
            )
        pairs[name] = value
    return pairs
