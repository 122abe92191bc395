"""Regret: what decisions by predicted costs cost more than the best ones."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nlcore.capabilities import context_parameter
from nlcore.errors import ConfigError, ContractError, shorten
from nlcore.inputs import check_inputs, working
from nlcore_decisions._base import Argmin
from nlcore_decisions._checks import TOLERANCE, check_context, check_finite, check_result, solve_with_context, whole
from nlcore_decisions.config import Sense

__all__ = ["normalised_regret", "regret"]


def regret(
    argmin: Argmin,
    prediction: Tensor,
    true_costs: Tensor,
    *,
    sense: Sense = "minimise",
    solution: Tensor | None = None,
    context: Any = None,
) -> Tensor:
    r"""Return the regret of each sample, $\langle c, y^*(\hat c) \rangle - \langle c, y^*(c) \rangle$.

    With `sense="maximise"` numbers are values, and it is what the decision is worth less than the best one.

    Args:
        argmin: The solver, as for the losses.
        prediction: [batch, *event], the predicted costs, or values.
        true_costs: [batch, *event], the true ones.
        sense: `"minimise"`, or `"maximise"`.
        solution: [batch, *event], the best solutions under the true costs, if they are known.
        context: Tensors, batch first, for an argmin that takes a context.

    Returns:
        [batch], at least 0 but for rounding, in working precision.

    Raises:
        ContractError: Shapes, dtypes or devices do not fit; or a regret is negative: the "best" solution is not the
            best.
        NonFiniteError: A cost is NaN or infinite.

    Example:
        >>> import torch
        >>> from nlcore_decisions.solvers.vertices import Vertices
        >>> true, predicted = torch.tensor([[1.0, 2.0], [5.0, 3.0]]), torch.tensor([[9.0, 8.0], [9.0, 8.0]])
        >>> regret(Vertices([[1, 0], [0, 1]]), predicted, true)
        tensor([1., 0.])
    """
    return _regret(argmin, prediction, true_costs, sense=sense, solution=solution, context=context)[0]


def normalised_regret(
    argmin: Argmin,
    prediction: Tensor,
    true_costs: Tensor,
    *,
    sense: Sense = "minimise",
    solution: Tensor | None = None,
    context: Any = None,
) -> Tensor:
    r"""Return the sum of all regrets relative to that of the best objectives, $\sum r_i / \sum |z_i^*|$, [].

    Args:
        argmin: As for `regret`.
        prediction: As for `regret`.
        true_costs: As for `regret`.
        sense: As for `regret`.
        solution: As for `regret`.
        context: As for `regret`.

    Raises:
        ContractError: As for `regret`; or all best objectives are 0.
        NonFiniteError: As for `regret`.
    """
    values, best = _regret(argmin, prediction, true_costs, sense=sense, solution=solution, context=context)
    if not bool(best.any()):
        raise ContractError(
            f"normalised_regret: the best objectives of all {len(best)} samples are 0, so regret has no unit. Give a "
            "batch that is not empty, and sense='maximise' if the numbers are values."
        )
    return values.sum() / best.abs().sum()


def _regret(
    argmin: Argmin, prediction: Tensor, true_costs: Tensor, *, sense: Sense, solution: Tensor | None, context: Any
) -> tuple[Tensor, Tensor]:
    """Return regrets and the least costs, [N] each."""
    if sense not in ("minimise", "maximise"):
        raise ConfigError(f"regret: sense was given {sense!r}; choose 'minimise' or 'maximise'.")
    sizes = ", ".join(f"n{axis}" for axis in range(1, prediction.ndim)) if isinstance(prediction, Tensor) else "n"
    form = f"[batch, {sizes}]"
    given = {"solution": (solution, f"{form} or None")}
    check_inputs(
        "regret", prediction=(prediction, f"{form} floating"), true_costs=(true_costs, f"{form} floating"), **given
    )
    sign = -1 if sense == "maximise" else 1
    costs, true = (sign * working(one.detach()) for one in (prediction, true_costs))
    check_finite("regret", costs, "predictions")
    check_finite("regret", true, "true costs")

    place = context_parameter(argmin)
    if context is not None:
        if place is None:
            raise ContractError("regret: a context was given, and the argmin takes none: it has no second parameter.")
        check_context("regret", costs, context)
    elif place is not None and place.default is place.empty:
        raise ContractError(
            f"regret: the argmin needs a context, its parameter {place.name!r}: give regret(argmin, prediction, true, "
            "context=…)."
        )

    def solve(one: Tensor) -> Tensor:
        found = argmin(one) if place is None else solve_with_context("regret", argmin, one, context)
        return check_result("regret", one, found)

    chosen = solve(costs)
    found = solve(true) if solution is None else solution.detach().to(true.dtype)
    _check_negative(true, whole(chosen), whole(found), sign)
    value, best = ((true * one).flatten(1).sum(1) for one in (chosen, found))
    return value - best, best


def _check_negative(true: Tensor, chosen: Tensor, found: Tensor, sign: int) -> None:
    value, best = ((true * one).flatten(1).sum(1) for one in (chosen, found))
    scale = (true * chosen).abs().flatten(1).sum(1) + best.abs()
    wrong: list[int] = (best - value > TOLERANCE * scale).nonzero()[:, 0].tolist()
    if not wrong:
        return
    i = wrong[0]
    chosen_is, best_is = (f"{sign * float(one[i]) + 0.0:.6g}" for one in (value, best))
    raise ContractError(
        f"regret: the regret of samples {shorten(wrong)} is negative: for the true numbers of sample {i} the choice "
        f"by the prediction has the objective {chosen_is}, and the best {best_is}. "
        "The best solution is not the best: is the solver exact, the sense right (sense='maximise' for values; the "
        "argmin always minimises), and `solution` one of this problem?"
    )
