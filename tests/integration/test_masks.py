"""Padded batches of every registered loss against its samples alone, one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import nlcore
from nlcore.capabilities import read_capabilities
from nlcore.newton import GaussNewton, Hessian
from nlcore.protocol import GaussNewtonSplit, SuppliesGradient, SuppliesHessian
from nlcore.registry import default
from nlcore.registry.discovery import RESERVED
from nlcore.testing import cases

torch.set_num_threads(1)

_CORNER = "a map says where its goal is by its size: of a padded one nobody knows which cell that is"
_PARAMETERS = "a mask marks controls; with predicted parameters the context has the lengths"
_RECORD = "where a record has a gap, a simulator cannot know whether time stood still or nobody looked"
_SOLVED = "the solver decides about all elements: one that must not be chosen gets a cost above all others"
_FIXED = "its matrix fixes the number of elements"
REFUSED = {
    "bench/blur-v1": _RECORD,
    "bench/drag-v1": _RECORD,
    "decisions/assignment-v1": _SOLVED,
    "decisions/dag_path-v1": _SOLVED,
    "decisions/graph_path-v1": _SOLVED,
    "decisions/grid_edges-v1": _SOLVED,
    "decisions/knapsack-v1": _SOLVED,
    "decisions/linear_program-v1": _SOLVED,
    "decisions/spanning_tree-v1": _SOLVED,
    "decisions/top_k-v1": _SOLVED,
    "sequences/linear_operator-v1": _FIXED,
    "sequences/rollout-v1": _PARAMETERS,  # and with predicted controls it takes one
    "shortest_paths/bellman_ford-v1": _CORNER,
    "shortest_paths/blackbox-v1": _CORNER,
    "shortest_paths/central_difference-v1": _CORNER,
    "shortest_paths/imle-v1": _CORNER,
    "shortest_paths/max_entropy-v1": _CORNER,
    "shortest_paths/negative_identity-v1": _CORNER,
    "shortest_paths/perturbed_fenchel_young-v1": _CORNER,
    "shortest_paths/smoothed_algorithm-v1": _CORNER,
    "shortest_paths/smoothed_loss-v1": _CORNER,
    "shortest_paths/spo_plus-v1": _CORNER,
}
"""Losses that take no mask, as they cannot know what padding means, each with its reason."""

IDS = [name for name in nlcore.names() if name.partition("/")[0] in RESERVED]  # without bench where it is not installed
CASES = [case for name in IDS for case in cases(default.registry.spec(name), every_choice=True)]
MASKED = [case for case in CASES if case.subject().traits.takes_mask]
GARBAGE = {"numbers": 1e3, "nan": torch.nan, "inf": -torch.inf}

each = pytest.mark.parametrize("case", MASKED, ids=lambda case: case.name)
any_garbage = pytest.mark.parametrize("garbage", GARBAGE)


def test_every_loss_takes_a_mask_or_says_why_not() -> None:
    refusing = {case.specification.id for case in CASES if not case.subject().traits.takes_mask}
    assert refusing == set(REFUSED) & set(IDS)
    assert len(MASKED) >= 40


class Ragged:
    """A batch whose samples are an example's, each cut to other outputs; the last one is padding throughout.

    Of predictions with channels whole time steps are cut. A nested target belongs to the whole sample, and stays.

    Attributes:
        prediction: [batch, m] or [batch, m, channels], garbage at padded outputs.
        target: Likewise; a nested one is garbage where the whole sample is padded.
        mask: Like the prediction.
        alone: Of every sample with outputs, what is kept: the prediction [1, k], the target, and the indices [k].
    """

    def __init__(self, loss: Any, garbage: str, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.whole = getattr(loss, "supervise", None) == "last"  # the target belongs to the sample, not to its outputs
        whole = loss.example(8, generator=generator, dtype=torch.float64, device="cpu")
        batch, m, *channels = whole[0].shape
        order = torch.rand(batch, m, generator=generator)
        nested = not isinstance(whole[1], Tensor)
        if not nested and whole[1].ndim == 1:
            order[torch.arange(batch), whole[1]] = -1.0  # the true class is kept
        length = torch.tensor([m, 1, 2, 3, m - 1, m, 2, 0])
        padded = order.argsort(1).argsort(1) >= length[:, None]
        self.mask = padded.reshape(*padded.shape, *[1] * len(channels)).expand(whole[0].shape)
        self.alone = []
        for row, prediction in enumerate(whole[0]):
            kept, target = (~padded[row]).nonzero()[:, 0], tree_map(lambda leaf, row=row: leaf[row], whole[1])
            if len(kept):
                known = target if nested or self.whole else cut(target, kept)
                self.alone.append((prediction[kept][None], tree_map(lambda leaf: leaf[None], known), kept))
        self.prediction = whole[0].masked_fill(self.mask, GARBAGE[garbage])

        def spoilt(leaf: Tensor) -> Tensor:
            where = padded if not nested and not self.whole and leaf.ndim == 2 else padded.all(1)
            result = leaf.clone()
            result[where] = GARBAGE[garbage] if leaf.is_floating_point() else 99
            return result

        self.target = tree_map(spoilt, whole[1])


def cut(target: Tensor, kept: Tensor) -> Tensor:
    """Return what is known of a sample of which some outputs are kept."""
    if target.ndim == 0:
        return (kept == target).nonzero()[0, 0]
    return target[kept] if target.is_floating_point() else target[kept].argsort().argsort()


def pulled(loss: Any, prediction: Tensor, target: Any, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_()
    value = loss(leaf, target, **options)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def gauss_newton(loss: Any, prediction: Tensor, target: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Return outer(inner) and JᵀH_outer J, [batch, m, m], by differentiation of the two."""
    features = loss.inner(prediction, **options).detach()
    jacobian = torch.autograd.functional.jacobian(lambda y: loss.inner(y, **options).sum(0), prediction)
    jacobian = jacobian.flatten(0, -3).movedim(1, 0)  # [batch, features, m]
    flat = features.flatten(1)

    def slope(f: Tensor) -> Tensor:
        return torch.autograd.grad(
            loss.outer(f.reshape(features.shape), target, **options).sum(), f, create_graph=True
        )[0].sum(0)

    hessian = torch.autograd.functional.jacobian(slope, flat.requires_grad_()).movedim(1, 0)
    value = loss.outer(features, target, **options).detach()
    return value, jacobian.mT @ hessian @ jacobian


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def same_matrix(found: Tensor, expected: Tensor, kept: Tensor) -> None:
    """Compare the matrix of a padded sample [m, m] with that of the sample alone, [1, k, k], k outputs of it."""
    whole = torch.zeros_like(found)
    channels = expected.shape[1] // len(kept)
    kept = (channels * kept[:, None] + torch.arange(channels)).flatten()
    whole[kept[:, None], kept] = expected[0]
    same(found, whole)


