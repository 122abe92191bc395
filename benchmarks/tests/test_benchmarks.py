"""The comparison with other libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import paths, sorting
from benchmarks.heaps import array_heap_path, heap_path
from benchmarks.measure import Case, Measured, Operator, measure
from benchmarks.report import _finding
from benchmarks.sorting import GROUPS, Contender, Group, contenders
from nlcore_shortest_paths import shortest_path


def test_measures_operators_in_turn() -> None:
    calls = []

    def first(scores: torch.Tensor) -> torch.Tensor:
        calls.append("first")
        return scores.exp()

    def second(scores: torch.Tensor) -> torch.Tensor:
        calls.append("second")
        return scores.exp().sin()

    rows = measure(Case("group", {"a": first, "b": second}, torch.randn(100, 6)), 0.0)
    assert calls == ["first", "second", *[*["first"] * 3, *["second"] * 3] * 2]
    assert [(row.library, row.n, row.batch, row.rounds) for row in rows] == [("a", 6, 100, 2), ("b", 6, 100, 2)]
    assert all(row.both > 0 < row.forward for row in rows)
    size = 600 * 4 / 2**20  # exp keeps its result; sin keeps its argument, which is the same tensor
    assert [row.memory for row in rows] == pytest.approx([size, size])


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
    titles = {"bitonic network, matrix", "NeuralSort, matrix"}
    monkeypatch.setattr(sorting, "GROUPS", [group for group in GROUPS if group.title in titles])
    before = torch.get_num_threads()
    assert command.main(["sorting", "--quick", "--out", str(tmp_path / "sorting")]) == 0
    assert torch.get_num_threads() == before
    rows = json.loads((tmp_path / "sorting/sorting.json").read_text())
    assert {row["n"] for row in rows} == {5, 16}
    assert {row["group"] for row in rows} == titles
    assert "| 16 × 100 | nlcore |" in (tmp_path / "sorting/sorting.md").read_text()
    assert (tmp_path / "sorting/sorting.png").read_bytes().startswith(b"\x89PNG")


def test_the_comparison_of_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(paths, "_SOLVED", 20)
    monkeypatch.setattr(paths, "_BATCH", 5)
    assert command.main(["paths", "--quick", "--out", str(tmp_path / "paths")]) == 0
    rows = json.loads((tmp_path / "paths/paths.json").read_text())
    ours = [row for row in rows if row["library"].startswith("nlcore")]
    assert len({row["group"] for row in ours}) == 5
    assert all(row["memory"] > 0 for row in ours)
    assert next(row["faster"] for row in ours) > 1
    assert "× the fastest other" in capsys.readouterr().out


def test_the_comparison_of_soft_dtw(tmp_path: Path) -> None:
    assert command.main(["sequences", "--quick", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "sequences.json").read_text())
    assert {row["n"] for row in rows} == {8, 16, 300}
    assert len({row["group"] for row in rows}) == 5
    assert {row["library"] for row in rows} >= {"nlcore", "nlcore, gradient"}


@pytest.mark.parametrize("suite", ["sorting", "paths", "sequences"])
def test_a_folder_that_cannot_be_made_is_named_before_any_time_is_spent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    def spend(*_: object, **__: object) -> None:
        raise AssertionError("time was spent")

    monkeypatch.setattr(command, "measure", spend)
    (tmp_path / "taken").write_text("")
    assert command.main([suite, "--quick", "--out", str(tmp_path / "taken")]) == 1
    assert "cannot make the folder" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == ""


def test_the_heap_finds_what_the_solver_finds() -> None:
    costs = torch.rand(20, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    for stop in (True, False):
        found = torch.tensor([heap_path(one, stop=stop) for one in costs.numpy()], dtype=torch.float64)
        assert torch.equal(found, shortest_path(costs))
    assert np.array_equal([array_heap_path(one) for one in costs.numpy()], shortest_path(costs))


def test_the_finding_tells_apart_what_needs_numba() -> None:
    times = {"nlcore": 1.0, "nlcore, torch alone": 8.0, "another": 4.0}
    rows = [
        Measured("sorts", library, n, 1, time, None, 0.0, 1, 4.0 / time if library.startswith("nlcore") else None)
        for n in (5, 6)
        for library, time in times.items()
    ]
    (found,) = _finding(rows)
    assert "the fastest in 2 of 2 comparisons: 4 to 4 times" in found
    assert "with numba. In torch alone it is the fastest in 0 of 2 comparisons: 0.5 to 0.5 times" in found
    (found,) = _finding([row for row in rows if "alone" not in row.library])
    assert "numba" not in found
