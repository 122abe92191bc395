"""Random numbers, drawn on the device of their generator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nlcore.errors import ContractError

__all__ = ["drawing_device", "example_numbers"]


def drawing_device(generator: object, device: torch.device | str) -> torch.device | str:
    """Return the device on which random numbers are drawn: that of the generator, or `device` without one.

    Raises:
        ContractError: The generator is neither a `torch.Generator` nor None.
    """
    if generator is None:
        return device
    if not isinstance(generator, torch.Generator):
        seed = generator if isinstance(generator, int) else 0
        raise ContractError(
            f"generator was given {generator!r}; a torch.Generator is needed, such as "
            f"torch.Generator().manual_seed({seed})."
        )
    return generator.device


def example_numbers(
    draw: Callable[..., Tensor],
    shape: tuple[int, ...],
    *,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """Return the random numbers of an example, for prediction and target, in working precision.

    Args:
        draw: torch.rand or torch.randn.
        shape: Of prediction and target, [batch, *event].
        generator: Source of random numbers; they are drawn on its device.
        dtype: Of the example; numbers for half precision are drawn in float32.
        device: Of prediction and target.
    """
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    drawn_on = drawing_device(generator, device)
    prediction, target = draw((2, *shape), generator=generator, dtype=precision, device=drawn_on).to(device)
    return prediction, target
