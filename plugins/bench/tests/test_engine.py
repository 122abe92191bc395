"""The bench of the engine: what is timed is right, and tables say what was timed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from matplotlib import image

from nlcore import EmpiricalFisher, Hessian, NewtonLoss
from nlcore.cli import main
from nlcore_bench import timer
from nlcore_bench.engine import Bench, Figures, write_engine_report
from nlcore_bench.engine.contestants import LOSSES, Step, loss_part, solvers
from nlcore_bench.engine.tables import tables, targets
from nlcore_bench.timer import Timing, interleaved

EACH_LOSS = pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.label)


def even(value: float) -> Timing:
    return Timing((value, value, value), (value, value, value), 3)


def test_contestants_take_turns_and_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = itertools.count(1)

    def timed(call) -> float:  # type: ignore[no-untyped-def]
        call()
        rounds = next(now)
        return 0.25 * rounds if order[-1] == "a" else 0.5 * (rounds - 1)

    monkeypatch.setattr(timer, "_timed", timed)
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0.0)
    assert order == ["a", "b"] + 3 * ["a", "b"]
    assert found["a"].ratio == (1.0, 1.0, 1.0)
    assert found["b"].ratio == pytest.approx((2.0, 2.0, 2.0))
    assert found["a"].milliseconds[1] == 1250.0
    assert found["b"].rounds == 3


@EACH_LOSS
def test_the_hessian_by_hand_is_the_hessian(entry) -> None:  # type: ignore[no-untyped-def]
    prediction, target = entry.data(4)
    by_hand = loss_part(entry, 4)["n double backwards"]()
    if entry.closed:
        torch.testing.assert_close(by_hand, entry.loss.hessian(prediction, target), rtol=1e-4, atol=1e-5)
    expected = torch.func.vmap(torch.func.jacrev(torch.func.grad(lambda y, t: entry.loss(y[None], t[None])[0])))(
        prediction, target
    )
    torch.testing.assert_close(by_hand, expected, rtol=1e-4, atol=1e-5)


@EACH_LOSS
def test_the_bare_steps_are_newton_steps(entry) -> None:  # type: ignore[no-untyped-def]
    prediction, target = entry.data(4)
    criteria = entry.criteria()
    newton = Hessian(damping=1.0, psd="none")
    for name, curvature in (("bare Fisher", EmpiricalFisher(damping=1.0)), ("bare Hessian", newton)):
        found = []
        for criterion in (criteria[name], NewtonLoss(entry.loss, curvature)):
            y = prediction.clone().requires_grad_()
            criterion(y, target).backward()
            found.append(y.grad)
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("network", ["MLP", "CNN"])
def test_a_whole_step_changes_the_network(network: str) -> None:
    step = Step(network, 2)
    assert step.pictures.shape == ((100, 2, 256) if network == "MLP" else (100, 2, 1, 16, 64))
    entry = LOSSES[0]
    values: list[float] = []

    class Noting(torch.nn.Module):
        def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            loss: torch.Tensor = entry.criteria()["Fisher"](prediction, target)
            values.append(loss.item())
            return loss

    call = step.call(Noting())
    for _ in range(3):
        call()
    assert len(set(values)) == 3


def test_solvers_that_take_too_long_are_left_out() -> None:
    few, many = set(solvers(16, 32)), set(solvers(1024, 256))
    assert many < few
    assert few - many == {"Hessian, each |H|", "Gauss–Newton, cg"}
    for call in solvers(16, 8).values():
        call()


def figures() -> Figures:
    """Return timings of all jobs: contestant k takes k times as long as the first."""
    timings = {}
    for job in Bench().jobs():
        names = ["plain", "Fisher", "Hessian", "Gauss–Newton", "bare Fisher", "bare Hessian", "n double backwards"]
        if job[0] == "solver":
            names = list(solvers(int(job[1]), int(job[2])))
        timings[job] = {name: even(float(position)) for position, name in enumerate(names, start=1)}
    return Figures(timings, {"threads": "1"})


def test_tables_and_targets_say_what_was_timed(tmp_path: Path) -> None:
    made = figures()
    loss, step, solver = tables(made)
    assert [len(table.rows) for table in (loss, step, solver)] == [15, 12, 10]
    assert loss.rows[0] == (
        "NeuralSort", "5", "1.00", *(f"{k}.00 ({k}.00–{k}.00)" for k in (2, 4, 3, 5, 6, 7)), "0.43",
    )  # fmt: skip
    assert step.rows[0][:4] == ("MLP", "NeuralSort", "5", "1.00")
    assert solver.rows[0] == ("32", "16", "1.00", "2.00*", "3.00", "4.00*", "5.00", "6.00")
    assert all(len(row) == len(table.head) for table in (loss, step, solver) for row in table.rows)
    by_words = {target.what: target for target in targets(made)}
    assert by_words["Hessian / n double backwards, loss part at n = 10"].met
    missed = by_words["Fisher / plain, whole step with the CNN"]
    assert (missed.met, missed.found, missed.floor) == (False, 2.0, 5.0)
    assert (
        "MISSED, 2.00 at worst (CNN, NeuralSort, n = 5; bare, without checks, repair and float64, 5.00)"
        in missed.sentence()
    )

    text = write_engine_report(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"engine.txt", "engine.md", "engine.json", "engine.png"}
    assert (tmp_path / "engine.txt").read_text() == text
    written = json.loads((tmp_path / "engine.json").read_text())
    assert len(written["lines"]) == 37
    assert [goal["met"] for goal in written["targets"]].count(False) == 5
    assert image.imread(tmp_path / "engine.png").shape[1] > 1000
    for row in (tmp_path / "engine.md").read_text().splitlines():
        if row.startswith("| NeuralSort | 5 "):
            assert row.count("|") == len(loss.head) + 1


def test_by_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Bench(sizes=(3,), networks=("MLP",), step_sizes=(2,), outputs=(4,), counts=(3,), seconds=0.0)
    monkeypatch.setattr(Bench, "quick", classmethod(lambda cls: small))
    before = torch.get_num_threads()
    assert main(["bench", "engine", "--quick", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "The loss part" in shown.out
    assert "100%" in shown.err
    assert (tmp_path / "engine" / "engine.png").stat().st_size > 10_000
    assert torch.get_num_threads() == before


def test_interrupted(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nlcore_bench.engine.run.interleaved", interrupt)
    assert main(["bench", "engine", "--quiet", "--out", str(tmp_path)]) == 130
    assert "not kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
