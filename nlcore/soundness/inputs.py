"""First-use checks of a mask and of weights."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ContractError, NumericalWarning, shorten
from nlcore.evaluation import Evaluation, per_sample, transformed
from nlcore.soundness.inside import undisturbed
from nlcore.soundness.values import differs, example, scale

__all__ = ["check_mask", "check_weight", "require_valid_weights", "valid_weights", "warn_of_invalid_weights"]


def check_mask(evaluation: Evaluation, flat: Tensor, value: Tensor) -> None:
    """Check whether a mask looks inverted, and whether the loss ignores padded outputs.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        value: [N], the losses there.

    Warns:
        NumericalWarning: The mask marks nearly everything, or the first outputs and not the last ones; or the loss
            depends on padded outputs.
    """
    if evaluation.mask is None or transformed(evaluation.mask) or not evaluation.mask.numel():
        return
    mask = per_sample(evaluation.mask)
    name, padded = evaluation.loss.name, mask.double().mean(0)
    half, share = len(padded) // 2, float(padded.mean())
    first, last = (float(part.mean()) if len(part) else 0.0 for part in (padded[:half], padded[half:]))
    inverted = first > 0.5 > last and float(padded[0]) > 0.9 and float(padded[-1]) < 0.5
    if not inverted and share <= 0.95:
        _check_heeded(evaluation, flat, value, mask)
        return
    what = "most first outputs and few last ones" if inverted else f"{share:.0%} of the outputs"
    warnings.warn(
        f"{name}: the mask marks {what} as padding. True means padded here, the opposite of an attention mask; if "
        f"yours is True at real outputs, give mask=~mask.",
        NumericalWarning,
        stacklevel=2,
    )


def _check_heeded(evaluation: Evaluation, flat: Tensor, value: Tensor, mask: Tensor) -> None:
    """Replace the padded outputs of each sample by those of another one, and warn if its loss changes."""
    other = torch.where(mask, flat.nan_to_num(posinf=0.0, neginf=0.0).roll(1, 0) + scale(evaluation, flat), flat)
    try:
        with torch.no_grad(), undisturbed(evaluation, flat.device):
            beside = evaluation.value(other)
    except Exception:  # a loss may refuse outputs outside its domain as it likes
        return
    if differs(value, beside):
        warnings.warn(
            f"{evaluation.loss.name} has a parameter `mask`, but its loss changes with what stands at padded outputs "
            f"({example(value, beside)}): the padding counts. Leave padded outputs out, as by masked_fill.",
            NumericalWarning,
            stacklevel=2,
        )


def check_weight(name: str, weight: Any) -> None:
    """Warn of weights that require a gradient: a step gives them none."""
    if isinstance(weight, Tensor) and weight.requires_grad:
        warnings.warn(
            f"{name}: weight requires a gradient, and gets none: the curvature is taken at fixed weights. Detach it, "
            f"or leave it out and multiply the losses by it, as in (weight * criterion(…)).sum() with "
            f"reduction='none'.",
            NumericalWarning,
            stacklevel=2,
        )


def valid_weights(weight: Tensor) -> Tensor:
    """Return which weights [N] are finite and not negative, [N] bool."""
    return (weight >= 0) & (weight < torch.inf)


def require_valid_weights(name: str, weight: Tensor) -> None:
    """Refuse weights that are negative or not finite; waits for the device.

    Args:
        name: Of the loss.
        weight: [N].

    Raises:
        ContractError: There are any.
    """
    invalid = ~valid_weights(weight)
    if bool(invalid.any()):
        raise ContractError(
            f"{name}: weight must be finite and not negative, and is {shorten(weight[invalid].tolist())} for the "
            f"samples {shorten(invalid.nonzero().flatten().tolist())}. A mean curvature has no meaning with others."
        )


def warn_of_invalid_weights(name: str, weight: Any) -> bool:
    """Warn of weights that are negative or not finite, and count as 0; waits for the device.

    Args:
        name: Of the loss.
        weight: [N]; one of another form, or whose values cannot be read, is left alone.

    Returns:
        Whether there are any.
    """
    if not isinstance(weight, Tensor) or weight.ndim != 1 or weight.is_meta or transformed(weight):
        return False
    weight = weight.detach()
    invalid = ~valid_weights(weight)
    if not bool(invalid.any()):
        return False
    samples, values = invalid.nonzero().flatten().tolist(), weight[invalid].tolist()
    warnings.warn(
        f"{name}: the weight of the samples {shorten(samples)} is negative or not finite, and counts as 0: "
        f"{shorten(values)}. A mean curvature has no meaning with such weights. Clamp them; or, to ascend the loss of "
        f"some samples, leave weight out and multiply the losses, as in (weight * criterion(…)).mean() with "
        f"reduction='none'. criterion.stats['invalid_weights'] counts them at every step.",
        NumericalWarning,
        stacklevel=2,
    )
    return True
