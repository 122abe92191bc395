"""The tails of gradients: quantiles from counts against quantiles from all norms, and their way to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nlcore.errors import ConfigError
from nlcore_bench import load, make_report, run_study
from nlcore_bench.tails import LEVELS, Tails, tail, tail_text


def network(norm: float) -> nn.Module:
    made = nn.Linear(2, 1, bias=False)
    made.weight.grad = torch.tensor([[0.6, 0.8]]) * norm
    return made


def test_quantiles_are_those_of_all_norms() -> None:
    tails, generator = Tails(), torch.Generator().manual_seed(0)
    samples = torch.randn(40, 50, generator=generator).mul(3).exp()
    steps = torch.linspace(1.0, 9.0, 40)
    for some, norm in zip(samples, steps.tolist(), strict=True):
        tails.add(some, network(norm))
    found = tails.quantiles()
    ordered = samples.flatten().sort().values
    expected = torch.stack([ordered[round(level * len(ordered)) - 1] for level in LEVELS])  # 2000 of them
    torch.testing.assert_close(torch.tensor(found["sample"]), expected, rtol=0.02, atol=0.0)
    torch.testing.assert_close(
        torch.tensor(found["step"])[[0, -1]], torch.stack([steps[19], steps[39]]), rtol=0.02, atol=0.0
    )


def test_zero_and_infinite_norms_are_counted_at_the_ends() -> None:
    tails = Tails()
    assert tails.quantiles() == {}
    tails.add(torch.tensor([0.0, 0.0, 0.0, torch.inf, torch.nan]), network(1.0))
    assert tails.quantiles()["sample"][0] < 1e-29
    assert tails.quantiles()["sample"][-1] == 1e38


def test_counts_survive_a_checkpoint() -> None:
    one, other = Tails(), Tails()
    one.add(torch.tensor([1.0, 2.0]), network(3.0))
    other.load_state_dict(one.state_dict())
    assert other.quantiles() == one.quantiles()


def test_a_study_records_and_reports_them(content: dict[str, Any], tmp_path: Path) -> None:
    content |= {"tails": True, "learning_rates": [1e-3]}
    plan = run_study(load(content), tmp_path / "with", quiet=True)
    runs = {cell.method: run for cell, run in plan.runs.items() if cell.phase == "report"}
    assert {tuple(run.norms) for run in runs.values()} == {("sample", "step")}
    assert all(list(values) == sorted(values) for run in runs.values() for values in run.norms.values())
    assert tail(runs["plain"], "sample", 0.5) == 1.0
    report = make_report(plan)
    assert list(report.pictures) == ["tails.png", "curves.png"]
    column = report.tables[0].head.index("largest / median")
    assert report.tables[0].rows[0][column].startswith(tail_text(plan_runs(plan, "plain"), "sample", 1.0))
    assert '"tails": true' in (tmp_path / "with/settings.json").read_text()
    plain = run_study(load({**content, "tails": False}), tmp_path / "without", quiet=True)
    assert {cell: run.final for cell, run in plain.runs.items()} == {cell: run.final for cell, run in plan.runs.items()}
    assert "norms" not in json.loads((tmp_path / "without/runs.jsonl").read_text().splitlines()[0])


def plan_runs(plan: Any, method: str) -> list[Any]:
    return [run for cell, run in plan.runs.items() if cell.method == method and cell.phase == "report"]


def test_an_update_whose_norms_are_unknown_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    update = "nlcore_bench.half_inverse:HalfInverse"
    content |= {"tails": True}
    content["methods"]["own"] = {"update": update}
    with pytest.raises(ConfigError, match="norms of own, which has an update of its own"):
        run_study(load(content), tmp_path, quiet=True)
