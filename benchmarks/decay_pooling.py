"""What decay costs beside the plain mean, and beside recurrent and attention layers.

Every layer pools the same histories in the same process, its turns taken in rounds
with the others', and the medians are compared. A training step is the loss with its
gradients with respect to the vectors and to all that the layer learns; the loss is
returned too, for TensorFlow would drop the forward pass of a mean otherwise.

    python benchmarks/decay_pooling.py --json decay_pooling.json

Keys of the JSON: ratios of training steps in plain graphs, as `fit` runs them.
  one_rate_train_ratio     one learned half-life over the Keras mean; the worse size
  four_heads_train_ratio   four of them, their average learned, over the Keras mean
  per_feature_train_ratio  a half-life for every feature over the Keras mean
  gru_train_ratio          Keras' GRU over our one half-life; the smaller of both sizes
  attention_train_ratio    Keras' MultiHeadAttention, every event attending to every
                           other, then the mean, over our one half-life. One learned
                           query that attends to the history is printed as well.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from printed import machine, write_json

import tfrs_decay as td  # settles legacy Keras before anything touches it

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

SIZES = ((256, 50, 64), (256, 200, 128))
DAY = 86_400
NOW = 1_700_000_000

Step = Callable[[], Any]


def layers_to_compare(dim: int) -> dict[str, tf_keras.layers.Layer]:
    """Ours and their peers, by name."""
    return {
        "mean": tf_keras.layers.GlobalAveragePooling1D(),
        "one_rate": td.layers.TimeDecayPooling(
            td.decay.Exponential("7d", trainable=True)
        ),
        "four_heads": td.layers.TimeDecayPooling(
            [
                td.decay.Exponential(half_life, trainable=True)
                for half_life in ("1h", "1d", "7d", "90d")
            ]
        ),
        "per_feature": td.layers.TimeDecayPooling(
            td.decay.Exponential("7d", trainable=True, per_feature=True)
        ),
        "heavy_tail": td.layers.TimeDecayPooling(),
        "mixture_per_feature": td.layers.TimeDecayPooling(
            td.decay.Mixture(
                ["1h", "6h", "1d", "4d", "14d", "60d", "240d", "1000d"],
                trainable=True,
                per_feature=True,
            )
        ),
        "gru": tf_keras.layers.GRU(dim),
        "attention": _SelfAttention(dim),
        "one_query": _OneQuery(dim),
    }


class _SelfAttention(tf_keras.layers.Layer):
    """One layer of self-attention over the history, then the masked mean."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = tf_keras.layers.MultiHeadAttention(4, dim // 4)
        self.mean = tf_keras.layers.GlobalAveragePooling1D()

    def call(self, vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """[batch, time, dim] -> [batch, dim]."""
        attended = self.attention(vectors, vectors, attention_mask=mask[:, None, :])
        return self.mean(attended, mask=mask)


class _OneQuery(tf_keras.layers.Layer):
    """One learned query that attends to the history, the least that attention costs."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attention = tf_keras.layers.MultiHeadAttention(4, dim // 4)
        self.query = self.add_weight(name="query", shape=[1, 1, dim])

    def call(self, vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """[batch, time, dim] -> [batch, dim]."""
        query = tf.repeat(self.query, tf.shape(vectors)[0], axis=0)
        return self.attention(query, vectors, attention_mask=mask[:, None, :])[:, 0]


def steps(
    layer: tf_keras.layers.Layer, size: tuple[int, int, int], seed: int, jit: bool
) -> dict[str, Step]:
    """The forward pass and the training step of a layer, warmed up."""
    batch, length, dim = size
    rng = np.random.default_rng(seed)
    vectors = tf.Variable(rng.normal(size=size).astype(np.float32))
    lengths = rng.integers(1, length + 1, [batch, 1])
    mask = tf.constant(np.arange(length) < lengths)
    ages = np.sort(rng.integers(0, 90 * DAY, [batch, length]))[:, ::-1]
    when = {
        "timestamps": tf.constant(NOW - ages),
        "query_time": tf.fill([batch], np.int64(NOW)),
    }
    if not isinstance(layer, td.layers.TimeDecayPooling):
        when = {}
    toward = tf.constant(rng.normal(size=[batch, dim]).astype(np.float32))
    layer(tf.convert_to_tensor(vectors), mask=mask, **when)  # builds

    @tf.function(jit_compile=jit)
    def forward() -> tf.Tensor:
        return layer(tf.convert_to_tensor(vectors), mask=mask, **when)

    @tf.function(jit_compile=jit)
    def train() -> Any:
        with tf.GradientTape() as tape:
            pooled = layer(tf.convert_to_tensor(vectors), mask=mask, **when)
            loss = tf.reduce_sum(pooled * toward)
        return loss, tape.gradient(loss, [vectors, *layer.trainable_variables])

    # On a CPU a graph has run, all of it, when its call returns.
    return {"forward": forward, "train": train}


def copy_step(size: tuple[int, int, int]) -> Step:
    """A plain copy of the vectors' bytes, the least that touching them costs."""
    source, target = np.ones(size, np.float32), np.empty(size, np.float32)
    return lambda: np.copyto(target, source)


def measure(
    size: tuple[int, int, int], *, rounds: int, seed: int, jit: bool
) -> dict[str, dict[str, float]]:
    """Median seconds: {layer: {"forward": ..., "train": ...}}."""
    tf_keras.utils.set_random_seed(seed)
    every = {
        name: steps(layer, size, seed, jit)
        for name, layer in layers_to_compare(size[2]).items()
        # XLA takes minutes to compile the recurrence.
        if not (jit and name == "gru")
    }
    every["copy"] = {"forward": copy_step(size)}
    spent: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 3):
        for name, kinds in every.items():
            # The dear ones in every fifth round: their medians are far from the rest.
            if name in ("gru", "attention") and (number - 3) % 5:
                continue
            for kind, step in kinds.items():
                start = time.perf_counter()
                step()
                taken = time.perf_counter() - start
                if number >= 3:
                    spent.setdefault((name, kind), []).append(taken)
    return {
        name: {kind: float(np.median(spent[name, kind])) for kind in kinds}
        for name, kinds in every.items()
    }


def main() -> None:
    """Measures both sizes, in plain graphs and under XLA, and prints the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200, help="turns of each layer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    arguments = parser.parse_args()
    print(f"{machine()}; seed {arguments.seed}, medians of {arguments.rounds} rounds")
    plain = []
    for jit in (False, True):
        for size in SIZES:
            found = measure(size, rounds=arguments.rounds, seed=arguments.seed, jit=jit)
            if not jit:
                plain.append(found)
            print(f"\n{list(size)}, {'XLA' if jit else 'plain graph'}")
            print(f"  {'':<20} {'forward ms':>10} {'x mean':>7} {'train ms':>9} x mean")
            for name, kinds in found.items():
                row = f"  {name:<20} "
                for kind in kinds:
                    ratio = kinds[kind] / found["mean"][kind]
                    row += f"{kinds[kind] * 1e3:>10.2f} {ratio:>6.2f}x"
                print(row)
    ratios = {
        f"{name}_train_ratio": max(
            one[name]["train"] / one["mean"]["train"] for one in plain
        )
        for name in ("one_rate", "four_heads", "per_feature")
    }
    for name in ("gru", "attention"):
        ratios[f"{name}_train_ratio"] = min(
            one[name]["train"] / one["one_rate"]["train"] for one in plain
        )
    print("\n" + json.dumps(ratios, indent=2))
    write_json(arguments.json, ratios)


if __name__ == "__main__":
    main()
