"""The combined list beside its peers on a real log, both tracks, after a global cut.

    python benchmarks/quality_retail.py --data online_retail.xlsx --json out.json
    python benchmarks/quality_retail.py --data ml-100k/            # any log that opens

Everything that is chosen or trained is chosen and trained on the events up to the cut,
thirty days before the last event; the rest of the log is opened for the last step,
which measures. Histories and popularity roll forward day by day there, and all that is
learned stays as it was at the cut.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from printed import machine, write_json

from tfrs_decay import demo, evaluation, layers, ranking, runs, training
from tfrs_decay.data import basket_queries, clean, open_log, split_by_time
from tfrs_decay.data.events import Events
from tfrs_decay.data.histories import Queries, actions_to_predict
from tfrs_decay.data.split import TimeSplit, events_until
from tfrs_decay.decay import Constant, Exponential, Window
from tfrs_decay.evaluation.two_tower import GRURetrieval, TwoTowerScores
from tfrs_decay.families import DEFAULT, named_decay
from tfrs_decay.models import DecayRetrieval
from tfrs_decay.neighbours import fit_ease
from tfrs_decay.popularity import PopularityTable

K = 20
TRACKS = ("any", "new")
OURS, TREES = "tfrs_decay", "lightgbm"
FROZEN = f"{OURS}, popularity as of the cut"

TREE_OPTIONS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambdarank_truncation_level": 40,
    "verbosity": -1,
}
MOST_TREES, TREES_APART = 400, 25

WITHOUT: dict[str, tuple[str, ...]] = {
    "without decay": (),
    "without text": ("alike",),
    "without two towers": ("two towers",),
    "without repeats": (
        *("had", "count,", "since last", "since first", "baskets since last"),
        *("over its", "return time", "comes back", "share of baskets"),
    ),
    "without popularity": ("popularity,",),
    "without co-occurrence": (
        *("goes together", "in one basket", "with the last basket", "same users"),
        "next basket",
    ),
}
"""Beginnings of the features that are left out."""


class Sealed:
    """A log whose end nobody sees before every choice is made."""

    def __init__(self, events: Events, cut: int) -> None:
        self._events = events
        self.cut = cut
        self.past = events_until(events, cut)

    def opened(self, choices: Mapping[str, Any]) -> Events:
        """The whole log, for the last step."""
        missing = [
            track
            for track in TRACKS
            if track not in choices or not choices[track].heads.get(OURS)
        ]
        if missing:
            raise RuntimeError(
                f"nothing was chosen yet for {', '.join(missing)}: what lies after the "
                "cut is for the last step."
            )
        return self._events


def timed(what: str, began: float) -> None:
    """Says what was done, and how long it took."""
    print(f"{what} ({time.perf_counter() - began:.0f} s)", flush=True)


def of_track(queries: Queries, events: Events, track: str) -> Queries:
    """The queries as the track asks them."""
    return queries.with_new_targets(events) if track == "new" else queries


def fit_trees(windows: Sequence[ranking.Examples], seeds: Sequence[int]) -> list[Any]:
    """As many trees as are best in the newest window, from all windows."""
    import lightgbm

    def dataset(examples: ranking.Examples) -> Any:
        return lightgbm.Dataset(
            examples.features,
            examples.wanted.astype(np.int32),
            group=np.diff(examples.splits)[np.diff(examples.splits) > 0],
        )

    newest, older = windows[0], ranking.Examples.together(windows[1:])
    trees = lightgbm.train({**TREE_OPTIONS, "seed": 0}, dataset(older), MOST_TREES)
    found = {
        number: newest.figures(trees.predict(newest.features, num_iteration=number))
        for number in range(TREES_APART, MOST_TREES + 1, TREES_APART)
    }
    best = max(found, key=lambda number: found[number][1])
    recall, ndcg = found[best]
    print(
        f"{TREES}: {best} trees, Recall {recall:.4f}, NDCG {ndcg:.4f} in the newest "
        "window",
        flush=True,
    )
    every = dataset(ranking.Examples.together(windows))
    every.free_raw_data = False
    return [
        lightgbm.train({**TREE_OPTIONS, "seed": seed}, every, best) for seed in seeds
    ]


def peers(events: Events, cut: int, track: str) -> dict[str, evaluation.Scorer]:
    """Lists without a ranking of candidates."""
    recent = evaluation.Popularity(events, until=cut, decay=Exponential("14d"))
    found: dict[str, evaluation.Scorer] = {
        "popularity": evaluation.Popularity(events, until=cut),
        "popularity, half-life 14d": recent,
        "popularity, half-life 14d, rolling": evaluation.RollingPopularity(
            events, "14d"
        ),
        "EASE": evaluation.ItemToItem(
            events,
            fit_ease(events, until=cut, m=None, most_items=6_000),
        ),
        "ItemKNN": evaluation.ItemKNN(events, until=cut),
        "TIFU-KNN": evaluation.TIFUKNN(events, until=cut),
    }
    if track == "any":
        found["own counts"] = evaluation.OwnCounts(events, tie_break=recent.scores)
        found["own counts, half-life 90d"] = evaluation.OwnCounts(
            events, decay=Exponential("90d"), tie_break=recent.scores
        )
    return found


def tower_settings(
    events: Events, arguments: argparse.Namespace, seed: int
) -> training.Settings:
    """How two towers are made and trained."""
    return runs.settings_for(
        events.actions,
        encoder_of(arguments) if reads_texts(events, arguments) else None,
        # Actions that are not a shop's usual ones count as much as a purchase.
        action_weights=runs.unusual_in_full(events.actions),
        seed=seed,
    )


def tower_candidates(
    sealed: Sealed, encoded: np.ndarray | None, arguments: argparse.Namespace
) -> dict[int, ranking.TowerVectors]:
    """What two towers know at the start of each window, and at the cut."""
    began = time.perf_counter()
    return ranking.tower_vectors(
        sealed.past,
        tower_settings(sealed.past, arguments, 0),
        named_decay(DEFAULT, trainable=True),
        ranking.cuts(sealed.past, until=sealed.cut, windows=arguments.windows),
        encoded=encoded,
        progress=lambda line: timed(line, began),
    )


def two_towers(
    past: Events, split: TimeSplit, arguments: argparse.Namespace, seed: int
) -> dict[str, DecayRetrieval]:
    """Two-tower models that pool in four ways, trained up to the cut."""
    events = past
    settings = tower_settings(past, arguments, seed)
    encoded = runs.encode_texts(events, settings, cache=arguments.cache / "texts")
    found: dict[str, DecayRetrieval] = {}
    for name, decay in {
        "two towers, decay": named_decay(DEFAULT, trainable=True),
        "two towers, mean": Constant(),
        "two towers, last 20": Window(20, by="rank"),
        "two towers, GRU": Constant(),
    }.items():
        began = time.perf_counter()
        model = training.make_model(events, settings, decay, encoded=encoded)
        if name.endswith("GRU"):
            model = GRURetrieval(
                model.item_tower, model.pooling, temperature=settings.temperature
            )
        training.train(model, events, split, settings, verbose=0)
        found[name] = model
        timed(f"seed {seed}, {name}: trained", began)
    return found


def encoder_of(arguments: argparse.Namespace) -> Path:
    """The folder of the text encoder, fetched once."""
    return demo.text_encoder(arguments.cache).encoder.parent


def reads_texts(events: Events, arguments: argparse.Namespace) -> bool:
    """Whether items have texts, and these are wanted."""
    return not arguments.no_text and any(events.items.titles)


def text_vectors(events: Events, arguments: argparse.Namespace) -> np.ndarray | None:
    """The encodings of the items' texts; none where there are no texts."""
    if not reads_texts(events, arguments):
        return None
    settings = training.Settings(**runs.encoder_handles(encoder_of(arguments)))
    return runs.encode_texts(events, settings, cache=arguments.cache / "texts")


