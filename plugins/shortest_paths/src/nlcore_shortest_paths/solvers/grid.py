"""A grid as the solvers see it: its size, its two ends and the order of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore.errors import ConfigError

__all__ = ["DIRECTIONS", "Grid", "grid"]

DIRECTIONS: dict[int, tuple[tuple[int, int], ...]] = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}
"""Steps to the neighbours, row by row. Of equally good predecessors the first in this order is taken."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid graph whose nodes are cells.

    Attributes:
        height: Rows.
        width: Columns.
        source: Row and column of the start, not negative.
        goal: Row and column of the end, not negative.
        neighbours: 4 or 8.
    """

    height: int
    width: int
    source: tuple[int, int]
    goal: tuple[int, int]
    neighbours: int

    @property
    def directions(self) -> tuple[tuple[int, int], ...]:
        """Steps to the neighbours, in the order of the tie-break."""
        return DIRECTIONS[self.neighbours]


def grid(height: int, width: int, source: tuple[int, int], goal: tuple[int, int], neighbours: int) -> Grid:
    """Return the grid, with negative places counted from the end as in indexing.

    Raises:
        ConfigError: An end outside the map, or neighbours that are neither 4 nor 8.
    """
    if neighbours not in DIRECTIONS:
        raise ConfigError(f"neighbours was given {neighbours!r}; a cell has 4 neighbours, or 8 with the diagonals.")
    ends = []
    for name, place in (("source", source), ("goal", goal)):
        row, column = place
        if not (-height <= row < height and -width <= column < width):
            raise ConfigError(
                f"{name} {(row, column)} lies outside the map of {height} rows and {width} columns. Give a row from "
                f"{-height} to {height - 1} and a column from {-width} to {width - 1}."
            )
        ends.append((row % height, column % width))
    return Grid(height, width, ends[0], ends[1], neighbours)
