"""The entry of `tfrs-decay`: says so where the command line's packages are missing."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line."""
    # TensorFlow's C++ start-up notices are not for the person who typed a command.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
