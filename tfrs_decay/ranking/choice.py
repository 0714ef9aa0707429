"""Which head is best on a period that it did not see, then trained with that too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfrs_decay.layers.ranking_head import RankingHead
from tfrs_decay.ranking.examples import Examples
from tfrs_decay.ranking.head import fit_head, head_scores

NETWORK, WITHOUT_DECAY, WEIGHTED_SUM = "network", "without decay", "weighted sum"


@dataclass(frozen=True)
class Choice:
    """A head, and why it was taken.

    Attributes:
        head: Trained on all windows.
        name: "network", "without decay", "weighted sum", or the feature that it ranks
            by alone.
        validated: Of each that was tried: Recall and NDCG in the newest window, by
            heads that were trained on the others.
        loss: The mean loss of each pass, none for a feature alone.
        columns: Features that it looks at; None for all.
        training: Options of `fit_head` that it was trained with.
    """

    head: RankingHead
    name: str
    validated: Mapping[str, tuple[float, float]]
    loss: Sequence[float]
    columns: Sequence[int] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def again(self, examples: Examples, seed: int) -> RankingHead:
        """Another head of the same kind, trained from another seed.

        Args:
            examples: As for the first, `Examples.together` of all windows.
            seed: Of the weights, the order and the dropout.
        """
        if not self.loss:  # there was nothing to train
            return self.head
        head = RankingHead.from_config(self.head.get_config())
        fit_head(head, examples, columns=self.columns, seed=seed, **self.training)
        return head

    def __str__(self) -> str:
        """The choice in one line."""
        recall, ndcg = self.validated[self.name]
        return (
            f"{self.name}: Recall {recall:.4f}, NDCG {ndcg:.4f} in the newest window, "
            f"best of {len(self.validated)}"
        )


def choose_head(
    windows: Sequence[Examples],
    names: Sequence[str],
    *,
    lasting: Iterable[str] = (),
    alone: Iterable[str] = (),
    k: int = 20,
    hidden: Sequence[int] = (64, 64),
    members: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
    **training: Any,
) -> Choice:
    """Trains heads on all windows but the newest, and takes what is best there.

    A network is no better than a plain list everywhere, and what is of late is not what
    is wanted everywhere: where the newest window says so, the choice falls back to a
    network that sees nothing that decays, a weighted sum, or one feature alone. Then it
    is trained on all windows.

    Args:
        windows: Examples of each, newest first, two or more.
        names: Of the features.
        lasting: Features that do not decay.
        alone: Features that may rank alone.
        k: How long the lists are by whose NDCG the choice is made.
        hidden: The network's layers.
        members: Its members.
        seed: Of the training.
        progress: Told what is tried, and how it did.
        **training: Further options of `fit_head`.

    Raises:
        ValueError: There are fewer than two windows, there is no such feature, or no
            query of the older windows has a wanted candidate.
    """
    if len(windows) < 2:
        raise ValueError(
            f"windows are {len(windows)}: give two or more, one to train on and one to "
            "choose by."
        )
    newest, older = windows[0], Examples.together(windows[1:])
    place = {name: number for number, name in enumerate(names)}
    for name in [*lasting, *alone]:
        if name not in place:
            raise ValueError(f"{name!r} is none of the features.")
    tried: dict[str, tuple[Sequence[int], list[int] | None]] = {
        NETWORK: (hidden, None),
        WEIGHTED_SUM: ((), None),
    }
    if lasting:
        tried[WITHOUT_DECAY] = (hidden, [place[name] for name in lasting])
    validated = {}

    def trained(name: str, examples: Examples) -> tuple[RankingHead, list[float]]:
        layers, columns = tried[name]
        head = RankingHead(layers, members=members if layers else 1)
        return head, fit_head(head, examples, columns=columns, seed=seed, **training)

    for name in tried:
        head, _ = trained(name, older)
        validated[name] = newest.figures(head_scores(head, newest), k)
        progress(f"{name}: {_written(validated[name])}")
    for name in alone:
        validated[name] = newest.figures(newest.features[:, place[name]], k)
        progress(f"{name}: {_written(validated[name])}")
    best = max(validated, key=lambda name: validated[name][1])
    if best in tried:
        head, loss = trained(best, Examples.together(windows))
        return Choice(head, best, validated, loss, tried[best][1], training)
    head = RankingHead.of_column(place[best], len(names))
    return Choice(head, best, validated, [])


def _written(figures: tuple[float, float]) -> str:
    return f"Recall {figures[0]:.4f}, NDCG {figures[1]:.4f}"
