"""Files of queries in the format of LETOR, MSLR-WEB and Istella: `grade qid:query index:value … # comment`."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_svmlight_file

from nlcore.errors import NlcoreError

__all__ = ["Letor", "LetorError", "load"]

Integers: TypeAlias = NDArray[np.int64]

_NUMBER = rb"[-+.0-9A-Za-z]++"  # float() decides which of these are numbers
_LINE = re.compile(
    rb"[ \t]*+(%b[ \t]++qid:-?[0-9]++(?:[ \t]++[0-9]++:%b)*[ \t]*+)?(?:#[^\r\n]*+)?\r?\n?" % (_NUMBER, _NUMBER)
)  # no possessive group: until Python 3.11.4 these match too much


class LetorError(NlcoreError, ValueError):
    """A file is not in the LETOR format, or is damaged; the message names the line."""


@dataclass(frozen=True)
class Letor:
    """The rows of a file, those of one query together, queries in the order of their first row.

    Attributes:
        features: float32 [rows, d]; 0 where a row has no value.
        relevance: float32 [rows], the grades.
        starts: int64 [queries + 1]; query q has the rows starts[q] to starts[q + 1].
        queries: int64 [queries], their ids in the file.
    """

    features: NDArray[np.float32]
    relevance: NDArray[np.float32]
    starts: Integers
    queries: Integers


def load(path: str | PathLike[str], *, features: int | None = None) -> Letor:
    r"""Read a file of queries.

    A line is a row, such as `2 qid:10 1:0.03 3:1.5 # comment`: its grade, the id of its query, and its features with
    their indices, which begin with 1 and ascend; features of 0 may be left out. The rows of a query need not be
    adjacent. Ids of queries are int64. scikit-learn's SVMlight reader parses the rows: a gigabyte takes about 40
    seconds. A file whose name ends in `.gz` is unpacked while it is read.

    Args:
        path: The file.
        features: Number of features; `None` for the largest index in the file.

    Returns:
        The rows by query.

    Raises:
        LetorError: A line is not of the format, the file holds no row, or a packed file is cut off; the message names
            the first such line.
        OSError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        ...     _ = file.write("2 qid:10 1:0.5 3:1\n0 qid:10 2:0.25 # page 7\n")
        ...     file.flush()
        ...     data = load(file.name)
        >>> data.features.tolist(), data.starts.tolist()
        ([[0.5, 0.0, 1.0], [0.0, 0.25, 0.0]], [0, 2])
    """
    where = Path(path)
    with ExitStack() as stack:
        packed: Any = stack.enter_context(gzip.open(where) if where.suffix == ".gz" else where.open("rb", buffering=0))
        file = stack.enter_context(_Rows(packed, where))
        matrix, grade, query = _parsed(file)
    relevance = _relevance(grade, file)
    dense = _dense(matrix, features, file)
    order, starts, ids = _grouped(query)
    if order is not None:
        dense, relevance = dense[order], relevance[order]
    return Letor(dense, relevance, starts, ids)


class _Rows(io.BufferedReader):
    """A file whose lines are counted and checked as they are read.

    scikit-learn accepts a row without `qid:`, and its errors do not name the line.

    Attributes:
        number: Number of the last line that was read.
        shown: The beginning of that line, for messages.
        lines: Line number of every row.
    """

    def __init__(self, raw: io.RawIOBase, path: Path) -> None:
        super().__init__(raw, 1 << 20)
        self.path, self.number, self.shown, self.lines = path, 0, "", array("q")

    def __next__(self) -> bytes:
        line = super().__next__()
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        match = _LINE.fullmatch(line)
        self.shown = repr(line[:80].decode(errors="replace").strip())
        if match is None:
            reason = "is not a row. A row is 'grade qid:query index:value …', a comment begins with '#'"
            raise LetorError(f"{self.path}, line {self.number}: {self.shown} {reason}.")
        if match[1]:
            self.lines.append(self.number)
        return line


def _parsed(file: _Rows) -> tuple[Any, NDArray[np.float64], Integers]:
    """Return features as a CSR matrix, grades and ids of queries, one a row."""
    try:
        found = load_svmlight_file(file, dtype=np.float32, zero_based=False, query_id=True)
    except LetorError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LetorError(
            f"{file.path} is cut off or damaged after line {file.number} ({error}). Get the file again."
        ) from error
    except (ValueError, OverflowError) as error:
        if file.lines:
            reason = str(error).rstrip(".")
            raise LetorError(f"{file.path}, line {file.number}: {file.shown}: {reason}.") from error
        found = None  # some versions cannot make arrays of a file without rows
    if not file.lines:
        raise LetorError(f"{file.path} holds no row. A row is 'grade qid:query index:value …'.")
    return cast(tuple[Any, NDArray[np.float64], Integers], found)


def _relevance(grade: NDArray[np.float64], file: _Rows) -> NDArray[np.float32]:
    """Return grades as float32.

    Raises:
        LetorError: A grade is negative or not finite in float32.
    """
    with np.errstate(over="ignore"):
        relevance = grade.astype(np.float32)
    wrong = ~(np.isfinite(relevance) & (relevance >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        reason = f"the grade {grade[row]:g} is not a finite number from 0 on"
        raise LetorError(f"{file.path}, line {file.lines[row]}: {reason}.")
    return relevance


def _dense(matrix: Any, features: int | None, file: _Rows) -> NDArray[np.float32]:
    """Return a CSR matrix as an array of `features` columns.

    Raises:
        LetorError: A value is not finite in float32, or there are more features than were asked for or than fit.
    """
    wrong = ~np.isfinite(matrix.data)
    if wrong.any():
        position = int(wrong.argmax())
        row = int(np.searchsorted(matrix.indptr, position, side="right")) - 1
        reason = f"feature {matrix.indices[position] + 1} is {matrix.data[position]:g}, not a finite number in float32"
        raise LetorError(f"{file.path}, line {file.lines[row]}: {reason}.")
    width = matrix.shape[1] if matrix.nnz else 0
    if features is not None and width > features:
        raise LetorError(f"{file.path} has a feature {width}, and {features} were asked for.")
    matrix.resize(len(file.lines), width if features is None else features)
    try:
        dense: NDArray[np.float32] = matrix.toarray()
    except (MemoryError, ValueError) as error:
        raise LetorError(
            f"{file.path}: {len(file.lines)} rows of {matrix.shape[1]} features do not fit into memory. Is the index "
            f"{width} a mistake?"
        ) from error
    return dense


def _grouped(query: Integers) -> tuple[Integers | None, Integers, Integers]:
    """Return the order that groups rows by query (`None` if they are grouped), the start of each group, and the ids."""
    ids, first, inverse = np.unique(query, return_index=True, return_inverse=True)
    rank = np.argsort(first)
    position = np.empty_like(rank)
    position[rank] = np.arange(len(rank))
    position = position[inverse.reshape(-1)]
    counts = np.bincount(position, minlength=len(ids))
    starts = np.concatenate([[0], np.cumsum(counts)])
    together = bool((np.diff(position) >= 0).all())
    return None if together else np.argsort(position, kind="stable"), starts, ids[rank]
