"""Training as a shop does it: choose on a validation period, then use every day."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from tfrs_decay.callbacks import DecayTensorBoard
from tfrs_decay.data.dataset import batches
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, basket_queries
from tfrs_decay.data.skipped import Skipped
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.tables import need
from tfrs_decay.data.times import days_of
from tfrs_decay.data.vectors import ItemVectors
from tfrs_decay.data.weights import (
    check_action_weights,
    check_example_decay,
    target_weights,
)
from tfrs_decay.decay import Decay
from tfrs_decay.evaluation import Figures, evaluate
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.families import as_dict, from_dict
from tfrs_decay.layers import (
    ItemTower,
    LowRank,
    PrecomputedTower,
    TextTower,
    TimeDecayPooling,
    fine_tuning,
)
from tfrs_decay.layers.fusion import FUSIONS
from tfrs_decay.layers.repeat import MODES
from tfrs_decay.losses import LOSSES
from tfrs_decay.models import DecayRetrieval, sampling_probability
from tfrs_decay.optimizers import FineTuningAdam, IdDecayAdam

RECALL = "val_recall_at_20"
"""The name under which Keras logs the validation period's Recall@20."""

PATIENCE = 3
"""Passes without a better recall after which the first fit stops."""

ENCODER_RATE, ADAPTER_RATE = 2e-5, 2e-4
"""Adam's learning rates for an encoder and for its adapter, where none is given."""

WARM_UP = 0.1
"""Share of the steps in which an encoder's rate rises, where none is given."""

FULL_SOFTMAX_ITEMS = 5_000
"""Most items of a catalogue for which `loss="auto"` is the full softmax. On a CPU core
a step then takes as long as one that samples: 128 baskets of up to 16 targets, each
other's negatives, and vectors of 384 numbers an item, projected to 64. At 10,000 items
it takes half as long again."""

AGAIN = "adam_again"
"""The name of the optimizer that `fit_on` goes on with."""

MOST_VALIDATION_QUERIES = 2_000
"""Queries that are ranked after each pass; more are drawn from."""


