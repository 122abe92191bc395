"""The command line: lists, describes, checks and starts plugins and their algorithms."""

from __future__ import annotations

from nlcore.cli.app import main

__all__ = ["main"]
