"""T-conorms against exact fractions, also where numerator and denominator vanish together."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore_shortest_paths import BellmanFord
from nlcore_shortest_paths._t_conorms import Conorm, conorm
from nlcore_shortest_paths.config import TConorm

torch.set_num_threads(1)

HAMACHER = (0.0, 1e-300, 1e-30, 1e-12, 1e-6, 1e-3, 0.3, 0.5, 1.0, 5.0, 1e6, 1e12)
ALL: list[tuple[TConorm, float]] = [("probabilistic", 1.0), ("yager", 1.0), *(("hamacher", p) for p in HAMACHER)]
NEAR: list[tuple[TConorm, float]] = [("probabilistic", 1.0), ("yager", 1.0), *(("hamacher", p) for p in HAMACHER[:7])]
DTYPES = (torch.float32, torch.float64)

each = pytest.mark.parametrize(("name", "p"), ALL)
near = pytest.mark.parametrize(("name", "p"), NEAR)
in_both = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def pairs(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return x and q from 0 to 1, close to both ends and at them."""
    eps = torch.finfo(dtype).eps
    inside = torch.tensor([0.0, 1e-30, 1e-10, 1e-3, 0.3, 0.5, 0.9, 0.999, 1 - 1e-6, 1.0], dtype=dtype)
    close = 1 - torch.tensor([0.5, 1.0, 2.0, 10.0, 1e3], dtype=dtype) * eps
    both = torch.cat([inside, close])
    x, q = torch.meshgrid(both, both, indexing="ij")
    return x.flatten(), q.flatten()


def exact(name: TConorm, x: float, q: float, p: float) -> Fraction:
    a, b, c = Fraction(x), Fraction(q), Fraction(p)
    if name == "yager":
        return min(Fraction(1), a + b)
    if name == "probabilistic":
        return a + b - a * b
    below = 1 + (c - 1) * a * b
    return Fraction(1) if below == 0 else (a + b + (c - 2) * a * b) / below


def exact_slope(name: TConorm, x: float, q: float, p: float) -> Fraction:
    """Return the derivative with respect to x."""
    a, b, c = Fraction(x), Fraction(q), Fraction(p)
    if name == "yager":
        return Fraction(int(a + b < 1))
    if name == "probabilistic":
        return 1 - b
    return (1 + (c - 1) * b) * (1 - b) / (1 + (c - 1) * a * b) ** 2


