"""The commands of `nlcore bench`; torch is imported when one runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlcore.errors import ConfigError
from nlcore_bench.cli.options import cores, moved_error, positive, results_folder
from nlcore_bench.files import make_folder

if TYPE_CHECKING:
    from nlcore_bench.study import Study, Workers
    from nlcore_bench.tasks import Ltr, Paths

__all__ = ["run_defaults", "run_engine", "run_moved", "run_paths", "run_studies"]

_QUICK_STEPS = 60


def run_studies(arguments: argparse.Namespace) -> int:
    """Run the studies that a command names, one after the other."""
    from nlcore_bench.study import workers

    out = results_folder(arguments)
    studies = [_study(name, arguments) for name in arguments.tasks]
    count = positive("--workers", arguments.workers, cores())
    try:
        with workers(count) as pool:
            for study in studies:
                _run_one(study, out / study.task.name, pool, arguments.quiet)
    except KeyboardInterrupt:
        print(f"\nStopped. Finished runs are kept in {out}; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def run_paths(arguments: argparse.Namespace) -> int:
    """Run the study of paths, or check the archive of the Warcraft maps."""
    if arguments.speed:
        raise moved_error("nlcore bench paths --speed", "paths")
    if arguments.check is None:
        return run_studies(arguments)
    from nlcore_bench.data.warcraft import check_archive

    check_archive(arguments.check)
    print(f"{arguments.check} is the whole archive of the Warcraft maps. Unpack it; --warcraft DIR reads it.")
    return 0


def run_moved(_: argparse.Namespace) -> int:
    """Raise the error that names the new command of `nlcore bench sorting`."""
    raise moved_error("nlcore bench sorting", "sorting")


def run_defaults(arguments: argparse.Namespace) -> int:
    """Run the study of the default."""
    from nlcore_bench.defaults import run_defaults
    from nlcore_bench.study import workers

    quick = arguments.quick
    count = positive("--workers", arguments.workers, cores())
    numbers = {
        "steps": positive("--steps", arguments.steps, _QUICK_STEPS if quick else 500),
        "seeds": positive("--seeds", arguments.seeds, 1 if quick else 5),
        "tuning": positive("--tuning-seeds", arguments.tuning_seeds, 1 if quick else 2),
    }
    folder = make_folder(results_folder(arguments))
    with workers(count) as pool:
        table = run_defaults(folder, pool, problems=arguments.problems, quiet=arguments.quiet, **numbers)
    print(table)
    return 0


def run_engine(arguments: argparse.Namespace) -> int:
    """Time the engine."""
    from nlcore_bench.engine import Bench, run_bench, write_engine_report

    folder = make_folder(results_folder(arguments) / "engine")
    try:
        figures = run_bench(Bench.quick() if arguments.quick else Bench(), quiet=arguments.quiet)
    except KeyboardInterrupt:
        with suppress(OSError):
            folder.rmdir()  # if it is empty
        print("\nStopped. Timings of a part are not kept.", file=sys.stderr)
        return 130
    print(write_engine_report(figures, folder))
    print(f"Tables, picture and figures: {folder}", flush=True)
    return 0


def _run_one(study: Study, folder: Path, pool: Workers, quiet: bool) -> None:
    from nlcore_bench.report import write_report

    runs = study.run(folder, pool, quiet=quiet)
    print(write_report(study, runs, folder))
    if study.task.name == "paths":
        from nlcore_bench.paths_picture import write_pictures

        write_pictures(study, runs, folder)
    print(f"Tables, pictures and runs: {folder}\n", flush=True)


def _study(name: str, arguments: argparse.Namespace) -> Study:
    """Return the study of a task with the options of the command line."""
    from nlcore_bench.study import Study
    from nlcore_bench.tasks import Ranking, Totals

    tasks: dict[str, Callable[[argparse.Namespace], Any]] = {
        "totals": lambda _: Totals(),
        "ranking": lambda _: Ranking(),
        "ltr": _ltr,
        "paths": _paths,
    }
    task = tasks[name](arguments)
    quick, maps = arguments.quick, name == "paths"
    quick_steps = 20 if maps else _QUICK_STEPS
    return Study(
        task=replace(task, steps=positive("--steps", arguments.steps, quick_steps if quick else task.steps)),
        methods=tuple(arguments.methods),
        seeds=positive("--seeds", arguments.seeds, 1 if quick else 3),
        tuning=positive("--tuning-seeds", arguments.tuning_seeds, 1 if quick or maps else 2),
        timed=maps,
    )


def _ltr(arguments: argparse.Namespace) -> Ltr:
    from nlcore_bench.tasks import Ltr

    if arguments.data is None and (arguments.validation or arguments.test):
        raise ConfigError("--validation and --test go with --data, the training queries.")
    return Ltr(arguments.table, arguments.data, arguments.validation, arguments.test)


def _paths(arguments: argparse.Namespace) -> Paths:
    from nlcore_bench.data.warcraft import warcraft_folder
    from nlcore_bench.tasks import Paths

    task = Paths(folder=warcraft_folder(arguments.warcraft))
    if task.folder is not None:
        task.maps("train")  # a wrong file is named before a folder is made
    return task
