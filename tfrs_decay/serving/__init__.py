"""A trained model to a server, and questions to what is served."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_decay.serving.combined import CombinedRecommender as CombinedRecommender
    from tfrs_decay.serving.combined import export_combined as export_combined
    from tfrs_decay.serving.native import NativeModel as NativeModel
    from tfrs_decay.serving.native import text_op_libraries as text_op_libraries
    from tfrs_decay.serving.recommender import InterestModel as InterestModel
    from tfrs_decay.serving.recommender import Recommender as Recommender
    from tfrs_decay.serving.reporting import Report as Report
    from tfrs_decay.serving.reporting import report as report
    from tfrs_decay.serving.saved_model import export as export
    from tfrs_decay.serving.server_files import write_server_files as write_server_files
    from tfrs_decay.serving.signatures import Request as Request

# Where each name lives: asking a served model must not load Keras.
_HOMES = {
    "CombinedRecommender": "combined",
    "InterestModel": "recommender",
    "NativeModel": "native",
    "Recommender": "recommender",
    "Report": "reporting",
    "Request": "signatures",
    "export": "saved_model",
    "export_combined": "combined",
    "report": "reporting",
    "text_op_libraries": "native",
    "write_server_files": "server_files",
}

__all__ = [
    "CombinedRecommender",
    "InterestModel",
    "NativeModel",
    "Recommender",
    "Report",
    "Request",
    "export",
    "export_combined",
    "report",
    "text_op_libraries",
    "write_server_files",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
