"""The command `nlcore bench`: options here, torch only once a study starts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlcore.errors import ConfigError
from nlcore_bench.arms import RANKING, TOTALS, Arm
from nlcore_bench.ltr_arms import LTR
from nlcore_bench.paths_command import add_paths, moved_error

if TYPE_CHECKING:
    from nlcore_bench.study import Study, Workers
    from nlcore_bench.tasks import Ltr, Ranking, Totals

__all__ = ["add_bench"]

_EPILOG = """\
examples:
  nlcore bench totals                       five arms, 3 seeds, about half a minute on 2 cores
  nlcore bench totals --arms plain fisher   two of them
  nlcore bench totals --seeds 10            add seeds to the runs that are already there
  nlcore bench ranking --quick              see that everything works
  nlcore bench ltr --data train.txt         your own queries, 20 % of them for validation, 20 % for the test
  nlcore bench paths --arms perturbed_fenchel_young      one method on maps
  nlcore bench demo --out runs/demo         both tasks
  nlcore bench engine                       what a Newton step costs, about three minutes

A study that was stopped goes on where it was when the same command is given again. Its folder holds settings.json,
runs.jsonl (one line per finished run), table.txt, table.md and curves.png.
"""

_QUICK_STEPS = 60
_PROBLEMS = ("totals", "blur", "drag", "neuralsort", "network")


def add_bench(subparsers: Any) -> None:
    """Add `bench` and its commands.

    Args:
        subparsers: What argparse's `add_subparsers()` returns.
    """
    bench = _parser(subparsers, "bench", "train on real data and compare: plain, clipping, Newton losses")
    commands = bench.add_subparsers(title="commands", dest="bench_command", required=True, metavar="COMMAND")
    for name, summary, arms in (
        ("totals", "read digits whose running totals alone are supervised", TOTALS),
        ("ranking", "rank numbers whose order alone is supervised", RANKING),
    ):
        parser = _parser(commands, name, summary)
        _add_options(parser, arms)
        parser.set_defaults(run=_run, tasks=(name,))
    ltr = _parser(commands, "ltr", "learn to rank the rows of a table, or the queries of files in the LETOR format")
    _add_options(ltr, LTR, steps=300)
    ltr.add_argument("--table", choices=("diabetes", "digits"), default="diabetes", help="(default: diabetes)")
    for option, words in (("--data", "training"), ("--validation", "validation"), ("--test", "test")):
        ltr.add_argument(option, metavar="FILE", help=f"{words} queries, lines of 'grade qid:query index:value …'")
    ltr.set_defaults(run=_run, tasks=("ltr",))
    add_paths(commands, _parser, _add_options)
    defaults = _parser(commands, "defaults", "hold the library's default against controls and a grid on five problems")
    _add_options(defaults, None)
    defaults.add_argument("--problems", nargs="+", choices=_PROBLEMS, default=[], metavar="NAME", help="some of them")
    defaults.set_defaults(run=_run_defaults)
    demo = _parser(commands, "demo", "both tasks with the settings of `make demo`")
    _add_options(demo, None)
    demo.set_defaults(run=_run, tasks=("totals", "ranking"), arms=[])
    engine = _parser(commands, "engine", "time the Newton step: loss part, whole step, solvers")
    engine.add_argument(
        "--out", type=Path, metavar="DIR", help="results go to DIR/engine (default: runs, or runs/quick)"
    )
    engine.add_argument("--quick", action="store_true", help="few sizes, few rounds: does it work at all?")
    engine.add_argument("--quiet", action="store_true", help="no progress bar")
    engine.set_defaults(run=_time)
    moved = commands.add_parser("sorting", add_help=False)  # not listed; goes in 0.3
    moved.add_argument("--out")
    moved.add_argument("--quick", action="store_true")
    moved.set_defaults(run=_moved)


def _parser(subparsers: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_options(
    parser: argparse.ArgumentParser, arms: tuple[Arm, ...] | None, *, steps: int = 500, tuning: int = 2
) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="results go to DIR/TASK (default: runs, or runs/quick)")
    parser.add_argument("--seeds", type=int, metavar="N", help="reported seeds (default: 3)")
    parser.add_argument(
        "--tuning-seeds", type=int, metavar="N", help=f"seeds on which each rate is tried (default: {tuning})"
    )
    parser.add_argument("--steps", type=int, metavar="N", help=f"training steps of a run (default: {steps})")
    if arms is not None:
        names = ", ".join(arm.name for arm in arms)
        parser.add_argument("--arms", nargs="+", default=[], metavar="ARM", help=f"some of {names} (default: all)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes, one thread each (default: one per core, at most 8)"
    )
    parser.add_argument("--quick", action="store_true", help=f"1 seed, {_QUICK_STEPS} steps: does it work at all?")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def _run(arguments: argparse.Namespace) -> int:
    """Run the tasks that the command names, one after the other."""
    from nlcore_bench.study import workers

    out = arguments.out or Path("runs/quick" if arguments.quick else "runs")
    studies = [_study(name, arguments) for name in arguments.tasks]
    count = _positive("--workers", arguments.workers, min(8, _cores()))
    try:
        with workers(count) as pool:
            for study in studies:
                _one(study, out / study.task.name, pool, arguments.quiet)
    except KeyboardInterrupt:
        print(f"\nStopped. Finished runs are kept in {out}; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _run_defaults(arguments: argparse.Namespace) -> int:
    """Run the study of the default."""
    from nlcore_bench.defaults import run_defaults
    from nlcore_bench.study import workers

    quick = arguments.quick
    with workers(_positive("--workers", arguments.workers, min(8, _cores()))) as pool:
        table = run_defaults(
            arguments.out or Path("runs/quick" if quick else "runs"),
            pool,
            problems=arguments.problems,
            steps=_positive("--steps", arguments.steps, _QUICK_STEPS if quick else 500),
            seeds=_positive("--seeds", arguments.seeds, 1 if quick else 5),
            tuning=_positive("--tuning-seeds", arguments.tuning_seeds, 1 if quick else 2),
            quiet=arguments.quiet,
        )
    print(table)
    return 0


def _time(arguments: argparse.Namespace) -> int:
    """Time the engine."""
    from nlcore_bench.engine import Bench, run_bench, write_engine_report
    from nlcore_bench.files import make_folder

    folder = (arguments.out or Path("runs/quick" if arguments.quick else "runs")) / "engine"
    make_folder(folder)  # before the minutes are spent
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


def _moved(_: argparse.Namespace) -> int:
    raise moved_error("nlcore bench sorting", "sorting")


def _one(study: Study, folder: Path, pool: Workers, quiet: bool) -> None:
    from nlcore_bench.report import write_report

    runs = study.run(folder, pool, quiet=quiet)
    print(write_report(study, runs, folder))
    print(f"Table, picture and runs: {folder}\n", flush=True)


def _study(name: str, arguments: argparse.Namespace) -> Study:
    from nlcore_bench.study import Study
    from nlcore_bench.tasks import Ranking, Totals

    makers: dict[str, Callable[[], Totals | Ranking | Ltr]] = {
        "totals": Totals,
        "ranking": Ranking,
        "ltr": lambda: _ltr(arguments),
    }
    task = makers[name]()
    quick = arguments.quick
    return Study(
        task=replace(task, steps=_positive("--steps", arguments.steps, _QUICK_STEPS if quick else task.steps)),
        arms=tuple(arguments.arms),
        seeds=_positive("--seeds", arguments.seeds, 1 if quick else 3),
        tuning=_positive("--tuning-seeds", arguments.tuning_seeds, 1 if quick else 2),
    )


def _ltr(arguments: argparse.Namespace) -> Ltr:
    from nlcore_bench.tasks import Ltr

    if arguments.data is None and (arguments.validation or arguments.test):
        raise ConfigError("--validation and --test go with --data, the training queries.")
    return Ltr(arguments.table, arguments.data, arguments.validation, arguments.test)


def _positive(option: str, value: int | None, otherwise: int) -> int:
    """Return what was given for `option`, or `otherwise` when nothing was."""
    if value is None:
        return otherwise
    if value < 1:
        raise ConfigError(f"{option} was given {value}; give 1 or more.")
    return value


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
