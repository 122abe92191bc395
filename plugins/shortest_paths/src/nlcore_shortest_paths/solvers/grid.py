"""Grid graphs: size, source and goal, and the order of a cell's neighbours."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore.errors import ConfigError

__all__ = ["Grid", "grid"]

_DIRECTIONS: dict[int, tuple[tuple[int, int], ...]] = {
    4: ((-1, 0), (0, -1), (0, 1), (1, 0)),
    8: ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)),
}


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
        """Steps to the neighbours in reading order; of equally near predecessors the first in this order is taken."""
        return _DIRECTIONS[self.neighbours]


def grid(height: int, width: int, source: tuple[int, int], goal: tuple[int, int], neighbours: int) -> Grid:
    """Return the grid, with negative rows and columns counted from the end as in indexing.

    Raises:
        ConfigError: Source or goal is outside the map, or neighbours is neither 4 nor 8.
    """
    if neighbours not in _DIRECTIONS:
        raise ConfigError(f"neighbours was given {neighbours!r}; a cell has 4 neighbours, or 8 with the diagonals.")
    for name, (row, column) in (("source", source), ("goal", goal)):
        if not (-height <= row < height and -width <= column < width):
            raise ConfigError(
                f"{name} {(row, column)} lies outside the map of {height} rows and {width} columns. Give a row from "
                f"{-height} to {height - 1} and a column from {-width} to {width - 1}."
            )
    start, end = ((row % height, column % width) for row, column in (source, goal))
    return Grid(height, width, start, end, neighbours)
