"""A trained model to one SavedModel that a server loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_decay.layers.diversity import MaximalMarginalRelevance
from tfrs_decay.serving.names import DEFAULT_K
from tfrs_decay.serving.recommender import InterestModel, Recommender, repeats_of
from tfrs_decay.serving.versions import next_version, write_version
from tfrs_decay.serving.warmup import example

PARTS = ("all", "recommend", "query")
"""What an export may hold."""


def export(
    model: InterestModel,
    directory: str | os.PathLike[str],
    *,
    k: int | None = None,
    popularity: np.ndarray | None = None,
    exclude_seen: bool = False,
    max_history: int | None = None,
    diversity: MaximalMarginalRelevance | None = None,
    texts: bool = False,
    parts: str = "all",
    server: str | None = "2.19",
    warmup: bool | None = None,
    version: int | None = None,
) -> Path:
    """Writes a model as a SavedModel that TensorFlow Serving can serve.

    The signatures, all named and batchable on axis 0; what each input and output holds
    is written to `assets.extra/tfrs_decay.json`:

    - `serving_default` takes a history and the query time, `recommend` exclusions and
      `k` as well, and `recommend_now` the history alone (`Recommender.recommend`).
      These use TensorFlow's core ops only.
    - `recommend_by_text`, with `texts`, takes texts of unknown items besides, and
      `embed_item` nothing but texts: they run the encoder, so the export holds its
      weights, and a server needs the ops of its preprocessor (TensorFlow Text's).
    - `embed_user` gives the vector that items are ranked by, and `explain` what each
      event contributes to it.
    - `update_interest` adds events to a small state that stands for a user's history,
      and `recommend_from_interest` answers from it. It knows all events, not the latest
      `max_history`; a heavy-tailed decay is kept to one in a thousand
      (`layers.InterestState`).

    The version appears whole or not at all. Beside it `models.config` and
    `batching.config` are written where they are missing.

    Args:
        model: A trained model.
        directory: The model's folder, which holds a folder a version.
        k: Items an answer has where the request does not say; 20 when left out.
        popularity: [n] scores to answer an empty history with.
        exclude_seen: Never return an item of the history.
        max_history: Only the latest so many events that count are pooled.
        diversity: Reorders each answer, as in `Recommender`.
        texts: Export the text tower too.
        parts: "all"; "recommend" for nothing but what answers a history; or "query" for
            an index of item vectors outside, such as one of ScaNN's: no signature ranks
            items, `serving_default` is `embed_user`, and
            `assets.extra/item_vectors.npz` holds `ids` and `vectors`.
        server: The TensorFlow Serving, such as "2.19", whose stock image has to have
            every op: the export fails where it does not. For an image of your own,
            None.
        warmup: Write requests that a server runs before it serves. They need the extra
            `serving`: written where it is installed when left out.
        version: The version's number; seconds since the epoch, or one above the
            highest that is there, when left out.

    Returns:
        The version's folder; `serving.report` says what is in it.

    Raises:
        FileExistsError: The version is there already.
        ImportError: `warmup=True` without the extra `serving`.
        ValueError: An argument does not fit, or `texts` without a text tower; or an op
            is missing in that server.
        TypeError: The model lacks what is exported, or `diversity` is something else.
    """
    version = next_version(directory, version)
    needs_list = {
        "k": k is not None,
        "popularity": popularity is not None,
        "exclude_seen": exclude_seen,
        "diversity": diversity is not None,
    }
    _check_parts(parts, model, [name for name, given in needs_list.items() if given])
    k = DEFAULT_K if k is None else k
    recommender = Recommender(
        model,
        k=k,
        popularity=popularity,
        exclude_seen=exclude_seen,
        max_history=max_history,
        diversity=diversity,
    )
    if texts and model.item_tower.text is None:
        raise ValueError("texts=True, and the item tower has no text tower.")
    signatures = recommender.signatures(texts=texts, parts=parts)
    if texts:
        recommender.text = model.item_tower.text
    metadata = {
        **_metadata(model, None if parts == "query" else k, exclude_seen, texts),
        "popularity": popularity is not None,
        "diversity": (
            None
            if diversity is None
            else {"trade_off": diversity.trade_off, "pool": diversity.pool}
        ),
        "parts": parts,
        "left_out": dict(recommender.left_out),
    }
    items = model.item_tower.items
    values: dict[str, np.ndarray] = {"text": items.texts[:1]}
    if recommender.kept is not None:
        values |= recommender.kept.of_new_user()
    index = {
        "ids": items.ids.astype(str),
        "vectors": recommender.item_vectors.numpy().T,
    }
    return write_version(
        recommender,
        signatures,
        directory,
        version,
        metadata,
        example=example(items.ids, metadata["actions"], values),
        server=server,
        warmup=warmup,
        arrays={"item_vectors": index} if parts == "query" else {},
    )


def _check_parts(parts: str, model: InterestModel, given: list[str]) -> None:
    if parts not in PARTS:
        raise ValueError(f"parts={parts!r} is not one of {PARTS}.")
    if parts != "query":
        return
    repeats = repeats_of(model)
    if repeats is not None and repeats.repeats != "never":
        raise ValueError(
            f"parts='query' and repeats={repeats.repeats!r}: scores have a term that "
            "an index of vectors outside does not know."
        )
    if given:
        raise ValueError(
            f"parts='query' has no list to make, and {', '.join(given)} of one is "
            "given: leave that to whoever asks the index."
        )


def _metadata(
    model: InterestModel, k: int | None, exclude_seen: bool, texts: bool
) -> dict[str, Any]:
    items = model.item_tower.items
    repeats = repeats_of(model)
    weights = getattr(getattr(model, "pooling", None), "action_weights", None)
    return {
        "actions": None if weights is None else sorted(weights),
        "k": k,
        "exclude_seen": exclude_seen,
        "repeats": "off" if repeats is None else repeats.repeats,
        "reads_texts": texts,
        "fields": items.fields,
        "dim": model.item_tower.dim,
        "tensorflow": tf.__version__,
        "texts": dict(zip(items.ids.tolist(), items.titles.tolist(), strict=True)),
    }