@dataclass(frozen=True)
class Settings:
    """What a model is made and trained with; a run writes it down.

    Attributes:
        preprocessor: TF-Hub handle; None for a model without text, and for an encoder
            that reads strings itself.
        encoder: TF-Hub handle; None for a model without text.
        dim: Width of item vectors and interest.
        max_history: Latest events of a history that are read.
        max_targets: Most targets of a basket in one epoch, drawn anew in each. The full
            softmax takes all of a larger basket, and they weigh as much as so many.
        action_weights: What each action of the log weighs in a history, 0 for one that
            does not count; None: all the same.
        target_actions: The actions to predict; None: all.
        epochs: Most passes over the training queries.
        batch_size: Queries a batch.
        learning_rate: Adam's.
        temperature: Divides the scores in the loss.
        seed: Of weights, order and draws.
        vectors: A file of vectors made elsewhere, as `PrecomputedTower.read` takes it;
            None for a model without.
        fusion: How text, vectors and ids become one vector: see `layers.ItemTower`.
        id_dropout: How often an item's id is silenced in training: see there.
        fine_tune: What of the encoder is trained: "all", "last:2" (its last layers) or
            "low-rank:8" (an adapter of such a rank); None: nothing, and texts are
            encoded once.
        encoder_learning_rate: Adam's for the encoder; None: 2e-5, as in BERT's paper,
            and 2e-4 for an adapter, as in LoRA's.
        warm_up: Share of the planned steps in which the rate of an encoder that is
            fine-tuned rises from 0.
        repeats: What becomes of items that the user had before: see
            `models.DecayRetrieval`.
        loss: "full" for the softmax over the whole catalogue, "sampled" for one over
            the batch's targets, corrected; "auto" for the former where the catalogue
            has at most 5,000 items and no encoder is fine-tuned, else the latter.
        target_weights: What a target of each action to predict weighs in the loss,
            above 0; None: all the same.
        example_decay: How the training set fades: a target weighs what is left of its
            query at the cut which ends the training, over the age alone; None: all
            the same. Or a decay as `families.as_dict` writes it.
        weight_decay: AdamW's for the id embeddings, and for nothing else.
        id_embedding: Learn a vector for each id, beside text or vectors. Where items
            live for hours there is nothing to learn of an id: False leaves it out.
    """

    preprocessor: str | None = None
    encoder: str | None = None
    dim: int = 64
    max_history: int = 100
    max_targets: int = 16
    action_weights: dict[str, float] | None = None
    target_actions: list[str] | None = None
    epochs: int = 8
    batch_size: int = 128
    learning_rate: float = 0.003
    temperature: float = 0.1
    seed: int = 0
    vectors: str | None = None
    fusion: str = "sum"
    id_dropout: float = 0.0
    fine_tune: str | None = None
    encoder_learning_rate: float | None = None
    warm_up: float = WARM_UP
    repeats: str = "off"
    loss: str = "sampled"
    target_weights: dict[str, float] | None = None
    example_decay: Decay | None = None
    weight_decay: float = 0.0
    id_embedding: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot be trained with, before anything is spent on it."""
        for name in ("dim", "max_history", "max_targets", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more.")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed} must lie in 0 to 2^32 - 1.")
        if self.preprocessor is not None and self.encoder is None:
            raise ValueError(
                f"preprocessor={self.preprocessor!r} prepares texts for an encoder: "
                "give it as well."
            )
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion={self.fusion!r} is not one of {FUSIONS}.")
        if self.repeats not in MODES:
            raise ValueError(f"repeats={self.repeats!r} is not one of {MODES}.")
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout={self.id_dropout} must lie in 0 to below 1.")
        if self.id_dropout and self.encoder is None and self.vectors is None:
            raise ValueError(
                f"id_dropout={self.id_dropout} makes other parts stand in for an id: "
                "it needs an encoder or vectors."
            )
        self._check_no_ids()
        self._check_fine_tuning()
        self._check_loss()

    def _check_no_ids(self) -> None:
        if self.id_embedding:
            return
        if self.encoder is None and self.vectors is None:
            raise ValueError(
                "id_embedding=False leaves nothing of an item: it needs an encoder or "
                "vectors."
            )
        for name in ("id_dropout", "weight_decay"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} is for ids: leave it or "
                    "id_embedding=False out."
                )

    def _check_loss(self) -> None:
        if self.loss not in ("auto", *LOSSES):
            raise ValueError(f"loss={self.loss!r} is not one of {('auto', *LOSSES)}.")
        if self.loss == "full" and self.fine_tune is not None:
            raise ValueError(
                "loss='full' would encode every text at each step, with fine_tune="
                f"{self.fine_tune!r}: take loss='sampled', or a frozen encoder."
            )
        if self.target_weights is not None:
            check_action_weights(self.target_weights, "target_weights")
            if self.target_actions is not None:
                _refuse_other_targets(self.target_weights, self.target_actions)
        if isinstance(self.example_decay, Mapping):
            # As a run's JSON has it.
            object.__setattr__(self, "example_decay", from_dict(self.example_decay))
        if self.example_decay is not None:
            check_example_decay(self.example_decay, "example_decay")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"weight_decay={self.weight_decay} must be finite and 0 or more."
            )
        if self.weight_decay and self.fine_tune is not None:
            raise ValueError(
                f"weight_decay={self.weight_decay} is for the optimizer of a frozen "
                f"encoder: leave it or fine_tune={self.fine_tune!r} out."
            )

    def _check_fine_tuning(self) -> None:
        rate = self.encoder_learning_rate
        if self.fine_tune is None and rate is not None:
            raise ValueError(
                f"encoder_learning_rate={rate} is for an encoder that is fine-tuned: "
                "say how, as in fine_tune='last:2'."
            )
        if self.fine_tune is not None:
            if self.encoder is None:
                raise ValueError(f"fine_tune={self.fine_tune!r} needs an encoder.")
            fine_tuning.parse(self.fine_tune)
        if rate is not None and not 0 < rate < float("inf"):
            raise ValueError(f"encoder_learning_rate={rate} must be above 0.")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up={self.warm_up} must lie in 0 to 1.")
        if self.fine_tune is None and self.warm_up != WARM_UP:
            raise ValueError(
                f"warm_up={self.warm_up} is for an encoder that is fine-tuned: say "
                "how, as in fine_tune='last:2'."
            )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        written = asdict(self)
        if self.example_decay is not None:
            written["example_decay"] = as_dict(self.example_decay)
        return written

    def loss_of(self, n_items: int) -> str:
        """The loss of a catalogue of so many items: "full" or "sampled"."""
        if self.loss != "auto":
            return self.loss
        small = n_items <= FULL_SOFTMAX_ITEMS
        return "full" if small and self.fine_tune is None else "sampled"


class Trained(NamedTuple):
    """A model, and how it came about.

    model: Fitted on everything up to the test cut.
    epochs: Passes that were best on the validation period, and that it was fitted for.
    recall: Recall@20 of the validation period after each pass of the first fit.
    """

    model: DecayRetrieval
    epochs: int
    recall: list[float]


def make_model(
    events: Events,
    settings: Settings,
    decay: Decay,
    *,
    encoded: np.ndarray | None = None,
    vectors: ItemVectors | None = None,
) -> DecayRetrieval:
    """Makes an untrained model for a log.

    Args:
        events: Clean events, of which the catalogue alone is read.
        settings: What to make it with.
        decay: How the pooling weighs ages.
        encoded: [n, hidden] the texts' encodings, where they are at hand.
        vectors: What to take of `settings.vectors`, where it is at hand.

    Returns:
        The model, its variables at their start; its text baked, but where the encoder
        is fine-tuned.
    """
    tf_keras.utils.set_random_seed(settings.seed)
    text = None
    if settings.encoder is not None:
        text = TextTower(
            settings.preprocessor,
            settings.encoder,
            dim=settings.dim,
            fields=events.items.fields,
            fine_tune=(
                settings.fine_tune is not None and fine_tuning.parse(settings.fine_tune)
            ),
        )
    precomputed = None
    if vectors is not None:
        precomputed = PrecomputedTower(*vectors, dim=settings.dim)
    elif settings.vectors is not None:
        precomputed = PrecomputedTower.read(settings.vectors, dim=settings.dim)
    item_tower = ItemTower(
        events.items,
        text=text,
        dim=settings.dim,
        vectors=precomputed,
        fusion=settings.fusion,
        id_dropout=settings.id_dropout,
        id_embedding=settings.id_embedding,
    )
    if text is not None and settings.fine_tune is None:
        item_tower.bake(encoded)
    loss = settings.loss_of(len(events.items))
    # Evenly, until `train` counts the targets that it draws.
    evenly = np.full(len(events.items), 1 / len(events.items))
    return DecayRetrieval(
        item_tower,
        TimeDecayPooling(decay, action_weights=settings.action_weights),
        # Starts as "what was liked is liked again" and learns what goes with it.
        query_tower=tf_keras.layers.Dense(
            settings.dim, kernel_initializer="identity", name="query_tower"
        ),
        temperature=settings.temperature,
        sampling_probability=evenly if loss == "sampled" else None,
        loss=loss,
        repeats=settings.repeats,
    )


class Periods(NamedTuple):
    """Queries to train on, to choose by, and both for the last fit; and the cuts."""

    training: Queries
    validation: Queries
    both: Queries
    split: TimeSplit


def queries_by_period(events: Events, split: TimeSplit, settings: Settings) -> Periods:
    """Makes the queries of each period up to the test cut.

    Args:
        events: Clean events.
        split: The cuts.
        settings: `target_actions`.

    Raises:
        ValueError: A period holds no query, a target's action is none of the log's, or
            an action of the log has no weight, in a history or as a target.
    """
    _refuse_unweighed(events, settings)
    if settings.target_weights is not None and settings.target_actions is None:
        _refuse_other_targets(settings.target_weights, events.actions)
    cuts = (
        (None, split.validation),
        (split.validation, split.test),
        (None, split.test),
    )
    training, validation, both = (
        basket_queries(
            events, after=after, until=until, actions=settings.target_actions
        )
        for after, until in cuts
    )
    periods = Periods(training, validation, both, split)
    for name in ("training", "validation", "both"):
        refuse_no_queries(getattr(periods, name), events, name, settings.target_actions)
    return periods


def refuse_no_queries(
    queries: Queries,
    events: Events,
    period: str,
    actions: Sequence[str] | None = None,
) -> None:
    """Refuses a period that asks nothing, and says from when to when the log is.

    Args:
        queries: The period's.
        events: The log.
        period: What it is called.
        actions: Those that are to be predicted; None: all.

    Raises:
        ValueError: There is no query.
    """
    if len(queries):
        return
    days = f"the log goes from {days_of(events.time)}" if len(events) else "it is empty"
    of = "" if actions is None else f" of {' or '.join(actions)}, to be predicted,"
    raise ValueError(
        f"the {period} period holds no basket{of} of a user with an earlier event: "
        f"choose other periods, or a longer log; {days}."
    )


def passes_backed_up(backup_dir: str | os.PathLike[str]) -> int:
    """How many epochs a fit had made when `BackupAndRestore` of tf_keras saved it.

    The callback brings back weights, optimizer and epoch, and the batches have to go on
    as well: `data.batches(..., passes_made=passes_backed_up(backup_dir))` are those of
    the epochs that are left, so that a fit which was cut off ends as it would have.

    Args:
        backup_dir: The callback's, which every machine can read, and which saves at the
            end of each epoch, as it does by default. There may be nothing yet, and
            there is nothing any more when a fit has ended.

    Returns:
        The number of epochs, 0 where nothing is saved.

    Raises:
        ValueError: What is saved is no backup.
    """
    saved = tf.train.latest_checkpoint(os.path.join(backup_dir, "chief"))
    if saved is None:
        return 0
    reader = tf.train.load_checkpoint(saved)
    epoch = "ckpt_saved_epoch/.ATTRIBUTES/VARIABLE_VALUE"
    if not reader.has_tensor(epoch):
        raise ValueError(f"{saved} is no backup of tf_keras' BackupAndRestore.")
    return int(reader.get_tensor(epoch)) + 1


def on_terminal() -> bool:
    """Whether somebody watches standard output, and a bar can move there.

    Keras does not ask: into a pipe its bars are a backspace for every character.
    """
    return sys.stdout.isatty()


def _shown(verbose: int | None) -> int:
    if verbose is None:
        return 1 if on_terminal() else 2
    return verbose


def _refuse_unweighed(events: Events, settings: Settings) -> None:
    if settings.action_weights is None:
        return
    there = [events.actions[code] for code in np.unique(events.action)]
    strange = [one for one in there if one not in settings.action_weights]
    if strange:
        raise ValueError(
            f"action_weights names {sorted(settings.action_weights)}, and the log has "
            f"{strange}: name every action, with 0 for one that is not to count."
        )


def _refuse_other_targets(weights: Mapping[str, float], targets: Sequence[str]) -> None:
    if set(weights) != set(targets):
        raise ValueError(
            f"target_weights names {sorted(weights)}, and the actions to predict are "
            f"{sorted(targets)}: give a weight for each of these."
        )


def train(
    model: DecayRetrieval,
    events: Events,
    split: TimeSplit,
    settings: Settings,
    *,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    directory: str | os.PathLike[str] | None = None,
    tensorboard: str | os.PathLike[str] | None = None,
    verbose: int | None = None,
) -> Trained:
    """Fits a model twice: to find how long, then on all that came before the test cut.

    The first fit trains up to the validation cut and is stopped when Recall@20 of the
    validation period, over the whole catalogue, has not improved for three passes (the
    loss over a batch's own items does not say how they rank in the catalogue). The
    second starts over from the same weights, trains for as many passes as were best,
    and includes the validation period. The model's sampling probabilities, where it
    samples, are set for each fit from the targets that it draws, and its item tower's
    seen items from its histories and targets. Targets weigh what the settings say, by
    action and by age at the cut which ends the fit, times what `event_weights` says.
    Nothing after the test cut is looked at, but for what `skipped` knows of it.

    Args:
        model: Untrained; its weights are changed.
        events: Clean events.
        split: The cuts.
        settings: How to train.
        event_weights: [events] what each event weighs as a target, above 0, such as
            `feedback.Joined.event_weights` gives; all the same when left out.
        skipped: What each event's user was shown beside and did not take, such as
            `feedback.skipped` gives. Targets compete with that alone, where there is
            any; in validation they are ranked among all items. What was taken of a list
            after a cut is not among what was skipped before it.
        directory: Where checkpoints and a CSV of the losses go; nowhere when left out.
        tensorboard: The folder that TensorBoard is shown, which gets losses and what
            was learned of time (`callbacks.DecayTensorBoard`), of the first fit in
            `first` and of the second in `again`; nowhere when left out.
        verbose: Keras' own: 1 shows a progress bar, 2 a line a pass, 0 nothing. When
            left out a bar is shown on a terminal, and lines go to a pipe or a file.

    Raises:
        ImportError: The package `tensorboard` is needed and not installed.
        ValueError: A period holds no query, or `skipped` is of another log.
        RuntimeError: The loss is no longer a number.
    """
    verbose = _shown(verbose)
    boards = {name: _boards(tensorboard, name) for name in ("first", "again")}
    queries = queries_by_period(events, split, settings)
    # Running averages and counts move in a fit as well as what is trained.
    start = [(variable, variable.numpy()) for variable in model.variables]
    recall = train_and_validate(
        model,
        events,
        queries,
        settings,
        event_weights=event_weights,
        skipped=skipped,
        directory=directory,
        callbacks=boards["first"],
        verbose=verbose,
    ).recall
    epochs = int(np.argmax(recall)) + 1
    if verbose:
        print(
            f"Pass {epochs} was best. Again from the start, on all days before the cut:"
        )
    for variable, value in start:
        variable.assign(value)
    _fit(
        model,
        queries.both,
        events,
        epochs,
        settings,
        until=split.test,
        event_weights=event_weights,
        skipped=skipped,
        callbacks=boards["again"],
        verbose=verbose,
    )
    return Trained(model, epochs, recall)


class Validated(NamedTuple):
    """How the first fit did on the validation period.

    recall: Recall@20 after each pass.
    best: The figures of the best pass, with those of every query.
    """

    recall: list[float]
    best: Figures


def train_and_validate(
    model: DecayRetrieval,
    events: Events,
    queries: Periods,
    settings: Settings,
    *,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    directory: str | os.PathLike[str] | None = None,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    verbose: int | None = None,
) -> Validated:
    """The first fit of `train`: up to the validation cut, stopped by that period.

    Args:
        model: Untrained; it is left as the last pass left it.
        events: Clean events.
        queries: From `queries_by_period`; the validation period's are not trained on.
        settings: How to train.
        event_weights: As in `train`.
        skipped: As in `train`.
        directory: As in `train`.
        callbacks: Further ones, which find Recall@20 among the logs.
        verbose: As in `train`.

    Raises:
        RuntimeError: The loss is no longer a number.
    """
    watching = ValidationRecall(queries.validation, events, settings)
    searched = _fit(
        model,
        queries.training,
        events,
        settings.epochs,
        settings,
        until=queries.split.validation,
        event_weights=event_weights,
        skipped=skipped,
        # Of the future of the training set, nothing has faded.
        validation=_batches(
            model, queries.validation, events, settings, event_weights=event_weights
        ),
        callbacks=[watching, *_callbacks(directory), *callbacks],
        verbose=_shown(verbose),
    )
    assert watching.best is not None  # or the fit had raised
    return Validated([float(one) for one in searched.history[RECALL]], watching.best)


def fit_through(
    model: DecayRetrieval,
    events: Events,
    cuts: Iterable[int],
    settings: Settings,
    *,
    first_passes: int = 5,
    later_passes: int = 2,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    verbose: int = 0,
) -> Iterator[int]:
    """Fits a model up to one cut after the other, each time from where it stands.

    For models of many days at the price of little more than one: at each cut the model
    knows what came before it, and nothing else. No period decides how long it trains.

    Args:
        model: Its weights are changed.
        events: Clean events.
        cuts: Seconds since the epoch, in any order; the oldest comes first.
        settings: How to train, but for `epochs`.
        first_passes: Over all queries up to the oldest cut.
        later_passes: Over all queries up to each of the others.
        event_weights: As in `train`.
        skipped: As in `train`.
        verbose: Keras' own.

    Returns:
        Each cut, when the model is fitted up to it: nothing is fitted before the first
        is asked for.

    Raises:
        ValueError: At once: no query is at or before the oldest cut, an action has no
            weight, or a number of passes is below 1.
        RuntimeError: Later: the loss is no longer a number.
    """
    for name, number in (("first", first_passes), ("later", later_passes)):
        if number < 1:
            raise ValueError(f"{name}_passes={number} must be 1 or more.")
    _refuse_unweighed(events, settings)

    def queries_until(cut: int) -> Queries:
        return basket_queries(events, until=cut, actions=settings.target_actions)

    def fitted() -> Iterator[int]:
        for cut in ordered:
            queries = queries_until(cut)
            passes = first_passes if cut == ordered[0] else later_passes
            _fit(
                model,
                queries,
                events,
                passes,
                settings,
                until=cut,
                event_weights=event_weights,
                skipped=skipped,
                verbose=verbose,
            )
            yield cut

    ordered = sorted({int(one) for one in cuts})
    if ordered:  # Those of later cuts are more.
        refuse_no_queries(queries_until(ordered[0]), events, "training")
    return fitted()


def drawn_queries(queries: Queries, seed: int) -> Queries:
    """The queries that choices are made by: 2,000, drawn, where there are more."""
    return queries.drawn(MOST_VALIDATION_QUERIES, seed)


class ValidationRecall(tf_keras.callbacks.Callback):
    """Logs Recall@20 over the whole catalogue after each pass, as `val_recall_at_20`.

    Put it before the callbacks that watch it.

    Args:
        queries: Of the validation period; 2,000 of them, drawn from the seed, when
            there are more.
        events: The events that the queries were made from.
        settings: `max_history` and `seed`.

    Attributes:
        best: The figures of the best pass so far; None before the first.
    """

    def __init__(self, queries: Queries, events: Events, settings: Settings) -> None:
        super().__init__()
        self._queries = drawn_queries(queries, settings.seed)
        self._events = events
        self._max_history = settings.max_history
        self._scores: TwoTowerScores | None = None
        self.best: Figures | None = None

    def set_model(self, model: tf_keras.Model) -> None:
        """Keras' own, at the begin of a fit."""
        super().set_model(model)
        self._scores = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Ranks the catalogue for each query; 0 where there are no numbers to rank."""
        if logs is not None and not np.isfinite(logs["loss"]):
            logs[RECALL] = 0.0
            return
        if self._scores is None:  # It traces the model, which is worth doing once.
            self._scores = TwoTowerScores(
                self.model, self._events, max_history=self._max_history
            )
        else:
            self._scores.read_items()
        scored = evaluate({"model": self._scores}, self._queries, self._events)
        figures = scored["model"]
        recall = float(figures.recall().mean())
        if self.best is None or recall > self.best.recall().mean():
            self.best = figures
        if logs is not None:
            logs[RECALL] = recall


def fit_on(
    model: DecayRetrieval,
    queries: Queries,
    events: Events,
    passes: int,
    settings: Settings,
    *,
    until: int,
    learning_rate: float,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    verbose: int = 0,
) -> float:
    """Some passes over queries from where a model stands, what it was trained on kept.

    As each fit of `fit_through`, but that these queries are not all that it knows:
    items that it was trained on before stay seen, and how often an item is drawn is
    counted in all queries up to `until`. A few days' counts say little of an item, and
    what the correction for them gets wrong the scores take over: a rare item that was
    had once in them would rank as if it were had daily. Called again on the same model
    it traces nothing.

    Args:
        model: Its weights are changed.
        queries: What to train on.
        events: The events that the queries were made from.
        passes: Over all of the queries.
        settings: How to train, but for `epochs` and the rate.
        until: Where the period ends, for the targets' weights and the counts.
        learning_rate: Adam's. An encoder is not to be trained.
        event_weights: As in `train`.
        skipped: As in `train`.
        verbose: Keras' own.

    Returns:
        The loss of the last pass.

    Raises:
        ValueError: An action has no weight, or there is not an event's weight above 0
            for each.
        RuntimeError: The loss is no longer a number.
    """
    _refuse_unweighed(events, settings)
    before = model.item_tower.seen
    _count_seen(model, queries, events, settings, skipped)
    if _counts_draws(model):
        known = basket_queries(events, until=until, actions=settings.target_actions)
        model.set_sampling_probability(_drawn(known, events, settings))
    if before is not None:
        model.item_tower.set_seen(before | model.item_tower.seen)
    frozen = replace(
        settings,
        fine_tune=None,
        encoder_learning_rate=None,
        warm_up=WARM_UP,
        learning_rate=learning_rate,
    )
    # What an earlier call compiled is taken again, as new.
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or optimizer.name != AGAIN:
        optimizer = _optimizer(frozen, len(queries), name=AGAIN)
        model.compile(optimizer=optimizer)
    else:
        for variable in optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        optimizer.learning_rate = learning_rate
    history = model.fit(
        _batches(
            model,
            queries,
            events,
            settings,
            until=until,
            event_weights=event_weights,
            skipped=skipped,
        ),
        epochs=passes,
        callbacks=[tf_keras.callbacks.TerminateOnNaN()],
        verbose=verbose,
    )
    _refuse_nan(history, frozen)
    return float(history.history["loss"][-1])


def _count_seen(
    model: DecayRetrieval,
    queries: Queries,
    events: Events,
    settings: Settings,
    skipped: Skipped | None,
) -> None:
    """Tells a model which items it is about to be trained on."""
    if model.item_tower.id_embedding:
        model.item_tower.set_seen(_read(queries, events, settings, skipped))


def _counts_draws(model: DecayRetrieval) -> bool:
    """Whether a model wants to be told how likely each item is to be drawn."""
    return model.retrieval_loss == "sampled" and model.streaming_probability is None


def _read(
    queries: Queries, events: Events, settings: Settings, skipped: Skipped | None
) -> np.ndarray:
    """[n] bool, the items that stand in a history that is read, or are trained on."""
    start = np.maximum(
        queries.history_start, queries.history_stop - settings.max_history
    )
    # Of each event, how many histories have begun before it and not ended.
    within = np.zeros(len(events) + 1, np.int64)
    np.add.at(within, start, 1)
    np.add.at(within, queries.history_stop, -1)
    read = np.cumsum(within)[:-1] > 0
    read[queries.target] = True
    items = np.bincount(events.item[read], minlength=len(events.items)) > 0
    if skipped is not None:
        items[skipped.of_queries(queries, events).place] = True
    return items


def _drawn(queries: Queries, events: Events, settings: Settings) -> np.ndarray:
    """[n] how likely each item is to be drawn: a large basket gives some targets."""
    return sampling_probability(
        np.bincount(
            events.item[queries.target],
            weights=_chance(queries, settings),
            minlength=len(events.items),
        )
    )


def _chance(queries: Queries, settings: Settings) -> np.ndarray:
    """[t] how likely each target is to be drawn in an epoch."""
    basket = queries.target_count
    return np.repeat(np.minimum(settings.max_targets / basket, 1.0), basket)


def _batches(
    model: DecayRetrieval,
    queries: Queries,
    events: Events,
    settings: Settings,
    *,
    until: int | None = None,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
) -> tf.data.Dataset:
    """The batches of a period; a training period, which `until` ends, has faded."""
    decay = None if until is None else settings.example_decay
    weights = target_weights(
        queries,
        events,
        by_action=settings.target_weights,
        by_event=event_weights,
        decay=decay,
        until=until,
    )
    told = (settings.target_weights, event_weights, decay)
    weighed = any(one is not None for one in told)
    every = model.retrieval_loss == "full"
    if every and (queries.target_count > settings.max_targets).any():
        # What is not drawn of a basket would be a negative of what is.
        weights = weights * _chance(queries, settings)
        weights = weights / weights.mean()
        weighed = True
    return batches(
        queries,
        events,
        batch_size=settings.batch_size,
        max_history=settings.max_history,
        max_targets=None if every else settings.max_targets,
        shuffle_seed=settings.seed,
        target_weights=weights if weighed else None,
        skipped=skipped,
    )


def _fit(
    model: DecayRetrieval,
    queries: Queries,
    events: Events,
    epochs: int,
    settings: Settings,
    *,
    until: int,
    event_weights: np.ndarray | None,
    skipped: Skipped | None,
    verbose: int,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    validation: tf.data.Dataset | None = None,
) -> tf_keras.callbacks.History:
    """Some passes over the queries of a period that `until` ends, from where it is."""
    if _counts_draws(model):
        model.set_sampling_probability(_drawn(queries, events, settings))
    _count_seen(model, queries, events, settings, skipped)
    model.compile(optimizer=_optimizer(settings, len(queries)))
    history = model.fit(
        _batches(
            model,
            queries,
            events,
            settings,
            until=until,
            event_weights=event_weights,
            skipped=skipped,
        ),
        epochs=epochs,
        validation_data=validation,
        callbacks=[*callbacks, tf_keras.callbacks.TerminateOnNaN()],
        verbose=verbose,
    )
    _refuse_nan(history, settings)
    return history


def _refuse_nan(history: tf_keras.callbacks.History, settings: Settings) -> None:
    if not np.isfinite(history.history["loss"]).all():
        raise RuntimeError(
            f"the loss became {history.history['loss'][-1]} in pass "
            f"{len(history.history['loss'])}: lower learning_rate="
            f"{settings.learning_rate} or raise temperature={settings.temperature}."
        )


def _optimizer(
    settings: Settings, queries: int, **named: str
) -> tf_keras.optimizers.Optimizer:
    """Adam; with a rate of the encoder's own, which warms up, where it is trained."""
    if settings.weight_decay:
        return IdDecayAdam(settings.learning_rate, settings.weight_decay, **named)
    if settings.fine_tune is None:
        return tf_keras.optimizers.Adam(settings.learning_rate, **named)
    rate: Any = settings.encoder_learning_rate
    if rate is None:
        adapter = isinstance(fine_tuning.parse(settings.fine_tune), LowRank)
        rate = ADAPTER_RATE if adapter else ENCODER_RATE
    planned = settings.epochs * -(-queries // settings.batch_size)
    rising = round(settings.warm_up * planned)
    if rising:
        rate = tf_keras.optimizers.schedules.PolynomialDecay(0.0, rising, rate)
    return FineTuningAdam(settings.learning_rate, rate)


def _callbacks(
    directory: str | os.PathLike[str] | None,
) -> list[tf_keras.callbacks.Callback]:
    callbacks = [
        tf_keras.callbacks.EarlyStopping(monitor=RECALL, mode="max", patience=PATIENCE)
    ]
    if directory is not None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        callbacks += [
            tf_keras.callbacks.ModelCheckpoint(
                str(Path(directory) / "best.weights.h5"),
                monitor=RECALL,
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            tf_keras.callbacks.CSVLogger(str(Path(directory) / "losses.csv")),
        ]
    return callbacks


def _boards(
    directory: str | os.PathLike[str] | None, name: str
) -> list[tf_keras.callbacks.Callback]:
    """What writes one fit's numbers for TensorBoard, in its own folder."""
    if directory is None:
        return []
    need("tensorboard", "writing for TensorBoard", "tensorboard")
    folder = Path(directory) / name
    return [tf_keras.callbacks.TensorBoard(folder), DecayTensorBoard(folder)]
