"""The command line, `tfrs-decay`."""

from __future__ import annotations

import logging
import sys
import traceback

import click

from tfrs_decay.cli import (
    asking,
    experiments,
    feedback,
    models,
    preparation,
    state,
    updating,
    upkeep,
)
from tfrs_decay.cli.console import (
    BAD_INPUT,
    INTERRUPTED,
    RefusedError,
    StoppedError,
    complain,
)

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfrs-decay")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """Recommendations that follow a user's interest as it fades and shifts.

    The road: `train` a model on a shop's log, `evaluate` it beside simple baselines,
    `export` it for TensorFlow Serving, ask the export to `recommend`, and `serve` it on
    a laptop; every day `update` it by what happened since. `combine` ranks candidates
    from many sources and writes that instead, in one step. `tune` searches how interest
    fades before; `prepare` writes a log of any size as files of training examples;
    `encoder` makes a text encoder from a checkpoint of BERT or its family; `demo` walks
    the whole road on real purchases. `compare` replays two exports over logged traffic;
    `experiment` tells what a live one found, and `feedback` what came of what was
    shown. `state` looks after what an interest store keeps of users; `forget` removes a
    user from what was written; `doctor` sees whether this machine has what is needed.
    """


for _command in (
    preparation.encoder,
    preparation.prepare,
    models.train,
    models.combine,
    models.tune,
    models.evaluate,
    models.similar,
    models.export,
    updating.update,
    models.demo,
    asking.recommend,
    asking.serve,
    state.state,
    experiments.compare,
    experiments.experiment,
    upkeep.doctor,
    upkeep.forget,
    feedback.feedback,
):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, and gives the status that it ends with.

    All but the first two come with one line on stderr:

    - 0: it did what it was asked;
    - 1 (`console.FOUND_WRONG`): it did, and something is wrong, which it printed:
      `doctor` found it, or `forget` could not rewrite a file;
    - 2 (`console.WRONG_INPUT`): an option, a file, a folder or a server is not as it
      must be, or a package is not installed;
    - 3 (`console.REFUSED`): the guard of `update` refused the next model;
    - 130 (`console.INTERRUPTED`): Ctrl-C.

    A mistake of ours is raised as it is, and Python ends with its traceback and 1.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments or ["--help"]
    # Keras' notices on how a model is saved, and TensorFlow's on retracing.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "--debug" not in arguments:
        # Beam's traceback of an error that ends in one line all the same.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    try:
        status = cli.main(arguments, prog_name="tfrs-decay", standalone_mode=False)
    except (RefusedError, StoppedError) as error:
        return complain(error.message, status=error.exit_code)
    except click.ClickException as error:
        return complain(error.format_message())
    except click.Abort:
        return complain(
            "interrupted; nothing was left half-written.", status=INTERRUPTED
        )
    except BAD_INPUT as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return complain(str(error) or type(error).__name__)
    # What a command gives back is its status where it ended by itself with one.
    return status or 0
