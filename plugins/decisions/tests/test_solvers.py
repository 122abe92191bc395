"""The members that all solvers share: dtypes, leading dimensions, gradients, ties, values, wrong inputs."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from nlcore.compiled import torch_alone
from nlcore.errors import ConfigError, ContractError, DtypeError, NonFiniteError, ShapeError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers import knapsack
from nlcore_decisions.solvers.assignment import Assignment
from nlcore_decisions.solvers.base import Solver
from nlcore_decisions.solvers.instances import Instances
from nlcore_decisions.solvers.knapsack import Knapsack
from nlcore_decisions.solvers.linear_program import LinearProgram
from nlcore_decisions.solvers.top_k import TopK
from nlcore_decisions.solvers.vertices import Vertices

torch.set_num_threads(1)


def cheapest(costs):
    """Solve one problem: a single element of a map, and the whole row of it."""
    solution = costs * 0
    solution[costs.sum(1).argmin()] = 1
    return solution


def without(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


MADE = {
    "vertices": (lambda: Vertices([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 0]]]), (2, 2)),
    "top_k": (lambda: TopK(2), (5,)),
    "knapsack": (lambda: Knapsack([3, 1.5, 2, 2], 4), (4,)),
    "knapsack of two": (lambda: Knapsack([[3, 1, 2, 2], [1, 1, 0.5, 2]], [4, 2]), (4,)),
    "assignment": (Assignment, (3, 4)),
    "linear program": (lambda: LinearProgram(A_ub=[[2, 3, 1]], b_ub=[4], bounds=(0, 1)), (3,)),
    "integers": (lambda: LinearProgram(A_eq=[[1, 1, 1]], b_eq=[2], bounds=(0, 1), integer=True), (3,)),
    "instances": (lambda: Instances(cheapest, shape=[3, 2]), (3, 2)),
}
NEEDS = {"assignment": "scipy", "linear program": "scipy", "integers": "scipy", "instances": "numpy"}
CASES = pytest.mark.parametrize(
    ("make", "event"),
    [pytest.param(*case, id=name, marks=without(NEEDS.get(name, "torch"))) for name, case in MADE.items()],
)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@CASES
def test_dtype_shape_and_leading_dimensions_are_kept(make, event) -> None:
    solver = make()
    assert isinstance(solver, Solver)
    assert solver.shape in (None, event)
    expected = solver(draw(6, *event))
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        costs = draw(2, 3, *event, dtype=dtype)
        found = solver(costs)
        assert found.dtype == dtype and found.shape == costs.shape and not found.requires_grad
        objective = (costs.double() * found.double()).flatten(2).sum(2).flatten()
        best = (costs.double() * solver(costs.double())).flatten(2).sum(2).flatten()
        torch.testing.assert_close(
            objective, best, rtol=0, atol=1e-5 if dtype in (torch.float64, torch.float32) else 2e-2
        )
    assert torch.equal(solver(draw(6, *event)), expected)
    assert solver(draw(0, *event)).shape == (0, *event)
    for index in range(6):
        torch.testing.assert_close(solver(draw(6, *event)[index : index + 1])[0], expected[index])


@CASES
def test_costs_are_neither_changed_nor_differentiated(make, event) -> None:
    costs = draw(4, *event).requires_grad_()
    before = costs.detach().clone()
    found = make()(costs)
    assert not found.requires_grad and torch.equal(costs, before)
    strided = torch.stack([before, before + 1], -1)[..., 0]
    assert not strided.is_contiguous() and torch.equal(make()(strided), found)


@CASES
def test_solutions_with_values_and_ties(make, event) -> None:
    solver = make()
    costs = draw(2, 4, *event)
    costs[1, 2] = 0  # everything is a solution
    result = solver.solve(costs, ties=True)
    assert torch.equal(result.solution, solver(costs))
    torch.testing.assert_close(result.value, (costs * result.solution).flatten(2).sum(2))
    assert result.tied.dtype == torch.bool and result.tied.tolist() == [[False] * 4, [False, False, True, False]]
    assert solver.solve(costs).tied is None
    empty = solver.solve(costs[:0], ties=True)
    assert empty.value.shape == empty.tied.shape == (0, 4)


@CASES
def test_solutions_are_feasible_and_others_are_not(make, event) -> None:
    solver = make()
    solutions = solver(draw(2, 4, *event))
    assert solver.is_feasible(solutions).tolist() == [[True] * 4] * 2
    assert solver.is_feasible(solutions.float()).all()
    assert solver.is_feasible(solutions[:0]).shape == (0, 4)
    solutions[0, 1] = float("nan")
    if not isinstance(solver, Instances):
        solutions[1, 0] = 1.5
        solutions[1, 3] = -1
    bad = [[True, False, True, True], [isinstance(solver, Instances), True, True, isinstance(solver, Instances)]]
    assert solver.is_feasible(solutions).tolist() == bad


@CASES
def test_equal_by_value(make, event) -> None:
    solver, other = make(), make()
    solver.solve(draw(3, *event), ties=True)  # which caches
    for twin in (other, copy.copy(solver), copy.deepcopy(solver), pickle.loads(pickle.dumps(solver))):
        assert twin == solver and hash(twin) == hash(solver) and repr(twin) == repr(solver)
        assert torch.equal(twin(draw(3, *event)), solver(draw(3, *event)))
    with pytest.raises(AttributeError):
        solver.shape = (1,)


@CASES
def test_wrong_inputs(make, event) -> None:
    solver, name = make(), type(make()).__name__
    with pytest.raises(ContractError, match=rf"{name}: costs is a list"):
        solver([[1.0]])
    with pytest.raises(DtypeError, match=rf"{name}: costs is torch.int64"):
        solver(torch.ones(2, *event, dtype=torch.int64))
    if solver.shape is not None:
        with pytest.raises(ShapeError, match=rf"{name}: costs has shape"):
            solver(torch.ones(2, *event[:-1], event[-1] + 1))
    with pytest.raises(ShapeError, match=f"{name}: solutions"):
        solver.is_feasible(torch.tensor(1.0))
    costs = draw(2, 3, *event)
    costs[1, 0].view(-1)[1] = float("inf")
    costs[1, 2].view(-1)[0] = float("nan")
    place = "1" if len(event) == 1 else r"\(0, 1\)"
    with pytest.raises(
        NonFiniteError, match=rf"{name}: the costs of samples 3, 5 .* sample 3 has inf at {place}"
    ) as caught:
        solver(costs)
    assert caught.value.samples == (3, 5)


def test_an_infeasible_error_is_kept_by_pickle() -> None:
    error = pickle.loads(pickle.dumps(InfeasibleError("text", [3, 4])))
    assert str(error) == "text" and error.samples == (3, 4)


def test_importing_the_package_of_solvers_imports_no_torch() -> None:
    modules = "nlcore_decisions.solvers, nlcore_decisions.errors, nlcore_decisions.solvers._worker"
    code = f"import sys, {modules}; assert not {{'torch', 'numba', 'scipy', 'numpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("make", "event"),
    [
        (Assignment, (2, 2)),
        (lambda: LinearProgram(A_ub=[[1, 1]], b_ub=[1]), (2,)),
        (lambda: Knapsack([float(one) + 0.5 for one in range(200)] * 2, 200.25), (400,)),
    ],
)
def test_without_scipy_the_package_to_install_is_named(make, event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "_TABLE", 0)
    for name in ("scipy", "scipy.optimize"):
        monkeypatch.setitem(sys.modules, name, None)
    with torch_alone(), pytest.raises(ConfigError, match=r"pip install nlcore-decisions\[.*scipy\]"):
        make()(-torch.ones(1, *event))
