"""`torch.func` on every registered loss that says it can be transformed, and on its public operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils._pytree import tree_map

import nlcore
from nlcore.capabilities import read_capabilities
from nlcore.registry import default
from nlcore.registry.discovery import RESERVED
from nlcore.testing import cases

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:DeprecationWarning")  # torch's own

OPERATORS = ("sort", "rank", "permutation", "log_permutation", "path", "visits", "inner")
AUTOGRAD = ("shortest_paths", "decisions")
"""The namespaces whose losses call solvers or work in place, and say `transforms="autograd"`."""

STEP = 1e-6
IDS = [name for name in nlcore.names() if name.partition("/")[0] in RESERVED]
CASES = [case for name in IDS for case in cases(default.registry.spec(name), every_choice=True)]
Operation = Callable[[Tensor], Tensor]


def operations() -> Iterator[Any]:
    """Yield every loss and operator that can be transformed, with a way to draw what it is applied to."""
    for case in CASES:
        loss = case.subject().algorithm
        if loss.traits.transforms == "func":
            names = ["loss", *(name for name in OPERATORS if hasattr(loss, name))]
            if "inner" in names and "split" not in read_capabilities(loss).supplies:
                names.remove("inner")
            names += ["topk_values", "topk_weights"] if hasattr(loss, "topk") else []
            for name in names:
                yield pytest.param(loss, name, id=f"{case.name}-{name}")


each = pytest.mark.parametrize(("loss", "name"), list(operations()))


def operation(loss: Any, name: str, target: Any, context: Any) -> Operation:
    given = {"context": context} if context else {}
    if name == "loss":
        return lambda scores: loss(scores, target, **given)
    if name == "inner" and given:
        return lambda scores: loss.inner(scores, **given)
    if name.startswith("topk"):
        return lambda scores: loss.topk(scores, 2)[name == "topk_weights"]
    return getattr(loss, name)  # type: ignore[no-any-return]


class Point:
    """Where derivatives are taken, a direction `way`, and a cotangent."""

    def __init__(self, loss: Any, name: str) -> None:
        generator = torch.Generator().manual_seed(1)
        self.at, self.target = loss.example(3, generator=generator, dtype=torch.float64, device="cpu")
        made: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
        self.context = loss.example_context(3, **made) if hasattr(loss, "example_context") else {}
        self.way = torch.randn(self.at.shape, generator=generator, dtype=torch.float64)
        self.f = operation(loss, name, self.target, self.context)
        self.cotangent = torch.randn(self.f(self.at).shape, generator=generator, dtype=torch.float64)

    def along(self, f: Operation) -> Tensor:
        """Return the central difference of f in the direction."""
        return (f(self.at + STEP * self.way) - f(self.at - STEP * self.way)) / (2 * STEP)

    def summed(self, at: Tensor) -> Tensor:
        return (self.f(at) * self.cotangent).sum()

    def contracted(self, jacobian: Tensor) -> Tensor:
        return (jacobian * self.way).flatten(-self.way.ndim).sum(-1)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


def test_what_cannot_be_transformed_says_so() -> None:
    saying = {case.specification.id for case in CASES if case.subject().algorithm.traits.transforms == "autograd"}
    assert saying == {name for name in IDS if name.startswith(AUTOGRAD)}


@each
def test_first_derivatives_equal_central_differences(loss: Any, name: str) -> None:
    point = Point(loss, name)
    expected = point.along(point.f)
    close(jvp(point.f, (point.at,), (point.way,))[1], expected)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(point.at, point.way)
        close(forward_ad.unpack_dual(point.f(dual)).tangent, expected)
    close(point.contracted(jacfwd(point.f)(point.at)), expected)
    close(point.contracted(jacrev(point.f)(point.at)), expected)
    pulled = (vjp(point.f, point.at)[1](point.cotangent)[0] * point.way).sum()
    close(pulled, (point.cotangent * expected).sum())
    close((grad(point.summed)(point.at) * point.way).sum(), (point.cotangent * expected).sum())


@each
def test_vmap_takes_the_samples_one_by_one(loss: Any, name: str) -> None:
    point = Point(loss, name)

    def one(scores: Tensor, target: Any, context: Any) -> Tensor:
        own = tree_map(lambda leaf: leaf[None], (target, context))
        return operation(loss, name, *own)(scores[None])[0]

    given = point.target, point.context
    close(vmap(one)(point.at, *given), point.f(point.at), 1e-12)
    if name != "loss":
        return
    slopes = vmap(grad(one))(point.at, *given)
    close((slopes * point.way).flatten(1).sum(-1), point.along(point.f))


@each
def test_second_derivatives_equal_central_differences_of_the_gradient(loss: Any, name: str) -> None:
    if loss.traits.order < 2:
        pytest.skip("of order 1")
    point = Point(loss, name)
    slope = grad(point.summed)
    expected = point.along(slope)
    close(point.contracted(hessian(point.summed)(point.at)), expected, 1e-5)
    close(jvp(slope, (point.at,), (point.way,))[1], expected, 1e-5)
    for outer in (jacfwd, jacrev):
        for inner in (jacfwd, jacrev):
            close(point.contracted(outer(inner(point.summed))(point.at)), expected, 1e-5)
