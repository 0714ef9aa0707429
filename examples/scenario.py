"""What the scenarios share: models beside each other, and an answer with its reasons.

`shopping.py`, `news.py` and `video.py` differ in what an event is and what it weighs,
in what is known of an item, and in how fast interest fades. From there on the way is
one, through what anyone can import: train up to a cut, measure after it, export, and
ask the export as a server would, without Keras.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import tfrs_decay as td

K = 20
"""Items a list is measured by."""

SHOWN = 8
"""Latest events of a history that are printed."""

DECAY, MEAN = "decay", "mean pooling"


class Variant(NamedTuple):
    """One of the models that are measured beside each other."""

    settings: td.training.Settings
    decay: td.decay.Decay


class Variants(NamedTuple):
    """Models that were trained up to a cut, and figures from after it, by name."""

    models: dict[str, td.models.DecayRetrieval]
    figures: dict[str, td.evaluation.Figures]


class Answer(NamedTuple):
    """What was recommended to one user, and why.

    request: The history, and when it was asked with.
    ids: Recommended, best first.
    weight: [time] float32, what each event of the history weighed.
    decay: What was learned of how interest fades.
    """

    request: dict[str, Any]
    ids: list[str]
    weight: np.ndarray
    decay: td.decay.Decay


def options(
    document: str | None, *, data: str, users: int, test: str, passes: int
) -> argparse.ArgumentParser:
    """The arguments that every scenario has.

    Args:
        document: The scenario's docstring; its first line is printed as help.
        data: What `--data` may be.
        users: Of a simulated log.
        test: How long the test period is.
        passes: Over what comes before it.
    """
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    parser.add_argument("--data", default="simulated", help=f"simulated, or {data}")
    parser.add_argument(
        "--sample", type=int, help=f"users (simulated: {users}; else all)"
    )
    parser.add_argument("--test", default=test, help="how long the test period is")
    parser.add_argument("--passes", type=int, default=passes, help="of the training")
    parser.add_argument("--user", help="who asks; the last one of the log by default")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    return parser


def weights_of(events: td.data.Events, usual: Mapping[str, float]) -> dict[str, float]:
    """What the actions of a log weigh, of all that a scenario knows.

    Raises:
        ValueError: The log has an action that the scenario does not know.
    """
    strange = [one for one in events.actions if one not in usual]
    if strange:
        raise ValueError(
            f"the log has the actions {strange}, and this scenario knows "
            f"{sorted(usual)}: rename them in the log."
        )
    return {one: usual[one] for one in events.actions}


def cut_of(events: td.data.Events, test: td.durations.Duration) -> int:
    """Where the test period begins; nothing is chosen by a validation period here."""
    return td.data.split_by_time(events, test=test, validation="1s").test


def measure(
    events: td.data.Events,
    cut: int,
    variants: Mapping[str, Variant],
    peers: Mapping[str, td.evaluation.Scorer],
    *,
    passes: int,
    encoded: np.ndarray | None = None,
    only_new: bool = False,
    life: td.durations.Duration | None = None,
) -> Variants:
    """Trains models on what comes before a cut, and prints how they do after it.

    Args:
        events: Clean events.
        cut: Seconds since the epoch.
        variants: The models by name, one of them `DECAY` and one `MEAN`. They are alike
            in what they predict.
        peers: What needs no training, to be measured beside them.
        passes: Over the training queries, the same for each model.
        encoded: [n, hidden] the texts' encodings, where models read texts.
        only_new: Recommend only what a user never had.
        life: How long an item can be recommended after its first event; for ever when
            left out.
    """
    models: dict[str, td.models.DecayRetrieval] = {}
    scorers: dict[str, td.evaluation.Scorer] = {}
    settings = variants[DECAY].settings
    for name, variant in variants.items():
        print(f"training: {name} ...", flush=True)
        model = td.training.make_model(events, *variant, encoded=encoded)
        for _ in td.training.fit_through(
            model, events, [cut], variant.settings, first_passes=passes
        ):
            models[name] = model
        scorers[name] = td.evaluation.TwoTowerScores(
            model, events, max_history=settings.max_history
        )
    queries = td.data.basket_queries(events, after=cut, actions=settings.target_actions)
    if only_new:
        queries = queries.with_new_targets(events)
    scorers |= peers
    if life is not None:
        scorers = {
            name: td.evaluation.Available.from_first_event(one, events, life)
            for name, one in scorers.items()
        }
    figures = td.evaluation.evaluate(
        scorers, queries, events, k=K, exclude_seen=only_new
    )
    track = "new" if only_new else "any"
    print(f"\nafter the cut, {len(queries):,} queries:")
    print(td.evaluation.table({track: figures}))
    worth = td.evaluation.compare(
        figures[DECAY].recall(), figures[MEAN].recall(), queries.user
    )
    print(f"\nWhat decay is worth beside {MEAN}, Recall@{K}: {worth}")
    print(f"({models[DECAY].pooling.describe()})")
    others = {name: one.recall() for name, one in figures.items() if name != MEAN}
    verdicts = td.evaluation.verdicts(others, queries.user, against=DECAY)
    print(f"The others less {DECAY}:\n{td.evaluation.verdict_table(verdicts)}")
    return Variants(models, figures)


def history_of(events: td.data.Events, user: str | None) -> dict[str, Any]:
    """A request with all that a user did: by default of whoever was there last.

    Raises:
        ValueError: There is no such user.
    """
    at = int(events.time.max())
    name = events.users[events.user[events.time.argmax()]] if user is None else user
    rows = np.flatnonzero(events.users[events.user] == name)
    if not len(rows):
        raise ValueError(
            f"--user {user}: the log has no such user; one is {events.users[0]!r}."
        )
    return {
        "history_item": [events.items.ids[events.item[rows]].tolist()],
        "history_time": [events.time[rows].tolist()],
        "history_action": [[events.actions[one] for one in events.action[rows]]],
        "history_length": [len(rows)],
        "query_time": [at],
    }


def answer(
    model: td.models.DecayRetrieval,
    events: td.data.Events,
    *,
    settings: td.training.Settings,
    user: str | None,
    popularity: np.ndarray,
    only_new: bool = False,
    exclude: Sequence[str] = (),
    k: int = 10,
) -> Answer:
    """Exports a model, asks the export for one user, and prints the answer and why.

    Args:
        model: Trained.
        events: Clean events.
        settings: What it was trained with.
        user: Who asks; whoever was there last when left out.
        popularity: [n_items] scores, for those of whom nothing is known.
        only_new: Never recommend an item of the history.
        exclude: Ids that are not to be recommended.
        k: Items wanted.
    """
    request = history_of(events, user)
    choice = {
        "exclude_item": [list(exclude) or [""]],
        "exclude_length": [len(exclude)],
        "k": [k],
    }
    with tempfile.TemporaryDirectory() as folder:
        td.serving.export(
            model,
            folder,
            k=k,
            popularity=popularity / popularity.max(),
            exclude_seen=only_new,
            max_history=settings.max_history,
        )
        with td.serving.NativeModel(folder) as served:
            listed = served("recommend", {**request, **choice})
            weight = served("explain", request)["weight"][0]
    texts = dict(zip(events.items.ids, events.items.titles, strict=True))
    ids = [one.decode() for one in listed["item_id"][0] if one]
    print_history(request, weight, texts)
    print("recommended:")
    for item, score in zip(ids, listed["score"][0], strict=False):
        print(f"  {score:6.3f}  {item:12} {texts[item]}")
    (decay,) = model.pooling.learned_decays()
    return Answer(request, ids, weight, decay)


def print_history(
    request: Mapping[str, Any], weight: np.ndarray, texts: Mapping[str, str]
) -> None:
    """Prints the latest events of a history, and each one's share of the interest."""
    (items,), (times,), (actions,), (now,) = (
        request[one]
        for one in ("history_item", "history_time", "history_action", "query_time")
    )
    total = weight.sum()
    share = weight / total if total > 0 else weight
    print(f"\n{len(items)} events of the user, the latest, and what each weighs:")
    for at in range(len(items))[: -SHOWN - 1 : -1]:
        age = td.durations.to_text(now - times[at])
        print(
            f"  {share[at]:6.1%}  {age:>8} before  {actions[at]:9} {items[at]:12} "
            f"{texts[items[at]]}"
        )
    if len(items) > SHOWN:
        print(f"  {share[:-SHOWN].sum():6.1%}  all before, together")