def derivatives(conorm: Conorm, x: Tensor, q: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the first and second derivatives by automatic differentiation."""
    leaves = x.clone().requires_grad_(), q.clone().requires_grad_()
    first = torch.autograd.grad(conorm(*leaves).sum(), leaves, create_graph=True)
    second = [
        one
        for slope in first
        if slope.requires_grad
        for one in torch.autograd.grad(slope.sum(), leaves, retain_graph=True, allow_unused=True)
        if one is not None
    ]
    return list(first), second


@each
@in_both
def test_values_are_exact(name: TConorm, p: float, dtype: torch.dtype) -> None:
    x, q = pairs(dtype)
    found = conorm(name, p)(x, q)
    eps = torch.finfo(dtype).eps
    expected = [float(exact(name, *point, p)) for point in zip(x.tolist(), q.tolist(), strict=True)]
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=4 * eps)
    assert (found >= 0).all()
    assert (found <= 1 + 4 * eps).all()
    one = torch.ones(1, dtype=dtype)
    assert conorm(name, p)(one, one) == 1
    for other in (0.0, 0.3, 1 - eps):  # 1 absorbs, 0 is neutral
        point = torch.full((1,), other, dtype=dtype)
        torch.testing.assert_close(conorm(name, p)(one, point), one, rtol=0, atol=eps)
        torch.testing.assert_close(conorm(name, p)(one * 0, point), point, rtol=0, atol=eps)


@each
@in_both
def test_slopes_are_exact_and_everything_is_finite(name: TConorm, p: float, dtype: torch.dtype) -> None:
    x, q = pairs(dtype)
    eps = torch.finfo(dtype).eps
    by_hand = conorm(name, p).slopes(x, q)
    first, second = derivatives(conorm(name, p), x, q)
    assert all(one.isfinite().all() for one in (*by_hand, *first, *second))
    # Nearer to x = q = 1 the slopes of p = 0 depend on the direction.
    clear = (1 - x > 1e4 * eps) | (1 - q > 1e4 * eps) if name == "hamacher" else (x + q - 1).abs() > 4 * eps
    points = list(zip(x[clear].tolist(), q[clear].tolist(), strict=True))
    for which, order in enumerate((lambda x, q: (x, q), lambda x, q: (q, x))):
        expected = torch.tensor([float(exact_slope(name, *order(*point), p)) for point in points], dtype=torch.float64)
        size = max(1.0, expected.abs().max().item())
        for found in (by_hand, first):
            torch.testing.assert_close(
                found[which][clear].double() / size, expected / size, rtol=0, atol=2e-4 + 4 * eps
            )


@near
@in_both
@pytest.mark.parametrize("loop", ["for", "while"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (2, 2, 2), (3, 3, 4), (8, 8, 8)])
def test_paths_are_shares_with_finite_derivatives(name, p, dtype, loop, shape) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(14)
    costs = (torch.rand(shape, generator=generator, dtype=torch.float64) + 0.2).to(dtype).requires_grad_()
    slack = 1e-5 if dtype == torch.float32 else 1e-12
    for beta in (1.0, 30.0, 1000.0):
        solver = BellmanFord(t_conorm=name, p=p, beta=beta, loop=loop)
        path = solver.path(costs)
        (gradient,) = torch.autograd.grad(path.square().sum(), costs, create_graph=True)
        assert path.isfinite().all()
        assert (path >= 0).all()
        assert (path <= 1 + slack).all()
        if loop == "for" and shape[1] == 1:  # there is one way only
            torch.testing.assert_close(path, torch.ones_like(path), rtol=0, atol=slack)
        assert gradient.isfinite().all()
        (product,) = torch.autograd.grad((gradient * costs.detach()).sum(), costs)
        assert product.isfinite().all()


@pytest.mark.parametrize("p", [0.0, 1e-12, 1e-6])
@pytest.mark.parametrize("loop", ["for", "while"])
def test_gradients_near_zero_equal_central_differences(p, loop) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(3)
    costs = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64) + 0.5
    way, weight = torch.randn(2, *costs.shape, generator=generator, dtype=torch.float64)
    solver, step = BellmanFord(p=p, beta=2.0, loop=loop), 1e-6

    def value(costs: Tensor) -> Tensor:
        return (solver.path(costs) * weight).sum()

    leaf = costs.clone().requires_grad_()
    found = (torch.autograd.grad(value(leaf), leaf)[0] * way).sum()
    expected = (value(costs + step * way) - value(costs - step * way)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("loop", ["for", "while"])
def test_an_absolute_value_can_be_differentiated_twice(loop) -> None:  # type: ignore[no-untyped-def]
    """The derivative of a sign is a zero without memory, which no kernel may write to."""
    generator = torch.Generator().manual_seed(4)
    costs = (torch.rand(2, 3, 3, generator=generator, dtype=torch.float64) + 0.5).requires_grad_()
    loss = BellmanFord(objective="l1", beta=3.0, loop=loop)
    target = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    (gradient,) = torch.autograd.grad(loss(costs, target).sum(), costs, create_graph=True)
    (found,) = torch.autograd.grad((gradient * costs.detach()).sum(), costs)

    def slope(scale: float) -> Tensor:
        leaf = (scale * costs.detach()).requires_grad_()
        return torch.autograd.grad(loss(leaf, target).sum(), leaf)[0]

    expected = (slope(1 + 1e-6) - slope(1 - 1e-6)) / 2e-6
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", [-1e-9, 2e12, torch.inf, torch.nan])
def test_a_parameter_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match="option 'p' was given"):
        BellmanFord(p=p)
