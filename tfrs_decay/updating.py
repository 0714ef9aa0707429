"""Updates: the next model from the last one and what happened since.

Training costs what is new: the catalogue grows without any, and the model is trained
from where it stands on the baskets of the new period alone. The log is sorted and
written whole each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from tfrs_decay.data.cleaning import Cleaned, counted
from tfrs_decay.data.events import Events, Items
from tfrs_decay.data.growing import Grown, grow
from tfrs_decay.data.histories import Queries, basket_queries
from tfrs_decay.data.skipped import Skipped
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.storage import save_events
from tfrs_decay.data.times import days_of
from tfrs_decay.data.vectors import read_vectors
from tfrs_decay.data.weights import checked_weights
from tfrs_decay.durations import Duration, to_seconds, to_text
from tfrs_decay.evaluation import Comparison, compare, evaluate, holm
from tfrs_decay.evaluation.compare import FEWEST_USERS
from tfrs_decay.evaluation.figures import K
from tfrs_decay.evaluation.two_tower import TwoTowerScores
from tfrs_decay.feedback import TrainingSignal
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.runs import (
    Run,
    about_model,
    encoding_progress,
    export_run,
    load_run,
    refuse_existing,
    write_about,
)
from tfrs_decay.serving import asking, native
from tfrs_decay.serving.names import METADATA
from tfrs_decay.serving.versions import next_version
from tfrs_decay.training import Settings, drawn_queries, fit_on, refuse_no_queries
from tfrs_decay.writing import whole_folder

PASSES = 2
"""Over the queries of the new period, where nobody says otherwise."""

RATE = 1 / 3
"""Share of the first fit's learning rate, where no rate is given: the model is near
where it should be, and a day is a small sample of what it knows."""

HOLD_OUT = "6h"
"""The last hours of the new period, by which the guard tells."""

MEASURES = {"recall": "Recall", "ndcg": "NDCG"}
"""What the guard compares, at 20, as people call it."""

LEVEL = 0.90
"""Of the guard's two-sided intervals: one-sided, the guard errs once in twenty."""

COLLAPSED = 0.5
"""A new period on which the old model has less than this share of its usual recall,
significantly, is not what the model was made for."""

PUBLISHED, REFUSED, UNSURE = "publish", "refuse", "unsure"


@dataclass(frozen=True)
class Guard:
    """Whether the next model may take the old one's place, and by which figures.

    Attributes:
        verdict: "publish"; "refuse"; or "unsure", where too few users were held out.
        why: In words.
        comparisons: "recall" and "ndcg", both at 20, of the candidate less those of the
            old model on the hours that were held out; empty where these hold fewer than
            two users.
        old: The same of the old model there; empty likewise.
        candidate: The same of the candidate; empty likewise.
        on_new: Recall@20 of the old model on all that came after its log; None where
            nothing did.
        usual: What was expected of it there; None where that is not known.
    """

    verdict: str
    why: str
    comparisons: Mapping[str, Comparison]
    old: Mapping[str, float]
    candidate: Mapping[str, float]
    on_new: float | None
    usual: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Updated:
    """The next model, and how it came about.

    Attributes:
        model: The next model, fitted on the new period too; where `published` is false,
            the old one, as it was.
        events: The log that has grown; where `published` is false, the old one.
        trained_until: What the model is trained until, seconds since the epoch: give it
            to the next update.
        period: The new period: after the first second and until the other.
        published: Whether the model was trained and may be published.
        grown: What was added.
        guard: None where nothing was held out.
        usual: Recall@20 to expect on the next period: the largest that a period had
            which was not refused, this one among them. Give it to the next update.
        passes: Over the queries of the new period.
        learning_rate: At which it was trained.
        loss: Of the last pass; None where it was refused.
    """

    model: DecayRetrieval
    events: Events
    trained_until: int
    period: tuple[int, int]
    published: bool
    grown: Grown
    guard: Guard | None
    usual: float | None
    passes: int
    learning_rate: float
    loss: float | None


