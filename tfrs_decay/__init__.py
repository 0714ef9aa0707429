"""A sense of time for TensorFlow Recommenders.

Importing this package settles which Keras `tf.keras` is (TensorFlow Recommenders needs
the legacy one) and nothing else: TensorFlow itself is loaded with the first submodule
that needs it, so that a stream worker or a client pays for none of it.

>>> import tfrs_decay as td
>>> round(td.decay.Exponential("7d").weight(14 * 86_400), 9)
0.25
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrs_decay import (
        callbacks,
        data,
        decay,
        doctor,
        durations,
        encoders,
        evaluation,
        experiments,
        feedback,
        forgetting,
        interest,
        layers,
        models,
        neighbours,
        optimizers,
        plots,
        popularity,
        ranking,
        return_times,
        serving,
        similar,
        training,
        tuning,
        updating,
    )

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "callbacks",
    "data",
    "decay",
    "doctor",
    "durations",
    "encoders",
    "evaluation",
    "experiments",
    "feedback",
    "forgetting",
    "interest",
    "layers",
    "models",
    "neighbours",
    "optimizers",
    "plots",
    "popularity",
    "ranking",
    "return_times",
    "serving",
    "similar",
    "training",
    "tuning",
    "updating",
]


def _settle_legacy_keras() -> None:
    """Makes `tf.keras` the legacy Keras, or says why that is no longer possible."""
    asked = os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if asked not in ("1", "true", "True"):
        raise ImportError(
            f"TF_USE_LEGACY_KERAS={asked!r} asks for Keras 3, which TensorFlow "
            "Recommenders cannot use. Unset it, or set TF_USE_LEGACY_KERAS=1."
        )
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return
    # TensorFlow decides once, when tf.keras is first touched. Where it has not been
    # touched yet, this touch decides for legacy Keras.
    if not tensorflow.keras.layers.Layer.__module__.startswith("tf_keras"):
        raise ImportError(
            "tf.keras is already Keras 3 in this process, which TensorFlow "
            "Recommenders cannot use. Put `import tfrs_decay` before the first use "
            "of tf.keras (and before libraries that use it), or set the environment "
            "variable TF_USE_LEGACY_KERAS=1 before Python starts."
        )


_settle_legacy_keras()


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
