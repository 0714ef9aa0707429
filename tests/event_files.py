"""What event files for TensorBoard hold, as TensorFlow reads them."""

from __future__ import annotations

from collections import defaultdict

import tensorflow as tf
from tensorflow.core.util import event_pb2


def numbers_of(folder):
    """The numbers of all event files in a folder, by tag and step."""
    found = defaultdict(dict)
    for path in sorted(folder.glob("**/events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.HasField("tensor"):
                    found[value.tag][event.step] = tf.make_ndarray(value.tensor)
    return dict(found)