def update(
    model: DecayRetrieval,
    events: Events,
    new: Events,
    settings: Settings,
    *,
    items: Items | None = None,
    vectors: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    trained_until: int | None = None,
    hold_out: Duration | None = HOLD_OUT,
    usual: float | None = None,
    refuse_unsure: bool = False,
    force: bool = False,
    passes: int = PASSES,
    learning_rate: float | None = None,
    event_weights: np.ndarray | None = None,
    skipped: Skipped | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Updated:
    """Makes the next model of what happened since the last one was made.

    New items join the catalogue by `DecayRetrieval.with_items`: the encoder reads their
    texts and is not trained, and their ids start at zero. Then the model is trained
    from where it stands on the baskets of the new period, whose histories reach back
    into the old log. How often items are drawn is counted anew, in the whole log; an
    item that was trained on once stays so. Adam begins anew as well: the momentum of
    the last fit would move items that nobody had since. An encoder that was fine-tuned
    stays as it is, with its projection.

    The guard holds the last hours back, trains a candidate on what is left of the new
    period, and refuses it where

    - the candidate's Recall@20 or NDCG@20 on the held-out hours is significantly below
      the old model's (a paired bootstrap over users, one-sided at 5% for both together,
      by Holm; both answer over the same catalogue, the old model knowing the new items
      by what it knows beside their ids); or
    - the old model's Recall@20 on all that came after its log is significantly below
      half of what is usual for it. Then the log has changed and not the users, as where
      ids are mixed up: on hours that are broken alike, a candidate of broken days may
      do better than the old model.

    What passes is trained once more from the old weights, with the hours that were held
    out. Nothing compares that model: no hours are left to do it by.

    Everything is seeded by `settings.seed`, by `tf_keras.utils.set_random_seed`.

    Args:
        model: The last model. Its weights are changed; where there are new items the
            next model is another object, and this one stays as it is. While there are
            none, updates after the first trace nothing and are much faster.
        events: The clean events that it was made from; its catalogue is the model's.
        new: Clean events, which may overlap the old ones: see `data.grow`.
        settings: What the model was made with: its targets, weights, batches and seed
            hold for updates.
        items: Further items, of which nobody need have had any.
        vectors: From id to vector, for new items of a model that has one
            `PrecomputedTower`.
        trained_until: The second up to which the model was trained: where the new
            period begins. The last of `events` when left out.
        hold_out: How many of the last hours the guard tells by; None for no guard.
        usual: Recall@20 that the model is known to have on baskets that it was not
            trained on, as the last update gave it; measured between `trained_until` and
            the end of `events` when left out, and unknown where nothing lies there.
            With `skipped`, on events that took nothing from a list, which is unknown
            when left out.
        refuse_unsure: Refuse where fewer than 30 users are held out, which the guard
            cannot tell by. Such a model is published otherwise, with a word of it.
        force: Train and publish whatever the guard says.
        passes: Over the queries of the new period, 1 or more.
        learning_rate: A third of that of `settings` when left out.
        event_weights: [new] what each of the new events weighs as a target, above 0,
            such as `feedback.Joined.event_weights` gives of them. Events of the old log
            that lie in the new period and are not among the new ones weigh 1. All weigh
            the same when left out.
        skipped: What was shown beside what each of the new events took, such as
            `feedback.skipped` gives of them. Their targets compete with that alone,
            where there is any. The guard goes by events that no list led to
            (`Skipped.from_list`), whether or not anything was skipped, for what the old
            model showed is what it would say again.
        progress: Wraps the batches of new texts that are encoded.

    Returns:
        The next model and log; the old ones, as they were, where it was refused.

    Raises:
        ValueError: There is no new row, no basket to train on, nothing before the hours
            that are held out, or what is new does not fit the log or the model; or
            there is not a weight above 0 for each new event, or `skipped` is of others.
        RuntimeError: The loss is no longer a number. As after any error, the model has
            the weights that it was given with.
    """
    rate = settings.learning_rate * RATE if learning_rate is None else learning_rate
    _check(model, events, passes, rate)
    if event_weights is not None:
        event_weights = checked_weights(
            event_weights, len(new), "new event", "event_weights"
        )
    if skipped is not None and len(skipped) != len(new):
        raise ValueError(
            f"skipped is of {len(skipped):,} events: make it of the {len(new):,} new "
            "ones."
        )
    grown = grow(events, new, items=items)
    both, end_of_old = grown.events, int(events.time.max())
    if not grown.rows:
        raise ValueError(
            f"there is nothing new: the log has all {grown.repeated:,} rows already; "
            f"it goes from {days_of(events.time)}."
        )
    start = end_of_old if trained_until is None else trained_until
    end = int(both.time.max())
    weights = None
    if event_weights is not None:
        weights = np.ones(len(both))
        weights[grown.row] = event_weights
    if skipped is not None:
        skipped = skipped.moved(grown.row, len(both))
    step = _Step(both, settings, start, passes, rate, weights, skipped)
    step.queries(start, end)  # refused before anything is spent on it
    cut = None if hold_out is None else _cut(start, end, hold_out)
    if cut is not None:
        step.queries(start, cut)
    made = _with_items(model, both.items, vectors, progress)
    guard, expected = None, usual
    before = [(variable, variable.numpy()) for variable in made.variables]
    try:
        if cut is not None:
            guard = _guarded(made, step, end_of_old, cut, end, usual)
            _put_back(before)
            expected = guard.usual
            usual = expected
            if guard.on_new is not None and guard.verdict != REFUSED:
                # The most that was ever had: what is usual of a log that gets a little
                # worse every day is not to follow it down.
                usual = max(guard.on_new, expected or 0.0)
        published = (
            guard is None
            or force
            or guard.verdict == PUBLISHED
            or (guard.verdict == UNSURE and not refuse_unsure)
        )
        loss = step.fit(made, end) if published else None
    except BaseException:
        _put_back(before)
        raise
    return Updated(
        model=made if published else model,
        events=both if published else events,
        trained_until=end if published else start,
        period=(start, end),
        published=published,
        grown=grown,
        guard=guard,
        usual=usual if published else expected,
        passes=passes,
        learning_rate=rate,
        loss=loss,
    )


class Refused(RuntimeError):
    """The guard refused the next model.

    Attributes:
        guard: Its verdict and figures.
    """

    def __init__(self, guard: Guard) -> None:
        super().__init__(f"refused, and the last model stays: {guard.why}.")
        self.guard = guard


def update_run(
    run: Run,
    cleaned: Cleaned,
    directory: str | os.PathLike[str],
    *,
    data: str,
    read: Mapping[str, Any] | None = None,
    items: Items | None = None,
    vectors: str | os.PathLike[str] | None = None,
    hold_out: Duration | None = HOLD_OUT,
    refuse_unsure: bool = False,
    force: bool = False,
    passes: int = PASSES,
    learning_rate: float | None = None,
    signal: TrainingSignal | None = None,
    say: Callable[[str], None] = print,
) -> Run:
    """Makes the next run of the last one and a newer log, and writes its folder.

    The new period begins where the run's model was trained until: for a run of
    `train`, at its test cut. The next run has no test period, and its model no twin
    with mean pooling: its figures are the guard's, in `run.json` under "update", with
    the runs that it comes from. The folder appears whole or not at all.

    Args:
        run: The last run, which is left as it is.
        cleaned: The newer log; it may overlap the run's.
        directory: The folder to write; it must not be there.
        data: The log's name, to be written down.
        read: How the log was read, as in `train_run`; as the last run has it when left
            out.
        items: Items that are described, whether or not anybody had them. A model that
            knows items by their ids alone takes those only that somebody had.
        vectors: A file with the vectors of new items, where the model has such; that of
            the last run when left out.
        hold_out: As in `update`.
        refuse_unsure: As in `update`.
        force: As in `update`.
        passes: As in `update`.
        learning_rate: As in `update`.
        signal: What came of what was shown, of `feedback.training_signal` with
            `cleaned`: its event weights and what was skipped are those of `update`, and
            its report is written down under "feedback". It is for the caller to show,
            whatever the guard says.
        say: Is told what is being done.

    Raises:
        FileExistsError: The folder is there.
        ValueError: As `update`, vectors are given for a model without, or what was
            signal is of other events.
        Refused: By the guard; nothing was written.
    """
    refuse_existing(directory)
    if signal is not None and signal.report.joined.events is not cleaned.events:
        raise ValueError(
            "signal is of other events than cleaned: give what "
            "feedback.training_signal makes of the newer log."
        )
    settings, reads = run.settings, run.settings.encoder is not None
    if vectors is not None:
        if settings.vectors is None:
            raise ValueError(
                f"vectors={os.fspath(vectors)!r}: the run {run.directory} was trained "
                "without: leave them out, or train anew."
            )
        settings = replace(settings, vectors=str(Path(vectors).absolute()))
    of_items = None
    if settings.vectors is not None:
        file = read_vectors(settings.vectors)
        of_items = dict(zip(file.ids, file.vectors, strict=True))
    past: Mapping[str, Any] = run.about.get("update", {})
    skipped = None if signal is None else signal.skipped
    # What is usual of all events is not what is of those that no list led to: each is
    # kept until it is asked for.
    usual = {name: past.get(name) for name in ("usual", "usual_apart_from_lists")}
    kind = "usual" if signal is None else "usual_apart_from_lists"
    say(f"Updating {run.directory} ...")
    updated = update(
        run.model(),
        run.events(),
        cleaned.events,
        settings,
        items=items if reads or of_items is not None else None,
        vectors=of_items,
        trained_until=run.split.test,
        usual=usual[kind],
        hold_out=hold_out,
        refuse_unsure=refuse_unsure,
        force=force,
        passes=passes,
        learning_rate=learning_rate,
        event_weights=None if signal is None else signal.event_weights,
        skipped=skipped,
        progress=encoding_progress,
    )
    say(updated.grown.report())
    if skipped is not None:
        say(skipped.report())
        for line in _not_predicted(skipped, cleaned.events, settings):
            say(line)
        unknown = skipped.unknown(updated.model.item_tower.items)
        if unknown:
            say(f"of which {unknown:,} are not in the catalogue, and left out")
    guard = updated.guard
    if guard is not None:
        if not updated.published:
            raise Refused(guard)
        say(f"Guard: {guard.verdict}: {guard.why}")
    start, end = updated.period
    about = {
        "data": data,
        "read": run.about.get("read") if read is None else dict(read),
        "settings": settings.to_dict(),
        "split": TimeSplit(validation=start, test=end)._asdict(),
        "rejected": cleaned.rejected,
        "items_without_event": cleaned.items_without_event,
        "items_described_twice": cleaned.items_described_twice,
        "trained": {"decay": about_model(updated.model, updated.passes, [])},
        "update": {
            "runs": [*past.get("runs", []), str(run.directory.resolve())],
            "period": [start, end],
            "grown": updated.grown.to_dict(),
            "published": updated.published,
            "forced": force,
            "refuse_unsure": refuse_unsure,
            "guard": None if guard is None else guard.to_dict(),
            **{**usual, kind: updated.usual},
            "learning_rate": updated.learning_rate,
            "final_loss": updated.loss,
            "feedback": None if signal is None else signal.report.to_dict(),
        },
    }
    with whole_folder(directory) as partial:
        save_events(updated.events, partial / "events.npz")
        updated.model.save(partial / "decay.keras")
        write_about(about, partial)
    return load_run(directory)


def check_export(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """How to export a run like the version that is served, before time is spent.

    Args:
        directory: The served model's folder; it need not be there.

    Returns:
        Options of `runs.export_run`: those of the highest version there; none where
        there is no version.

    Raises:
        ValueError: The highest version is not the export of a run or does not say how
            it was made, or the folder has a name that no server's files can hold.
    """
    next_version(directory, None)
    folder = Path(directory)
    if not folder.is_dir() or not native.version_directories(folder):
        return {}
    version = native.version_directory(folder)
    made = asking.metadata_of(version)
    if "parts" not in made:
        raise ValueError(
            f"{version} is not the export of a run: give another folder to export to."
        )
    try:
        diversity = made["diversity"] or {"trade_off": None, "pool": None}
        return {
            "k": made["k"],
            "exclude_seen": made["exclude_seen"],
            "diversity": diversity["trade_off"],
            "pool": diversity["pool"],
            "texts": made["reads_texts"],
            "parts": made["parts"],
            "server": made["server"],
        }
    except KeyError as error:
        raise ValueError(
            f"{version / METADATA} does not say {error.args[0]!r}, which the next "
            "version is made by: export that run again, or give another folder."
        ) from error


def export_like_last(run: Run, directory: str | os.PathLike[str]) -> Path:
    """Writes a run's model as the next version, made as the version before it.

    Args:
        run: A run.
        directory: The served model's folder.

    Returns:
        The version's folder.

    Raises:
        ValueError: As `check_export`.
    """
    return export_run(run, directory, **check_export(directory))


class _Step:
    """How a model is trained on the new period, or a part of it."""

    def __init__(
        self,
        events: Events,
        settings: Settings,
        start: int,
        passes: int,
        rate: float,
        weights: np.ndarray | None,
        skipped: Skipped | None,
    ) -> None:
        self.events = events
        self.settings = settings
        self.start = start
        self.passes = passes
        self.rate = rate
        self.weights = weights
        self.skipped = skipped

    def queries(self, after: int, until: int) -> Queries:
        """Those of a part of the period, which must ask something."""
        found = self.some_queries(after, until)
        refuse_no_queries(found, self.events, "new", self.settings.target_actions)
        return found

    def some_queries(self, after: int, until: int) -> Queries:
        """Those of a part of the period, if any."""
        return basket_queries(
            self.events,
            after=after,
            until=until,
            actions=self.settings.target_actions,
        )

    def asked(self, after: int, until: int) -> Queries:
        """Those by which a model may be judged, drawn where there are many.

        What came of a list is what the model that made it would say again.
        """
        found = self.some_queries(after, until)
        if self.skipped is not None:
            found = found.with_targets(~self.skipped.from_list[found.target])
        return drawn_queries(found, self.settings.seed)

    def fit(self, model: DecayRetrieval, until: int) -> float:
        """Trains from where the model stands; gives the last pass's loss."""
        # Before each fit, so that the next model is the same without a guard.
        tf_keras.utils.set_random_seed(self.settings.seed)
        with _frozen_encoder(model):
            return fit_on(
                model,
                self.queries(self.start, until),
                self.events,
                self.passes,
                self.settings,
                until=until,
                learning_rate=self.rate,
                event_weights=self.weights,
                skipped=self.skipped,
            )

    def scores(self, model: DecayRetrieval) -> TwoTowerScores:
        """The model as it is now, to be measured."""
        return TwoTowerScores(model, self.events, max_history=self.settings.max_history)

    def figures(
        self, scores: TwoTowerScores, queries: Queries
    ) -> dict[str, np.ndarray]:
        """Recall and NDCG at 20 by name: [q] of each query."""
        found = evaluate({"model": scores}, queries, self.events, k=K)["model"]
        return {"recall": found.recall(), "ndcg": found.ndcg()}


def _guarded(
    model: DecayRetrieval,
    step: _Step,
    end_of_old: int,
    cut: int,
    end: int,
    usual: float | None,
) -> Guard:
    """The guard's verdict; the model is left trained up to the cut."""
    seed, as_it_was = step.settings.seed, step.scores(model)
    if usual is None and step.skipped is None:
        before = step.asked(step.start, end_of_old)
        if len(np.unique(before.user)) >= FEWEST_USERS:
            usual = float(step.figures(as_it_was, before)["recall"].mean())
    on_new = None
    since = step.asked(end_of_old, end)
    collapse = None
    if len(np.unique(since.user)) >= FEWEST_USERS:
        found = step.figures(as_it_was, since)["recall"]
        on_new = float(found.mean())
        if usual is not None:
            least = np.full(len(found), COLLAPSED * usual)
            collapse = compare(found, least, since.user, level=LEVEL, seed=seed)
    held_out = step.asked(cut, end)
    comparisons: dict[str, Comparison] = {}
    old: dict[str, float] = {}
    candidate: dict[str, float] = {}
    users = len(np.unique(held_out.user))
    if users > 1:
        before_fit = step.figures(as_it_was, held_out)
        step.fit(model, cut)
        after_fit = step.figures(step.scores(model), held_out)
        for name, own in after_fit.items():
            comparisons[name] = compare(
                own, before_fit[name], held_out.user, level=LEVEL, seed=seed
            )
            old[name] = float(before_fit[name].mean())
            candidate[name] = float(own.mean())
        adjusted = holm([one.p for one in comparisons.values()])
        for name, p in zip(comparisons, adjusted, strict=True):
            comparisons[name] = replace(comparisons[name], adjusted_p=float(p))
    verdict = PUBLISHED
    why = "on the held-out hours " + "; ".join(
        f"{MEASURES[name]}@{K} {one}" for name, one in comparisons.items()
    )
    if collapse is not None and collapse.verdict == "worse":
        verdict = REFUSED
        why = (
            f"the old model's Recall@{K} on the new period is {on_new:.4f}, and "
            f"{usual:.4f} is usual: the new log is unlike the one it is added to"
        )
    elif users < FEWEST_USERS:
        verdict = UNSURE
        why = f"the held-out hours have baskets of {counted(users, 'user')}"
        if step.skipped is not None:
            others = len(step.some_queries(cut, end)) - len(held_out)
            why += (
                f" that no list led to ({others:,} more came of lists, and say what "
                "the old model would have said)"
            )
        why += f", and {FEWEST_USERS} are needed to tell"
    elif any(one.verdict == "worse" for one in comparisons.values()):
        verdict = REFUSED
    return Guard(verdict, why, comparisons, old, candidate, on_new, usual)


def _not_predicted(
    skipped: Skipped, events: Events, settings: Settings
) -> Iterator[str]:
    """A line for each action that came of lists and is no target."""
    if settings.target_actions is None:
        return
    for code, action in enumerate(events.actions):
        count = int((skipped.from_list & (events.action == code)).sum())
        if count and action not in settings.target_actions:
            yield (
                f"{count:,} of those that came of lists are {action}, which this run "
                "does not predict, and train nothing but histories (train "
                f"--target-action {action})"
            )


def _put_back(before: list[tuple[Any, np.ndarray]]) -> None:
    """Gives variables the values that they had."""
    for variable, value in before:
        variable.assign(value)


def _check(model: DecayRetrieval, events: Events, passes: int, rate: float) -> None:
    if passes < 1:
        raise ValueError(f"passes={passes} must be 1 or more.")
    if not 0 < rate < float("inf"):
        raise ValueError(f"learning_rate={rate} must be finite and above 0.")
    if not len(events):
        raise ValueError("events is empty: give those that the model was made from.")
    known = model.item_tower.items.ids
    if known.tolist() != events.items.ids.tolist():
        raise ValueError(
            f"the model's catalogue has {len(known):,} items and that of events "
            f"{len(events.items):,}, or they stand in another order: give the events "
            "that the model was made from."
        )


def _cut(start: int, end: int, hold_out: Duration) -> int:
    """Where the held-out hours begin."""
    cut = end - int(to_seconds(hold_out, "hold_out"))
    if cut <= start:
        raise ValueError(
            f"hold_out={hold_out!r} leaves nothing of the new period to train on, "
            f"which spans {to_text(max(end - start, 0))}: hold out less, or None."
        )
    return cut


def _with_items(
    model: DecayRetrieval,
    items: Items,
    vectors: Mapping[str, Any] | None,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> DecayRetrieval:
    """The model with the items that it lacks, untrained; the same where there are none.

    Its catalogue is the first part of `items`.
    """
    n = len(model.item_tower.items)
    if len(items) == n:
        return model
    options: dict[str, Any] = {}
    if model.item_tower.baked:
        options["progress"] = progress
    if vectors:
        new = set(items.ids[n:])
        options["vectors"] = {one: row for one, row in vectors.items() if one in new}
    return model.with_items(items.ids[n:].tolist(), items.texts[n:].tolist(), **options)


@contextmanager
def _frozen_encoder(model: DecayRetrieval) -> Iterator[None]:
    """Leaves an encoder that is fine-tuned, and its projection, out of training."""
    text = model.item_tower.text
    if text is None or text.fine_tune is False:
        yield
        return
    layers = [one for one in text.submodules if isinstance(one, tf_keras.layers.Layer)]
    before = [(one, one.trainable) for one in [text, *layers]]
    text.trainable = False
    try:
        yield
    finally:
        for one, trainable in before:
            one.trainable = trainable
