"""A run: one folder from a log to a served model, and what each step leaves in it.

==================  =================================================================
`run.json`          the settings, the log's name, how it was read, the cuts, what
                    cleaning left out
`events.npz`        the clean events
`decay.keras`       the model
`mean.keras`        the same model with mean pooling, to tell what decay is worth
`training/`         losses and the best weights of the first fit
==================  =================================================================

`updating.update_run` makes a run of another one and writes the first three.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from tfrs_decay.data.cleaning import Cleaned
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, actions_to_predict, basket_queries
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.storage import load_events, save_events
from tfrs_decay.data.tables import need
from tfrs_decay.data.vectors import ItemVectors
from tfrs_decay.decay import Constant, Decay, Exponential
from tfrs_decay.evaluation import Figures, OwnCounts, Popularity, Scorer, evaluate
from tfrs_decay.evaluation.figures import K
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.layers import MaximalMarginalRelevance, PrecomputedTower, TextTower
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.serving import export
from tfrs_decay.similar import Neighbour, nearest_items, nearest_texts
from tfrs_decay.training import (
    Settings,
    Trained,
    make_model,
    on_terminal,
    queries_by_period,
    refuse_no_queries,
    train,
)
from tfrs_decay.writing import whole_folder

POPULARITY_DECAY = Exponential.from_rate(1 / (14 * 86_400))
"""How fast popularity fades, e^(-age / 14 days), for users without a history and where
own counts are equal."""

OWN_COUNTS = "personal frequency"
"""The peer that counts what a user had."""

USUAL_WEIGHTS = {"browse": 0.2, "cart": 0.5, "purchase": 1.0}
"""What the usual actions of a shop weigh where nobody says otherwise."""

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""Gives blocks back one by one and shows how far it is, under a label, as `tqdm`."""


@dataclass(frozen=True)
class Run:
    """A finished run, its models loaded when asked for."""

    directory: Path
    settings: Settings
    split: TimeSplit
    about: dict[str, Any]

    def events(self) -> Events:
        """The clean events."""
        return load_events(self.directory / "events.npz")

    def model(self, name: str = "decay") -> DecayRetrieval:
        """The model, or its twin `name="mean"`, which an updated run has not."""
        return tf_keras.models.load_model(self.directory / f"{name}.keras")


def weights_of_actions(
    actions: Sequence[str], given: Mapping[str, float]
) -> dict[str, float] | None:
    """What each action of a log weighs in a history.

    Args:
        actions: The log's.
        given: What was asked for; the usual weights stand in for what was not.

    Returns:
        A weight for each action; None where a log has one action and nothing is given.

    Raises:
        ValueError: An action of the log has no weight, or a weight no such action.
    """
    if not given and len(actions) == 1:
        return None
    strange = sorted(set(given) - set(actions))
    missing = [one for one in actions if one not in {**USUAL_WEIGHTS, **given}]
    if strange or missing:
        raise ValueError(
            f"the log's actions are {list(actions)}: "
            + (f"it has no {strange}. " if strange else "")
            + (
                f"Say what {missing} weigh, as in --action-weight {missing[0]}=0.5; 0 "
                "leaves them out of histories."
                if missing
                else ""
            )
        )
    return {one: {**USUAL_WEIGHTS, **given}[one] for one in actions}


def unusual_in_full(actions: Sequence[str]) -> dict[str, float]:
    """Weight 1 for each action of a log that is none of a shop's usual ones.

    Args:
        actions: The log's.
    """
    return {one: 1.0 for one in actions if one not in USUAL_WEIGHTS}


def settings_for(
    actions: Sequence[str],
    encoder_directory: str | os.PathLike[str] | None = None,
    *,
    action_weights: Mapping[str, float] | None = None,
    target_actions: Sequence[str] = (),
    target_weights: Mapping[str, float] | None = None,
    vectors: str | os.PathLike[str] | None = None,
    **others: Any,
) -> Settings:
    """Settings for a log, what is usual standing in for what is not said.

    Args:
        actions: The log's.
        encoder_directory: Holds `preprocessor` and `encoder`, or `encoder` alone where
            it reads strings itself; no text when left out.
        action_weights: As `weights_of_actions` takes them.
        target_actions: As `actions_to_predict` takes them; those with a weight when
            left out.
        target_weights: What targets of each action weigh in the loss; all the same when
            left out.
        vectors: A file of vectors made elsewhere; none when left out.
        **others: Further fields of `Settings`.

    Raises:
        ValueError: Something does not fit the log, or is out of its range.
    """
    return Settings(
        **encoder_handles(encoder_directory),
        action_weights=weights_of_actions(actions, action_weights or {}),
        target_actions=actions_to_predict(
            actions, target_actions or tuple(target_weights or ())
        ),
        target_weights=dict(target_weights) if target_weights else None,
        vectors=None if vectors is None else str(Path(vectors).absolute()),
        **others,
    )