class Chosen(NamedTuple):
    """Of one track: heads by name of the model, one for each seed."""

    heads: dict[str, list[Any]]
    choice: str


def choose(
    track: str,
    windows: ranking.Windows,
    seeds: Sequence[int],
    *,
    ablations: bool,
    trees: bool,
) -> Chosen:
    """Trains all that re-ranks candidates, and nothing here sees the test period."""
    examples = getattr(windows, track)
    names, lasting = windows.tables.feature_names, set(windows.tables.lasting_names)
    began = time.perf_counter()
    choice = ranking.choose(
        windows, track, progress=lambda line: timed(f"track {track}, {line}", began)
    )
    print(f"track {track}: {choice}", flush=True)
    together = ranking.Examples.together(examples)
    heads: dict[str, list[Any]] = {OURS: [choice.head]}
    for seed in seeds[1:]:
        heads[OURS].append(choice.again(together, seed))
        timed(f"track {track}, seed {seed}: trained", began)
    if ablations:
        for name, prefixes in WITHOUT.items():
            columns = [
                number
                for number, one in enumerate(names)
                if not one.startswith(prefixes) and (prefixes or one in lasting)
            ]
            if len(columns) == len(names):
                print(f"track {track}, {name}: there is no such feature", flush=True)
                continue
            head = layers.RankingHead()
            ranking.fit_head(head, together, columns=columns)
            heads[name] = [head]
            timed(f"track {track}, {name}: trained", began)
        best = max(windows.tables.alone_names, key=lambda one: choice.validated[one][1])
        head = layers.RankingHead.of_column(names.index(best), len(names))
        heads["without the head"] = [head]
    if trees:
        heads[TREES] = fit_trees(examples, seeds)
        timed(f"track {track}, {TREES}: trained", began)
    return Chosen(heads, choice.name)


