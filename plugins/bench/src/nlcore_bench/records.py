"""The folder of a study: its settings, and one line for every finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nlcore.errors import NlcoreError
from nlcore_bench.files import write_whole

__all__ = ["Cell", "ResultsError", "Run", "Store"]

_FORMAT = 1


class ResultsError(NlcoreError):
    """A folder of results cannot be read, or belongs to another study."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run to be done.

    Attributes:
        phase: `"tune"` runs are judged on validation data, `"report"` runs on test data.
        arm: Name of the arm.
        rate: Learning rate.
        seed: Seed of weights and data order.
    """

    phase: Literal["tune", "report"]
    arm: str
    rate: float
    seed: int


@dataclass(frozen=True)
class Run:
    """One finished run: what was done, and the fields of `nlcore_bench.train.Outcome`."""

    cell: Cell
    final: Mapping[str, float]
    train: Mapping[str, float]
    steps: tuple[int, ...]
    curves: Mapping[str, tuple[float, ...]]
    seconds: float
    cpu_seconds: float
    failure: str | None

    def line(self) -> str:
        """Return the run as one line of JSON, without its end."""
        body = asdict(self)
        return json.dumps({**body.pop("cell"), **body}, allow_nan=False)

    @staticmethod
    def parse(line: str) -> Run:
        """Return the run that `line` holds.

        Raises:
            ValueError: The line is no run; also as TypeError or KeyError.
        """
        body = json.loads(line)
        cell = Cell(**{name: body.pop(name) for name in ("phase", "arm", "rate", "seed")})
        body["steps"] = tuple(body["steps"])
        body["curves"] = {name: tuple(values) for name, values in body["curves"].items()}
        return Run(cell=cell, **body)


class Store:
    """A folder with `settings.json` and `runs.jsonl`.

    Args:
        folder: Made when it is not there.
        settings: All that changes a number, as JSON values.
        environment: What the numbers were made with; written beside the settings, never compared.

    Raises:
        ResultsError: The folder holds the runs of other settings, or a line that is no run. A last line that was cut
            off by a kill is no fault: it is dropped and its run is repeated.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._runs_path = folder / "runs.jsonl"
        mine: dict[str, Any] = json.loads(json.dumps({"format": _FORMAT, **settings}))
        path = folder / "settings.json"
        if path.exists():
            _compare(folder, _load(path), mine)
        elif self._runs_path.exists():
            raise ResultsError(
                f"{folder} holds runs.jsonl without settings.json, so nobody can say what was run. Choose another "
                "folder with --out, or remove this one."
            )
        else:
            _make(folder)
            document = {"settings": mine, "environment": dict(environment or {})}
            write_whole(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        self._runs = {run.cell: run for run in self._read()}

    @property
    def runs(self) -> Mapping[Cell, Run]:
        """The finished runs."""
        return self._runs

    def add(self, run: Run) -> None:
        """Append a finished run; the line is on the disk when this returns."""
        if run.cell in self._runs:
            return
        # One write of one line: a kill leaves it whole, missing, or cut off at the end of the file.
        with self._runs_path.open("ab", buffering=0) as file:
            file.write(run.line().encode() + b"\n")
            os.fsync(file.fileno())
        self._runs[run.cell] = run

    def _read(self) -> Iterator[Run]:
        """Yield the runs of the file; drop a tail without an end of line from the file itself."""
        if not self._runs_path.exists():
            return
        data = self._runs_path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            write_whole(self._runs_path, whole)
        for number, line in enumerate(whole.decode(errors="replace").splitlines(), start=1):
            try:
                yield Run.parse(line)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ResultsError(
                    f"{self._runs_path}, line {number}: no record of a run ({error}). Remove the line to repeat its "
                    "run, or the folder to start anew."
                ) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"cannot make the folder {folder}: {error}. Choose another one with --out.") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())["settings"]
    except (ValueError, TypeError, KeyError) as error:
        raise ResultsError(f"{path} holds no settings ({error}). Choose another folder with --out.") from error
    if not isinstance(settings, dict):
        raise ResultsError(f"{path} holds no settings. Choose another folder with --out.")
    return settings


def _compare(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raise and name the first settings that differ."""
    old, new = dict(_flat(there)), dict(_flat(here))
    differing = [name for name in {**new, **old} if old.get(name, _ABSENT) != new.get(name, _ABSENT)]
    if not differing:
        return
    listed = "; ".join(
        f"{name} is {old.get(name, _ABSENT)} there and {new.get(name, _ABSENT)} here" for name in differing[:3]
    )
    more = f"; {len(differing) - 3} more differ" if len(differing) > 3 else ""
    raise ResultsError(
        f"{folder} holds the runs of other settings: {listed}{more}. Choose another folder with --out, repeat with the "
        "settings of the folder to go on with it, or remove it to start anew."
    )


_ABSENT = "absent"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested dicts under dotted names, as JSON texts; lists are leaves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, json.dumps(value)
