"""A line on the terminal that says what runs at present; it is gone when the answer is printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from nlcore.cli.output import width
from nlcore.errors import printable

__all__ = ["ProgressLine"]


class ProgressLine:
    """A line on standard error that is written over; nothing at all where standard error is not a terminal."""

    def __init__(self) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = sys.stderr if terminal else None
        self._length = 0

    def show(self, text: str) -> None:
        """Write a text over the one before, cut to the width of the terminal."""
        if self._stream is None:
            return
        text = printable(text)[: width() - 1]
        with suppress(OSError, ValueError):
            self._stream.write(f"\r{text.ljust(self._length)}\r{text}")
            self._stream.flush()
        self._length = len(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._length:
            self.show("")

    @classmethod
    @contextmanager
    def on_terminal(cls) -> Iterator[ProgressLine]:
        """Yield a line that is removed at the end, after an error, too."""
        line = cls()
        try:
            yield line
        finally:
            line.clear()
