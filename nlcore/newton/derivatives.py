"""Per-sample values, gradients and curvature products of a batch-first loss.

Samples are independent, so the gradient of the summed loss holds every sample's gradient, and its pull-back of a
direction holds every sample's Hessian times that direction. One forward pass therefore serves value, gradient and
curvature: a stochastic loss sees one draw. Dense blocks are the products with the m basis vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ContractError, ShapeError
from nlcore.newton.adapt import LossInfo, evaluate

__all__ = ["Backend", "Derivatives", "Kind", "differentiate"]

Kind: TypeAlias = Literal["gradient", "hessian", "gauss_newton"]
Backend: TypeAlias = Literal["auto", "func", "autograd"]
Products: TypeAlias = Callable[[Tensor], Tensor]
"""Maps directions [r, N, m] to each sample's curvature times them, [r, N, m]."""


@dataclass(frozen=True, slots=True)
class Derivatives:
    """What is known of a batch of losses at a prediction.

    Attributes:
        value: [N], the losses.
        gradient: [N, m], their gradients.
        products: Curvature times directions, when a curvature was asked for and is not supplied.
        supplied: [N, m, m], the Hessians the loss supplies itself.
        dtype: In which they were computed, where that is not the gradient's own.
    """

    value: Tensor
    gradient: Tensor
    products: Products | None = None
    supplied: Tensor | None = None
    dtype: torch.dtype | None = None

    @property
    def rounding(self) -> float:
        """The relative rounding error of the gradient and of the curvature."""
        return torch.finfo(self.dtype or self.gradient.dtype).eps

    def apply(self, directions: Tensor) -> Tensor:
        """Return every sample's curvature times [r, N, m] directions, [r, N, m]."""
        if self.supplied is not None:
            return torch.einsum("nij,rnj->rni", self.supplied, directions)
        if self.products is None:
            raise ContractError("These derivatives were taken without curvature.")
        return self.products(directions)

    def blocks(self, chunk_size: int | None = None) -> Tensor:
        """Return every sample's curvature matrix, [N, m, m], symmetric to rounding, `chunk_size` rows at a time."""
        if self.supplied is not None:
            return (self.supplied + self.supplied.mT) / 2
        batch, size = self.gradient.shape
        basis = torch.eye(size, dtype=self.gradient.dtype, device=self.gradient.device)
        pieces = basis[:, None, :].expand(size, batch, size).split(chunk_size or size)
        rows = torch.cat([self.apply(piece) for piece in pieces]).transpose(0, 1)
        return (rows + rows.mT) / 2


