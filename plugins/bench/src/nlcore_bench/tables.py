"""Tables as plain text, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import fill

__all__ = ["Table", "bullets"]

_WIDTH = 110  # of the notes in plain text


@dataclass(frozen=True)
class Table:
    """A table with its title and notes.

    Attributes:
        head: Names of the columns.
        rows: Cells, as many in each row as there are columns.
        title: One line above the table; omitted if empty.
        notes: Notes for the reader, one list item each.
        words: Number of leading columns that hold words and are aligned to the left; numbers are aligned to the right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    words: int = 1

    def text(self) -> str:
        """Return the table for a terminal, ending with a line end."""
        cells = (self.head, *self.rows)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        head, *body = ["  ".join(map(self._padded, range(len(line)), line, widths)).rstrip() for line in cells]
        rule = "-" * max(map(len, (head, *body)))
        title = [self.title, ""] if self.title else []
        notes = ["", bullets(self.notes, wrap=True)] if self.notes else []
        return "\n".join([*title, head, rule, *body, *notes, ""])

    def markdown(self) -> str:
        """Return the table in Markdown, ending with a line end."""
        marks = "|".join("---" if column < self.words else "---:" for column in range(len(self.head)))
        head, *body = [f"| {' | '.join(map(_escaped, line))} |" for line in (self.head, *self.rows)]
        title = [f"**{self.title}**", ""] if self.title else []
        notes = ["", bullets(self.notes)] if self.notes else []
        return "\n".join([*title, head, f"|{marks}|", *body, *notes, ""])

    def html(self) -> str:
        """Return the table in HTML, ending with a line end."""

        def line(tag: str, cells: Sequence[str]) -> str:
            side = [" style='text-align:right'" if column >= self.words else "" for column in range(len(cells))]
            return "".join(f"<{tag}{at}>{escape(cell)}</{tag}>" for at, cell in zip(side, cells, strict=True))

        title = f"<caption>{escape(self.title)}</caption>\n" if self.title else ""
        rows = "\n".join(f"<tr>{line('td', row)}</tr>" for row in self.rows)
        notes = "".join(f"<li>{escape(note)}</li>\n" for note in self.notes)
        table = (
            f"<table>\n{title}<thead><tr>{line('th', self.head)}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        )
        return table + (f"<ul>\n{notes}</ul>\n" if notes else "")

    def _padded(self, column: int, cell: str, width: int) -> str:
        return cell.ljust(width) if column < self.words else cell.rjust(width)


def bullets(lines: Sequence[str], *, wrap: bool = False) -> str:
    """Return a list with one item per line, in plain text and Markdown alike.

    Args:
        lines: The items.
        wrap: Whether long items are wrapped for a terminal.
    """
    if not wrap:
        return "\n".join(f"- {line}" for line in lines)
    return "\n".join(fill(line, _WIDTH, initial_indent="- ", subsequent_indent="  ") for line in lines)


def _escaped(cell: str) -> str:
    """Return a cell that Markdown does not split or break."""
    return cell.replace("|", "&#124;").replace("\n", " ")
