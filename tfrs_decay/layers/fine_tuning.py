"""How much of an encoder is trained: all of it, its last layers, or an adapter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_MARK = "_tfrs_decay_fine_tuned"

_LAYER = re.compile(r"(?:^|[/_.])(?:layer|block)[_/.]?(\d+)(?=[/_.]|$)")

_ON_TOP = re.compile(r"(?:^|/)pool", re.IGNORECASE)
"""What comes after the last layer: the encoder's own pooling."""


@dataclass(frozen=True)
class LastLayers:
    """Train the last layers of a transformer, and its pooling, and nothing below them.

    Gradients stop there, so that a step costs less than training all. Layers are told
    apart by the names of their weights, so that an encoder that applies one layer again
    and again, such as ALBERT, has no last ones.

    Attributes:
        layers: How many, 1 or more.
    """

    layers: int

    def __post_init__(self) -> None:
        """Refuses what is no number of layers."""
        _check_whole("layers", self.layers)


@dataclass(frozen=True)
class LowRank:
    """Train a low-rank change of each matrix of a transformer's layers (LoRA).

    W becomes W + (alpha / rank) A B, with A of shape [inputs, rank] drawn at random and
    B of shape [rank, outputs] zero: at first the encoder is the one that was loaded.
    Only A and B are trained and saved, which spares the optimizer's memory and the
    disk, and not time: gradients pass all layers, and a step takes about as long as one
    that trains all. All matrices that a layer multiplies by have one, which did better
    than queries and values alone (Dettmers et al. 2023). Of an encoder whose layers are
    not numbered, such as ALBERT's in TF-Hub, all matrices.

    Attributes:
        rank: Width of the change, 1 or more.
        alpha: Scales it, so that a learning rate suits several ranks.

    References:
        E. Hu et al. LoRA: low-rank adaptation of large language models. ICLR 2022.
        T. Dettmers et al. QLoRA. NeurIPS 2023, section 4.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuses what is no rank and no scale."""
        _check_whole("rank", self.rank)
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha={self.alpha} must be finite and above 0.")


class CannotFineTune(ValueError):
    """An encoder has no such layers, no such matrices, or nothing to train."""


FineTune = bool | LastLayers | LowRank
"""False: nothing of the encoder is trained. True: all of it."""


