"""Wrong inputs and options: refused with the id, the values and what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError
from nlcore_ranking import ListLoss, PiRank, RankNet, Spearman, TopKClassification

SCORES = torch.zeros(2, 3)
GRADES = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 0.0]])
MASK = torch.zeros(2, 3, dtype=torch.bool)

WRONG: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (ShapeError, r"prediction has shape \[3\]", {"prediction": SCORES[0], "target": GRADES[0]}),
    (ShapeError, r"prediction has shape \[2, 0\]", {"prediction": SCORES[:, :0], "target": GRADES[:, :0]}),
    (ShapeError, r"prediction has shape \[1, 2, 3\]", {"prediction": SCORES[None]}),
    (ShapeError, r"target has shape \[1, 3\]", {"target": GRADES[:1]}),
    (ShapeError, r"mask has shape \[2, 2\]", {"mask": MASK[:, :2]}),
    (DtypeError, "prediction is torch.int64", {"prediction": SCORES.long()}),
    (DtypeError, "target is torch.bool", {"target": GRADES > 0}),
    (DtypeError, "mask is torch.float32", {"mask": MASK.float()}),
    (DeviceError, "target is on meta", {"target": GRADES.to("meta")}),
    (DeviceError, "mask is on meta", {"mask": MASK.to("meta")}),
    (ContractError, "prediction is a list", {"prediction": SCORES.tolist()}),
    (ContractError, "target is a list", {"target": GRADES.tolist()}),
    (ContractError, "mask is a str", {"mask": "first two"}),
    (NonFiniteError, "samples 1 are NaN", {"prediction": SCORES + torch.tensor([[0.0], [torch.nan]])}),
    (NonFiniteError, "samples 0, 1 are NaN or infinite", {"prediction": SCORES - torch.inf}),
    (NonFiniteError, "target of samples 0 is NaN", {"target": GRADES + torch.tensor([[torch.nan], [0.0]])}),
    (NonFiniteError, "target of samples 1 is NaN or infinite", {"target": GRADES + torch.tensor([[0.0], [torch.inf]])}),
]


@pytest.mark.parametrize(
    ("error", "message", "given"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_inputs(graded: ListLoss, error: type[Exception], message: str, given: dict[str, Any]) -> None:
    options = {"prediction": SCORES, "target": GRADES, "mask": None, **given}
    with pytest.raises(error, match=message) as caught:
        graded(options["prediction"], options["target"], mask=options["mask"])
    assert str(caught.value).startswith(graded.id + ":")


def test_negative_grades_are_refused_except_where_only_the_order_counts(graded: ListLoss) -> None:
    negative = GRADES - torch.tensor([[0.0, 0, 0], [0, 1, 0]])
    if isinstance(graded, Spearman):
        scores = torch.tensor([[0.3, 1.0, 2.0], [0.5, 0.1, 0.0]])
        assert torch.equal(graded(scores, negative), graded(scores, negative + 1))
        return
    with pytest.raises(ContractError, match=r"samples 1 has negative relevance; sample 1 is .2, -1, 0.") as caught:
        graded(SCORES, negative)
    assert str(caught.value).startswith(graded.id + ":")


@pytest.mark.parametrize(
    ("error", "message", "target", "mask"),
    [
        (ShapeError, r"\[batch\] = \[2\] is needed", torch.zeros(2, 3, dtype=torch.int64), None),
        (DtypeError, "int64 is needed", torch.zeros(2), None),
        (ContractError, "not a class among 0 … 2.*sample 1 has 3", torch.tensor([0, 3]), None),
        (ContractError, "sample 0 has -1", torch.tensor([-1, 2]), None),
        (
            ContractError,
            "padded; sample 1 has 2",
            torch.tensor([0, 2]),
            torch.tensor([[False] * 3, [False, False, True]]),
        ),
        (ContractError, "target is a list", [0, 1], None),
        (DeviceError, "target is on meta", torch.zeros(2, dtype=torch.int64, device="meta"), None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_classes(error: type[Exception], message: str, target: Any, mask: Any) -> None:
    with pytest.raises(error, match=message):
        TopKClassification()(SCORES, target, mask=mask)


def test_nonfinite_errors_carry_the_samples() -> None:
    with pytest.raises(NonFiniteError) as caught:
        RankNet()(SCORES + torch.tensor([[0.0], [torch.inf]]), GRADES)
    assert caught.value.samples == (1,)


def test_hessians_check_their_inputs_too(curved: Any) -> None:
    with pytest.raises(ContractError, match="negative relevance"):
        curved.hessian(SCORES, -GRADES)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (RankNet, {"sigma": 0.0}, "sigma"),
        (RankNet, {"normalise": True}, "did you mean 'normalize'"),
        (PiRank, {"block": 8}, "only when k is given"),
        (PiRank, {"block": 8, "k": 5}, "block ≥ 2·k"),
        (PiRank, {"k": 0}, "k"),
        (TopKClassification, {"p_k": (0.5, 0.6)}, "adds up to 1.1"),
        (TopKClassification, {"p_k": (1.5, -0.5)}, "not negative"),
        (TopKClassification, {"p_k": ()}, "p_k"),
        (TopKClassification, {"p_k": (0.5, 0.5), "candidates": 2}, "more candidates than k"),
    ],
)
def test_wrong_options(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=message):
        make.config(**options)
    if "normalise" not in options:
        with pytest.raises(ConfigError, match=message):
            make(**options)
