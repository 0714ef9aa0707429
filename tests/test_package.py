"""What importing the package does, and does not do, each in a fresh interpreter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfrs_decay

PACKAGE = Path(tfrs_decay.__file__).parent


def fresh(code, **environment):
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_is_light():
    done = fresh(
        "import sys, tfrs_decay as td\n"
        "td.decay.Exponential('7d'); td.data.Items(['a']); td.durations\n"
        "td.interest.InterestState; td.serving.NativeModel; td.serving.InterestStore\n"
        "td.evaluation.recall_at_k; td.plots; td.popularity.PopularityTable\n"
        "td.neighbours.fit_ease; td.experiments.assign; td.feedback.join\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'pandas', 'matplotlib', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_imported_first_tf_keras_is_legacy():
    done = fresh(
        "import tfrs_decay, tensorflow as tf, tensorflow_recommenders as tfrs\n"
        "import tf_keras\n"
        "assert tf.keras.layers.Layer is tf_keras.layers.Layer\n"
        "assert issubclass(tfrs_decay.models.DecayRetrieval, tfrs.Model)"
    )
    assert done.returncode == 0, done.stderr


def test_imported_after_tensorflow_but_before_keras_is_early_enough():
    done = fresh("import tensorflow as tf, tfrs_decay; tfrs_decay.layers")
    assert done.returncode == 0, done.stderr


def test_imported_after_keras_3_says_what_to_do():
    done = fresh("import tensorflow as tf; tf.keras.layers; import tfrs_decay")
    assert done.returncode == 1
    assert "ImportError: tf.keras is already Keras 3" in done.stderr
    assert "Put `import tfrs_decay` before" in done.stderr


def test_asking_for_keras_3_is_refused():
    done = fresh("import tfrs_decay", TF_USE_LEGACY_KERAS="0")
    assert "TF_USE_LEGACY_KERAS='0' asks for Keras 3" in done.stderr
    assert "set TF_USE_LEGACY_KERAS=1" in done.stderr


def test_every_public_name_is_there():
    for name in tfrs_decay.__all__:
        module = getattr(tfrs_decay, name)
        for inner in getattr(module, "__all__", []):
            assert getattr(module, inner) is not None
    with pytest.raises(AttributeError, match="no attribute 'decays'"):
        _ = tfrs_decay.decays


# Each part imports from those before it only.
ORDER = [
    "durations",
    "arithmetic",
    "writing",
    "plots",
    "decay.base",
    "decay.values",
    "decay.convex",
    "decay.fit",
    "decay.family",
    "decay.constant",
    "decay.exponential",
    "decay.elasticsearch",
    "decay.power_law",
    "decay.step",
    "decay.mixture",
    "decay.log_bucketed",
    "decay.composition",
    "decay",
    "families",
    "data.files",
    "data.parquet",
    "data.tables",
    "data.times",
    "data.names",
    "data.rules",
    "data.events",
    "data.actions",
    "data.cleaning",
    "data.histories",
    "data.growing",
    "data.ranges",
    "data.split",
    "data.weights",
    "data.skipped",
    "data.storage",
    "data.examples",
    "data.dataset",
    "data.example_files",
    "data.reading",
    "data.beam",
    "data.simulated_titles",
    "data.simulated",
    "data.grouplens",
    "data.published",
    "data.sources",
    "data.vectors",
    "data",
    "popularity",
    "neighbours.record",
    "neighbours.counts",
    "neighbours.strongest",
    "neighbours.dense",
    "neighbours.ease",
    "neighbours.next_basket",
    "neighbours.cosine",
    "neighbours.vectors",
    "neighbours",
    "interest.state",
    "interest.heads",
    "interest.formulas",
    "interest.stored",
    "interest.arrays",
    "interest",
    "interest.beam",
    "return_times",
    "layers.tensors",
    "layers.neighbours",
    "layers.weighted_sums",
    "layers.heads",
    "layers.checks",
    "layers.history",
    "layers.distinct",
    "layers.fine_tuning",
    "layers.encoder_graph",
    "layers.hub_modules",
    "layers.vector_cache",
    "layers.text_tower",
    "layers.precomputed_tower",
    "layers.category_embedding",
    "layers.fusion",
    "layers.item_tower",
    "layers.time_decay_pooling",
    "layers.interest_state",
    "layers.replicas",
    "layers.streaming_probability",
    "layers.recency_popularity",
    "layers.top_k",
    "layers.diversity",
    "layers.slots",
    "layers.own_items",
    "layers.repeat",
    "layers.candidates",
    "layers.ranking_head",
    "layers",
    "callbacks",
    "similar",
    "losses",
    "models",
    "evaluation.metrics",
    "evaluation.ranking",
    "evaluation.baselines",
    "evaluation.available",
    "evaluation.diversified",
    "evaluation.item_to_item",
    "evaluation.nearest",
    "evaluation.figures",
    "evaluation.compare",
    "evaluation.calibration",
    "evaluation.segments",
    "evaluation.report",
    "evaluation",
    "evaluation.two_tower",
    "encoders",
    "serving.names",
    "serving.native",
    "serving.signatures",
    "serving.kept_interest",
    "serving.ops",
    "serving.server_files",
    "serving.warmup",
    "serving.versions",
    "serving.recommender",
    "serving.saved_model",
    "serving.combined",
    "serving.asking",
    "serving.homes",
    "serving.sqlite_home",
    "serving.redis_home",
    "serving.store",
    "serving.statuses",
    "serving.rest_format",
    "serving.protos",
    "serving.live",
    "serving.metrics",
    "serving.service",
    "serving.rest",
    "serving.grpc_surface",
    "serving.host",
    "serving.client",
    "serving.reporting",
    "serving",
    "experiments.assignment",
    "experiments.sign_test",
    "experiments.outcome",
    "experiments.measuring",
    "experiments.traffic",
    "experiments.live",
    "experiments.interleaving",
    "experiments.replay",
    "experiments.recommenders",
    "experiments.wording",
    "experiments.charts",
    "experiments.page_style",
    "experiments.page_parts",
    "experiments.page",
    "experiments",
    "feedback.served",
    "feedback.joining",
    "feedback.examination",
    "feedback.weighting",
    "feedback.skipping",
    "feedback.reporting",
    "feedback.signal",
    "feedback.page",
    "feedback",
    "optimizers",
    "training",
    "ranking.towers",
    "ranking.tables",
    "ranking.examples",
    "ranking.head",
    "ranking.choice",
    "ranking.fitting",
    "ranking.scores",
    "ranking",
    "preparing",
    "preparing_beam_source",
    "preparing_beam",
    "forgetting",
    "runs",
    "updating",
    "measuring",
    "doctor",
    "demo",
    "tuning.profiles",
    "tuning.objectives",
    "tuning.search",
    "tuning.folder",
    "tuning",
    "cli.console",
    "cli.options",
    "cli.preparation",
    "cli.models",
    "cli.asking",
    "cli.experiments",
    "cli.state",
    "cli.upkeep",
    "cli.feedback",
    "cli.updating",
    "cli",
    "__main__",
]
# `Decay.as_mixture` gives a decay, and every decay is made of `Decay`: one of the two
# has to wait for the other until it is called.
BACKWARDS = {("decay.base", "decay.mixture")}


def parts():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name != "__init__" and not name.startswith("encoders._"):
            yield name, path


def test_each_part_imports_only_from_those_above_it():
    found = dict(parts())
    assert sorted(found) == sorted(ORDER)
    for name, path in found.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            if not node.module.startswith("tfrs_decay"):
                continue
            package = node.module.removeprefix("tfrs_decay").removeprefix(".")
            # `from tfrs_decay.interest import stored` names a part, `import State` not.
            names = [f"{package}.{alias.name}".lstrip(".") for alias in node.names]
            for one in (each if each in ORDER else package for each in names):
                if (name, one) in BACKWARDS:
                    continue
                # A package may import its own parts, whose names start with its own.
                if one in ORDER and not one.startswith(name):
                    assert ORDER.index(one) < ORDER.index(name), f"{name} <- {one}"
