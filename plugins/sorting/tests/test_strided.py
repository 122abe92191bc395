"""Networks in torch alone with their own derivative, against the plain form that is differentiated automatically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, vjp, vmap

from nlcore_sorting import SortingNetwork, ranks
from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting.config import Distribution, Network
from nlcore_sorting.sorting_network import network_operator

# torch's own forward mode uses what torch deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),
    pytest.mark.usefixtures("alone"),
]

Operator = Callable[[Tensor], Tensor]
METHODS: tuple[Any, ...] = ("permutation", "topk", "sort", "rank", "loss of rows", "loss of entries")

every = pytest.mark.parametrize(("network", "method"), list(product(get_args(Network), METHODS)))


def own(loss: SortingNetwork, method: str) -> Operator:
    if method == "topk":
        return lambda scores: loss.topk(scores, min(3, scores.shape[-1]))[1]
    if not method.startswith("loss"):
        return getattr(loss, method)
    loss = replace(loss, objective=method.removeprefix("loss of "))
    return lambda scores: loss(*_lists(scores)).view(scores.shape[:-1])


def plain(loss: SortingNetwork, method: Any) -> Operator:
    if method == "topk":
        return lambda scores: network_operator("rows", scores, loss._rule, None, _top(scores))
    if method == "rank":
        return lambda scores: network_operator(method, scores, loss._rule).squeeze(-2)
    if not method.startswith("loss"):
        return lambda scores: network_operator(method, scores, loss._rule)
    loss = replace(loss, objective=method.removeprefix("loss of "))
    return lambda scores: loss._cross_entropy(*_lists(scores), None).view(scores.shape[:-1])


def _lists(scores: Tensor) -> tuple[Tensor, Tensor]:
    lists = scores.reshape(-1, scores.shape[-1])
    return lists, ranks(torch.arange(lists.numel(), dtype=torch.float64).mul(7).cos().view(lists.shape))


def _top(scores: Tensor) -> Tensor:
    n = scores.shape[-1]
    return torch.arange(n - 1, max(-1, n - 4), -1).expand(*scores.shape[:-1], -1)


def check(loss: SortingNetwork, method: str, scores: Tensor, tolerance: float) -> None:
    results = []
    for function in (own(loss, method), plain(loss, method)):
        leaf = scores.clone().requires_grad_()
        value = function(leaf)
        weights = torch.linspace(-9, 9, value.numel(), dtype=value.dtype).view(value.shape).cos()
        results.append((value.detach(), torch.autograd.grad((value * weights).sum(), leaf)[0], value.grad_fn))
    (value, slope, made), (expected, expected_slope, _) = results
    assert _is_strided(made)
    assert value.dtype == expected.dtype
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
    scale = float(expected_slope.abs().max().clamp(min=1))
    torch.testing.assert_close(slope, expected_slope, rtol=tolerance, atol=tolerance * scale)
    torch.testing.assert_close(own(loss, method)(scores), value, rtol=0, atol=0)  # nothing is kept


def _is_strided(node: object) -> bool:
    """Return whether a kernel, below views and copies, has made something."""
    while node is not None and not hasattr(node, "kernel"):
        node = node.next_functions[0][0]  # type: ignore[attr-defined]
    return node is not None


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11, 16, 21])
def test_every_distribution(network_loss: SortingNetwork, n: int, generator: torch.Generator) -> None:
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    scores[0, -1] = scores[0, 0]
    scores[1] = 0
    for method in METHODS:
        check(network_loss, method, scores, 1e-11)


@pytest.mark.parametrize("distribution", get_args(Distribution))
@every
def test_sharp_networks(network: Network, method: str, distribution: Distribution) -> None:
    scores = torch.tensor([[3.0, -2.0, 1e5, 0.0, -1e5], [0.0, 0.0, 1e-12, 0.0, 1.0]], dtype=torch.float64)
    check(SortingNetwork(network=network, distribution=distribution, steepness=1e3), method, scores, 1e-9)


@pytest.mark.parametrize("network", get_args(Network))
def test_small_numbers_beside_large_ones_are_sorted_exactly(network: Network) -> None:
    scores = torch.tensor([1e20, 1.0, -1e20, 2.0, 3.0, 1e10], dtype=torch.float64)
    network_loss = SortingNetwork(network=network, distribution="logistic", steepness=1e3)
    assert network_loss.sort(scores).tolist() == scores.sort().values.tolist()


@pytest.mark.parametrize("blocks", [(1, 1), (700, 900), (3000, 20000)], ids=str)
@pytest.mark.parametrize("lists", [1, 3, 30])
@pytest.mark.parametrize("network", get_args(Network))
def test_blocks(
    network: Network,
    lists: int,
    blocks: tuple[int, int],
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in zip(("_STATE", "_STEPS", "_NARROW"), (*blocks, 3), strict=True):
        monkeypatch.setattr(f"nlcore_sorting._network.mixing.{name}", value)
    scores = torch.randn(lists, 13, generator=generator, dtype=torch.float64)
    for method in ("permutation", "topk", "loss of rows", "loss of entries"):
        check(SortingNetwork(network=network, steepness=3.0), method, scores, 1e-11)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 1e-5)], ids=str
)
@every
def test_precisions(
    network: Network, method: str, dtype: torch.dtype, tolerance: float, generator: torch.Generator
) -> None:
    loss = SortingNetwork(network=network, steepness=3.0)
    scores = torch.randn(3, 9, generator=generator).to(dtype).requires_grad_()
    exact = scores.detach().double().requires_grad_()
    results = []
    for leaf in (scores, exact):
        value = own(loss, method)(leaf)
        assert value.dtype == leaf.dtype
        results.append((value.detach().double(), torch.autograd.grad(value.square().sum(), leaf)[0].double()))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("shape", [(1,), (2,), (6,), (3, 1), (2, 3, 4), (2, 1, 3, 5)], ids=str)
@every
def test_shapes(network: Network, method: str, shape: tuple[int, ...], generator: torch.Generator) -> None:
    loss = SortingNetwork(network=network, steepness=3.0)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    check(loss, method, scores, 1e-12)
    check(loss, method, scores.expand(2, *shape), 1e-12)
    check(loss, method, scores.repeat_interleave(2, -1)[..., ::2], 1e-12)


@every
def test_no_lists(network: Network, method: str) -> None:
    scores = torch.zeros(0, 4, requires_grad=True)
    value = own(SortingNetwork(network=network), method)(scores)
    assert value.shape[0] == 0
    assert torch.autograd.grad(value.sum(), scores)[0].shape == (0, 4)


@every
def test_differences(network: Network, method: str, generator: torch.Generator) -> None:
    function = own(SortingNetwork(network=network, steepness=3.0), method)
    scores = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, scores)
    assert torch.autograd.gradgradcheck(function, scores)


@every
def test_everything_else_is_that_of_the_plain_form(network: Network, method: str, generator: torch.Generator) -> None:
    scores = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    results: list[list[Tensor]] = []
    loss = SortingNetwork(network=network, steepness=3.0)
    for function in (own(loss, method), plain(loss, method)):

        def total(s: Tensor, function: Operator = function) -> Tensor:
            value = function(s)
            return (value * torch.linspace(0, 1, value.numel(), dtype=s.dtype).view(value.shape)).sin().sum()

        leaf = scores.clone().requires_grad_()
        value = function(leaf)
        (slope,) = torch.autograd.grad(total(leaf), leaf, create_graph=True)
        units = torch.arange(1, 4, dtype=torch.float64).view(3, *[1] * value.ndim).expand(3, *value.shape)
        pull = vjp(function, scores)[1]
        results.append([
            slope.detach(),
            torch.autograd.grad(slope.square().sum(), leaf)[0],
            torch.autograd.grad(value.square(), leaf, units, is_grads_batched=True)[0],
            grad(total)(scores),
            hessian(total)(scores),
            jacfwd(function)(scores),
            vmap(jacrev(function))(scores),
            vmap(pull)(units)[0],
            torch.autograd.functional.hessian(total, scores),
        ])  # fmt: skip
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("art_lambda", [0.0, 0.25, 1.0])
def test_the_slope_of_logistic_phi_keeps_its_digits(art_lambda: float) -> None:
    d = torch.tensor([0.0, 1e-12, 1e-3, 1e3, 1e7], dtype=torch.float64)
    exact = [
        float(
            7 * (Decimal("1e-10") + (1 - Decimal(art_lambda)) * m) / (m + Decimal("1e-10")) ** Decimal(art_lambda + 1)
        )
        for m in map(Decimal, d.tolist())
    ]
    found = DISTRIBUTIONS["logistic_phi"].stretch(d, 7.0, art_lambda)
    torch.testing.assert_close(found, torch.tensor(exact, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("distribution", get_args(Distribution))
def test_slopes_are_the_derivatives_of_the_weights(distribution: Distribution) -> None:
    swap = DISTRIBUTIONS[distribution]
    d = torch.tensor([-1e9, -40.0, -1.0, -0.2, -0.01, 0.0, 1e-12, 0.07, 0.3, 2.0, 1e4], dtype=torch.float64)
    d.requires_grad_()
    x = swap.activation(d, 2.5, 0.4)
    found = swap.slope(x) * swap.stretch(d, 2.5, 0.4)
    (expected,) = torch.autograd.grad(swap.swap(x).sum(), d)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-16)  # of 1 − σ nothing is left far out


@every
def test_a_network_keeps_its_differences_alone(network: Network, method: str) -> None:
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    loss = SortingNetwork(network=network)
    scores = torch.randn(2, 128, requires_grad=True)
    layers = 128 if network == "odd_even" else 28
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = own(loss, method)(scores)
    matrix = {"loss of entries": 8 * 128, "topk": 4 * 3}.get(
        method, 0
    )  # what the rest of the loss, or its values, need
    assert 0 < sum(sizes.values()) <= 8 * layers * 64 * 2 + (16 + matrix) * scores.numel()
    assert torch.autograd.grad(value.square().sum(), scores)[0].isfinite().all()
