"""The optimisers of studies: SGD, Adam, AdamW, Muon on matrices with Adam on the rest, and SOAP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from nlcore.errors import ConfigError
from nlcore_bench.parts import OptimizerPart

__all__ = ["make_optimizers"]


def make_optimizers(part: OptimizerPart, network: nn.Module, learning_rate: float) -> list[Optimizer]:
    """Return the optimisers of a network, all of which take a step in turn.

    With Muon, Adam takes the parameters that are not matrices, at the same learning rate.

    Args:
        part: Kind and options.
        network: The network.
        learning_rate: Learning rate at the start.

    Raises:
        ConfigError: The optimiser is not installed, or an option is unknown.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rest = [one for one in parameters if part.kind == "muon" and one.ndim != 2]
    main = [one for one in parameters if all(one is not other for other in rest)]
    try:
        first = [_class(part.kind)(main, lr=learning_rate, **part.options)] if main else []
    except TypeError as error:
        raise ConfigError(f"the optimiser {part.kind} does not take its options: {error}.") from error
    return [*first, *([Adam(rest, lr=learning_rate)] if rest else [])]


def _class(kind: str) -> Callable[..., Optimizer]:
    if kind == "soap":
        try:
            from pytorch_optimizer import SOAP
        except ImportError as error:
            raise ConfigError("SOAP is not installed. Run: pip install pytorch-optimizer.") from error
        return SOAP
    if kind == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(f"torch {torch.__version__} has no Muon: install torch 2.9 or later.")
    kinds: dict[str, Any] = {"adam": Adam, "adamw": AdamW, "muon": getattr(torch.optim, "Muon", None)}
    return kinds[kind] if kind in kinds else lambda *given, **options: SGD(*given, **{"momentum": 0.9, **options})
