"""The naive ranking loss: the exact one in float64, and far from it where float32 rounds a wrong entry to 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore.errors import ConfigError
from nlcore_bench import load, run_study
from nlcore_bench.naive import NaiveEntries, naive_entries

RELAXATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "NeuralSort": ("sorting/neuralsort", {"temperature": 0.8}),
    "SoftSort": ("sorting/softsort", {"temperature": 0.6}),
    "logistic": ("sorting/diffsort", {"distribution": "logistic", "steepness": 2.0}),
    "Cauchy": ("sorting/diffsort", {"distribution": "cauchy", "steepness": 2.0}),
}


def pair(name: str) -> tuple[NaiveEntries, Any]:
    id, options = RELAXATIONS[name]
    exact = nlcore.make(id, objective="entries", **options)
    return NaiveEntries(exact), exact


def gradient(loss: Any, scores: Tensor, ranks: Tensor) -> Tensor:
    leaf = scores.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, ranks).sum(), leaf)[0]


@pytest.mark.parametrize("name", RELAXATIONS)
def test_it_is_the_exact_loss_where_nothing_is_rounded(name: str) -> None:
    naive, exact = pair(name)
    scores, ranks = naive.example(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, device="cpu")
    torch.testing.assert_close(naive(scores, ranks), exact(scores, ranks))
    torch.testing.assert_close(gradient(naive, scores, ranks), gradient(exact, scores, ranks))
    step, found = 1e-5, naive.hessian(scores, ranks)
    for item in range(scores.shape[1]):
        shift = torch.zeros_like(scores)
        shift[:, item] = step
        difference = gradient(naive, scores + shift, ranks) - gradient(naive, scores - shift, ranks)
        torch.testing.assert_close(found[:, item], difference / (2 * step), rtol=1e-4, atol=1e-6)


def test_float32_makes_a_gradient_explode_that_is_exact_from_logarithms() -> None:
    exact = nlcore.make("sorting/softsort", temperature=0.01, objective="entries")
    scores = torch.tensor([[0.0, gap] for gap in (0.05, 0.165, 0.17, 2.0)])
    ranks = torch.tensor([[1, 0]]).expand(4, 2)  # the wrong order
    naive, true = (gradient(loss, scores, ranks).norm(dim=1) for loss in (NaiveEntries(exact), exact))
    torch.testing.assert_close(true, true[:1].expand(4), rtol=0.05, atol=0.0)  # linear far from the right order
    ratio = naive / true
    assert ratio[0] == pytest.approx(1.0, rel=0.01)
    assert 0.5 < ratio[1] < 1.0  # the last digit of 1 − P
    assert ratio[2] > 1e4  # P of the wrong entry is 1, and 1e12 in place of 1/(1 − P) meets the small entry beside it
    assert ratio[3] < 0.01  # which is 0 here
    double = gradient(NaiveEntries(exact, torch.float64), scores, ranks).norm(dim=1)
    torch.testing.assert_close(double[:3], true[:3], rtol=1e-3, atol=0.0)  # float64 is exact up to gaps of 27 τ
    assert double[3] < 0.01 * true[3]


def test_its_update_is_the_gradient_of_the_method(content: dict[str, Any], tmp_path: Any) -> None:
    fisher = {"EmpiricalFisher": {"damping": {"relative": 0.1}}}
    update = "nlcore_bench.naive:naive_entries"
    content |= {"seeds": 1, "tuning_seeds": 1, "learning_rates": [1e-3]}
    content["tasks"] = {"ranking": {"id": "bench/ranking", "options": {"items": 3, "digits": 1, "batch": 8}}}
    loss = {"id": "sorting/neuralsort", "options": {"temperature": 1.0, "objective": "entries"}}
    content["methods"] = {
        "exact": {"loss": loss, "curvature": fisher},
        "naive": {"loss": loss, "update": update, "options": {"curvature": fisher}},
        "plain": {"loss": loss, "update": update},
    }
    runs = {cell.method: run for cell, run in run_study(load(content), tmp_path, quiet=True).runs.items()}
    assert runs["naive"].final == pytest.approx(runs["exact"].final, abs=1.0)  # at τ = 1 nothing is rounded
    assert {run.failure for run in runs.values()} == {None}


def test_a_loss_without_a_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no permutation matrix"):
        naive_entries(nlcore.make("sorting/fast_soft_sort"), torch.nn.Linear(1, 1))
