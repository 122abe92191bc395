"""The command line: what is installed, what it can do, what is wrong with it."""

from __future__ import annotations

from nlcore.cli.app import main

__all__ = ["main"]
