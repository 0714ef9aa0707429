"""What the suites beside PyTorch need."""

from __future__ import annotations

import sys
from typing import Any, cast

# A build of PyTorch for CUDA brings triton, which crashes the process where TensorFlow
# is loaded already. Nothing here compiles for a GPU: it counts as not installed.
cast("dict[str, Any]", sys.modules).setdefault("triton", None)
