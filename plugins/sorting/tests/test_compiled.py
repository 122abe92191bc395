"""Compiled operators against the torch form, which computes everything where numba is not installed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from nlcore.compiled import torch_alone
from nlcore_sorting import FastSoftSort, NeuralSort, RankingLoss, SoftSort, SortingNetwork, ranks
from nlcore_sorting._distributions import DISTRIBUTIONS
from nlcore_sorting._network.cross_entropy import CrossEntropyKernel
from nlcore_sorting.config import Distribution, Network, Objective, Regularization

pytest.importorskip("numba")
# torch's own forward mode uses what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

Operator = Callable[..., Tensor]


def operators(loss: RankingLoss) -> list[str]:
    """The names of what is compiled of an algorithm."""
    if isinstance(loss, SortingNetwork):
        return ["permutation", "topk", "sort", "rank", "loss"]
    return [name for name in ("permutation", "sort", "rank") if hasattr(loss, name)]


def operation(loss: RankingLoss, name: str) -> Operator:
    """One of these, as a function of the scores and options."""
    if name == "topk":
        return lambda scores, dim=-1, **options: loss.topk(scores, min(3, scores.shape[dim]), dim=dim, **options)[1]
    if name != "loss":
        return getattr(loss, name)

    def value(scores: Tensor, dim: int = -1, mask: Tensor | None = None, descending: bool = False) -> Tensor:
        lists = scores.movedim(dim, -1)
        flat = lists.reshape(-1, lists.shape[-1])
        values = torch.arange(flat.numel(), dtype=torch.float64).mul(-7 if descending else 7).cos()
        return loss(flat, ranks(values.view(flat.shape)), mask=mask).view(lists.shape[:-1])

    return value


def derivative(operator: Operator, scores: Tensor) -> tuple[Tensor, Tensor, str]:
    """The value, a derivative of it, and the kernel that made the value, if one has."""
    leaf = scores.clone().requires_grad_()
    value = operator(leaf)
    weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view(value.shape).mul(7).cos()
    seen, pending = set(), [value.grad_fn]

    def maker(kernel: object) -> str:
        return type(kernel.network if isinstance(kernel, CrossEntropyKernel) else kernel).__name__

    while pending:
        node = pending.pop()
        if node is not None and node not in seen:
            seen.add(node)
            pending += [following for following, _ in node.next_functions]
    return (
        value.detach(),
        torch.autograd.grad((value * weights).sum(), leaf)[0],
        " ".join(maker(node.kernel) for node in seen if hasattr(node, "kernel")),
    )


def check(operator: Operator, scores: Tensor, tolerance: float) -> None:
    found, slope, maker = derivative(operator, scores)
    assert maker not in ("", "StridedNetwork")
    with torch_alone():
        expected, expected_slope, maker = derivative(operator, scores)
    assert maker in ("", "StridedNetwork")
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    scale = float(expected_slope.abs().max().clamp(min=1))
    torch.testing.assert_close(slope, expected_slope, rtol=tolerance, atol=tolerance * scale)
    torch.testing.assert_close(operator(scores), found, rtol=0, atol=0)  # nothing is kept for a derivative


def compiled_losses() -> list[RankingLoss]:
    return [
        SortingNetwork(network="odd_even", steepness=3.0),
        SortingNetwork(network="bitonic", steepness=3.0, objective="entries"),
        FastSoftSort(regularization_strength=0.7),
        FastSoftSort(regularization="kl", regularization_strength=0.7),
        NeuralSort(temperature=0.7),
        SoftSort(temperature=0.7),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exponentials(dtype: torch.dtype) -> None:
    from nlcore_sorting._compiled.bits import exponentials

    kind = torch.finfo(dtype)
    lowest = 1.1 * math.log(kind.smallest_normal)
    special = torch.tensor([0.0, -0.0, -kind.smallest_normal, -kind.eps, math.log(kind.smallest_normal), kind.min])
    near = torch.arange(-100, 101) * kind.eps - math.log(2) / 2  # where the exponent changes
    numbers = torch.cat(
        [torch.linspace(lowest, 0, 300_001, dtype=torch.float64), special, near, torch.tensor([-torch.inf])]
    )
    numbers = numbers.to(dtype)
    found = numbers.clone()
    exponentials(found.numpy())
    expected = numbers.double().exp()
    normal = expected >= kind.smallest_normal
    assert normal.any()
    assert not normal.all()
    error = (found.double() - expected).abs()
    units = 1 if dtype == torch.float32 else 2  # torch's own is not exact in float64
    assert (error <= units * kind.eps * expected)[normal].all()
    assert (error <= kind.smallest_normal)[~normal].all()
    assert (found[numbers == 0] == 1).all()
    assert (found[numbers < lowest] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 2, 7, 40, 256, 257, 700])
def test_arranged(n: int, dtype: torch.dtype, generator: torch.Generator) -> None:
    from nlcore_sorting._compiled.bits import arrange

    for values in (
        torch.randn(n, generator=generator, dtype=dtype) * 1e9,
        torch.randint(-2, 3, (n,), generator=generator).to(dtype),
        torch.tensor([0.0, -0.0], dtype=dtype).repeat(n)[:n],
    ):
        for sign in (1, -1):
            order, work = torch.empty(2, n, dtype=torch.int32)
            arrange(values.numpy(), sign, order.numpy(), work.numpy())
            assert order.tolist() == values.argsort(stable=True, descending=sign < 0).tolist()


@pytest.mark.parametrize("art_lambda", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_distributions_are_those_of_torch(distribution: Distribution, art_lambda: float) -> None:
    from nlcore_sorting._compiled import distributions as compiled

    swap, kind = DISTRIBUTIONS[distribution], compiled.KINDS[distribution]
    d = torch.tensor([-1e9, -40, -1, -0.3, -0.07, -1e-12, 0, 1e-12, 0.01, 0.3, 2, 1e4], dtype=torch.float64)
    d.requires_grad_()
    x = swap.activation(d, 2.5, art_lambda)
    slope = swap.slope(x) * swap.stretch(d, 2.5, art_lambda)
    (bend,) = torch.autograd.grad(slope.sum(), d, allow_unused=True, materialize_grads=True)
    expected = torch.stack([swap.swap(x), swap.swap(-x), slope, bend]).detach()
    rows = []
    for number in d.tolist():
        tail = compiled.tail(kind, abs(compiled.activation(kind, number, 2.5, art_lambda)))
        keep, move = compiled.weights(tail, number)
        options = (kind, number, 2.5, art_lambda)
        rows.append([move, keep, compiled.swap_slope(*options), compiled.swap_bend(*options)])
    found = torch.tensor(rows, dtype=torch.float64).mT
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(found[2:], expected[2:], rtol=1e-11, atol=1e-14)


every = pytest.mark.parametrize(
    ("algorithm", "name"),
    [(loss, name) for loss in compiled_losses() for name in operators(loss)],
    ids=lambda value: value if isinstance(value, str) else repr(value),
)


@pytest.mark.parametrize("n", [2, 5, 16, 37])
def test_networks_of_every_distribution(network_loss: SortingNetwork, n: int, generator: torch.Generator) -> None:
    scores = torch.randn(4, n, generator=generator, dtype=torch.float64)
    scores[0, 0] = scores[0, 1]
    for name in operators(network_loss):
        check(operation(network_loss, name), scores, 1e-11)


@pytest.mark.parametrize("distribution", ["logistic", "logistic_phi", "gaussian", "cauchy"])
def test_sharp_networks_overflow_nowhere(distribution: Distribution) -> None:
    scores = torch.tensor([[3.0, -2.0, 1e5, 0.0, -1e5], [0.0, 0.0, 1e-12, 0.0, 1.0]], dtype=torch.float64)
    loss = SortingNetwork(distribution=distribution, steepness=1e3)
    for name in operators(loss):
        check(operation(loss, name), scores, 1e-9)


@pytest.mark.parametrize("n", [70, 120])
@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
def test_long_networks(network: Network, n: int, generator: torch.Generator) -> None:
    loss = SortingNetwork(network=network, steepness=3.0)  # 120 · 60 comparators of 64 columns: more than one section
    check(loss.permutation, torch.randn(2, n, generator=generator, dtype=torch.float64), 1e-11)
    check(loss.permutation, torch.randn(2, n, generator=generator), 1e-4)


@pytest.mark.parametrize("strength", [1e-3, 0.3, 5.0, 1e3])
@pytest.mark.parametrize("n", [2, 15, 33, 200])
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_projections_of_every_strength(
    regularization: Regularization, n: int, strength: float, generator: torch.Generator
) -> None:
    loss = FastSoftSort(regularization=regularization, regularization_strength=strength)
    scores = torch.randn(5, n, generator=generator, dtype=torch.float64) + torch.tensor([[0.0, 0, 1e6, 0, 0]]).mT
    scores[3] = scores[3].round()  # many are equal
    scores[4] = scores[4].sort().values
    tolerance = 1e-9 / min(1.0, strength)  # as the offset is large against the strength
    for name in operators(loss):
        check(getattr(loss, name), scores, tolerance)


@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("n", [2, 15, 49, 90, 300])
@pytest.mark.parametrize("make", [NeuralSort, SoftSort])
def test_softmaxes_of_every_temperature(
    make: type[NeuralSort | SoftSort], n: int, temperature: float, generator: torch.Generator
) -> None:
    scores = torch.randn(5, n, generator=generator, dtype=torch.float64) + torch.tensor([[0.0, 0, 1e3, 0, 0]]).mT
    scores[3] = scores[3].round()  # many are equal
    scores[4, : n // 2] = torch.tensor([0.0, -0.0]).repeat(n)[: n // 2]
    check(make(temperature=temperature).permutation, scores, 1e-9)


@every
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)], ids=str
)
def test_precisions(
    algorithm: RankingLoss, name: str, dtype: torch.dtype, tolerance: float, generator: torch.Generator
) -> None:
    check(operation(algorithm, name), torch.randn(3, 9, generator=generator).to(dtype), tolerance)


@every
@pytest.mark.parametrize("shape", [(1,), (3, 1), (2,), (2, 3, 4), (1, 6)], ids=str)
def test_shapes(algorithm: RankingLoss, name: str, shape: tuple[int, ...], generator: torch.Generator) -> None:
    check(operation(algorithm, name), torch.randn(shape, generator=generator, dtype=torch.float64), 1e-11)


@every
def test_no_lists(algorithm: RankingLoss, name: str) -> None:
    scores = torch.zeros(0, 4, requires_grad=True)
    value = operation(algorithm, name)(scores)
    assert value.shape[0] == 0
    assert torch.autograd.grad(value.sum(), scores)[0].shape == (0, 4)


@every
def test_strides_and_dimensions(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(6, 5, 8, generator=generator, dtype=torch.float64)
    operator = operation(algorithm, name)
    check(partial(operator, dim=0), scores, 1e-11)
    check(operator, scores[:, :, ::2], 1e-11)
    check(lambda s: operator(s.transpose(0, 2)).transpose(0, 1), scores, 1e-11)
    check(operator, scores[:, :1].expand(6, 5, 8), 1e-11)


@every
def test_masks(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(7, 9, generator=generator, dtype=torch.float64)
    mask = torch.rand(7, 9, generator=generator) < 0.4
    mask[0], mask[1], mask[2] = False, torch.arange(9) > 0, True
    for descending in (False, True):
        check(partial(operation(algorithm, name), mask=mask, descending=descending), scores, 1e-11)


@every
def test_differences(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(operation(algorithm, name), scores)
    if algorithm.traits.order > 1:
        assert torch.autograd.gradgradcheck(operation(algorithm, name), scores)


@every
def test_transforms_are_those_of_torch(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    tangents = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    operator = operation(algorithm, name)

    def total(s: Tensor) -> Tensor:
        value: Tensor = operator(s)
        return (value * torch.linspace(0, 1, value.numel(), dtype=s.dtype).view(value.shape)).sin().sum()

    def pulled_together(s: Tensor) -> Tensor:
        value, pull = vjp(operator, s)
        return vmap(pull)(torch.ones(2, *value.shape, dtype=s.dtype))[0]

    def batched_gradients(s: Tensor) -> Tensor:
        leaf = s.clone().requires_grad_()
        value = operator(leaf)
        grads = torch.arange(1, 4, dtype=s.dtype).view(3, *[1] * value.ndim).expand(3, *value.shape)
        return torch.autograd.grad(value.square(), leaf, grads, is_grads_batched=True)[0]

    results: list[list[Tensor]] = []
    for context in (torch_alone, torch.enable_grad):
        with context():
            leaf = scores.clone().requires_grad_()
            (slope,) = torch.autograd.grad(total(leaf), leaf, create_graph=True)
            results.append([
                slope,
                torch.autograd.grad(slope.square().sum(), leaf)[0],
                grad(total)(scores),
                hessian(total)(scores),
                jacfwd(operator)(scores),
                jacrev(operator)(scores),
                vmap(jacrev(operator))(scores),
                vmap(operator)(tangents),
                vmap(lambda t: jvp(operator, (scores,), (t,))[1])(tangents),
                pulled_together(scores),
                batched_gradients(scores),
                torch.autograd.functional.jacobian(operator, scores, vectorize=True),
                torch.autograd.functional.hessian(total, scores),
            ])  # fmt: skip
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@every
def test_forward_mode_and_compilation(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores, tangent = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    operator = operation(algorithm, name)
    with torch.autograd.forward_ad.dual_level():
        pushed = torch.autograd.forward_ad.unpack_dual(
            operator(torch.autograd.forward_ad.make_dual(scores, tangent))
        ).tangent
    torch.testing.assert_close(pushed, jvp(operator, (scores,), (tangent,))[1])
    torch._dynamo.reset()
    together = torch.compile(lambda s: operator(s), fullgraph=True, backend="eager")(scores)
    torch.testing.assert_close(together, operator(scores))


def test_threads_are_left_alone(generator: torch.Generator) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for loss in compiled_losses():
            for name in operators(loss):
                derivative(operation(loss, name), torch.randn(4, 40, generator=generator))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["permutation", "topk", "sort", "rank", "loss"])
@pytest.mark.parametrize("network", ["odd_even", "bitonic"])
def test_a_network_keeps_its_comparators_alone(network: Network, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(2, 128, generator=generator, requires_grad=True)
    layers = {"odd_even": 128, "bitonic": 28}[network]
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        operation(SortingNetwork(network=network), name)(scores)
    assert sum(sizes.values()) <= (8 * layers + 64) * scores.numel()  # two float64 for each of n/2 comparators a layer


@pytest.mark.parametrize("objective", ["rows", "entries"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_lists_whose_probabilities_underflow(
    distribution: Distribution, objective: Objective, generator: torch.Generator
) -> None:
    loss = SortingNetwork(distribution=distribution, objective=objective)
    scores = torch.randn(6, 9, generator=generator, dtype=torch.float64)
    scores[::2] *= 1e4
    mask = torch.arange(9) >= torch.tensor([9, 9, 4, 4, 0, 1]).unsqueeze(-1)
    target = ranks(torch.randn(6, 9, generator=generator))
    if distribution in ("gaussian", "logistic"):
        assert float(loss(scores, target)[0]) > 1e3  # e⁻¹⁰⁰⁰ is no number
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        lists = scores.to(dtype)
        check(lambda s: loss(s, target), lists, tolerance)
        check(lambda s: loss(s, target, mask=mask), lists, tolerance)
        alone = torch.cat([loss(lists[i : i + 1], target[i : i + 1]) for i in range(6)])
        torch.testing.assert_close(loss(lists, target), alone, rtol=0, atol=0)


def test_wrong_order_keeps_its_digits() -> None:
    scores = torch.tensor([[40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = SortingNetwork(distribution="logistic", steepness=1.0)(scores, torch.tensor([[0, 1]])).sum()
    (slope,) = torch.autograd.grad(value, scores)
    correct = math.exp(-40) / (1 + math.exp(-40))
    torch.testing.assert_close(value.item(), 40 + math.log1p(math.exp(-40)), rtol=1e-14, atol=0)
    torch.testing.assert_close(slope[0, 0].item(), 1 - correct, rtol=1e-14, atol=0)


def test_a_numba_that_cannot_be_imported_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('numba needs another numpy')\n")
    code = (
        "import torch; from nlcore_sorting import SortingNetwork; s = SortingNetwork(); s.sort(torch.randn(2, 4)); "
        "t = torch.tensor([[0, 1], [1, 0]]); s(torch.randn(2, 2), t); s.hessian(torch.randn(2, 2), t)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("numba is installed, but not used: numba needs another numpy") == 1


@every
def test_unusual_tensors(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    operator = operation(algorithm, name)
    scores = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    check(operator, torch.complex(scores, -scores).conj().imag, 1e-11)  # a view that negates when it is read
    leaf = scores.clone().requires_grad_()
    value = operator(leaf)
    negated = torch.complex(value.detach(), value.detach()).conj().imag
    (slope,) = torch.autograd.grad(value, leaf, negated, retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad(value, leaf, -value.detach())[0])


@every
def test_the_default_device_does_not_matter(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores = torch.randn(3, 6, generator=generator, requires_grad=True)
    operator = operation(algorithm, name)
    if name == "loss":
        target = ranks(torch.randn(3, 6, generator=generator))
        operator = partial(algorithm, target=target)
    expected = operator(scores)
    (slope,) = torch.autograd.grad(expected.sum(), scores)
    with torch.device("meta"):
        found = operator(scores)
        (found_slope,) = torch.autograd.grad(found.sum(), scores)
    torch.testing.assert_close((found, found_slope), (expected, slope), rtol=0, atol=0)


@every
def test_recorded_operations_are_those_of_torch(algorithm: RankingLoss, name: str, generator: torch.Generator) -> None:
    scores, others = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    operator = operation(algorithm, name)
    recorded = make_fx(lambda s: operator(s))(scores)
    torch.testing.assert_close(recorded(others), operator(others))
