"""The entry of `tfrs-decay`: says so where the command line's packages are missing."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line."""
    # TensorFlow's C++ notices (no GPU here, no AVX-512 there) are not for the person
    # who typed a command; its errors come as exceptions as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from tfrs_decay import cli
    except ImportError as error:
        if error.name not in ("click", "pandas", "pyarrow"):
            raise
        sys.exit(
            f"tfrs-decay needs {error.name}, which is not installed: "
            "pip install 'tfrs-decay[cli]'"
        )
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
