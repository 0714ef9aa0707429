"""Pipelines that are run in this process, and what came out of them."""

from __future__ import annotations

import itertools
from collections import defaultdict

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.test_pipeline import TestPipeline

_KEPT = defaultdict(list)
_RUNS = itertools.count()


def run(build):
    """What `build`, given a pipeline, names: lists by name; and the run's counters."""
    number = next(_RUNS)
    # Not "DirectRunner", which looks for another runner on the network first.
    with TestPipeline(runner=FnApiRunner()) as pipeline:
        outputs = build(pipeline)
        for name, collection in outputs.items():
            _ = collection | f"keep {name}" >> beam.Map(_keep, number, name)
    found = {name: _KEPT.pop((number, name), []) for name in outputs}
    counters = pipeline.result.metrics().query()["counters"]
    return found, {
        one.key.metric.name: one.committed
        for one in counters
        if one.key.metric.namespace == "tfrs_decay"
    }


def _keep(element, number, name):
    _KEPT[number, name].append(element)
