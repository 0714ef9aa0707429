"""How interest fades: families of decay, in NumPy, plain objects.

The formula of a family is written once and serves arrays and tensors; the layers in
`tfrs_decay.layers` own what is learned.
"""

from __future__ import annotations

from tfrs_decay.decay.base import NEVER, Decay, Elapsed, Labels
from tfrs_decay.decay.composition import Product, Sum
from tfrs_decay.decay.constant import Constant
from tfrs_decay.decay.elasticsearch import Gaussian, Linear
from tfrs_decay.decay.exponential import Exponential
from tfrs_decay.decay.log_bucketed import LogBucketed
from tfrs_decay.decay.mixture import Mixture
from tfrs_decay.decay.power_law import PowerLaw
from tfrs_decay.decay.step import Logistic, Window

__all__ = [
    "NEVER",
    "Constant",
    "Decay",
    "Elapsed",
    "Exponential",
    "Gaussian",
    "Labels",
    "Linear",
    "LogBucketed",
    "Logistic",
    "Mixture",
    "PowerLaw",
    "Product",
    "Sum",
    "Window",
]
