"""The comparison of sorting operators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nlcore_bench import sorting_speed
from nlcore_bench.cli import add_bench
from nlcore_bench.sorting_peers import GROUPS, Contender, Group, Operator, contenders


def test_measures_operators_in_turn() -> None:
    calls = []

    def first(scores: torch.Tensor) -> torch.Tensor:
        calls.append("first")
        return scores.exp()

    def second(scores: torch.Tensor) -> torch.Tensor:
        calls.append("second")
        return scores.exp().sin()

    rows = sorting_speed.measure("group", {"a": first, "b": second}, 6, 0.0)
    assert calls == ["first", "second", *[*["first"] * 3, *["second"] * 3] * 2]
    assert [(row.library, row.n, row.batch, row.rounds) for row in rows] == [("a", 6, 100, 2), ("b", 6, 100, 2)]
    assert all(row.both > 0 < row.forward for row in rows)
    size = 600 * 4 / 2**20  # exp keeps its result; sin keeps its argument, which is the same tensor
    assert [row.kept for row in rows] == pytest.approx([size, size])


def test_libraries_that_are_not_installed_are_left_out() -> None:
    def missing(n: int) -> Operator:
        raise ModuleNotFoundError("no such library")

    group = Group("g", (GROUPS[0].members[0], Contender("absent", missing)))
    assert list(contenders(group, 5)) == ["nlcore"]
    assert not contenders(Group("g", (Contender("small", missing, largest=4),)), 5)


def test_libraries_of_a_group_return_the_same_shape() -> None:
    scores = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    for group in GROUPS:
        found = [operator(scores) for operator in contenders(group, 8).values()]
        assert all(result.shape == found[0].shape for result in found), group.title


def test_quick_run_writes_table_numbers_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_bench(parser.add_subparsers())
    titles = {"bitonic network, matrix", "NeuralSort, matrix"}
    monkeypatch.setattr(sorting_speed, "GROUPS", [group for group in GROUPS if group.title in titles])
    arguments = parser.parse_args(["bench", "sorting", "--quick", "--out", str(tmp_path)])
    assert arguments.run(arguments) == 0
    rows = json.loads((tmp_path / "sorting/sorting.json").read_text())
    assert {row["n"] for row in rows} == {5, 16}
    assert {row["group"] for row in rows} == titles
    assert "| 16 × 100 | nlcore |" in (tmp_path / "sorting/sorting.md").read_text()
    assert (tmp_path / "sorting/sorting.png").read_bytes().startswith(b"\x89PNG")
