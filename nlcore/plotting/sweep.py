"""A loss and its Newton directions along one moving output of one sample, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlcore.capabilities import read_capabilities
from nlcore.errors import NlcoreError
from nlcore.newton import Curvature, EmpiricalFisher, GaussNewton, Hessian, NewtonStep, Relative, newton_step
from nlcore.protocol import AlgorithmicLoss

__all__ = ["Field", "Sweep", "sweep"]

_MATRICES = {"permutation": ("relaxed permutation", "item", "rank"), "path": ("relaxed path", "column", "row")}
"""Methods that return a matrix for a sample, with a title and what its columns and rows are."""

_LINES = {"rank": "relaxed rank of every item", "sort": "relaxed sorted list", "inner": "features"}
"""Methods that return a few numbers for a sample, with a title; the first that a loss has is drawn."""


@dataclass(frozen=True, slots=True)
class Field:
    """A gradient or direction along the moving output.

    Attributes:
        title: Its name.
        vectors: [points, m].
    """

    title: str
    vectors: Tensor


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sample of a loss's example, seen while one of its outputs moves and all else stays.

    Attributes:
        places: [points], where the moving output is.
        start: Where the example has it.
        moving: Which output moves, counted along the flattened event.
        shape: Of the event, without the batch.
        value: [points], the loss.
        fields: The gradient, and the direction with every curvature that the loss can supply.
        matrix: [rows, columns], a relaxed permutation or path at the start; `None` without one.
        matrix_title: Names of the matrix, its columns and its rows.
        lines: [points, k], relaxed numbers along the way; `None` without any.
        lines_title: Their name.
        exact: [points], the exact counterpart of the moving output's line, where there is one.
    """

    places: Tensor
    start: float
    moving: int
    shape: tuple[int, ...]
    value: Tensor
    fields: tuple[Field, ...]
    matrix: Tensor | None
    matrix_title: tuple[str, str, str]
    lines: Tensor | None
    lines_title: str
    exact: Tensor | None

    def label(self, output: int) -> str:
        """Return the name of an output that is counted along the flattened event, as in `y[4, 1]`."""
        index: list[str] = []
        for size in reversed(self.shape):
            output, place = divmod(output, size)
            index.insert(0, str(place))
        return f"y[{', '.join(index)}]" if index else "y"


def sweep(loss: AlgorithmicLoss, *, points: int = 101, batch_size: int = 32, seed: int = 0) -> Sweep:
    """Move the output of the first sample of `loss.example` that has the largest gradient, and record what follows.

    The other samples make up the batch over which the curvature is taken; they stay. Random losses draw the same
    numbers at every place.

    Args:
        loss: Any `AlgorithmicLoss`.
        points: Number of places.
        batch_size: Samples of the example.
        seed: Of the example and of the random numbers that the loss draws.
    """
    source = torch.Generator().manual_seed(seed)
    prediction, target = loss.example(batch_size, generator=source, dtype=torch.float64, device="cpu")
    prediction = prediction.detach()
    first = prediction[0].flatten()
    gradient = _step(loss, prediction, target, EmpiricalFisher(), seed).gradient
    moving = int(gradient[0].abs().argmax())
    places = torch.linspace(*_range(prediction, moving), points, dtype=torch.float64)
    moved = prediction[:1].expand(points, *prediction.shape[1:]).clone()
    moved.view(points, -1)[:, moving] = places
    matrix, matrix_title = _matrix(loss, prediction)
    lines, lines_title, exact = _lines(loss, moved, moving)
    value, fields = _fields(loss, prediction, moved, target, seed)
    return Sweep(
        places=places,
        start=float(first[moving]),
        moving=moving,
        shape=tuple(prediction.shape[1:]),
        value=value,
        fields=fields,
        matrix=matrix,
        matrix_title=matrix_title,
        lines=lines,
        lines_title=lines_title,
        exact=exact,
    )


def _step(loss: Any, prediction: Tensor, target: Any, curvature: Curvature, seed: int) -> NewtonStep:
    """Return the Newton step, with the same random numbers at every call."""
    return newton_step(
        loss,
        prediction,
        target,
        curvature,
        on_failure="fallback",
        generator=torch.Generator().manual_seed(seed),
        process_group=False,
    )


def _range(prediction: Tensor, moving: int) -> tuple[float, float]:
    """Return where the moving output starts and ends: well beyond the others, and positive if all outputs are."""
    first = prediction[0].flatten()
    low, high = float(first.min()), float(first.max())
    middle, reach = float(first[moving]), max(high - low, 0.5 * max(abs(low), abs(high)), 0.1)
    low, high = min(low, middle) - 0.75 * reach, max(high, middle) + 0.75 * reach
    smallest = float(prediction.min())
    return (max(low, smallest / 2), high) if smallest > 0 else (low, high)


def _fields(loss: Any, prediction: Tensor, moved: Tensor, target: Any, seed: int) -> tuple[Tensor, tuple[Field, ...]]:
    curvatures = _curvatures(loss)
    values, plain = [], []
    turned: dict[str, list[Tensor]] = {title: [] for title in curvatures}
    for place in moved:
        batch = torch.cat([place.unsqueeze(0), prediction[1:]])
        for title, curvature in curvatures.items():
            step = _step(loss, batch, target, curvature, seed)
            turned[title].append(step.direction[0].flatten())
        values.append(step.value[0])
        plain.append(step.gradient[0].flatten())
    fields = [Field("gradient", torch.stack(plain))]
    fields += [Field(title, torch.stack(vectors)) for title, vectors in turned.items()]
    return torch.stack(values), tuple(fields)


def _curvatures(loss: AlgorithmicLoss) -> dict[str, Curvature]:
    """Return the curvatures to draw, by title: Fisher, and the Hessian or else the Gauss–Newton matrix."""
    known = read_capabilities(loss)
    found: dict[str, Curvature] = {"Fisher, ρ = 1": EmpiricalFisher(damping=Relative(1.0))}
    if "hessian" in known.supplies or (
        known.traits.order >= 2 and "gradient" not in known.supplies and not known.traits.stochastic
    ):
        found["Hessian, ρ = 0.1"] = Hessian(damping=Relative(0.1))
    elif "split" in known.supplies:
        found["Gauss–Newton, ρ = 0.1"] = GaussNewton(damping=Relative(0.1))
    return found


def _matrix(loss: object, prediction: Tensor) -> tuple[Tensor | None, tuple[str, str, str]]:
    for name, title in _MATRICES.items():
        method = getattr(loss, name, None)
        if callable(method):
            found = _tried(method, prediction[:1])
            if found is not None and found.ndim == 3:
                return found[0], title
    return None, ("", "", "")


def _lines(loss: object, moved: Tensor, moving: int) -> tuple[Tensor | None, str, Tensor | None]:
    for name, title in _LINES.items():
        method = getattr(loss, name, None)
        found = _tried(method, moved) if callable(method) else None
        if found is None:
            continue
        if name == "rank":
            return found, title, moved.argsort(dim=-1, stable=True).argsort(dim=-1)[:, moving].double()
        return found.flatten(1), title, None
    return None, "", None


def _tried(method: Any, batch: Tensor) -> Tensor | None:
    """Return what an optional method of a stranger's loss gives, `None` where it takes other arguments."""
    try:
        with torch.no_grad():
            found = method(batch)
    except (TypeError, ValueError, RuntimeError, NlcoreError):
        return None
    return found.detach().double() if isinstance(found, Tensor) and len(found) == len(batch) else None
