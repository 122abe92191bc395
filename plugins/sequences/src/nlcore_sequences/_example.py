"""Examples of a rollout, for checks and demonstrations: near the values that its system comes with."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError
from nlcore_sequences._inputs import ID, Options

__all__ = ["context_of_example", "draw_example"]

_STEPS = 6


def draw_example(
    loss: Options,
    batch: int,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Return a prediction, and the observations that belong to another one.

    Raises:
        ContractError: The step function comes without an initial state, or without the predicted parameters.
    """
    system = loss.dynamics
    own = {"controls": (), "parameters": system.parameters, "initial": system.initial}[loss.predicts]
    if system.initial is None or own is None:
        raise ContractError(
            f"{ID}: this rollout has no example, because its step function comes without values to start from. Give "
            f"Rollout(System(step, initial=…, parameters=…))."
        )
    if loss.predicts == "controls":
        shape = (loss.steps or _STEPS, *([] if loss.channels is None else [loss.channels]))
        centre = torch.zeros(shape, dtype=dtype, device=device)
        spread = torch.ones_like(centre)
    else:
        values = (*own, *(system.initial if loss.initial_size else ()))
        centre = loss.unconstrained(torch.tensor(values, dtype=dtype, device=device))
        spread = 0.1 * torch.where(centre == 0, 1.0, centre.abs().clamp(max=1.0))  # small numbers keep their sign
    shape = (batch, *centre.shape)
    first, second = (torch.randn(shape, generator=generator, dtype=dtype, device=device) for _ in range(2))
    with torch.no_grad():
        target = loss.inner(centre + spread * second, context=context_of_example(loss, batch, dtype, device))
    return centre + spread * first, target


def context_of_example(loss: Options, batch: int, dtype: torch.dtype, device: torch.device | str) -> dict[str, Tensor]:
    """Return initial states around that of the system, and controls where the rollout needs them to count its steps."""
    number = torch.arange(batch, dtype=dtype, device=device).unsqueeze(1)
    context = {}
    if loss.predicts != "initial" and not loss.initial_size and loss.dynamics.initial is not None:
        initial = torch.tensor(loss.dynamics.initial, dtype=dtype, device=device)
        context["initial"] = initial + 0.1 * (1 + initial.abs()) * (number + initial).sin()
    if loss.predicts != "controls" and loss.steps is None:
        context["controls"] = 0.3 * (number + torch.arange(_STEPS, dtype=dtype, device=device)).cos()
    return context
