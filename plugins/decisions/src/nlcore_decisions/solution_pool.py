"""A cache of solutions that takes the place of an argmin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ShapeError
from nlcore.inputs import check_inputs
from nlcore_decisions._checks import check_result

__all__ = ["SolutionPool"]


class SolutionPool:
    """Known solutions as an argmin: some batches are solved, the others get the best solutions of the pool.

    With probability `solve_ratio` a call solves its costs and adds the solutions to the pool; otherwise it returns, for
    each sample, the solution of the pool that costs least. That takes one matrix product, a fraction of the solver's
    time; the gradients of a loss are then those of the problem restricted to the pool. Contrastive and ranking losses
    compare the predicted costs of all solutions of the pool.

    With a `solve_ratio` above 0 the pool grows during training, and losses over it change; with 0 it stays as it was
    made. It can be copied and pickled with its solutions if its argmin can.

    Args:
        argmin: The solver, as for the losses; without a context.
        solutions: [P, *event], the first solutions, as those of the training data; the same for tensors of any dtype
            and device.
        solve_ratio: Probability that a call solves; 0 to 1.
        seed: Seed of the random numbers by which a call solves or not.

    Raises:
        ConfigError: The ratio is not between 0 and 1, or the argmin cannot be called.
        ShapeError: The solutions are not [P, *event] with P ≥ 1.

    Reference:
        Mulamba, Mandi, Diligenti, Lombardi, Bucarey, Guns, [Contrastive Losses and Solution Caching for
        Predict-and-Optimize](https://arxiv.org/abs/2011.05354), IJCAI 2021.

    Example:
        >>> from nlcore_decisions.solvers.vertices import Vertices
        >>> pool = SolutionPool(Vertices([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), torch.eye(3)[:2])
        >>> pool(torch.tensor([[3.0, 2.0, 1.0]]))  # the best of two
        tensor([[0., 1., 0.]])
        >>> pool.add(torch.eye(3)), len(pool)  # one of them was new
        (1, 3)
    """

    def __init__(
        self,
        argmin: Callable[..., Any],
        solutions: Tensor | Sequence[Any],
        *,
        solve_ratio: float = 0.0,
        seed: int = 0,
    ) -> None:
        if isinstance(argmin, type) or not callable(argmin):
            raise ConfigError(f"SolutionPool: argmin was given {argmin!r}; give a function of costs [N, *event].")
        if not 0 <= solve_ratio <= 1:
            raise ConfigError(f"SolutionPool: solve_ratio was given {solve_ratio!r}; give a number from 0 to 1.")
        first = torch.as_tensor(solutions).detach()
        if first.ndim < 2 or not first.numel():
            raise ShapeError(
                f"SolutionPool: the first solutions have shape {list(first.shape)}; [P, *event] with P ≥ 1 is needed, "
                "such as the solutions of the training data."
            )
        self.argmin, self.solve_ratio = argmin, solve_ratio
        self._random = torch.Generator().manual_seed(seed)
        self._solutions = first[:0].double()
        self._cast: dict[tuple[torch.dtype, torch.device], Tensor] = {}
        self._keys = torch.empty(0, dtype=torch.int64, device=first.device)
        self.add(first)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one solution."""
        return tuple(self._solutions.shape[1:])

    @property
    def solutions(self) -> Tensor:
        """The solutions, [P, *event], float64, in the order in which they were found."""
        return self._solutions

    def __len__(self) -> int:
        return len(self._solutions)

    def __call__(self, costs: Tensor) -> Tensor:
        """Return solutions of costs [N, *event]: exact, or the best of the pool."""
        return self._solved(costs) if self._draws() else self.best(costs)

    def best(self, costs: Tensor) -> Tensor:
        """Return the solution of the pool that costs least for each sample of [N, *event]."""
        self._check("best", costs)
        pool = self.like(costs)
        return pool[(costs.detach().flatten(1) @ pool.flatten(1).mT).argmin(1)]

    def add(self, solutions: Tensor) -> int:
        """Add the solutions, [N, *event], that are not in the pool, and return how many they were."""
        self._check("add", solutions)
        new = solutions.detach().to(self._solutions)
        keys = self._key(new)
        distinct, place = torch.unique(keys, return_inverse=True)
        order = torch.arange(len(keys), device=keys.device)
        first = torch.full_like(distinct, len(keys)).scatter_reduce(0, place, order, "amin")
        unknown = (first[place] == order) & ~torch.isin(keys, self._keys)
        count = int(unknown.sum())
        if count:
            self._solutions = torch.cat([self._solutions, new[unknown]])
            self._keys = torch.cat([self._keys, keys[unknown]])
            self._cast = {}
        return count

    def refresh(self, costs: Tensor) -> None:
        """Solve costs [N, *event] with probability `solve_ratio`, and add their solutions."""
        if self._draws():
            self._solved(costs)

    def like(self, costs: Tensor) -> Tensor:
        """Return the solutions in dtype and device of the costs."""
        kind = (costs.dtype, costs.device)
        if kind not in self._cast:
            self._cast[kind] = self._solutions.to(costs)
        return self._cast[kind]

    def _draws(self) -> bool:
        """Return whether to solve; no random number is drawn where it is certain."""
        if self.solve_ratio in (0, 1):
            return self.solve_ratio == 1
        return float(torch.rand((), generator=self._random)) < self.solve_ratio

    def _solved(self, costs: Tensor) -> Tensor:
        with torch.no_grad():
            found = check_result("SolutionPool", costs, self.argmin(costs.detach()))
        if len(found):
            self.add(found)
        return found

    def _check(self, what: str, tensor: Tensor) -> None:
        sizes = ", ".join(map(str, self.shape))
        check_inputs(f"SolutionPool.{what}", **{what: (tensor, f"[batch, {sizes}]")})

    def _key(self, solutions: Tensor) -> Tensor:
        """Return one number for each solution, equal for equal ones: a random combination modulo 2⁶⁴."""
        flat = (solutions.flatten(1) * 2**20).round().to(torch.int64)
        numbers = torch.Generator().manual_seed(flat.shape[1])
        weights = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=numbers).to(flat.device)
        return (flat * weights).sum(1)

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_cast": {}, "_random": self._random.get_state()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._random = torch.Generator()
        self._random.set_state(state["_random"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SolutionPool):
            return NotImplemented
        same = (self.argmin, self.solve_ratio, self.shape) == (other.argmin, other.solve_ratio, other.shape)
        return same and torch.equal(self._keys, other._keys)

    def __hash__(self) -> int:
        return hash((SolutionPool, self.argmin, self.shape))  # not of what changes

    def __repr__(self) -> str:
        name = getattr(self.argmin, "__qualname__", repr(self.argmin))
        return (
            f"SolutionPool({name}, {len(self)} solutions of shape {list(self.shape)}, solve_ratio={self.solve_ratio})"
        )
