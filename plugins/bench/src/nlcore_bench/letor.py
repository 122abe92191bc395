"""Files of queries in the format of LETOR, MSLR-WEB and Istella: `grade qid:query index:value … # comment`."""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nlcore.errors import NlcoreError

__all__ = ["Letor", "LetorError", "load"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

_CHUNK = 1 << 24  # bytes that are read and parsed in one go
_EXACT = 2**53  # whole numbers up to here are exact in float64


class LetorError(NlcoreError, ValueError):
    """A file is not in the LETOR format; the message names the line."""


@dataclass(frozen=True)
class Letor:
    """The rows of a file, those of one query together, queries in the order of their first row.

    Attributes:
        features: float32 [rows, d]; what a row does not name is 0.
        relevance: float32 [rows], the grades.
        starts: int64 [queries + 1]; query q has the rows starts[q] to starts[q + 1].
        queries: int64 [queries], their ids in the file.
    """

    features: NDArray[np.float32]
    relevance: NDArray[np.float32]
    starts: Integers
    queries: Integers


@dataclass(frozen=True)
class _Piece:
    """What was read of some lines: the rows, and every named feature in the order of the file."""

    relevance: Floats
    query: Integers
    counts: Integers
    index: NDArray[np.int32]
    values: NDArray[np.float32]


def load(path: str | PathLike[str], *, features: int | None = None) -> Letor:
    r"""Read a file of queries.

    A line is a row: its grade, the id of its query, and its features by index from 1, ascending, those that are 0 left
    out or not; `2 qid:10 1:0.03 3:1.5 # comment`. Rows of one query need not stand together. Lines are parsed by the
    million: a gigabyte takes about half a minute. A name that ends in `.gz` is unpacked on the way.

    Args:
        path: The file.
        features: Number of features; the largest index in the file when `None`.

    Returns:
        The rows by query.

    Raises:
        LetorError: A line is not of the format, or the file holds no row; the message names the first such line.
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
    where, line, pieces = Path(path), 1, []
    with _opened(where) as file:
        for chunk in _chunks(file):
            pieces.append(_parse(chunk, where, line))
            line += chunk.count(b"\n")
    rows = sum(len(piece.query) for piece in pieces)
    if rows == 0:
        raise LetorError(f"{where} holds no row. A row is 'grade qid:query index:value …'.")
    width = max((int(piece.index.max(initial=0)) for piece in pieces), default=0)
    if features is not None and width > features:
        raise LetorError(f"{where} has a feature {width}, and {features} were asked for.")
    query = np.concatenate([piece.query for piece in pieces])
    order, starts, ids = _grouped(query)
    dense = _dense(pieces, rows, width if features is None else features)
    relevance = np.concatenate([piece.relevance for piece in pieces]).astype(np.float32)
    if order is not None:
        dense, relevance = dense[order], relevance[order]
    return Letor(dense, relevance, starts, ids)


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the file in pieces of whole lines, each with an end of line."""
    while data := file.read(_CHUNK):
        data += file.readline()
        yield data if data.endswith(b"\n") else data + b"\n"


def _parse(chunk: bytes, where: Path, line: int) -> _Piece:
    """Return what stands in some lines, of which the first is number `line` of the file."""
    text = re.sub(rb"#[^\n]*", b"", chunk) if b"#" in chunk else chunk
    words = _check_words(text, where, line)
    numbers = _numbers(text.replace(b"qid:", b"").replace(b":", b" "))
    named = words[words > 0] - 2  # features of every row
    if len(numbers) != 2 * (len(named) + named.sum()):
        raise _wrong_number(text, where, line)
    first = np.concatenate([[0], np.cumsum(2 * (named + 1))])[:-1]
    inside = np.ones(len(numbers), dtype=bool)
    inside[first] = inside[first + 1] = False
    pairs = numbers[inside].reshape(-1, 2)
    lines = np.flatnonzero(words > 0) + line
    _check_values(numbers[first], numbers[first + 1], where, lines)
    _check_features(pairs, np.repeat(lines, named), where)
    index, values = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.float32)
    return _Piece(numbers[first], numbers[first + 1].astype(np.int64), named, index, values)


