"""The entry of `tfrs-decay`: says so where the command line's packages are missing."""

from __future__ import annotations

import os
import sys

# `cli.console.WRONG_INPUT`, which cannot be had without the packages that are missing.
_WRONG_INPUT = 2


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
        print(
            f"tfrs-decay: {error.name} is not installed: pip install 'tfrs-decay[cli]'",
            file=sys.stderr,
        )
        sys.exit(_WRONG_INPUT)
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
