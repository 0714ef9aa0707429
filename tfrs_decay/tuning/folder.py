"""A search's folder: what was tried, the curve, and the decay to train with.

============  =======================================================================
`curve.csv`   one row a trial: `trial`, `family`, `by`, `scale` (seconds by age, events
              by rank), the family's other numbers, `recall@20`, `ndcg@20`, `queries`,
              `gain` over the plain mean and its standard error, `gain_error` (inf
              where there is a single user)
`curve.png`   Recall@20 over the scale, a line for each family and clock
`best.json`   the best decay, how it did, and what was searched
============  =======================================================================

Until all is done the trials stand in a hidden file, and the same search begun again
takes them over.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf
import tf_keras

from tfrs_decay import __version__, plots
from tfrs_decay.data.events import Events
from tfrs_decay.data.split import TimeSplit
from tfrs_decay.data.tables import need
from tfrs_decay.decay import Decay
from tfrs_decay.families import NUMBERS, as_dict, from_dict
from tfrs_decay.layers.hub_modules import content_hash
from tfrs_decay.training import Settings
from tfrs_decay.tuning.objectives import Objective
from tfrs_decay.tuning.search import (
    Asked,
    Score,
    Search,
    Trial,
    Tuned,
    need_optuna,
    planned,
    scale_bounds,
    trials,
)
from tfrs_decay.writing import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = ("recall@20", "ndcg@20", "queries", "gain", "gain_error")
COLUMNS = ("trial", "family", "by", "scale", *NUMBERS, *SCORES)


class TuningFolder:
    """A search that is written down while it goes on.

    Args:
        directory: The folder; it must not be there, or hold this very search,
            interrupted.
        events: Clean events.
        split: The cuts.
        settings: What the objective is made with.
        search: What is searched.
        data: The log's name, to be written down.
        judged_by: The objective's name, to be written down.

    Attributes:
        known: Scores by what was asked, of an interrupted search.
        planned: How many decays are tried in all, at most.

    Raises:
        FileExistsError: The folder holds something else.
        ValueError: The log is too short to search in, or what an interrupted search
            left is damaged.
        ImportError: Optuna or Matplotlib is not installed.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        events: Events,
        split: TimeSplit,
        settings: Settings,
        search: Search,
        *,
        data: str,
        judged_by: str,
    ) -> None:
        self.check(directory)
        self.directory = Path(directory)
        self._search = search
        self._bounds = scale_bounds(events, split, settings)
        self.planned = planned(search, self._bounds)
        self._about = {
            "data": data,
            "judged_by": judged_by,
            "split": split._asdict(),
            "settings": settings.to_dict(),
            "search": search.to_dict(),
            "contents": _contents(settings),
            "versions": _versions(),
        }
        identity = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode())
        identity.update(_fingerprint(events.where(events.time <= split.test)))
        name = f".trials-{identity.hexdigest()[:12]}.partial.csv"
        self._partial = self.directory / name
        self._refuse_foreign()
        self.known = self._read()

    @staticmethod
    def check(directory: str | os.PathLike[str]) -> None:
        """Refuses what cannot be begun, before a log is read for it.

        Raises:
            FileExistsError: The folder holds something else than an interrupted search.
            ImportError: Optuna or Matplotlib is not installed.
        """
        need_optuna()
        need("matplotlib", "the curve's picture", "plots")
        directory = Path(directory)
        if directory.exists() and not directory.is_dir():
            raise FileExistsError(f"{directory} is a file: choose another --out.")
        names = _names_in(directory)
        if not _is_begun(names) and any(not name.startswith(".") for name in names):
            raise FileExistsError(
                f"{directory} is there already: remove it or choose another --out."
            )

    def _refuse_foreign(self) -> None:
        names = _names_in(self.directory)
        if _is_begun(names) and self._partial.name not in names:
            raise FileExistsError(
                f"{self.directory} holds an interrupted search of another log, or with "
                "other settings, another encoder or other versions: begin that one "
                "again, remove the folder, or choose another --out."
            )

    def _read(self) -> dict[Asked, Score]:
        if not self._partial.exists():
            return {}
        # What was being written at the end has no end of line, and does not count.
        whole = self._partial.read_text(encoding="utf-8").rpartition("\n")[0]
        try:
            return dict(_from_row(row) for row in csv.DictReader(whole.splitlines()))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._partial} is damaged ({type(error).__name__}: {error}): remove "
                "it to search anew."
            ) from error

    def run(
        self, objective: Objective, *, watch: Callable[[Trial], None] | None = None
    ) -> Tuned:
        """Searches, and writes the folder's files; the trials as they are done.

        Args:
            objective: What a decay is judged by.
            watch: Is told of each trial.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        known = [
            Trial(number, asked, score)
            for number, (asked, score) in enumerate(self.known.items())
        ]
        write_text(_csv([COLUMNS, *map(_row, known)]), self._partial)
        done = []
        with self._partial.open("a", encoding="utf-8", newline="") as partial:
            for trial in trials(
                self._search, objective, self._bounds, known=self.known
            ):
                done.append(trial)
                if trial.asked not in self.known:
                    partial.write(_csv([_row(trial)]))
                    partial.flush()
                if watch is not None:
                    watch(trial)
        tuned = Tuned(done, self._search)
        self._finish(tuned)
        return tuned

    def _finish(self, tuned: Tuned) -> None:
        table = _csv([COLUMNS, *map(_row, tuned.trials)])
        write_text(table, self.directory / "curve.csv")
        plots.save(curve(tuned), self.directory / "curve.png")
        best, mean = tuned.best, tuned.mean
        about = {
            "decay": as_dict(tuned.decay),
            "described": tuned.decay.describe(),
            **dict(zip(SCORES, map(_in_json, best.score), strict=True)),
            "mean": dict(zip(SCORES[:3], mean.score[:3], strict=True)),
            "trials": len(tuned.trials),
            **self._about,
        }
        write_text(json.dumps(about, indent=2) + "\n", self.directory / "best.json")
        self._partial.unlink()


def curve(tuned: Tuned) -> Figure:
    """Recall@20 over the scale, a line for each family and clock."""
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in tuned.trials:
        if one.asked.scale is not None:
            points = curves.setdefault((one.asked.by, one.asked.family), [])
            points.append((one.asked.scale, one.score.recall))
    return plots.tuning_curves(
        curves, mean=tuned.mean.score.recall, measure="Recall@20"
    )


def read_best(path: str | os.PathLike[str], *, trainable: bool = False) -> Decay:
    """The decay that a search found best.

    Args:
        path: `best.json`, or the folder that it is in.
        trainable: Learn its values, starting from there.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "best.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: make it with `tfrs-decay tune --out DIR`."
        )
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        return from_dict(written["decay"], trainable=trainable)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not what a search writes: {error}.") from error