def _check_words(text: bytes, where: Path, line: int) -> Integers:
    """Return how many words every line has; all but the first have one colon inside, that of the second after qid.

    Raises:
        LetorError: A line is put together in another way.
    """
    raw = np.frombuffer(text, dtype=np.uint8)
    space, colon = raw <= ord(" "), raw == ord(":")
    begins = ~space
    begins[1:] &= space[:-1]
    lines = np.concatenate([[0], np.flatnonzero(raw == ord("\n"))[:-1] + 1])
    starts = np.flatnonzero(begins)
    words = np.diff(np.searchsorted(starts, lines), append=len(starts))
    owner = np.repeat(np.arange(len(lines)), words)
    place = np.arange(len(starts)) - np.repeat(np.cumsum(words) - words, words)  # of a word in its line
    at = np.flatnonzero(colon)
    holder = np.searchsorted(starts, at, side="right") - 1
    fine = np.bincount(holder.clip(min=0), minlength=len(starts)) == (place > 0)
    fine[holder[space[at - 1] | space[np.minimum(at + 1, len(raw) - 1)]]] = False
    second = starts[place == 1]
    head = raw[np.minimum(second[:, None] + np.arange(4), len(raw) - 1)]
    fine[place == 1] &= (head == np.frombuffer(b"qid:", dtype=np.uint8)).all(axis=1)
    wrong = np.union1d(owner[~fine], np.flatnonzero(words == 1))
    if len(wrong):
        looks = text.split(b"\n")[wrong[0]].decode(errors="replace").strip()
        raise LetorError(
            f"{where}, line {line + wrong[0]}: {looks[:80]!r} is no row. A row is 'grade qid:query index:value …', a "
            "comment begins with '#'."
        )
    return words


def _numbers(text: bytes) -> Floats:
    """Return the numbers of a text up to the first word that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it stops at such a word; the count tells
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ") if text.strip() else np.empty(0)
        except ValueError:
            return np.empty(0)


def _wrong_number(text: bytes, where: Path, line: int) -> LetorError:
    """Return the error for the first word that is no number."""
    for number, row in enumerate(text.split(b"\n"), start=line):
        for place, word in enumerate(row.split()):
            for part in (word.removeprefix(b"qid:") if place == 1 else word).split(b":"):
                if not _is_number(part):
                    return LetorError(f"{where}, line {number}: {part.decode(errors='replace')!r} is no number.")
    return LetorError(f"{where}, from line {line} on: some words are no plain numbers.")


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def _check_values(grade: Floats, query: Floats, where: Path, lines: Integers) -> None:
    """Refuse grades and ids of queries that are none."""
    good = np.isfinite(grade) & (grade >= 0)
    _refuse(~good, where, lines, lambda i: f"the grade {grade[i]:g} is no number from 0 on")
    whole = np.isfinite(query) & (query == np.floor(query)) & (np.abs(query) <= _EXACT)
    _refuse(~whole, where, lines, lambda i: f"the query {query[i]:g} is no whole number")


def _check_features(pairs: Floats, lines: Integers, where: Path) -> None:
    """Refuse indices that are no ascending whole numbers from 1 on, and values that are not finite."""
    index, values = pairs[:, 0], pairs[:, 1]
    whole = (index >= 1) & (index == np.floor(index)) & (index < 2**31)
    _refuse(~whole, where, lines, lambda i: f"the feature index {index[i]:g} is no whole number from 1 on")
    late = np.zeros(len(index), dtype=bool)
    late[1:] = (index[1:] <= index[:-1]) & (lines[1:] == lines[:-1])
    _refuse(late, where, lines, lambda i: f"feature {index[i]:g} comes after {index[i - 1]:g}; indices ascend")
    with np.errstate(over="ignore"):
        _refuse(
            ~np.isfinite(values.astype(np.float32)), where, lines, lambda i: f"feature {index[i]:g} is {values[i]:g}"
        )


def _refuse(wrong: NDArray[np.bool_], where: Path, lines: Integers, explain: Callable[[int], str]) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise LetorError(f"{where}, line {lines[first]}: {explain(first)}.")


def _grouped(query: Integers) -> tuple[Integers | None, Integers, Integers]:
    """Return the order that puts rows of one query together (`None` if they are), where each begins, and their ids."""
    ids, first, inverse = np.unique(query, return_index=True, return_inverse=True)
    rank = np.argsort(first)
    place = np.empty_like(rank)
    place[rank] = np.arange(len(rank))
    place = place[inverse.reshape(-1)]
    counts = np.bincount(place, minlength=len(ids))
    starts = np.concatenate([[0], np.cumsum(counts)])
    together = bool((np.diff(place) >= 0).all())
    return None if together else np.argsort(place, kind="stable"), starts, ids[rank]


def _dense(pieces: list[_Piece], rows: int, width: int) -> NDArray[np.float32]:
    dense: Any = np.zeros((rows, width), dtype=np.float32)
    start = 0
    for piece in pieces:
        row = np.repeat(np.arange(start, start + len(piece.counts)), piece.counts)
        dense[row, piece.index - 1] = piece.values
        start += len(piece.counts)
    return dense  # type: ignore[no-any-return]
