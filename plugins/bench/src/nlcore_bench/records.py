"""The folder of a study: its settings, and one line per finished run."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from nlcore_bench.documents import Amount, Count, Number, Text, parse, validate
from nlcore_bench.files import Appender, ResultsError, WriteError, lock, make_folder
from nlcore_bench.settings import as_json, check_settings, extend_settings, write_settings

__all__ = ["Cell", "ResultsError", "Run", "Store", "installed"]

_FORMAT = 3


@dataclass(frozen=True, order=True)
class Cell:
    """The settings of one run; the types are those of a stored cell.

    Attributes:
        phase: `"tune"` runs are evaluated on validation data, `"report"` and `"timed"` runs on test data. A timed run
            has as many steps as fit into the time of the baseline.
        method: Name of the method.
        learning_rate: Learning rate.
        seed: Seed of weights and data order.
        damping: Relative damping, where the method has several to choose from.
        length: Steps of a timed run; `None` for those of the study.
        task: Name of the task in the study.
        optimizer: Name of the optimiser in the study.
    """

    phase: Literal["tune", "report", "timed"]
    method: Text
    learning_rate: Annotated[Number, Field(gt=0)]
    seed: Count
    damping: Amount | None = None
    length: Annotated[Count, Field(gt=0)] | None = None
    task: Text = ""
    optimizer: Text = "adam"

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value != _DEFAULTS[name])


@dataclass(frozen=True)
class Run:
    """One finished run: its cell, and the fields of `nlcore_bench.train.Outcome`; the types are those of a record."""

    cell: Cell
    final: Mapping[Text, Number]
    train: Mapping[Text, Number]
    steps: tuple[Count, ...]
    curves: Mapping[Text, tuple[Number, ...]]
    seconds: Amount
    cpu_seconds: Amount
    failure: Text | None
    times: tuple[Amount, ...] = ()
    norms: Mapping[Text, tuple[Amount, ...]] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def line(self) -> str:
        """Return the run as one line of JSON, without the line end.

        Raises:
            ValueError: `parse` would refuse the line, as for a NaN.
        """
        body = asdict(self)
        cell = {name: value for name, value in body.pop("cell").items() if value != _DEFAULTS[name]}
        if not self.norms:
            del body["norms"]
        line = json.dumps({**cell, **body})
        Run.parse(line)
        return line

    @staticmethod
    def parse(line: str | bytes) -> Run:
        """Return the run in a line.

        Raises:
            ValueError: The line is not a record of a run; the message names the first wrong field.
        """
        body = parse(line)
        if not isinstance(body, dict) or "cell" in body:
            raise ValueError("not a JSON object with the fields of a run")
        cell = validate(_CELL, {name: body.pop(name) for name in _CELL_FIELDS & body.keys()})
        run = validate(_RUN, {**body, "cell": cell})
        if any(late <= early for early, late in zip(run.steps, run.steps[1:], strict=False)):
            raise ValueError(f"steps is {reprlib.repr(run.steps)}: steps should ascend")
        curves = {f"curves.{name}": values for name, values in run.curves.items()}
        for name, values in {**curves, **({"times": run.times} if run.times else {})}.items():
            if len(values) != len(run.steps):
                raise ValueError(f"{name} has {len(values)} values for {len(run.steps)} steps")
        return run

    @staticmethod
    def of(cell: Cell, outcome: Mapping[str, Any]) -> Run:
        """Return a run from the fields of an outcome."""
        curves = {name: tuple(values) for name, values in outcome["curves"].items()}
        lists = {"steps": tuple(outcome["steps"]), "times": tuple(outcome.get("times", ()))}
        norms = {name: tuple(values) for name, values in outcome.get("norms", {}).items()}
        return Run(cell=cell, **{**outcome, **lists, "curves": curves, "norms": norms})


_CELL, _RUN = TypeAdapter(Cell), TypeAdapter(Run)
_CELL_FIELDS = {one.name for one in fields(Cell)}
_DEFAULTS = {one.name: one.default for one in fields(Cell)}


class Store:
    """A folder with `settings.json` and `runs.jsonl`.

    Args:
        folder: Created if it does not exist.
        settings: Everything that changes a number, as JSON values.
        environment: Versions and machine of the runs; stored with the settings, but not compared.
        measures: Names of the measures that every run of a task has, by task; the runs of other tasks may have any.

    Raises:
        ResultsError: The folder holds the runs of other settings, two results of one run, or a line that is not a
            record of a run. A last line that is cut off is not an error: it is dropped, and its run is repeated.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
        *,
        measures: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.folder = folder
        self._measures = measures or {}
        self._runs_path, self._settings_path = folder / "runs.jsonl", folder / "settings.json"
        mine = as_json({"format": _FORMAT, **settings})
        self._settings = mine
        if self._settings_path.exists():
            check_settings(self._settings_path, mine)
        elif self._runs_path.exists():
            raise ResultsError(
                f"{folder} holds runs.jsonl without settings.json, so its settings are unknown. Choose another folder "
                "with --out, or remove this one."
            )
        else:
            make_folder(folder)
            write_settings(self._settings_path, mine, environment or {})
        self._appender: Appender | None = None
        self._runs = self._read(_whole_lines(self._runs_path))

    @property
    def runs(self) -> Mapping[Cell, Run]:
        """The finished runs."""
        return self._runs

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the folder, so that this process alone can `add` runs; the lock ends with the process at the latest.

        Raises:
            ResultsError: Another run is writing to the folder, or the system refuses to write.
        """
        with ExitStack() as stack:
            try:
                file = self._locked(stack)
            except OSError as error:
                raise WriteError(
                    f"cannot open {self._runs_path} for writing: {error}. Choose another folder with --out."
                ) from error
            self._appender = Appender(file)
            try:
                yield
            finally:
                self._appender = None

    def _locked(self, stack: ExitStack) -> FileIO:
        """Lock the folder, read it again, and return its file of runs for appending, cut at the last line end."""
        file = stack.enter_context(self._runs_path.open("ab", buffering=0))
        if not lock(file):
            raise ResultsError(
                f"{self.folder} is being written by another run. Wait for its end, or choose another folder with --out."
            )
        # Another run may have added to the files since this store was opened.
        extend_settings(self._settings_path, self._settings)
        lines = _whole_lines(self._runs_path)
        self._runs = self._read(lines)
        file.truncate(len(lines))
        return file

    def add(self, run: Run) -> None:
        """Append a finished run, inside `writing()`; the line is on the disk when the call returns.

        Raises:
            ResultsError: The run has a value that cannot be stored, or the system refuses to write, for instance
                because the disk is full. The file then holds the earlier runs alone.
        """
        if self._appender is None:
            raise ResultsError(f"{self.folder} is open for reading. Add runs inside `with store.writing():`.")
        if run.cell in self._runs:
            return
        try:
            line = run.line()
            self._check_measures(run)
        except (ValueError, TypeError) as error:
            raise ResultsError(
                f"{self._runs_path}: the run ({run.cell}) cannot be stored as JSON: {error}. Finished runs are kept."
            ) from error
        try:
            self._appender.append(line.encode() + b"\n")
        except OSError as error:
            raise WriteError(
                f"cannot write to {self._runs_path}: {error.strerror or error}. The {len(self._runs)} earlier runs are "
                "kept; free some space and give the same command again."
            ) from error
        self._runs[run.cell] = run

    def _read(self, lines: bytes) -> dict[Cell, Run]:
        """Return the runs in whole lines."""
        runs: dict[Cell, Run] = {}
        numbers: dict[Cell, int] = {}
        for number, line in enumerate(lines.split(b"\n")[:-1], start=1):
            try:
                run = Run.parse(line)
                self._check_measures(run)
            except ValueError as error:
                raise ResultsError(
                    f"{self._runs_path}, line {number}: not a record of a run ({error}). Remove the line to repeat its "
                    "run, or the folder to start anew."
                ) from error
            first = numbers.setdefault(run.cell, number)
            if runs.setdefault(run.cell, run) != run:
                raise ResultsError(
                    f"{self._runs_path}, line {number}: another result of the run of line {first} ({run.cell}). Remove "
                    "the wrong line, or both to repeat the run."
                )
        return runs

    def _check_measures(self, run: Run) -> None:
        expected = self._measures.get(run.cell.task)
        values: dict[str, Mapping[str, Any]] = {"final": run.final, "train": run.train}
        for name, found in {**values, **({"curves": run.curves} if run.steps else {})}.items():
            if expected and found.keys() != set(expected):
                raise ValueError(f"{name} has {sorted(found)} in place of the measures {sorted(expected)}")


def _whole_lines(path: Path) -> bytes:
    """Return a file up to its last line end, without an incomplete line."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror or error}.") from error
    return data[: data.rfind(b"\n") + 1]


def installed(distribution: str) -> str:
    """Return the version of a distribution, or `not installed`."""
    try:
        return str(version(distribution))  # None where its metadata are damaged
    except PackageNotFoundError:
        return "not installed"
