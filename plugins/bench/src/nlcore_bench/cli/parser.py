"""The parser of `nlcore bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nlcore_bench.cli.run import check_archive, deprecated, list_studies, moved, report, resume, run, run_engine, status

__all__ = ["ENGINE_TABLES", "add_bench"]

ENGINE_TABLES = ("loss", "step", "solver", "default")
"""The tables of `nlcore_bench.engine`, repeated here since importing that takes long."""

_EPILOG = """\
examples:
  nlcore bench list                               the studies, with their cost
  nlcore bench run totals                         seven methods, 8 seeds, about two minutes on 2 cores
  nlcore bench run totals --methods plain fisher  two of the methods
  nlcore bench run totals --seeds 16              more seeds; finished runs are kept
  nlcore bench run my_study.toml --quick          check that everything works
  nlcore bench report totals                      the report again, from the runs on record
  nlcore bench engine                             the cost of a Newton step, about ten minutes
  nlcore bench engine --table default             the cost of the default alone, about five minutes

A study that was stopped continues when it is run again. Its folder holds settings.json, runs.jsonl (one line per
finished run), report.txt, report.md, report.html and pictures.
"""
_OLD = {"totals": ["totals"], "ranking": ["ranking"], "ltr": ["ltr"], "paths": ["paths"], "defaults": ["defaults"]}


def add_bench(subparsers: Any) -> None:
    """Add `bench` and its commands.

    Args:
        subparsers: The result of argparse's `add_subparsers()`.
    """
    bench = _new(subparsers, "bench", "train on real data and compare plain training, clipping and Newton losses", {})
    commands = bench.add_subparsers(title="commands", dest="bench_command", required=True, metavar="COMMAND")
    _new(commands, "list", "list the studies of all plugins, with their cost", {"run": list_studies})
    _add_run(_new(commands, "run", "run a study, or continue it", {"run": run}))
    _add_run(_new(commands, "resume", "continue a study", {"run": resume}))
    for name, function, summary in (
        ("status", status, "show the finished runs of a study and the remaining time"),
        ("report", report, "write the report of a study again, from the runs on record"),
    ):
        _add_studies(_new(commands, name, summary, {"run": function}))
    engine = _new(
        commands, "engine", "time the Newton step: loss part, whole step, solvers, the default", {"run": run_engine}
    )
    _add_folder(engine, "engine")
    engine.add_argument(
        "--table",
        nargs="+",
        choices=ENGINE_TABLES,
        metavar="NAME",
        help=f"some of the tables: {', '.join(ENGINE_TABLES)} (default: all)",
    )
    engine.add_argument("--quick", action="store_true", help="few sizes and rounds, to check that everything works")
    engine.add_argument("--device", default="cpu", metavar="NAME", help="device, such as cuda (default: cpu)")
    check = _new(commands, "check", "check whether a downloaded archive of the Warcraft maps is whole", {})
    check.add_argument("file", type=Path, metavar="FILE", help="the archive")
    check.set_defaults(run=check_archive)
    _add_old(commands)


def _new(subparsers: Any, name: str, summary: str, defaults: dict[str, Any]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(**defaults)
    return parser


def _add_folder(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder of results, DIR/{name} (default: runs, or the part of it for a size: runs/small)",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def _add_studies(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    if named:
        parser.add_argument("studies", nargs="+", metavar="STUDY", help="id of a study, or path of its TOML file")
    _add_folder(parser, "ID")
    parser.add_argument("--seeds", type=int, metavar="N", help="number of reported seeds (default: the study's)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="1 seed and few steps, to check that everything works")
    size.add_argument(
        "--small", action="store_true", help="1 seed, 1 learning rate, Adam alone, a quarter of the steps"
    )
    size.add_argument("--full", action="store_true", help="the full size of the study, by the table [full] of its file")
    parser.add_argument("--device", metavar="NAME", help="device of the training, such as cuda (default: the study's)")
    parser.add_argument(
        "--option",
        action="append",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="options of the tasks instead of the study's, as in --option data=train.txt",
    )


def _add_run(parser: argparse.ArgumentParser, *, named: bool = True) -> None:
    _add_studies(parser, named=named)
    for name in ("tasks", "optimizers", "methods"):
        parser.add_argument(f"--{name}", nargs="+", metavar="NAME", default=[], help="a part of them (default: all)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes with one thread each (default: one per core, at most 8)"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="train on the workers of a Dask cluster: its address or its scheduler file"
    )


def _add_old(commands: Any) -> None:
    """Add the hidden commands of 0.1; to be removed in 0.3."""
    for name, studies in {**_OLD, "demo": ["totals", "ranking"]}.items():
        parser = commands.add_parser(name, add_help=False)
        _add_run(parser, named=False)
        parser.add_argument("--speed", action="store_true", help=argparse.SUPPRESS)
        parser.set_defaults(run=deprecated, studies=studies)
    sorting = commands.add_parser("sorting", add_help=False)
    sorting.add_argument("--out")
    sorting.add_argument("--quick", action="store_true")
    sorting.set_defaults(run=moved)
