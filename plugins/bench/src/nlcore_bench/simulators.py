"""Differentiable programs with an ill-conditioned Jacobian, made into losses with `nlcore.compose`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

import nlcore
from nlcore_bench.config import BlurConfig, DragConfig

__all__ = ["blur", "blurred", "drag", "driven"]


def blurred(signal: Tensor, width: float) -> Tensor:
    """Return a signal seen through a Gaussian blur.

    Args:
        signal: [batch, m].
        width: Standard deviation of the blur, in steps of the signal.

    Returns:
        [batch, m]; every output is a weighted mean of its neighbours.
    """
    place = torch.arange(signal.shape[-1], dtype=signal.dtype, device=signal.device)
    weight = (-0.5 * ((place.unsqueeze(-1) - place) / width).square()).exp()
    return signal @ (weight / weight.sum(-1, keepdim=True)).mT


def driven(controls: Tensor, drag: float, step: float) -> Tensor:
    """Return where a body with quadratic drag goes when it is pushed.

    x' = v, v' = u − c·v·|v|, integrated by the semi-implicit Euler rule from rest. The drag makes the Jacobian differ
    from sample to sample.

    Args:
        controls: [batch, m], the push u at each time.
        drag: c, per unit of length.
        step: The time between two pushes.

    Returns:
        [batch, m], the places x after each push.
    """
    place, speed = torch.zeros_like(controls[:, 0]), torch.zeros_like(controls[:, 0])
    places = []
    for push in controls.unbind(-1):
        speed = speed + step * (push - drag * speed * speed.abs())
        place = place + step * speed
        places.append(place)
    return torch.stack(places, dim=-1)


def blur(*, width: float = 2.0) -> Any:
    """Return the loss ½‖blurred(prediction) − target‖², prediction and target [batch, m].

    Raises:
        ConfigError: The width is not positive.
    """
    options = BlurConfig(width=width)
    simulate = partial(blurred, width=options.width)
    return nlcore.compose(simulate, example=partial(_example, simulate))


def drag(*, drag: float = 0.5, step: float = 0.3) -> Any:
    """Return the loss ½‖driven(prediction) − target‖², prediction and target [batch, m].

    Raises:
        ConfigError: A negative drag, or a step that is not positive.
    """
    options = DragConfig(drag=drag, step=step)
    simulate = partial(driven, drag=options.drag, step=options.step)
    return nlcore.compose(simulate, example=partial(_example, simulate))


def _example(
    simulate: Any,
    batch_size: int,
    *,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    prediction, truth = torch.randn(2, batch_size, 6, generator=generator, dtype=dtype, device=device)
    return prediction, simulate(truth)
