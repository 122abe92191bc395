"""A user's solver of one problem: in a loop and in processes, with errors that name the sample."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import types
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from nlcore.errors import ConfigError, ContractError, NonFiniteError, ShapeError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers.instances import Instances
from nlcore_decisions.solvers.top_k import TopK

np = pytest.importorskip("numpy")

torch.set_num_threads(1)

NEEDS_CLOUDPICKLE = pytest.mark.skipif(find_spec("cloudpickle") is None, reason="cloudpickle is not installed")
WORKERS = pytest.mark.parametrize("workers", [0, pytest.param(2, marks=NEEDS_CLOUDPICKLE)])


def functions() -> dict[str, Any]:
    """Return functions that are sent by value, so that processes do not import this module."""

    def two_cheapest(costs):
        assert isinstance(costs, np.ndarray) and costs.dtype == np.float64 and costs.flags.writeable
        solution = np.zeros(len(costs))
        solution[np.argsort(costs, kind="stable")[:2]] = 1
        costs[:] = np.nan  # its own
        return solution

    def two_cheapest_of_a_tensor(costs):
        return torch.zeros_like(costs, requires_grad=True).index_fill(0, costs.argsort(stable=True)[:2], 1)

    def raising(costs):
        if costs[0] > 1:
            raise ValueError(f"too much: {costs[0]}")
        return costs

    def infeasible(costs):
        if costs[0] > 1:
            raise InfeasibleError("no way out")
        return costs

    def longer(costs):
        return costs if costs[0] <= 1 else [*costs, 0]

    def text(costs):
        return costs if costs[0] <= 1 else "a solution"

    def nothing(costs):
        return costs if costs[0] <= 1 else None

    def infinite(costs):
        return costs if costs[0] <= 1 else costs / 0.0

    def ending(costs):
        if costs[0] > 1:
            os._exit(7)
        return costs

    def printing(costs):
        print("seen")
        os.system("echo seen")
        return costs

    def own_process(costs):
        time.sleep(0.1)
        return costs * 0 + os.getpid()

    def torch_is_loaded(costs):
        return costs * 0 + ("torch" in sys.modules)

    return {name: one for name, one in locals().items() if callable(one)}


FUNCTIONS = functions()


@WORKERS
@pytest.mark.parametrize(("name", "tensors"), [("two_cheapest", False), ("two_cheapest_of_a_tensor", True)])
def test_equals_a_batched_solver(name: str, tensors: bool, workers: int) -> None:
    solver = Instances(FUNCTIONS[name], workers=workers, tensors=tensors)
    costs = torch.randint(-3, 4, (1000, 5), generator=torch.Generator().manual_seed(0)).double()
    result, expected = solver.solve(costs, ties=True), TopK(2).solve(costs, ties=True)
    assert torch.equal(result.solution, expected.solution) and torch.equal(result.tied, expected.tied)
    assert torch.equal(solver(costs[:1]), expected.solution[:1])


def test_shapes() -> None:
    solver, fixed = Instances(FUNCTIONS["two_cheapest"]), Instances(FUNCTIONS["two_cheapest"], shape=[5])
    assert solver.shape is None and fixed.shape == (5,)
    costs = torch.randn(2, 3, 5)
    assert torch.equal(fixed(costs).reshape(6, 5), solver(costs.reshape(6, 5)))
    assert Instances(lambda costs: costs)(costs).shape == costs.shape
    with pytest.raises(ShapeError, match=r"costs has shape \[5\]; \[batch, \*event\] is needed"):
        solver(costs[0, 0])


@WORKERS
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("raising", ContractError, "sample 3: the function raised ValueError: too much: 7.0"),
        ("infeasible", InfeasibleError, "sample 3: the function raised InfeasibleError: no way out"),
        ("longer", ShapeError, "sample 3: the function returned a solution of shape [3], and its costs have [2]"),
        ("text", ContractError, "sample 3: the function returned a str, which is not numbers"),
        ("nothing", ContractError, "sample 3: the function returned None, as the x of scipy.optimize is"),
        ("infinite", NonFiniteError, "sample 3: the function returned NaN or infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_faults_name_the_sample(name: str, error, message: str, workers: int) -> None:
    solver = Instances(FUNCTIONS[name], workers=workers)
    costs = torch.tensor([[0.0, 1.0]] * 3 + [[7.0, 1.0]] * 4)
    with pytest.raises(error, match=re.escape(message)) as caught:
        solver(costs)
    if name == "raising":
        trace = "".join(getattr(caught.value, "__notes__", ()))
        assert isinstance(caught.value.__cause__, ValueError) if workers == 0 else "in raising" in trace
    assert torch.equal(solver(costs[:3]), costs[:3])


@NEEDS_CLOUDPICKLE
def test_a_process_that_ends_is_an_error_and_the_next_call_starts_anew() -> None:
    solver = Instances(FUNCTIONS["ending"], workers=2)
    costs = torch.tensor([[0.0, 1.0]] * 7 + [[7.0, 1.0]])
    with pytest.raises(ContractError, match="a process ended with exit code 7 on one of the samples 7 to 7"):
        solver(costs)
    assert torch.equal(solver(costs[:7]), costs[:7])


@NEEDS_CLOUDPICKLE
def test_output_does_not_disturb_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert Instances(FUNCTIONS["printing"], workers=1)(torch.ones(2, 3)).tolist() == [[1] * 3] * 2
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("seen") == 4


@NEEDS_CLOUDPICKLE
def test_every_process_takes_part() -> None:
    solver, costs = Instances(FUNCTIONS["own_process"], workers=2), torch.ones(8, 1, dtype=torch.float64)
    solver(costs)  # both have started then
    found = solver(costs).unique()
    assert len(found) == 2 and os.getpid() not in found


@NEEDS_CLOUDPICKLE
def test_processes_import_no_torch() -> None:
    assert Instances(FUNCTIONS["torch_is_loaded"], workers=1)(torch.ones(1, 2)).tolist() == [[0, 0]]


def gone(costs):
    return costs


def test_a_function_whose_module_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gone_module")
    monkeypatch.setitem(sys.modules, "gone_module", module)
    monkeypatch.setattr(gone, "__module__", "gone_module")
    module.gone = gone
    with pytest.raises(ConfigError, match=r"cannot import the function; one says: ModuleNotFoundError.*Move it"):
        Instances(gone, workers=1)(torch.ones(1, 2))


def test_without_cloudpickle_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ConfigError, match="Move it to a module on the path, run pip install cloudpickle"):
        Instances(lambda costs: costs, workers=1)(torch.ones(1, 2))


@NEEDS_CLOUDPICKLE
def test_a_function_of_the_main_script(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from nlcore_decisions.solvers.instances import Instances\n"
        "def double(costs):\n"
        "    return 2 * costs\n"
        "print(Instances(double, workers=2)(torch.ones(3, 2)).sum().item())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "12.0\n"


def test_all_finite_solutions_count_as_feasible() -> None:
    solutions = torch.tensor([[1.0, 0.5], [float("nan"), 0.0]])
    assert Instances(FUNCTIONS["two_cheapest"]).is_feasible(solutions).tolist() == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": 3}, "function is a int"),
        ({"function": min, "shape": [0]}, r"shape was given \[0\]"),
        ({"function": min, "shape": 3}, "shape was given 3"),
        ({"function": min, "workers": 1.5}, "workers was given 1.5"),
    ],
)
def test_wrong_use(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Instances(**options)
