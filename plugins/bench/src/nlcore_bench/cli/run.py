"""The commands of `nlcore bench`; torch is imported when one runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nlcore.errors import ConfigError
from nlcore_bench.files import make_folder

if TYPE_CHECKING:
    from nlcore_bench.study import Entry, Study

__all__ = ["check_archive", "deprecated", "list_studies", "moved", "report", "resume", "run", "run_engine", "status"]

_MOST = {"--seeds": 1000, "--workers": 256}


def list_studies(_: argparse.Namespace) -> int:
    """Print the studies of all plugins."""
    from nlcore_bench.catalogue import shipped
    from nlcore_bench.tables import Table

    rows = tuple(
        (one.id, one.title, origin, str(one.count(one.entries())), "" if one.minutes is None else f"{one.minutes:g}")
        for origin, one in shipped().values()
    )
    print(Table(head=("id", "title", "from", "runs", "minutes on one core"), rows=rows, words=3).text(), end="")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Run studies, one after the other, and write their reports."""
    from nlcore_bench.findings import in_short
    from nlcore_bench.report import write_report
    from nlcore_bench.run import check_study, run_study
    from nlcore_bench.tables import bullets

    workers = _positive("--workers", arguments.workers, _cores())
    if arguments.cluster and arguments.workers:
        raise ConfigError("--workers is the number of processes on this machine; leave it out with --cluster.")
    words = {"tasks": arguments.tasks, "optimizers": arguments.optimizers, "methods": arguments.methods}
    chosen_of = [(study, folder, study.entries(**words)) for study, folder in _studies(arguments)]
    for study, _, chosen in chosen_of if len(chosen_of) > 1 else ():
        check_study(study, chosen)  # an error in any study comes before the first is run
    if not arguments.quiet:
        _say_cost(chosen_of, 1 if arguments.cluster else workers)
    findings = []
    for study, folder, chosen in chosen_of:
        try:
            plan = run_study(
                study, folder, entries=chosen, workers=workers, cluster=arguments.cluster, quiet=arguments.quiet
            )
        except KeyboardInterrupt:
            said = f"\nStopped. Finished runs are kept in {folder}; the same command goes on from there."
            print(said, file=sys.stderr)
            return 130
        print(write_report(plan, folder))
        print(f"Report, pictures and runs: {folder}\n", flush=True)
        findings.append(in_short(plan))
    print(f"In short\n\n{bullets(findings, wrap=True)}")
    return 0


def _say_cost(studies: Sequence[tuple[Study, Path, Sequence[Entry]]], workers: int) -> None:
    """Print the estimated duration of every study, and the number of its runs on record."""
    from nlcore_bench.sizes import cost

    for study, folder, chosen in studies:
        path = folder / "runs.jsonl"
        recorded = path.read_bytes().count(b"\n") if path.is_file() else 0
        known = f"; {recorded} runs are on record" if recorded else ""
        print(f"{cost(study, chosen, workers)}{known}.", file=sys.stderr, flush=True)


def resume(arguments: argparse.Namespace) -> int:
    """Continue studies."""
    for _, folder in _studies(arguments):
        _begun(folder)
    return run(arguments)


def status(arguments: argparse.Namespace) -> int:
    """Print the finished runs of studies and the remaining time."""
    from nlcore_bench.run import progress

    for study, folder in _studies(arguments):
        print(f"{study.id}: {progress(study, _begun(folder))}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write reports again, from the runs on record."""
    from nlcore_bench.report import write_report
    from nlcore_bench.run import open_store, plan_of

    for study, folder in _studies(arguments):
        store = open_store(study, _begun(folder), ())
        print(write_report(plan_of(study, store.runs, folder), folder))
    return 0


def deprecated(arguments: argparse.Namespace) -> int:
    """Run the studies of a command of 0.1; to be removed in 0.3."""
    if arguments.speed:
        raise _moved("nlcore bench paths --speed", "paths")
    new = f"nlcore bench run {' '.join(arguments.studies)}"
    print(
        f"nlcore bench {arguments.bench_command} is deprecated and will be removed in 0.3; use {new}.", file=sys.stderr
    )
    return run(arguments)


def moved(_: argparse.Namespace) -> int:
    """Raise the error that names the new command of `nlcore bench sorting`; to be removed in 0.3."""
    raise _moved("nlcore bench sorting", "sorting")


def check_archive(arguments: argparse.Namespace) -> int:
    """Check the archive of the Warcraft maps."""
    from nlcore_bench.data.warcraft import check_archive

    check_archive(arguments.file)
    print(f"{arguments.file} is the whole archive of the Warcraft maps. Unpack it; --option folder=DIR reads it.")
    return 0


def run_engine(arguments: argparse.Namespace) -> int:
    """Time the engine."""
    from nlcore_bench.engine import Bench, run_bench, write_engine_report

    bench = Bench.quick() if arguments.quick else Bench()
    bench = replace(bench, tables=tuple(arguments.table or bench.tables), device=arguments.device)
    folder = make_folder(_results(arguments) / "engine")
    try:
        figures = run_bench(bench, quiet=arguments.quiet)
    except KeyboardInterrupt:
        with suppress(OSError):
            folder.rmdir()  # if it is empty
        print("\nStopped. Timings of a part are not kept.", file=sys.stderr)
        return 130
    print(write_engine_report(figures, folder))
    print(f"Report: {folder}", flush=True)
    return 0


def _studies(arguments: argparse.Namespace) -> Iterator[tuple[Study, Path]]:
    """Yield the studies of a command line with its options, each with its folder."""
    from nlcore.cli.arguments import parsed_options
    from nlcore_bench.catalogue import find
    from nlcore_bench.sizes import full, scaled, small

    options = parsed_options(arguments.option)
    for word in arguments.studies:
        whole = full(find(word)) if arguments.full else find(word)
        study = whole.quick() if arguments.quick else small(whole) if arguments.small else whole
        seeds = _positive("--seeds", arguments.seeds, study.seeds)
        tasks = {
            name: part.model_copy(update={"options": {**part.options, **options}}) for name, part in study.tasks.items()
        }
        changes = {"seeds": seeds, "tasks": tasks, "device": arguments.device or study.device}
        yield scaled(study.model_copy(update=changes), whole), _results(arguments) / study.id


def _results(arguments: argparse.Namespace) -> Path:
    """Return the folder that holds the folders of results."""
    sizes = [name for name in ("quick", "small", "full") if getattr(arguments, name, False)]
    return arguments.out or Path("runs", *sizes)


def _begun(folder: Path) -> Path:
    if not (folder / "settings.json").exists():
        raise ConfigError(f"{folder} holds no study; `nlcore bench run` begins one. Name another folder with --out.")
    return folder


def _positive(option: str, value: int | None, default: int) -> int:
    """Return the value of an option, or the default if it was not given.

    Raises:
        ConfigError: The value is below 1 or above what the option allows.
    """
    if value is None:
        return default
    most = _MOST[option]
    if not 1 <= value <= most:
        given = str(value)
        given = given if len(given) <= 20 else f"a number of {len(given)} digits"
        raise ConfigError(f"{option} was given {given}; give 1 or more, at most {most}.")
    return value


def _cores() -> int:
    """Return the number of cores that this process may use, at most 8."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, available or 1)


def _moved(command: str, suite: str) -> ConfigError:
    return ConfigError(
        f"{command} has moved: run `python -m benchmarks {suite}` in a clone of the repository, after "
        "`pip install -r benchmarks/requirements.txt`."
    )
