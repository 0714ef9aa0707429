"""One batch, whole and shared by two replicas: what each way learns of it.

Logical devices are made before TensorFlow starts, so that this is a process of its own:

    python tests/two_replicas.py learned.npz
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf
import tf_keras

import tfrs_decay as td
from tfrs_decay.layers import ItemTower, StreamingProbability, TimeDecayPooling
from tfrs_decay.models import DecayRetrieval

DAY, NOW = 86_400, 1_700_000_000
IDS = list("abcdefgh")
QUERIES = 5
FEATURES = {
    "history_item": [["a", "b"], ["c", ""], ["h", "x"], ["d", "a"], ["e", "f"]],
    "history_time": [[NOW - 3 * DAY, NOW - DAY]] * QUERIES,
    "history_length": [2, 1, 2, 2, 2],
    "query_time": [NOW] * QUERIES,
    # An item of both replicas, of none, and baskets of several sizes.
    "target_item": [["c", "d"], ["a", ""], ["x", "h"], ["c", "g"], ["b", ""]],
    "target_length": [2, 1, 2, 2, 1],
    "target_weight": [[1.0, 2.0], [0.5, 0.0], [9.0, 1.0], [0.0, 3.0], [1.0, 0.0]],
}
# Of the first and the fourth query's lists; the basket of one has another item, too.
SKIPPED = {
    "negative_item": [["e", "a"], ["", ""], ["", ""], ["x", "b"], ["", ""]],
    "negative_length": [2, 0, 0, 2, 0],
    "target_from_list": [[True, False], *[[True, True]] * 4],
}
CORRECTED = {"sampling_probability": [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]}
# How the model is made, and how many of the queries the first replica has.
CASES = {
    "corrected": (CORRECTED, 2),
    "nothing for the first": (CORRECTED, 0),
    "a learned repeat": ({"repeats": "learned"}, 3),
    "no repeats": ({"repeats": "never"}, 1),
    "all items, nothing for the second": ({"loss": "full"}, QUERIES),
    "a stream of draws": ({"sampling_probability": "stream"}, 2),
    "lists": (CORRECTED, 2),
    "lists and all items": ({"loss": "full"}, 3),
}


def make(options):
    tf_keras.utils.set_random_seed(7)
    if options.get("sampling_probability") == "stream":
        streaming = StreamingProbability(64, learning_rate=0.5)
        options = {**options, "sampling_probability": streaming}
    return DecayRetrieval(
        ItemTower(td.data.Items(IDS), dim=3),
        TimeDecayPooling(td.decay.Exponential("2d", trainable=True)),
        query_tower=tf_keras.layers.Dense(3, kernel_regularizer="l2"),
        temperature=0.5,
        **options,
    )


def rows(name, first, last):
    """Some queries; none at all are as Keras makes them up, without any width."""
    features = {**FEATURES, **(SKIPPED if name.startswith("lists") else {})}
    cut = {name: tf.constant(value)[first:last] for name, value in features.items()}
    if first == last:
        cut = {
            name: tf.constant([], one.dtype, [0] * one.shape.rank)
            for name, one in cut.items()
        }
    return cut


def learned(model, batch):
    """The loss, and its gradient by each variable."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch, training=True) + tf.add_n(model.losses)
    variables = model.trainable_variables
    return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, variables))]


def by_two(strategy, model, name, cut):
    """`learned`, summed over two replicas, the first of which has `cut` queries."""
    shares = [rows(name, 0, cut), rows(name, cut, QUERIES)]
    batch = strategy.experimental_distribute_values_from_function(
        lambda context: shares[context.replica_id_in_sync_group]
    )
    parts = strategy.run(learned, args=(model, batch))
    return [sum(strategy.experimental_local_results(one)) for one in parts]


def main(path):
    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {}
    for name, (options, cut) in CASES.items():
        whole = make(options)
        with strategy.scope():
            shared = make(options)
        for way, model, parts in (
            ("whole", whole, learned(whole, rows(name, 0, QUERIES))),
            ("shared", shared, by_two(strategy, shared, name, cut)),
        ):
            for place, value in enumerate([*parts, *model.non_trainable_weights]):
                found[f"{name}/{way}/{place}"] = value.numpy()
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