def encoder_handles(
    directory: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The TF-Hub handles in an encoder's folder, as fields of `Settings`.

    Args:
        directory: Holds `preprocessor` and `encoder`, or `encoder` alone where it reads
            strings itself; none for no text.
    """
    if directory is None:
        return {"preprocessor": None, "encoder": None}
    folder = Path(directory).absolute()
    alone = (folder / "encoder").is_dir() and not (folder / "preprocessor").exists()
    return {
        "preprocessor": None if alone else str(folder / "preprocessor"),
        "encoder": str(folder / "encoder"),
    }


def train_run(
    directory: str | os.PathLike[str],
    cleaned: Cleaned,
    split: TimeSplit,
    settings: Settings,
    decay: Decay,
    *,
    data: str,
    read: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = print,
) -> Run:
    """Trains the model and its twin with mean pooling, and writes the run's folder.

    The folder appears whole or not at all.

    Args:
        directory: The folder to write; it must not be there.
        cleaned: The log.
        split: The cuts.
        settings: How to make and train both models.
        decay: How the model's pooling weighs ages.
        data: The log's name, to be written down.
        read: How the log was read, for JSON, to be written down: `tfrs-decay update`
            reads the next one alike. The command line tells its options; None where
            that is not known.
        cache: As in `encode_texts`.
        tensorboard: As in `training.train`, of the model in `decay` and of its twin in
            `mean`.
        say: Is told what is being done.

    Raises:
        FileExistsError: The folder is there.
        ImportError: The package `tensorboard` is needed and not installed.
        ValueError: A period holds no query, there is an encoder and no text, or the
            file of vectors is not one.
    """
    refuse_existing(directory)
    events = cleaned.events
    # Before any time is spent on it.
    if tensorboard is not None:
        need("tensorboard", "writing for TensorBoard", "tensorboard")
    queries_by_period(events, split, settings)
    _refuse_without_texts(events, settings)
    vectors = read_item_vectors(events, settings, say=say)
    with whole_folder(directory) as partial:
        save_events(events, partial / "events.npz")
        encoded = encode_texts(events, settings, cache=cache, say=say)
        trained: dict[str, Trained] = {}
        for name, pooling in (("decay", decay), ("mean", Constant())):
            say(f"Training with {pooling.describe()} ...")
            model = make_model(
                events, settings, pooling, encoded=encoded, vectors=vectors
            )
            trained[name] = train(
                model,
                events,
                split,
                settings,
                directory=partial / "training" / name,
                tensorboard=None if tensorboard is None else Path(tensorboard) / name,
            )
            model.save(partial / f"{name}.keras")
        about = {
            "data": data,
            "read": None if read is None else dict(read),
            "settings": settings.to_dict(),
            "split": split._asdict(),
            "rejected": cleaned.rejected,
            "items_without_event": cleaned.items_without_event,
            "items_described_twice": cleaned.items_described_twice,
            "trained": {
                name: about_model(one.model, one.epochs, one.recall)
                for name, one in trained.items()
            },
        }
        write_about(about, partial)
    return load_run(directory)


def refuse_existing(directory: str | os.PathLike[str]) -> None:
    """Refuses the folder of a run that is there already.

    Raises:
        FileExistsError: It is.
    """
    if Path(directory).exists():
        raise FileExistsError(
            f"{directory} is there already: remove it or choose another --out."
        )


def write_about(about: Mapping[str, Any], directory: Path) -> None:
    """Writes `run.json`."""
    text = json.dumps(about, indent=2)
    (directory / "run.json").write_text(text, encoding="utf-8")


def about_model(
    model: DecayRetrieval, epochs: int, recall: Sequence[float]
) -> dict[str, Any]:
    """What `run.json` tells of a model.

    Args:
        model: Trained.
        epochs: The passes of its last fit.
        recall: Recall@20 of the validation period, where it was chosen by one.
    """
    repeats = {} if model.repeats is None else model.repeats.learned()
    return {
        "decay": model.pooling.describe(),
        "loss": model.retrieval_loss,
        "epochs": epochs,
        "validation_recall_at_20": list(recall),
        "learned": {
            key: value.tolist() for key, value in model.pooling.learned().items()
        },
        "repeats": {key: value.tolist() for key, value in repeats.items()},
    }


def encode_texts(
    events: Events,
    settings: Settings,
    *,
    cache: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = print,
) -> np.ndarray | None:
    """Encodes the catalogue's texts once, for as many models as there will be.

    Args:
        events: Clean events.
        settings: `preprocessor`, `encoder` and `fine_tune`.
        cache: Folder that keeps the vectors, as in `TextTower.encode_all`.
        say: Is told what is being done.

    Returns:
        [n, hidden] float32; None without an encoder, or where it is fine-tuned.

    Raises:
        ValueError: There is an encoder and no text.
    """
    if settings.encoder is None or settings.fine_tune is not None:
        return None
    _refuse_without_texts(events, settings)
    say(f"Encoding the texts of {len(events.items):,} items ...")
    text = TextTower(
        settings.preprocessor, settings.encoder, fields=events.items.fields
    )
    return text.encode_all(events.items.texts, cache=cache, progress=encoding_progress)


def read_item_vectors(
    events: Events, settings: Settings, *, say: Callable[[str], None] = print
) -> ItemVectors | None:
    """Reads the vectors of the catalogue's items, for as many models as there will be.

    Those of other items are left where they are: a model does not carry them along.

    Args:
        events: Clean events.
        settings: `vectors`.
        say: Is told how many items have one.

    Returns:
        Ids and vectors; None without a file of vectors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what `PrecomputedTower.read` takes, or no item has a
            vector in it.
    """
    if settings.vectors is None:
        return None
    tower = PrecomputedTower.read(settings.vectors)
    ids = tower.items.ids
    kept = events.items.codes(ids.tolist()) >= 0
    if not kept.any():
        raise ValueError(
            f"{settings.vectors} has a vector for none of the log's items: its ids are "
            f"such as {ids[0]!r}, the log's such as {events.items.ids[0]!r}."
        )
    say(f"{int(kept.sum()):,} of {len(events.items):,} items have a vector")
    return ItemVectors(ids[kept].tolist(), tower.vectors[kept])


def _refuse_without_texts(events: Events, settings: Settings) -> None:
    if settings.encoder is not None and not any(events.items.titles):
        raise ValueError(
            "no item has a text for the encoder to read: give a table of items whose "
            "ids are those of the events, or train without an encoder."
        )


def load_run(directory: str | os.PathLike[str]) -> Run:
    """Opens a run's folder.

    Raises:
        FileNotFoundError: It is not the folder of a finished run.
        ValueError: `run.json` is not what `train_run` writes.
    """
    path = Path(directory) / "run.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{directory} is not a finished run (it has no run.json): make one with "
            "`tfrs-decay train --out DIR`."
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return Run(
            directory=Path(directory),
            settings=Settings(**about["settings"]),
            split=TimeSplit(**about["split"]),
            about=about,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what a run writes: {error}.") from error


def scorers_of(run: Run, events: Events) -> dict[str, Scorer]:
    """A run's models and their peers, as `evaluate_run` measures them.

    Args:
        run: A finished run.
        events: Its clean events.

    Returns:
        Scorers by name, the run's own model first.

    Raises:
        ValueError: No query lies after the cut.
    """
    _test_queries(run, events)  # an updated run has none, and no twin either
    until, history = run.split.test, run.settings.max_history
    recent = Popularity(events, until=until, decay=POPULARITY_DECAY)
    slower = Popularity(events, until=until, decay=Exponential("14d"))
    return {
        "decay": TwoTowerScores(run.model("decay"), events, max_history=history),
        "mean pooling": TwoTowerScores(run.model("mean"), events, max_history=history),
        OWN_COUNTS: OwnCounts(events, tie_break=recent.scores),
        "popularity, e^(-age/14d)": recent,
        "popularity, half-life 14d": slower,
        "popularity": Popularity(events, until=until),
    }


def evaluate_run(
    run: Run,
    *,
    k: int | Sequence[int] = K,
    scorers: Mapping[str, Scorer] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, Figures]]:
    """Measures a run's models and their peers after the test cut.

    Track "any" ranks every item; track "new" only what the user never had, for targets
    that the user never had. Histories roll forward with the query's time; what is
    learned, and popularity, is frozen at the cut.

    Args:
        run: A finished run.
        k: Items a list, or several lengths.
        scorers: What is measured; those of `scorers_of` when left out.
        progress: Wraps an iterable of blocks of queries, and is told of which track.

    Returns:
        Figures by track and model, as `evaluation.table` prints them.

    Raises:
        ValueError: No query lies after the cut.
    """
    events = run.events()
    if scorers is None:
        scorers = scorers_of(run, events)
    queries = _test_queries(run, events)

    def shown(track: str) -> Callable[[Iterable[Any]], Iterable[Any]] | None:
        if progress is None:
            return None
        return lambda blocks: progress(blocks, f"Ranking for track {track}")

    tracks = {"any": evaluate(scorers, queries, events, k=k, progress=shown("any"))}
    fresh = queries.with_new_targets(events)
    if len(fresh):
        # What a user never had has no count of its own.
        able = {name: one for name, one in scorers.items() if name != OWN_COUNTS}
        tracks["new"] = evaluate(
            able, fresh, events, k=k, exclude_seen=True, progress=shown("new")
        )
    return tracks


def _test_queries(run: Run, events: Events) -> Queries:
    queries = basket_queries(
        events, after=run.split.test, actions=run.settings.target_actions
    )
    refuse_no_queries(queries, events, "test")
    return queries


def export_run(
    run: Run,
    directory: str | os.PathLike[str],
    *,
    k: int | None = None,
    exclude_seen: bool = False,
    diversity: float | None = None,
    pool: int | None = None,
    texts: bool = False,
    parts: str = "all",
    server: str | None = "2.19",
) -> Path:
    """Writes a run's model as a version that TensorFlow Serving can serve.

    An empty history is answered with the popularity at the end of the log, where a list
    is answered at all. `diversity` is the trade-off of a
    `layers.MaximalMarginalRelevance` and `pool` its pool, 100 when left out; the other
    arguments are those of `serving.export`.

    Returns:
        The version's folder.

    Raises:
        ValueError: A pool without a trade-off, or as `serving.export`.
    """
    reorder = None
    if diversity is not None:
        of_pool = {} if pool is None else {"pool": pool}
        reorder = MaximalMarginalRelevance(diversity, **of_pool)
    elif pool is not None:
        raise ValueError(f"pool={pool} goes with diversity: give that as well.")
    popularity = None
    if parts != "query":
        events = run.events()
        scores = Popularity(
            events, until=int(events.time.max()), decay=POPULARITY_DECAY
        ).scores
        popularity = scores / scores.max()
    return export(
        run.model(),
        directory,
        k=k,
        popularity=popularity,
        exclude_seen=exclude_seen,
        max_history=run.settings.max_history,
        diversity=reorder,
        texts=texts,
        parts=parts,
        server=server,
    )


def similar_items(
    run: Run, texts: Sequence[str], *, k: int = 10, untrained: bool = False
) -> list[list[Neighbour]]:
    """The items nearest to texts, by what a run has learned.

    Args:
        run: Trained with an encoder.
        texts: Any; the first of an item's, where items have several.
        k: Items for each text.
        untrained: By the encoder's own vectors instead.

    Returns:
        For each text its neighbours, the nearest first.

    Raises:
        ValueError: The run reads no text, or `k` is below 1.
    """
    settings = run.settings
    if settings.encoder is None:
        raise ValueError(
            f"the run {run.directory} was trained without texts: train one with "
            "--encoder."
        )
    items = run.events().items
    asked: Any = list(texts)
    if items.fields > 1:
        asked = [[text, *[""] * (items.fields - 1)] for text in texts]
    if not untrained:
        return nearest_items(run.model().item_tower, asked, k=k)
    return nearest_texts(
        TextTower(settings.preprocessor, settings.encoder, fields=items.fields),
        items,
        asked,
        k=k,
        progress=encoding_progress,
    )


def encoding_progress(batches: Iterable[Any]) -> Iterable[Any]:
    """Shows how far the encoding is, in the manner of the training that follows."""
    batches = list(batches)
    bar = tf_keras.utils.Progbar(
        len(batches), verbose=int(on_terminal()), unit_name="batch"
    )
    for batch in batches:
        yield batch
        bar.add(1)
