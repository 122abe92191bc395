"""The bench of the engine: what is timed is right, and tables say what was timed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib import image

from nlcore import EmpiricalFisher, Hessian, NewtonLoss
from nlcore.cli import main
from nlcore_bench import timer
from nlcore_bench.cli.parser import ENGINE_TABLES
from nlcore_bench.criteria import MeanLoss
from nlcore_bench.engine import TABLES, Bench, Figures, write_engine_report
from nlcore_bench.engine.contestants import LOSSES, Step, loss_part, solvers
from nlcore_bench.engine.default import DefaultCost, measure_default, peak_memory, steps_of
from nlcore_bench.engine.tables import tables, targets
from nlcore_bench.engine.workloads import WORKLOADS, Limits, Workload
from nlcore_bench.tasks.base import Batch
from nlcore_bench.timer import Timing, interleaved

EACH_LOSS = pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.label)


def even(value: float) -> Timing:
    return Timing((value, value, value), (value, value, value), 3)


def test_contestants_take_turns_and_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = itertools.count(1)

    def timed(call, clock) -> float:  # type: ignore[no-untyped-def]
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
    defaults = {label: DefaultCost(1.0, 0.5, 2.75, 1.25, 2.0, 27) for label in WORKLOADS}
    for job in Bench(tables=("loss", "step", "solver")).jobs():
        names = ["plain", "Fisher", "Hessian", "Gauss–Newton", "bare Fisher", "bare Hessian", "n double backwards"]
        if job[0] == "solver":
            names = list(solvers(int(job[1]), int(job[2])))
        timings[job] = {name: even(float(position)) for position, name in enumerate(names, start=1)}
    return Figures(timings, defaults, machine={"threads": "1"})


def test_tables_and_targets_say_what_was_timed(tmp_path: Path) -> None:
    made = figures()
    loss, step, solver, default = tables(made)
    assert [len(table.rows) for table in (loss, step, solver)] == [15, 12, 10]
    assert loss.rows[0] == (
        "NeuralSort", "5", "1.00", *(f"{k}.00 ({k}.00–{k}.00)" for k in (2, 4, 3, 5, 6, 7)), "0.43",
    )  # fmt: skip
    assert step.rows[0][:4] == ("MLP", "NeuralSort", "5", "1.00")
    assert solver.rows[0] == ("32", "16", "1.00", "2.00*", "3.00", "4.00*", "5.00", "6.00")
    assert [len(default.rows), default.rows[0], default.rows[-1][-3:]] == [
        len(WORKLOADS),
        ("MLP, running totals", "1.00", "0.50", "27", "2.75 (≤ 2.5)", "1.25 (≤ 1.6)", "2.00 (≤ 3)"),
        ("2.75 (≤ 3)", "–", "2.00 (≤ 3)"),
    ]
    assert all(len(row) == len(table.head) for table in (loss, step, solver, default) for row in table.rows)
    by_words = {target.what: target for target in targets(made)}
    assert by_words["Hessian / n double backwards, loss part at n = 10"].met
    missed = by_words["Fisher / plain, whole step with the CNN"]
    assert (missed.met, missed.found, missed.floor) == (False, 2.0, 5.0)
    assert (
        "MISSED, 2.00 at worst (CNN, NeuralSort, n = 5; bare, without checks, repair and float64, 5.00)"
        in missed.sentence()
    )

    assert {what: by_words[what].met for what in by_words if what.startswith(("default", "memory"))} == {
        "default / plain over 500 steps, CNN": False,
        "default / plain over 5000 steps, CNN": False,
        "default / plain over 500 steps, MLP": False,
        "default / plain over 5000 steps, MLP": True,
        "default / plain over 500 steps, the others": True,
        "memory of the default / plain": True,
    }

    text = write_engine_report(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"engine.txt", "engine.md", "engine.json", "engine.png"}
    assert (tmp_path / "engine.txt").read_text() == text
    written = json.loads((tmp_path / "engine.json").read_text())
    assert len(written["lines"]) == 37
    assert written["defaults"]["approx_ndcg"]["short"] == 2.75
    assert [goal["met"] for goal in written["targets"]].count(False) == 8
    assert image.imread(tmp_path / "engine.png").shape[1] > 1000
    for row in (tmp_path / "engine.md").read_text().splitlines():
        if row.startswith("| NeuralSort | 5 "):
            assert row.count("|") == len(loss.head) + 1


def test_by_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Bench(sizes=(3,), networks=("MLP",), step_sizes=(2,), outputs=(4,), counts=(3,), workloads=(), seconds=0.0)
    monkeypatch.setattr(Bench, "quick", classmethod(lambda cls: small))
    before = torch.get_num_threads()
    assert main(["bench", "engine", "--quick", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "The loss part" in shown.out
    assert "100%" in shown.err
    assert (tmp_path / "engine" / "engine.png").stat().st_size > 10_000
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("label", WORKLOADS)
def test_both_trainings_of_a_workload_see_the_same(label: str) -> None:
    workload = WORKLOADS[label]
    batch, again = next(workload.batches()), next(workload.batches())
    assert torch.equal(batch.inputs, again.inputs)
    assert torch.equal(batch.target, again.target)
    losses = workload.loss()(workload.network()(batch.inputs), batch.target, **batch.options)
    assert losses.shape == batch.inputs.shape[:1]
    assert losses.requires_grad


def test_the_cost_of_the_default_over_a_short_and_a_long_run() -> None:
    reported: list[int] = []
    label = "MLP, running totals"
    found = measure_default(label, short=12, long=24, seconds=0.0, advance=reported.append)
    assert sum(reported) == steps_of(label, short=12, long=24) == 48
    assert found.probes == 5  # at the steps 0, 5, 10, 15 and 20
    assert found.long is not None
    assert min(found.milliseconds, found.floor, found.short, found.long) > 0
    assert found.memory > 1


def test_the_peak_of_memory_is_that_of_the_tensors_alive() -> None:
    def batches() -> Iterator[Batch]:
        while True:
            yield Batch(torch.ones(10, 100), torch.ones(10, 1))

    workload = Workload("MLP", lambda: None, lambda: torch.nn.Linear(100, 1, bias=False), batches, Limits())

    class Wasteful(MeanLoss):
        def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            wasted = [torch.ones(2**18) for _ in range(4)]
            del wasted[2:]
            wasted.append(torch.ones(2**19))
            return prediction.sum() + 0 * wasted[0].view(-1, 2)[0, 0]

    class Keeping(Wasteful):
        def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.kept = torch.ones(2**18)
            return super().forward(prediction, target)

    few = 20_000
    assert 2**22 < peak_memory(workload, Wasteful) < 2**22 + few
    # What the last step left stays until this one has made its own.
    assert 2**22 + 2**20 < peak_memory(workload, Keeping) < 2**22 + 2**20 + few


def test_one_table_by_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ENGINE_TABLES == TABLES
    assert main(["bench", "engine", "--quick", "--table", "default", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "The default beside a plain step" in shown.out
    assert "The loss part" not in shown.out
    assert "MLP, running totals" in shown.err
    written = json.loads((tmp_path / "engine" / "engine.json").read_text())
    assert (written["lines"], list(written["defaults"])) == ([], ["MLP, running totals"])
    assert not (tmp_path / "engine" / "engine.png").exists()


def test_interrupted(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nlcore_bench.engine.run.interleaved", interrupt)
    assert main(["bench", "engine", "--quiet", "--out", str(tmp_path)]) == 130
    assert "not kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_clock_of_the_caller_times_the_calls() -> None:
    ticks = itertools.count()
    found = interleaved({"a": lambda: None}, 0.0, warm=False, clock=lambda: float(next(ticks)))
    assert found["a"].milliseconds == (1000.0, 1000.0, 1000.0)
    assert timer.clock_of(torch.device("cpu")) is timer.time.process_time


def test_the_engine_is_timed_on_a_device(tmp_path: Path) -> None:
    words = ["--quick", "--quiet", "--device", "cpu:0", "--table", "solver", "default"]
    assert main(["bench", "engine", *words, "--out", str(tmp_path)]) == 0
    assert "running totals" in (tmp_path / "engine/engine.md").read_text()
    data = loss_part(LOSSES[0], 5, "cpu:0")
    assert all(call() is None or isinstance(call(), torch.Tensor) for call in data.values())
