"""One worker and two parameter servers, between which the items' tables are split.

A cluster takes over the whole process, so that this is one of its own:

    python tests/parameter_servers.py fitted.npz
"""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras

import tfrs_decay as td

CLUSTER = {"worker": 1, "ps": 2}


def cluster():
    """Addresses of a cluster whose servers run within this process."""
    jobs = {}
    sockets = []
    for job, size in CLUSTER.items():
        own = [socket.socket() for _ in range(size)]
        for one in own:
            one.bind(("127.0.0.1", 0))
        jobs[job] = [f"127.0.0.1:{one.getsockname()[1]}" for one in own]
        sockets += own
    for one in sockets:
        one.close()
    spec = tf.train.ClusterSpec(jobs)
    threads = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4)
    for job, size in CLUSTER.items():
        for index in range(size):
            tf.distribute.Server(spec, job, index, protocol="grpc", config=threads)
    return spec


def make(events):
    tf_keras.utils.set_random_seed(3)
    model = td.models.DecayRetrieval(
        td.layers.ItemTower(events.items, dim=8),
        td.layers.TimeDecayPooling(td.decay.Exponential("3d", trainable=True)),
        query_tower=tf_keras.layers.Dense(8, kernel_initializer="identity"),
        temperature=0.3,
        repeats="learned",
        sampling_probability=np.full(len(events.items), 1 / len(events.items)),
    )
    model.item_tower.set_seen(np.arange(len(events.items)) % 7)
    model.compile(td.optimizers.IdDecayAdam(0.02, 0.01))
    return model


def main(path):
    spec = cluster()
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(spec, rpc_layer="grpc"),
        variable_partitioner=tf.distribute.experimental.partitioners.MinSizePartitioner(
            min_shard_bytes=1_000, max_shards=2
        ),
    )
    events = td.data.clean(td.data.simulated_shop(users=30, days=40).log).events
    queries = td.data.basket_queries(events)
    batch = next(iter(td.data.batches(queries, events)))
    alone = make(events)
    with strategy.scope():
        spread = make(events)
    with tempfile.TemporaryDirectory() as folder:
        start, end = str(Path(folder) / "start"), str(Path(folder) / "end")
        spread.save_weights(start)
        alone.load_weights(start).expect_partial()
        found = {"parts": [one.name for one in spread.variables]}
        for name, model in (("alone", alone), ("spread", spread)):
            data = td.data.batches(queries, events, batch_size=64, shuffle_seed=5)
            history = model.fit(data.repeat(), epochs=3, steps_per_epoch=4, verbose=0)
            found[f"{name}/losses"] = history.history["loss"]
        # What the servers hold becomes a model of one machine.
        spread.save_weights(end)
        gathered = td.models.DecayRetrieval.from_config(spread.get_config())
        gathered.load_weights(end).expect_partial()
    for name, model in (("alone", alone), ("spread", gathered)):
        found[f"{name}/vectors"] = model.item_tower.catalogue_vectors()
        found[f"{name}/loss"] = model.compute_loss(batch).numpy()
        found[f"{name}/seen"] = model.item_tower.seen
    found["spread/seen before"] = spread.item_tower.seen
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
