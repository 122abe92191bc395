"""The per-sample forms of the guide to torch's losses have torch's mean, and train a Newton step."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from pages import DOCS, blocks

import nlcore

PAGE = DOCS / "guides/torch-losses.md"


def _functions():
    """Return the functions that the page defines, by name."""
    namespace = {}
    for block in blocks(PAGE):
        if block.language == "python" and "def train" not in block.code:
            exec(compile(block.code, str(PAGE), "exec"), namespace)
    return namespace


FUNCTIONS = _functions()


def _cases():
    """Return prediction, target and torch's own mean of each loss."""
    make = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=make)

    values, signs = (normal(8, 5), normal(8, 5)), normal(8).sign()
    scores, classes = normal(8, 4), torch.randint(4, (8,), generator=make)
    counts = torch.randint(9, (8, 5), generator=make).float()
    binary = (normal(8, 5) > 0).float()
    two, pair, triplet = normal(8, 2, 3), normal(8, 2), normal(8, 3, 6)
    moments, logs = normal(8, 2, 5), normal(8, 4).log_softmax(-1)
    sequences = normal(8, 12, 6)
    label_lengths = torch.randint(1, 4, (8,), generator=make)
    labels = {
        "labels": torch.randint(1, 6, (8, 3), generator=make),
        "input_lengths": torch.full((8,), 12),
        "label_lengths": label_lengths,
    }
    return {
        "mse_loss": (*values, F.mse_loss),
        "l1_loss": (*values, F.l1_loss),
        "smooth_l1_loss": (*values, F.smooth_l1_loss),
        "huber_loss": (*values, F.huber_loss),
        "poisson_nll_loss": (values[0], counts, F.poisson_nll_loss),
        "gaussian_nll_loss": (moments, values[1], lambda p, t: F.gaussian_nll_loss(p[:, 0], t, p[:, 1].exp())),
        "cross_entropy": (scores, classes, F.cross_entropy),
        "nll_loss": (logs, classes, F.nll_loss),
        "binary_cross_entropy_with_logits": (values[0], binary, F.binary_cross_entropy_with_logits),
        "multi_margin_loss": (scores, classes, F.multi_margin_loss),
        "multilabel_soft_margin_loss": (values[0], binary, F.multilabel_soft_margin_loss),
        "soft_margin_loss": (values[0], values[1].sign(), F.soft_margin_loss),
        "hinge_embedding_loss": (values[0].abs(), values[1].sign(), F.hinge_embedding_loss),
        "kl_div": (logs, normal(8, 4).softmax(-1), lambda p, t: F.kl_div(p, t, reduction="batchmean")),
        "cosine_embedding_loss": (two, signs, lambda p, t: F.cosine_embedding_loss(p[:, 0], p[:, 1], t)),
        "triplet_margin_loss": (triplet, torch.zeros(8), lambda p, _: F.triplet_margin_loss(*p.unbind(1))),
        "margin_ranking_loss": (pair, signs, lambda p, t: F.margin_ranking_loss(p[:, 0], p[:, 1], t)),
        "ctc_loss": (
            sequences,
            labels,
            lambda p, t: F.ctc_loss(
                p.log_softmax(-1).transpose(0, 1), t["labels"], t["input_lengths"], t["label_lengths"]
            ),
        ),
    }


CASES = _cases()


@pytest.mark.parametrize("name", CASES)
def test_the_mean_is_that_of_torch(name):
    prediction, target, mean = CASES[name]
    losses = FUNCTIONS[name](prediction, target)
    assert losses.shape == (8,)
    torch.testing.assert_close(losses.mean(), mean(prediction, target))


@pytest.mark.parametrize("curvature", [None, nlcore.EmpiricalFisher()], ids=["default", "Fisher"])
@pytest.mark.parametrize("name", CASES)
def test_a_newton_step_lowers_the_loss(name, curvature):
    prediction, target, mean = CASES[name]
    outputs = prediction.clone().requires_grad_()
    criterion = nlcore.NewtonLoss(FUNCTIONS[name], curvature)
    value = criterion(outputs, target)
    value.backward()
    torch.testing.assert_close(value, mean(prediction, target))
    assert outputs.grad.isfinite().all()
    moved = prediction - 0.01 * outputs.grad / outputs.grad.abs().max()
    assert FUNCTIONS[name](moved, target).mean() < value


def test_the_table_has_every_loss():
    table = re.findall(r"^\| (.+?) \| (.+?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    rows = [torch_name for torch_name, _ in table if torch_name.startswith("`")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(CASES)
    assert all(hasattr(F, name) for name in named)
