"""Plain text that lines up and fits the terminal; JSON for programs."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

__all__ = ["print_json", "table", "width"]

_WIDEST, _NARROWEST_COLUMN, _GAP = 100, 24, 2


def width() -> int:
    """Return how many columns to use: those of the terminal, at most 100."""
    return max(40, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns))


def table(headers: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns; the last column is wrapped, the others are as wide as they need.

    Args:
        headers: Words above the columns, or `None`. A column in which every row is empty is left out.
        rows: One text per column.
    """
    lines = [list(map(str.upper, headers)), *map(list, rows)] if headers else [list(row) for row in rows]
    body = lines[1:] if headers else lines
    kept = [index for index in range(len(lines[0])) if any(row[index] for row in body)]
    lines = [[row[index] for index in kept] for row in lines]
    widths = [max(len(row[index]) for row in lines) for index in range(len(kept) - 1)]
    indent = sum(widths) + _GAP * len(widths)
    room = max(_NARROWEST_COLUMN, width() - indent)
    text: list[str] = []
    for row in lines:
        front = "".join(cell.ljust(size + _GAP) for cell, size in zip(row, widths, strict=False))
        back = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        text.append((front + back[0]).rstrip())
        text += [" " * indent + line for line in back[1:]]
    return "\n".join(text)


def print_json(value: Any) -> None:
    """Print a value as JSON, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
