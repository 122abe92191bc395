"""The modules and parameters that a loss refers to, and the states that an evaluation of it may change."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from nlcore.evaluation import Evaluation

__all__ = ["modules_in", "parameters_in", "undisturbed"]


@contextmanager
def undisturbed(evaluation: Evaluation, device: torch.device) -> Iterator[None]:
    """Restore what further evaluations may change: random states, and buffers of modules in the loss.

    The evaluations see copies of the buffers. A buffer that is changed and restored in place would break a graph that
    has saved it, as batch normalisation in training mode saves its running statistics.
    """
    numpy: Any = sys.modules.get("numpy")
    states = random.getstate(), None if numpy is None else numpy.random.get_state()
    drawn = None if evaluation.generator is None else evaluation.generator.get_state()
    modules = [one for module in modules_in(evaluation.loss.function) for one in module.modules()]
    buffers = [(one, name, held) for one in modules for name, held in one._buffers.items() if held is not None]
    copies = {held: held.clone() for _, _, held in buffers}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        try:
            for module, name, buffer in buffers:
                module._buffers[name] = copies[buffer]
            yield
        finally:
            for module, name, buffer in buffers:
                module._buffers[name] = buffer
            random.setstate(states[0])
            if numpy is not None:
                numpy.random.set_state(states[1])
            if evaluation.generator is not None and drawn is not None:
                evaluation.generator.set_state(drawn)


def modules_in(function: Any) -> list[nn.Module]:
    """Return the modules that a function is or refers to: by its binding, fields, closure or global names."""
    return [one for one in _referred(function) if isinstance(one, nn.Module)]


def parameters_in(function: Any) -> list[nn.Parameter]:
    """Return the parameters that a function refers to in the same way, apart from those of modules."""
    return [one for one in _referred(function) if isinstance(one, nn.Parameter)]


def _referred(function: Any, depth: int = 3) -> list[Any]:
    """Return the modules and parameters that a function is or refers to."""
    if isinstance(function, nn.Module | nn.Parameter):
        return [function]
    if depth == 0 or isinstance(function, type):
        return []
    parts: list[Any] = []
    if inspect.isfunction(function):
        known = inspect.getclosurevars(function)
        parts = [*known.nonlocals.values(), *known.globals.values(), *(function.__defaults__ or ())]
    elif inspect.ismethod(function):
        parts = [function.__self__]
    elif isinstance(function, partial):
        parts = [function.func, *function.args, *function.keywords.values()]
    elif hasattr(function, "__dict__"):
        parts = list(vars(function).values())
    wanted = (part for part in parts if callable(part) or isinstance(part, nn.Parameter))
    return [one for part in wanted for one in _referred(part, depth - 1)]