class _OneDraw:
    """Calls of a loss that all see the same random numbers."""

    def __init__(
        self, info: LossInfo, target: Any, shape: torch.Size, generator: torch.Generator | None, mask: Tensor | None
    ) -> None:
        self.info, self.target, self.shape, self.generator, self.mask = info, target, shape, generator, mask
        self.state = generator.get_state() if generator is not None and info.traits.stochastic else None

    def _rewind(self) -> None:
        if self.state is not None and self.generator is not None:
            self.generator.set_state(self.state)

    def value(self, flat: Tensor) -> Tensor:
        self._rewind()
        return evaluate(self.info, flat.reshape(self.shape), self.target, self.generator, self.mask)

    def _masked(self) -> dict[str, Any]:
        """Return the mask as an option, for a loss that takes one."""
        return {"mask": self.mask} if self.mask is not None and self.info.traits.takes_mask else {}

    def inner(self, flat: Tensor) -> Tensor:
        features: Tensor = self.info.loss.inner(flat.reshape(self.shape), **self._masked())  # type: ignore[attr-defined]
        if not isinstance(features, Tensor) or features.shape[:1] != self.shape[:1]:
            raise ShapeError(
                f"{self.info.name}.inner must return a tensor with the batch of {self.shape[0]} in front, and returned "
                f"{_described(features)}."
            )
        return features

    def outer(self, features: Tensor) -> Tensor:
        value: Tensor = self.info.loss.outer(features, self.target, **self._masked())  # type: ignore[attr-defined]
        if not isinstance(value, Tensor) or value.shape != self.shape[:1]:
            raise ShapeError(
                f"{self.info.name}.outer must return one number per sample, shape {list(self.shape[:1])}, and "
                f"returned {_described(value)}."
            )
        return value

    def supplied(self, method: str, flat: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return `loss.gradient` or `loss.hessian`, checked."""
        self._rewind()
        options = {"generator": self.generator, **self._masked()}
        result = getattr(self.info.loss, method)(flat.reshape(self.shape), self.target, **options)
        if not isinstance(result, Tensor) or result.numel() != math.prod(shape) or result.shape[:1] != shape[:1]:
            raise ShapeError(
                f"{self.info.name}.{method} must return shape {list(shape)}, and returned {_described(result)}."
            )
        return result.reshape(shape).to(flat.dtype)


def differentiate(
    info: LossInfo,
    prediction: Tensor,
    target: Any,
    kind: Kind,
    *,
    backend: Backend = "auto",
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
) -> Derivatives:
    """Return value, gradient and, if asked for, curvature of every sample's loss.

    Args:
        info: The loss.
        prediction: [N, *event]; not changed, and not part of the result's graph.
        target: Handed to the loss.
        kind: What is needed; curvature is computed for nothing else.
        backend: `"func"`, `"autograd"`, or the one that the traits name.
        generator: Random numbers of a stochastic loss.
        mask: [N, *event] bool, True at padded outputs, for a loss that takes one.

    Raises:
        ContractError: The loss, or what it supplies, breaks the protocol.
    """
    shape = prediction.shape
    flat = prediction.detach().reshape(shape[0], -1)
    calls = _OneDraw(info, target, shape, generator, mask)
    if kind == "hessian" and info.supplies_hessian:
        plain = differentiate(info, prediction, target, "gradient", backend=backend, generator=generator, mask=mask)
        with torch.no_grad():
            hessian = calls.supplied("hessian", flat, (*flat.shape, flat.shape[1]))
        return Derivatives(plain.value, plain.gradient, supplied=hessian)
    if kind == "gradient" and info.supplies_gradient:
        with torch.no_grad():
            return Derivatives(calls.value(flat).to(flat.dtype), calls.supplied("gradient", flat, flat.shape))
    chosen = info.traits.transforms if backend == "auto" else backend
    if kind == "gradient" and backend == "auto" and not _transformed(flat):
        chosen = "autograd"  # the same numbers at a fraction of the overhead
    engine = _with_func if chosen == "func" else _with_autograd
    return engine(calls, flat, kind)


def _described(result: object) -> str:
    return f"shape {list(result.shape)}" if isinstance(result, Tensor) else f"a {type(result).__name__}"


def _transformed(tensor: Tensor) -> bool:
    """Whether the code is being compiled, or run under a transform of `torch.func`, where autograd is unavailable."""
    return torch.compiler.is_compiling() or torch.func.debug_unwrap(tensor) is not tensor


def _with_func(calls: _OneDraw, flat: Tensor, kind: Kind) -> Derivatives:
    vjp: Any = torch.func.vjp  # its annotation knows no has_aux
    vmap = torch.func.vmap

    def gradient_and_value(y: Tensor) -> tuple[Tensor, Tensor]:
        if calls.info.supplies_gradient:
            return calls.supplied("gradient", y, y.shape), calls.value(y)
        value, pull = vjp(calls.value, y)
        return pull(torch.ones_like(value))[0], value

    with torch.no_grad():
        if kind == "gradient":
            gradient, value = gradient_and_value(flat)
            return Derivatives(value, gradient)
        if kind == "hessian":
            gradient, pull, value = vjp(gradient_and_value, flat, has_aux=True)
            return Derivatives(value, gradient, vmap(lambda v: pull(v)[0]))
        features, pull_features = vjp(calls.inner, flat)
        push = vjp(lambda u: pull_features(u)[0], torch.zeros_like(features))[1]

        def outer_gradient(f: Tensor) -> tuple[Tensor, Tensor]:
            value, pull = vjp(calls.outer, f)
            return pull(torch.ones_like(value))[0], value

        slope, pull_outer, value = vjp(outer_gradient, features, has_aux=True)

        def product(v: Tensor) -> Tensor:
            return pull_features(pull_outer(push(v)[0])[0])[0]

        return Derivatives(value, pull_features(slope)[0], vmap(product))


def _with_autograd(calls: _OneDraw, flat: Tensor, kind: Kind) -> Derivatives:
    with torch.enable_grad():
        y = flat.detach().requires_grad_()
        if kind != "gauss_newton":
            value = calls.value(y)
            if calls.info.supplies_gradient:
                gradient = calls.supplied("gradient", y, y.shape)
            else:
                gradient = _grad(value.sum(), y, create_graph=kind == "hessian")
            if kind == "gradient":
                return Derivatives(value.detach(), gradient.detach())
            return Derivatives(value.detach(), gradient.detach(), lambda v: _batched_grad(gradient, y, v))
        features = calls.inner(y)
        dual = torch.zeros_like(features, requires_grad=True)
        pulled = _grad(features, y, dual, create_graph=True)
        leaf = features.detach().requires_grad_()
        value = calls.outer(leaf)
        slope = _grad(value.sum(), leaf, create_graph=True)

        def products(v: Tensor) -> Tensor:
            pushed = _batched_grad(pulled, dual, v)
            return _batched_grad(features, y, _batched_grad(slope, leaf, pushed))

        gradient = _grad(features, y, slope.detach(), retain_graph=True)
        return Derivatives(value.detach(), gradient, products)


def _grad(output: Tensor, source: Tensor, direction: Tensor | None = None, **options: Any) -> Tensor:
    """Return the pull-back, zero where `output` does not depend on `source`."""
    if not output.requires_grad:
        return torch.zeros_like(source)
    (result,) = torch.autograd.grad(output, source, direction, allow_unused=True, **options)
    return torch.zeros_like(source) if result is None else result


def _batched_grad(output: Tensor, source: Tensor, directions: Tensor) -> Tensor:
    """Return the pull-backs of `directions` [r, *output], [r, *source]: in one pass where the loss allows it."""
    if not output.requires_grad:
        return source.new_zeros(directions.shape[0], *source.shape)
    try:
        return _grad(output, source, directions, retain_graph=True, is_grads_batched=True)
    except RuntimeError:
        return torch.stack([_grad(output, source, direction, retain_graph=True) for direction in directions])
