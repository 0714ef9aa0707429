"""Nearest items to a text: what an encoder, or a trained tower, takes to be alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrs_decay.data.events import Items
from tfrs_decay.layers import ItemTower, TextTower


class Neighbour(NamedTuple):
    """An item near a text.

    item: Its id.
    text: Its text; its fields joined, where there are several.
    score: The cosine of the two vectors.
    """

    item: str
    text: str
    score: float


def nearest_items(
    tower: ItemTower, texts: Sequence[str], *, k: int = 10
) -> list[list[Neighbour]]:
    """The catalogue's items nearest to texts, as a tower has learned them.

    A text is read as an item outside the catalogue is (`ItemTower.embed_texts`); an
    item is all that the tower knows of it, its id's vector as well.

    Args:
        tower: Built; with a text tower.
        texts: n strings, or [n, fields] of them.
        k: Neighbours a text; as many as there are items where these are fewer.

    Returns:
        n lists, the nearest first; items that are as near in the catalogue's order.

    Raises:
        ValueError: The tower reads no text, `k` is below 1, or a text is no string.
    """
    if tower.text is None:
        raise ValueError("the tower has no text: it knows items by their ids alone.")
    asked = _strings(texts)
    vectors = tower.embed_texts(tf.constant(asked.tolist(), tf.string, asked.shape))
    return _nearest(np.asarray(vectors), tower.catalogue_vectors(), tower.items, k)


def nearest_texts(
    tower: TextTower,
    items: Items,
    texts: Sequence[str],
    *,
    k: int = 10,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[list[Neighbour]]:
    """Items whose texts an encoder takes to be nearest, before anything is trained.

    Args:
        tower: Any; its projection is not used.
        items: The catalogue.
        texts: n strings, or [n, fields] of them.
        k: Neighbours a text.
        cache: Folder that keeps the texts' vectors, as in `TextTower.encode_all`.
        progress: Wraps the iterable of batches that are encoded.

    Returns:
        As `nearest_items`.

    Raises:
        ValueError: `k` is below 1, or a text is no string.
    """
    asked = tower.encode_all(_strings(texts))
    catalogue = tower.encode_all(items.texts, cache=cache, progress=progress)
    return _nearest(asked, catalogue, items, k)


def table(text: str, neighbours: Sequence[Neighbour]) -> str:
    """A text and its neighbours, for people."""
    lines = [f"Nearest to {text!r}:"]
    for rank, one in enumerate(neighbours, start=1):
        lines.append(f"  {rank:>3}  {one.score:7.4f}  {one.item:<10} {one.text}")
    return "\n".join(lines)


def _strings(texts: Sequence[str]) -> np.ndarray:
    if isinstance(texts, str):
        raise TypeError(f"texts={texts!r} is a single string: give a list of them.")
    table = np.asarray(texts, dtype=object)
    strange = next((one for one in table.flat if not isinstance(one, str)), "")
    if strange != "":
        raise ValueError(f"texts hold {strange!r}: give strings.")
    return table


def _nearest(
    asked: np.ndarray, catalogue: np.ndarray, items: Items, k: int
) -> list[list[Neighbour]]:
    """By cosine: [n, width] against [items, width]."""
    if k < 1:
        raise ValueError(f"k={k} must be 1 or more.")
    scores = _unit(asked) @ _unit(catalogue).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    titles = items.titles
    return [
        [
            Neighbour(items.ids[place], titles[place], float(row[place]))
            for place in places
        ]
        for row, places in zip(scores, order, strict=True)
    ]


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length > 0, length, 1.0)
