"""Linear programs against scipy's `linprog`, all points of a cube, and in processes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from itertools import product
from typing import Any

import pytest
import torch

from nlcore.errors import ConfigError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers.linear_program import LinearProgram

optimize = pytest.importorskip("scipy.optimize")
np = pytest.importorskip("numpy")

torch.set_num_threads(1)


def constraints(seed: int) -> tuple[dict[str, Any], Any]:
    """Return rows that 0 satisfies, and costs with and without ties."""
    rng = np.random.default_rng(seed)
    m, r = rng.integers(1, 6), rng.integers(1, 5)
    rows, limits = rng.integers(-2, 6, (r, m)), rng.integers(0, 10, r)
    costs = np.concatenate([rng.normal(size=(5, m)), rng.integers(-4, 5, (5, m))])
    return {"A_ub": rows.tolist(), "b_ub": limits.tolist()}, costs


@pytest.mark.parametrize("seed", range(100))
def test_equals_linprog(seed: int) -> None:
    options, costs = constraints(seed)
    upper = [[0, 1], [-1, 2], [0, 5]][seed % 3]
    solver = LinearProgram(**options, bounds=upper)
    result = solver.solve(torch.from_numpy(costs), ties=True)
    assert solver.is_feasible(result.solution).all()
    for cost, value, tied in zip(costs, result.value.tolist(), result.tied.tolist(), strict=True):
        found = optimize.linprog(cost, **options, bounds=upper)
        assert value == pytest.approx(found.fun, rel=1e-9, abs=1e-9)
        assert tied == (width(options, upper, cost, found.fun) > 1e-5)


def width(options: dict[str, Any], bounds: list[float], cost: Any, least: float) -> float:
    """Return how far the solutions of least cost extend along a random direction."""
    rows, limits = [*options["A_ub"], cost.tolist()], [*options["b_ub"], least + 1e-9]
    way = np.random.default_rng(0).normal(size=len(cost))
    ends = [optimize.linprog(sign * way, A_ub=rows, b_ub=limits, bounds=bounds).fun for sign in (1, -1)]
    return float(-sum(ends))


@pytest.mark.parametrize("seed", range(100))
def test_integers_equal_the_best_of_all_points(seed: int) -> None:
    options, costs = constraints(seed)
    solver = LinearProgram(**options, bounds=(0, 1), integer=True)
    points = np.array(list(product([0, 1], repeat=costs.shape[1])))
    points = points[(points @ np.array(options["A_ub"]).T <= options["b_ub"]).all(1)]
    values = costs @ points.T
    least = values.min(1)
    result = solver.solve(torch.from_numpy(costs), ties=True)
    np.testing.assert_allclose(result.value.numpy(), least, atol=1e-9)
    assert (result.tied.numpy() == ((values <= least[:, None] + 1e-9).sum(1) > 1)).all()
    assert solver.is_feasible(torch.from_numpy(points).double()).all()


def test_equations_and_bounds_for_each() -> None:
    solver = LinearProgram(A_eq=[[1, 1, 1]], b_eq=[2], bounds=[[0, 1], [None, 1], [0.5, None]])
    costs = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 2.5]])
    for cost, solution in zip(costs, solver(costs), strict=True):
        found = optimize.linprog(cost.numpy(), A_eq=[[1, 1, 1]], b_eq=[2], bounds=[(0, 1), (None, 1), (0.5, None)])
        torch.testing.assert_close(solution.double(), torch.from_numpy(found.x))
    assert solver.is_feasible(torch.tensor([[1, 0.5, 0.5], [1, 1, 0], [1, 0.5, 0.6]])).tolist() == [True, False, False]
    assert solver.excludes(torch.tensor([[1, 0.5, 0.5], [1, 1, 0], [1, 0.5, 0.6]])).tolist() == [False, True, True]


def test_some_integers() -> None:
    solver = LinearProgram(A_ub=[[2, 2]], b_ub=[3], integer=[True, False])
    assert solver.excludes(torch.tensor([[0.5, 0.5], [1.0, 1.0], [1.0, 0.0]])).tolist() == [False, True, False]
    assert solver(torch.tensor([-1.1, -1.0])).tolist() == [1.0, 0.5]
    assert solver.is_feasible(torch.tensor([[1, 0.5], [0.5, 1]])).tolist() == [True, False]
    with pytest.raises(ConfigError, match=r"ties cannot be found.*more than two values: 0"):
        solver.solve(torch.tensor([-1.1, -1.0]), ties=True)


@pytest.mark.parametrize("integer", [False, True])
def test_infeasible_and_unbounded(integer: bool) -> None:
    costs = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]], [[-1.0, 1.0], [-2.0, 0.0]]])
    never = LinearProgram(A_ub=[[1, 1]], b_ub=[-1], integer=integer)
    with pytest.raises(InfeasibleError, match="samples 0, 1, 2, 3 have no solution") as caught:
        never(costs)
    assert caught.value.samples == (0, 1, 2, 3)
    open_above = LinearProgram(A_ub=[[1, -1]], b_ub=[1], integer=integer)
    with pytest.raises(InfeasibleError, match="samples 1, 3 can be made as low") as caught:
        open_above(costs)
    assert caught.value.samples == (1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "number of variables"),
        ({"A_ub": [[1, 2]]}, "A_ub has 1 rows and b_ub 0"),
        ({"A_ub": [[1, 2]], "b_ub": [1, 2]}, "A_ub has 1 rows and b_ub 2"),
        ({"A_ub": [[1, 2], [1]], "b_ub": [1, 2]}, "row 1 of A_ub has 1 numbers for 2"),
        ({"A_ub": [[1, float("nan")]], "b_ub": [1]}, "row 0 of A_ub and b_ub holds nan"),
        ({"A_ub": [[1, 2]], "b_ub": ["a"]}, "row 0 of A_ub and b_ub holds 'a'"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "A_eq": [[1, 2, 3]], "b_eq": [1]}, "row 0 of A_eq has 3 numbers for 2"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "bounds": (1, 0)}, r"bounds \(1, 0\) are empty"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "bounds": 1}, "bounds were given 1"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "bounds": [(0, 1)]}, "1 bounds were given for 2"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "bounds": [0, 1, 2]}, "bounds were given"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "integer": [True]}, "integer was given"),
        ({"A_ub": [[1, 2]], "b_ub": [1], "integer": 1}, "integer was given 1"),
        ({"bounds": [(0, 1)], "workers": -1}, "workers was given -1"),
    ],
)
def test_wrong_use(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LinearProgram(**options)


OPTIONS: dict[str, Any] = {"A_ub": [[2, 3, 1], [1, 0, 1]], "b_ub": [4, 1], "bounds": (0, 1)}


@pytest.mark.parametrize("integer", [False, True])
def test_processes_return_the_same(integer: bool) -> None:
    costs = torch.randn(37, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone, pooled = (LinearProgram(**OPTIONS, integer=integer, workers=workers) for workers in (0, 2))
    for part in (costs, costs[:1], costs[:5]):
        torch.testing.assert_close(pooled(part), alone(part))
    with pytest.raises(InfeasibleError, match="samples 3, 7 can") as caught:
        open_above = LinearProgram(A_ub=[[1, -1]], b_ub=[1], workers=2, integer=integer)
        open_above(torch.tensor([[1.0, 1.0]] * 3 + [[-1.0, -1.0]] + [[1.0, 1.0]] * 3 + [[-1.0, -1.0]]))
    assert caught.value.samples == (3, 7)


def test_processes_are_reused_and_end_with_the_solver() -> None:
    solver = LinearProgram(**OPTIONS, workers=2)
    solver(torch.randn(8, 3))
    started = solver._pool._processes
    first = [one.pid for one in started]
    solver(torch.randn(8, 3))
    assert [one.pid for one in solver._pool._processes] == first and len(first) == 2
    running = list(started)
    assert all(one.poll() is None for one in running)
    del solver, started
    gc.collect()
    assert all(one.poll() is not None for one in running)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_survive_a_fork() -> None:
    solver, costs = LinearProgram(**OPTIONS, workers=1), torch.randn(4, 3)
    expected = solver(costs)
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = torch.equal(solver(costs), expected)
            solver._pool.close()
        finally:
            os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert torch.equal(solver(costs), expected)


def test_a_script_needs_no_guard_and_its_processes_end_with_it(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from nlcore_decisions.solvers.linear_program import LinearProgram\n"
        f"solver = LinearProgram(**{OPTIONS!r}, workers=1)\n"
        "print(solver(torch.tensor([[-1.0, -1.0, -1.0]])).tolist(), solver._pool._processes[0].pid)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.count("\n") == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout.split()[-1]), 0)