def _row(trial: Trial) -> tuple[Any, ...]:
    asked = trial.asked
    numbers = dict(asked.numbers)
    return (
        trial.number,
        asked.family,
        asked.by,
        "" if asked.scale is None else asked.scale,
        *(numbers.get(name, "") for name in NUMBERS),
        *trial.score,
    )


def _from_row(row: dict[str, str]) -> tuple[Asked, Score]:
    asked = Asked(
        row["family"],
        row["by"],
        float(row["scale"]) if row["scale"] else None,
        tuple((name, float(row[name])) for name in NUMBERS if row[name]),
    )
    recall, ndcg, queries, gain, gain_error = (row[name] for name in SCORES)
    return asked, Score(
        float(recall), float(ndcg), int(queries), float(gain), float(gain_error)
    )


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    # Python writes every digit of a float, so that what is read again is the same.
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _in_json(number: float) -> float | None:
    # JSON has no infinity.
    return number if math.isfinite(number) else None


def _names_in(directory: Path) -> set[str]:
    return {one.name for one in directory.iterdir()} if directory.exists() else set()


def _is_begun(names: set[str]) -> bool:
    """Whether these are the files of a search that was interrupted."""
    return "best.json" not in names and any(
        name.startswith(".trials-") for name in names
    )


def _contents(settings: Settings) -> dict[str, str]:
    """Hashes of what the settings only name: the encoder, and the items' vectors.

    Either can be made anew at the same place, and then gives other results.
    """
    named = ("preprocessor", "encoder", "vectors")
    given = {name: getattr(settings, name) for name in named}
    return {name: content_hash(one) for name, one in given.items() if one is not None}


def _fingerprint(events: Events) -> bytes:
    """What tells two logs apart."""
    digest = hashlib.sha256()
    for column in (events.user, events.time, events.action, events.item):
        digest.update(column.tobytes())
    names = [*events.actions, *events.items.ids, *events.items.texts.flat]
    digest.update(json.dumps(names).encode())
    return digest.digest()


def _versions() -> dict[str, str]:
    return {
        "tfrs-decay": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("numpy", "optuna")},
        # As they say it: their packages have several names.
        "tensorflow": tf.__version__,
        "tf-keras": tf_keras.__version__,
    }
