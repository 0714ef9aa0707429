"""A trained model to a server, questions to what is served, and users' states."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_decay.serving.asking import Event as Event
    from tfrs_decay.serving.client import AsyncClient as AsyncClient
    from tfrs_decay.serving.client import Client as Client
    from tfrs_decay.serving.client import DeadlineExceeded as DeadlineExceeded
    from tfrs_decay.serving.client import InvalidRequest as InvalidRequest
    from tfrs_decay.serving.client import NotServed as NotServed
    from tfrs_decay.serving.client import Recommendations as Recommendations
    from tfrs_decay.serving.client import Retries as Retries
    from tfrs_decay.serving.client import ServingError as ServingError
    from tfrs_decay.serving.client import Unavailable as Unavailable
    from tfrs_decay.serving.combined import CombinedRecommender as CombinedRecommender
    from tfrs_decay.serving.combined import export_combined as export_combined
    from tfrs_decay.serving.host import Host as Host
    from tfrs_decay.serving.host import Limits as Limits
    from tfrs_decay.serving.native import NativeModel as NativeModel
    from tfrs_decay.serving.native import text_op_libraries as text_op_libraries
    from tfrs_decay.serving.recommender import InterestModel as InterestModel
    from tfrs_decay.serving.recommender import Recommender as Recommender
    from tfrs_decay.serving.redis_home import RedisHome as RedisHome
    from tfrs_decay.serving.reporting import Report as Report
    from tfrs_decay.serving.reporting import report as report
    from tfrs_decay.serving.saved_model import export as export
    from tfrs_decay.serving.server_files import write_server_files as write_server_files
    from tfrs_decay.serving.signatures import Request as Request
    from tfrs_decay.serving.sqlite_home import SQLiteHome as SQLiteHome
    from tfrs_decay.serving.store import InterestStore as InterestStore
    from tfrs_decay.serving.store import UnreadableStates as UnreadableStates

# Where each name lives: asking a served model must not load Keras.
_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "CombinedRecommender": "combined",
    "DeadlineExceeded": "client",
    "Event": "asking",
    "Host": "host",
    "InterestModel": "recommender",
    "InterestStore": "store",
    "InvalidRequest": "client",
    "Limits": "host",
    "NativeModel": "native",
    "NotServed": "client",
    "Recommendations": "client",
    "Recommender": "recommender",
    "RedisHome": "redis_home",
    "Report": "reporting",
    "Request": "signatures",
    "Retries": "client",
    "SQLiteHome": "sqlite_home",
    "ServingError": "client",
    "Unavailable": "client",
    "UnreadableStates": "store",
    "export": "saved_model",
    "export_combined": "combined",
    "report": "reporting",
    "text_op_libraries": "native",
    "write_server_files": "server_files",
}

__all__ = [
    "AsyncClient",
    "Client",
    "CombinedRecommender",
    "DeadlineExceeded",
    "Event",
    "Host",
    "InterestModel",
    "InterestStore",
    "InvalidRequest",
    "Limits",
    "NativeModel",
    "NotServed",
    "Recommendations",
    "Recommender",
    "RedisHome",
    "Report",
    "Request",
    "Retries",
    "SQLiteHome",
    "ServingError",
    "Unavailable",
    "UnreadableStates",
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