def mean_figures(found: Sequence[evaluation.Figures]) -> dict[str, np.ndarray]:
    """[q] of each figure, the mean over seeds."""
    return {
        f"{name}@{K}": np.mean([getattr(one, name)(K) for one in found], axis=0)
        for name in ("recall", "ndcg")
    }


def measure(
    track: str,
    events: Events,
    sealed: Sealed,
    candidates: Mapping[str, layers.CandidateFeatures],
    chosen: Chosen,
    towers: Sequence[Mapping[str, DecayRetrieval]],
    arguments: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """The last step: every model on the test period, once."""
    began = time.perf_counter()
    actions = actions_to_predict(events.actions, ())
    asked = basket_queries(events, after=sealed.cut, actions=actions)
    asked = of_track(asked, events, track)
    asked = asked.drawn(arguments.test_queries, 0)
    new = track == "new"
    figures: dict[str, dict[str, np.ndarray]] = {}

    def measure_heads(
        examples: ranking.Examples, heads: Mapping[str, Sequence[Any]]
    ) -> None:
        for name, of_seeds in heads.items():
            scorers: dict[str, evaluation.Scorer] = {
                str(seed): _Listed(
                    examples, _scores(head, examples), asked, len(events.items)
                )
                for seed, head in enumerate(of_seeds)
            }
            found = evaluation.evaluate(scorers, asked, events, k=K, exclude_seen=new)
            figures[name] = mean_figures(list(found.values()))

    for name, heads in ((OURS, chosen.heads), (FROZEN, {FROZEN: chosen.heads[OURS]})):
        examples = ranking.make_examples(
            candidates[name], asked, events, exclude_own=new
        )
        timed(
            f"track {track}, {name}: {len(asked):,} test queries, whose candidates "
            f"hold {examples.recall:.3f} of the targets",
            began,
        )
        measure_heads(examples, heads)
    for name, scorer in peers(events, sealed.cut, track).items():
        found = evaluation.evaluate(
            {name: scorer}, asked, events, k=K, exclude_seen=new
        )
        figures[name] = mean_figures(list(found.values()))
    for name in towers[0] if towers else ():
        of_seeds = {
            str(seed): TwoTowerScores(one[name], events)
            for seed, one in enumerate(towers)
        }
        found = evaluation.evaluate(of_seeds, asked, events, k=K, exclude_seen=new)
        figures[name] = mean_figures(list(found.values()))
    timed(f"track {track}: measured", began)
    return report(track, figures, asked.user)


def report(
    track: str, figures: Mapping[str, Mapping[str, np.ndarray]], users: np.ndarray
) -> dict[str, dict[str, float]]:
    """Prints a table, and gives its numbers."""
    nothing = np.zeros(len(users))
    numbers: dict[str, dict[str, float]] = {}
    verdicts = evaluation.verdicts(
        {name: one[f"ndcg@{K}"] for name, one in figures.items()}, users, against=OURS
    )
    print(f"\ntrack {track}: {len(users):,} queries, intervals of 95% over users")
    print(f"  {'':38}Recall@{K}                   NDCG@{K}    NDCG beside {OURS}")
    for name, one in figures.items():
        recall, ndcg = (
            evaluation.compare(one[f"{figure}@{K}"], nothing, users)
            for figure in ("recall", "ndcg")
        )
        verdict = str(verdicts[name]) if name in verdicts else ""
        print(
            f"  {name:38}{recall.difference:.4f} [{recall.low:.4f}, {recall.high:.4f}]"
            f"  {ndcg.difference:.4f}  {verdict}"
        )
        numbers[name] = {
            "queries": len(users),
            f"recall@{K}": recall.difference,
            f"recall@{K}_low": recall.low,
            f"recall@{K}_high": recall.high,
            f"ndcg@{K}": ndcg.difference,
            f"ndcg@{K}_low": ndcg.low,
            f"ndcg@{K}_high": ndcg.high,
        }
    return numbers


def _scores(head: Any, examples: ranking.Examples) -> np.ndarray:
    if isinstance(head, layers.RankingHead):
        return ranking.head_scores(head, examples)
    return np.asarray(head.predict(examples.features))


class _Listed:
    """Scores of candidates that are at hand, as a scorer of the same queries."""

    def __init__(
        self,
        examples: ranking.Examples,
        scores: np.ndarray,
        queries: Queries,
        n_items: int,
    ) -> None:
        self._examples, self._scores, self._n_items = examples, scores, n_items
        key = zip(queries.user.tolist(), queries.time.tolist(), strict=True)
        self._row = {one: row for row, one in enumerate(key)}

    def __call__(self, queries: Queries) -> np.ndarray:
        """[b, n_items], -inf for what is no candidate."""
        scores = np.full((len(queries), self._n_items), -np.inf)
        keys = zip(queries.user.tolist(), queries.time.tolist(), strict=True)
        for place, key in enumerate(keys):
            row = self._row[key]
            part = slice(*self._examples.splits[row : row + 2])
            scores[place, self._examples.item[part]] = self._scores[part]
        return scores


def main() -> None:
    """Chooses, trains and, last of all, measures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="as for `tfrs-decay train`")
    parser.add_argument("--sample", type=int, help="users")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--windows", type=int, default=6, help="to train on, at most")
    parser.add_argument(
        "--queries", type=int, default=4_000, help="drawn from each window, at most"
    )
    parser.add_argument("--test-queries", type=int, default=4_000, help="at most")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--no-text", action="store_true", help="no item texts")
    parser.add_argument(
        "--tower-candidates",
        action="store_true",
        help="two towers name candidates of the combined list, too",
    )
    for part in ("ablations", "trees", "towers"):
        parser.add_argument(f"--no-{part}", action="store_true")
    parser.add_argument("--json", type=Path, help="write {track: {model: figures}}")
    arguments = parser.parse_args()
    print(machine())
    began = time.perf_counter()
    cleaned = clean(open_log(arguments.data, sample=arguments.sample, seed=0))
    print(cleaned.report())
    split = split_by_time(cleaned.events)
    sealed = Sealed(cleaned.events, split.test)
    vectors = text_vectors(sealed.past, arguments)
    by_cut = None
    if arguments.tower_candidates:
        by_cut = tower_candidates(sealed, vectors, arguments)
    windows = ranking.make_windows(
        sealed.past,
        until=sealed.cut,
        actions=actions_to_predict(cleaned.events.actions, ()),
        windows=arguments.windows,
        most_queries=arguments.queries,
        vectors=vectors,
        towers=by_cut,
        progress=lambda line: timed(line, began),
    )
    seeds = range(arguments.seeds)
    choices = {
        track: choose(
            track,
            windows,
            seeds,
            ablations=not arguments.no_ablations,
            trees=not arguments.no_trees,
        )
        for track in TRACKS
    }
    towers = (
        []
        if arguments.no_towers
        else [two_towers(sealed.past, split, arguments, seed) for seed in seeds]
    )
    events = sealed.opened(choices)
    candidates = {
        name: ranking.fit_tables(
            sealed.past,
            until=sealed.cut,
            popularity=PopularityTable.of(counted),
            vectors=vectors,
            towers=None if by_cut is None else by_cut[sealed.cut],
        )
        for name, counted in ((OURS, events), (FROZEN, sealed.past))
    }
    results = {
        track: measure(
            track, events, sealed, candidates, choices[track], towers, arguments
        )
        for track in TRACKS
    }
    write_json(arguments.json, results)
    timed("\neverything", began)


if __name__ == "__main__":
    main()
