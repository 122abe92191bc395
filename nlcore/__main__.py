"""The command line as `python -m nlcore`, for a script `nlcore` that is not on the path."""

from __future__ import annotations

import sys

from nlcore.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
