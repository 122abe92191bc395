"""The folder of a study: its settings, and one line for every finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Literal

from nlcore.errors import NlcoreError
from nlcore_bench.files import write_whole

__all__ = ["Cell", "ResultsError", "Run", "Store", "installed"]

_FORMAT = 1


class ResultsError(NlcoreError):
    """A folder of results cannot be read, or belongs to another study."""


@dataclass(frozen=True, order=True)
class Cell:
    """One run to be done.

    Attributes:
        phase: `"tune"` runs are judged on validation data, `"report"` runs on test data, and so are `"timed"` runs,
            which are as long as the baseline's in time rather than in steps.
        arm: Name of the arm.
        rate: Learning rate.
        seed: Seed of weights and data order.
        damping: Relative damping, where the arm has several to choose from.
        length: Steps of a timed run; `None` for those of the task.
    """

    phase: Literal["tune", "report", "timed"]
    arm: str
    rate: float
    seed: int
    damping: float | None = None
    length: int | None = None


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
    times: tuple[float, ...] = ()

    def line(self) -> str:
        """Return the run as one line of JSON, without its end."""
        body = asdict(self)
        cell = {name: value for name, value in body.pop("cell").items() if value is not None}
        return json.dumps({**cell, **body}, allow_nan=False)

    @staticmethod
    def parse(line: str) -> Run:
        """Return the run that `line` holds.

        Raises:
            ValueError: The line is no run; also as TypeError or KeyError.
        """
        body = json.loads(line)
        optional = {name: body.pop(name, None) for name in ("damping", "length")}
        cell = Cell(**{name: body.pop(name) for name in ("phase", "arm", "rate", "seed")}, **optional)
        return Run.of(cell, body)

    @staticmethod
    def of(cell: Cell, outcome: Mapping[str, Any]) -> Run:
        """Return a run from the fields of an outcome."""
        curves = {name: tuple(values) for name, values in outcome["curves"].items()}
        lists = {"steps": tuple(outcome["steps"]), "times": tuple(outcome.get("times", ()))}
        return Run(cell=cell, **{**outcome, **lists, "curves": curves})


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
        self._settings_path = path
        self._file: IO[bytes] | None = None
        self._runs = {run.cell: run for run in self._read()}

    @property
    def runs(self) -> Mapping[Cell, Run]:
        """The finished runs."""
        return self._runs

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Allow `add` here and in no other process; the system lets go when this one ends, however it ends.

        Raises:
            ResultsError: Another run is writing to the folder.
        """
        with self._settings_path.open("rb") as lock:
            if not _lock(lock):
                raise ResultsError(
                    f"{self.folder} is being written by another run. Wait for its end, or choose another folder with "
                    "--out."
                )
            self._cut_tail()
            # What another run has added since this store was opened is not to be repeated.
            self._runs = {run.cell: run for run in self._read()}
            with self._runs_path.open("ab", buffering=0) as file:
                self._file = file
                try:
                    yield
                finally:
                    self._file = None

    def add(self, run: Run) -> None:
        """Append a finished run, inside `writing()`; the line is on the disk when this returns."""
        if self._file is None:
            raise ResultsError(f"{self.folder} is open for reading. Add runs inside `with store.writing():`.")
        if run.cell in self._runs:
            return
        # One write of one line: a kill leaves it whole, missing, or cut off at the end of the file.
        self._file.write(run.line().encode() + b"\n")
        os.fsync(self._file.fileno())
        self._runs[run.cell] = run

    def _cut_tail(self) -> None:
        """Drop what follows the last end of line: a kill cut it off."""
        if self._runs_path.exists():
            data = self._runs_path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                write_whole(self._runs_path, whole)

    def _read(self) -> Iterator[Run]:
        """Yield the runs of the file; a tail without an end of line is none."""
        data = self._runs_path.read_bytes() if self._runs_path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1].decode(errors="replace")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                yield Run.parse(line)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ResultsError(
                    f"{self._runs_path}, line {number}: no record of a run ({error}). Remove the line to repeat its "
                    "run, or the folder to start anew."
                ) from error


def _lock(file: IO[bytes]) -> bool:
    """Take the lock of an open file, or return False when another process has it."""
    try:
        import fcntl
    except ImportError:  # a system without such locks: its users must not start two runs in one folder
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def installed(distribution: str) -> str:
    """Return the version of a distribution, or `not installed`, as when it is run from a source tree."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
