"""The parser of `nlcore bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nlcore_bench.cli.options import add_folder_options, add_study_options
from nlcore_bench.cli.run import run_defaults, run_engine, run_moved, run_paths, run_studies
from nlcore_bench.methods.ltr import LTR
from nlcore_bench.methods.paths import PATHS
from nlcore_bench.methods.ranking import RANKING
from nlcore_bench.methods.totals import TOTALS

__all__ = ["add_bench"]

_EPILOG = """\
examples:
  nlcore bench totals                         five methods, 3 seeds, about half a minute on 2 cores
  nlcore bench totals --methods plain fisher  two of the methods
  nlcore bench totals --seeds 10              more seeds; finished runs are kept
  nlcore bench ranking --quick                see that everything works
  nlcore bench ltr --data train.txt           your own queries: 20 % for validation, 20 % for the test
  nlcore bench paths --methods perturbed_fenchel_young
  nlcore bench engine                         the cost of a Newton step, about three minutes

A study that was stopped resumes when the same command is repeated. Its folder holds settings.json, runs.jsonl (one
line per finished run), table.txt, table.md and curves.png.
"""
_PROBLEMS = ("totals", "blur", "drag", "neuralsort", "network")


def add_bench(subparsers: Any) -> None:
    """Add `bench` and its commands.

    Args:
        subparsers: The result of argparse's `add_subparsers()`.
    """
    bench = _new(subparsers, "bench", "train on real data and compare plain training, clipping and Newton losses")
    commands = bench.add_subparsers(title="commands", dest="bench_command", required=True, metavar="COMMAND")
    for name, summary, methods in (
        ("totals", "read digits from supervision of their running totals alone", TOTALS),
        ("ranking", "rank numbers from supervision of their order alone", RANKING),
    ):
        parser = _new(commands, name, summary)
        add_study_options(parser, methods)
        parser.set_defaults(run=run_studies, tasks=(name,))
    _add_ltr(commands)
    _add_paths(commands)
    defaults = _new(commands, "defaults", "compare the library's default with controls and a grid on five problems")
    add_study_options(defaults, None, seeds=5)
    defaults.add_argument("--problems", nargs="+", choices=_PROBLEMS, default=[], metavar="NAME", help="some of them")
    defaults.set_defaults(run=run_defaults)
    demo = _new(commands, "demo", "run totals and ranking with the settings of `make demo`")
    add_study_options(demo, None)
    demo.set_defaults(run=run_studies, tasks=("totals", "ranking"))
    engine = _new(commands, "engine", "time the Newton step: loss part, whole step, solvers")
    add_folder_options(engine, "engine")
    engine.add_argument("--quick", action="store_true", help="few sizes and rounds, to see that everything works")
    engine.set_defaults(run=run_engine)
    _add_moved(commands)


def _new(subparsers: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_ltr(commands: Any) -> None:
    parser = _new(commands, "ltr", "learn to rank the rows of a table, or the queries of files in the LETOR format")
    add_study_options(parser, LTR, steps=300)
    parser.add_argument("--table", choices=("diabetes", "digits"), default="diabetes", help="(default: diabetes)")
    for option, words in (("--data", "training"), ("--validation", "validation"), ("--test", "test")):
        parser.add_argument(option, metavar="FILE", help=f"{words} queries, lines of 'grade qid:query index:value …'")
    parser.set_defaults(run=run_studies, tasks=("ltr",))


def _add_paths(commands: Any) -> None:
    parser = _new(commands, "paths", "read pictures of maps as costs from supervision of the shortest paths alone")
    add_study_options(parser, PATHS, steps=240, tuning=1)
    parser.add_argument(
        "--warcraft",
        metavar="DIR",
        help="use the Warcraft maps in DIR instead of procedural terrain (or $NLCORE_WARCRAFT)",
    )
    parser.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="check size and MD5 sum of FILE, the downloaded archive of the Warcraft maps, and exit",
    )
    parser.add_argument("--speed", action="store_true", help=argparse.SUPPRESS)  # to be removed in 0.3
    parser.set_defaults(run=run_paths, tasks=("paths",))


def _add_moved(commands: Any) -> None:
    """Add the hidden command `sorting`, whose error names the new command; to be removed in 0.3."""
    parser = commands.add_parser("sorting", add_help=False)
    parser.add_argument("--out")
    parser.add_argument("--quick", action="store_true")
    parser.set_defaults(run=run_moved)
