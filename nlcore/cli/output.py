"""The answer of a command: plain text in columns that fits the terminal, or JSON; and its errors."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any, TextIO

from nlcore.errors import printable
from nlcore.registry.isolation import standard_output

__all__ = ["complain", "finished", "print_json", "say", "table", "usable_streams", "width"]

_WIDEST, _WIDEST_COLUMN, _NARROWEST_COLUMN, _GAP = 100, 32, 24, 2
_LONGEST_COMPLAINT = 4000


def say(text: str = "") -> None:
    """Print a part of the answer; terminal controls are written as escapes."""
    standard_output.write(f"{printable(text)}\n")


def print_json(value: Any) -> None:
    """Print a value as JSON, indented, in ASCII, so that every pipe can carry it."""
    standard_output.write(f"{json.dumps(value, indent=2)}\n")


def complain(text: str) -> None:
    """Print a line on standard error; if it cannot be written, nothing is raised."""
    line = printable(" ".join(text.split()))
    _print_error(line if len(line) <= _LONGEST_COMPLAINT else f"{line[:_LONGEST_COMPLAINT]} …")


def width() -> int:
    """Return how many columns to use: those of the terminal, at most 100."""
    return max(40, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def table(headers: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns, of which the last is wrapped; under headers, the others are wrapped if long.

    Args:
        headers: Words above the columns, or `None`. A column in which every row is empty is left out.
        rows: One text per column.
    """
    lines = [list(map(str.upper, headers)), *map(list, rows)] if headers else [list(row) for row in rows]
    lines = [[printable(" ".join(cell.expandtabs(1).splitlines())) for cell in line] for line in lines]
    body = lines[1:] if headers else lines
    kept = [index for index in range(len(lines[0])) if any(row[index] for row in body)]
    lines = [[row[index] for index in kept] for row in lines]
    fronts = [[_wrapped(cell, _WIDEST_COLUMN) if headers else [cell] for cell in row[:-1]] for row in lines]
    widths = [max(len(line) for row in fronts for line in row[index]) for index in range(len(kept) - 1)]
    indent = sum(widths) + _GAP * len(widths)
    room = max(_NARROWEST_COLUMN, width() - indent)
    text: list[str] = []
    for front, row in zip(fronts, lines, strict=True):
        back = textwrap.wrap(row[-1], room, break_on_hyphens=False, break_long_words=False) or [""]
        for cells in zip_longest(*front, back, fillvalue=""):
            padded = "".join(cell.ljust(size + _GAP) for cell, size in zip(cells[:-1], widths, strict=True))
            text.append((padded + cells[-1]).rstrip())
    return "\n".join(text)


def _wrapped(cell: str, room: int) -> list[str]:
    return textwrap.wrap(cell, room, break_on_hyphens=False, break_long_words=False) or [""]


@contextmanager
def usable_streams() -> Iterator[None]:
    """Make the standard streams writable: closed ones lead to the null device, and unknown characters are escaped."""
    before = sys.stdout, sys.stderr
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened becomes standard output.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    sys.stdout, sys.stderr = before[0] or nowhere, before[1] or nowhere
    with _escaping(sys.stdout), nowhere:
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def finished(code: int) -> int:
    """Return the exit code when everything is written: 1 in place of 0 if a part of the answer is lost."""
    error = _settled(sys.stdout)
    if error is not None and not code and not isinstance(error, BrokenPipeError):
        complain(f"nlcore: error: standard output: {error.strerror or error}.")
    _settled(sys.stderr)
    return code if error is None else code or 1


def _settled(stream: TextIO | None) -> OSError | None:
    """Flush a stream for the last time; what cannot be written is dropped, so that Python reports nothing at exit."""
    if stream is None:
        return None
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError), open(os.devnull, "wb") as null:  # noqa: PTH123
            os.dup2(null.fileno(), stream.fileno())
            stream.flush()
        return error
    except (ValueError, AttributeError):  # closed or replaced by a command
        return None
    return None


def _print_error(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _escaping(stream: TextIO) -> Iterator[None]:
    """Let a stream write characters outside its encoding as escapes."""
    errors = getattr(stream, "errors", None)
    if not isinstance(stream, io.TextIOWrapper) or errors is None:
        yield
        return
    # A command may close or detach the stream, and a device may refuse.
    with suppress(OSError, ValueError):
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stream.reconfigure(errors=errors)
