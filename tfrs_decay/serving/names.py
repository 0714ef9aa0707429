"""What parts of serving that do not import each other call the same."""

from __future__ import annotations

from pathlib import Path

EXTRA = Path("assets.extra")
"""The folder of a version that TensorFlow Serving leaves to others."""

METADATA = EXTRA / "tfrs_decay.json"
"""The catalogue's texts and what the export was made with."""

WARMUP = EXTRA / "tf_serving_warmup_requests"
"""The requests that a server runs before it serves: TensorFlow Serving's own name."""

DEFAULT_K = 20
"""Items an answer has where nobody says."""

INSTALL = "pip install 'tfrs-decay[serving]'"
"""What brings the libraries of gRPC, the official messages and metrics."""


def location(host: str, port: int) -> str:
    """A host and a port as a URL has them: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