@each
@any_garbage
def test_value_and_gradient_are_those_of_the_samples_alone(case: Any, garbage: str) -> None:
    loss = case.subject().algorithm
    for seed in range(3):
        batch = Ragged(loss, garbage, seed)
        value, gradient = pulled(loss, batch.prediction, batch.target, mask=batch.mask)
        assert (gradient[batch.mask] == 0).all()
        assert value[-1] == 0
        for row, (prediction, target, kept) in enumerate(batch.alone):
            expected = pulled(loss, prediction, target)
            same(value[row : row + 1], expected[0])
            same(gradient[row, kept][None], expected[1])
        with torch.no_grad():
            same(loss(batch.prediction, batch.target, mask=batch.mask), value)


@each
@any_garbage
def test_supplied_derivatives_are_those_of_the_samples_alone(case: Any, garbage: str) -> None:
    loss = case.subject().algorithm
    batch = Ragged(loss, garbage)
    given = (batch.prediction, batch.target)
    assert not isinstance(loss, SuppliesGradient)  # to be compared here, once one does
    if isinstance(loss, SuppliesHessian):
        found = loss.hessian(*given, mask=batch.mask)  # type: ignore[call-arg]
        assert (found[-1] == 0).all()
        for row, (prediction, target, kept) in enumerate(batch.alone):
            same_matrix(found[row], loss.hessian(prediction, target), kept)
    if isinstance(loss, GaussNewtonSplit):
        value, found = gauss_newton(loss, *given, mask=batch.mask)
        same(value, loss(*given, mask=batch.mask))
        assert (found[-1] == 0).all()
        for row, (prediction, target, kept) in enumerate(batch.alone):
            same_matrix(found[row], gauss_newton(loss, prediction, target)[1], kept)


@each
def test_second_derivatives_are_those_of_the_samples_alone(case: Any) -> None:
    loss = case.subject().algorithm
    if loss.traits.order < 2:
        pytest.skip("of order 1")
    batch = Ragged(loss, "nan")

    def hessians(prediction: Tensor, target: Any, **options: Any) -> Tensor:
        def slope(y: Tensor) -> Tensor:
            return torch.autograd.grad(loss(y, target, **options).sum(), y, create_graph=True)[0].sum(0)

        size = prediction[0].numel()
        rows = torch.autograd.functional.jacobian(slope, prediction)
        return rows.movedim(prediction.ndim - 1, 0).reshape(len(prediction), size, size)

    found = hessians(batch.prediction, batch.target, mask=batch.mask)
    assert (found[-1] == 0).all()
    for row, (prediction, target, kept) in enumerate(batch.alone):
        same_matrix(found[row], hessians(prediction, target), kept)


@each
@any_garbage
def test_directions_are_those_of_the_samples_alone(case: Any, garbage: str) -> None:
    loss = case.subject().algorithm
    if "split" in read_capabilities(loss).supplies:
        curvature: Any = GaussNewton(damping=0.3, aggregate="sample", max_ratio=None)
    elif loss.traits.order >= 2:
        curvature = Hessian(damping=0.3, aggregate="sample", max_ratio=None)
    else:
        pytest.skip("of order 1, and without a split")
    batch = Ragged(loss, garbage)
    leaf = batch.prediction.clone().requires_grad_()
    nlcore.NewtonLoss(loss, curvature, reduction="none")(leaf, batch.target, mask=batch.mask).sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad[batch.mask] == 0).all()
    for row, (prediction, target, kept) in enumerate(batch.alone):
        own = prediction.clone().requires_grad_()
        nlcore.NewtonLoss(loss, curvature, reduction="none")(own, target).sum().backward()
        assert own.grad is not None
        torch.testing.assert_close(leaf.grad[row, kept], own.grad[0], rtol=1e-6, atol=1e-8)