def _check_whole(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number, 1 or more.")


def check(fine_tune: Any) -> None:
    """Refuses what does not say how to fine-tune.

    Raises:
        TypeError: It is none of the kinds.
    """
    if not isinstance(fine_tune, (bool, LastLayers, LowRank)):
        raise TypeError(
            f"fine_tune={fine_tune!r} is a {type(fine_tune).__name__}: give True, "
            "False, LastLayers(n) or LowRank(rank)."
        )


def to_config(fine_tune: FineTune) -> Any:
    """What JSON can hold of it."""
    if isinstance(fine_tune, LastLayers):
        return {"last_layers": fine_tune.layers}
    if isinstance(fine_tune, LowRank):
        return {"low_rank": fine_tune.rank, "alpha": fine_tune.alpha}
    return fine_tune


def from_config(config: Any) -> FineTune:
    """The way back from `to_config`."""
    if not isinstance(config, dict):
        return bool(config)
    if "last_layers" in config:
        return LastLayers(config["last_layers"])
    return LowRank(config["low_rank"], config["alpha"])


def parse(written: str) -> FineTune:
    """Reads it as it is typed: "all", "last:2" or "low-rank:8".

    Raises:
        ValueError: It is none of these.
    """
    kind, colon, number = written.partition(":")
    if (kind, colon) == ("all", ""):
        return True
    if kind in ("last", "low-rank") and number.isdecimal() and int(number):
        return LastLayers(int(number)) if kind == "last" else LowRank(int(number))
    raise ValueError(
        f"fine_tune={written!r} is none of 'all', 'last:2' (so many last layers) and "
        "'low-rank:8' (an adapter of such a rank)."
    )


def layer_of(variable: tf.Variable) -> int | None:
    """The number of the transformer's layer that a variable belongs to, by its name.

    The last one in the name: what comes before is what the transformer is part of.
    """
    found = _LAYER.findall(variable.name.partition(":")[0])
    return int(found[-1]) if found else None


def layer_numbers(variables: Iterable[tf.Variable]) -> list[int]:
    """The numbers of the layers that variables belong to, in ascending order."""
    found = map(layer_of, variables)
    return sorted({number for number in found if number is not None})


def check_outputs(
    last: LastLayers, numbered: int, outputs: int, layer: int | None
) -> None:
    """Refuses last layers that are not the last, or that nothing is read from.

    Args:
        last: What is trained.
        numbered: Layers that the weights' names tell.
        outputs: Layers that the encoder gives the outputs of.
        layer: Which of these is read; None for the last.

    Raises:
        CannotFineTune: One layer is applied several times, or a lower one is read.
    """
    if outputs > numbered:
        raise CannotFineTune(
            f"fine_tune={last}: the encoder gives the outputs of {outputs} layers, and "
            f"has weights for {numbered}: it applies a layer several times, as ALBERT "
            "does. Train all of it (fine_tune=True) or an adapter (LowRank)."
        )
    if layer is None or not -outputs <= layer < outputs:
        return
    if layer % outputs < outputs - last.layers:
        raise CannotFineTune(
            f"fine_tune={last} trains layers from {outputs - last.layers} on, and "
            f"layer={layer} reads one below them: read a later one, or train more."
        )


def of_last_layers(variables: Sequence[tf.Variable], layers: int) -> list[tf.Variable]:
    """Those of the last layers, and of what comes on top of them.

    Args:
        variables: An encoder's.
        layers: How many.

    Raises:
        CannotFineTune: There are fewer layers, or the names do not tell them.
    """
    numbers = layer_numbers(variables)
    if not numbers:
        named = [one.name for one in variables][:2]
        raise CannotFineTune(
            f"fine_tune=LastLayers({layers}): the names of the encoder's variables, "
            f"such as {named}, do not tell its layers. Train all of it "
            "(fine_tune=True) or an adapter (LowRank)."
        )
    if layers > len(numbers):
        raise CannotFineTune(
            f"fine_tune=LastLayers({layers}): the encoder has {len(numbers)} layers of "
            "weights."
        )
    last = numbers[-layers:]
    return [
        one
        for one in variables
        if layer_of(one) in last or _ON_TOP.search(one.name) is not None
    ]


def adapted(
    multiplied: Sequence[tf.Variable], out_of_reach: Sequence[tf.Variable] = ()
) -> list[tf.Variable]:
    """Which matrices get an adapter: those of the transformer's layers.

    Args:
        multiplied: The variables that an encoder multiplies by.
        out_of_reach: Those that it multiplies by within a loop or a branch.

    Raises:
        CannotFineTune: There is none, or one is out of reach.
    """
    matrices, hidden = (
        [one for one in some if one.shape.rank >= 2 and one.dtype.is_floating]
        for some in (multiplied, out_of_reach)
    )
    if hidden:
        raise CannotFineTune(
            f"fine_tune=LowRank(...): the encoder multiplies by {hidden[0].name!r} "
            "within a loop or a branch, where it has no adapter. Train all of it: "
            "fine_tune=True."
        )
    if not matrices:
        raise CannotFineTune(
            "fine_tune=LowRank(...): the encoder multiplies by no matrix that it could "
            "change. Train all of it: fine_tune=True."
        )
    return [one for one in matrices if layer_of(one) is not None] or matrices


def sides(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a kernel as a matrix, split where they are most alike.

    [768, 12, 64], from hidden vectors to heads, is 768 by 768, and so is [12, 64, 768].
    """
    splits = []
    rows, size = 1, 1
    for length in shape:
        size *= length
    for length in shape[:-1]:
        rows *= length
        splits.append((rows, size // rows))
    return min(splits, key=lambda split: max(split) / min(split))


def mark(variables: Iterable[tf.Variable]) -> None:
    """Tells optimizers that these are weights of an encoder that is fine-tuned."""
    for one in variables:
        setattr(one, _MARK, True)


def is_marked(variable: tf.Variable) -> bool:
    """Whether a variable was marked."""
    return getattr(variable, _MARK, False) is True
