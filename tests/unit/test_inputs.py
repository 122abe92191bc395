"""The checks of inputs: what they let pass, what they refuse, and what they say."""

from __future__ import annotations

import doctest

import pytest
import torch

import nlcore.inputs
from nlcore.errors import ContractError, DeviceError, DtypeError, ShapeError
from nlcore.inputs import check_inputs, holds, read, working

SCORES = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("tensor", "needed"),
    [
        (SCORES, "[batch, n] floating"),
        (SCORES, "[batch, n]"),
        (SCORES, "[..., n] real"),
        (SCORES, "[...] float32"),
        (SCORES, "[batch, 3] same"),
        (torch.zeros(0, 3), "[batch, n] floating"),
        (torch.zeros(2, 0, 3), "[..., n] floating"),
        (torch.zeros(3), "[..., n] floating"),
        (torch.tensor(1.0), "[] floating"),
        (torch.zeros(2, dtype=torch.int64), "[batch] int64"),
        (torch.zeros(2, dtype=torch.bool), "[batch] bool"),
        (torch.zeros(2, dtype=torch.bfloat16), "[batch] floating"),
    ],
)
def test_what_fits_passes(tensor, needed):
    check_inputs("mine/loss", prediction=(tensor, needed))


@pytest.mark.parametrize(
    ("tensor", "needed", "error", "words"),
    [
        ([1.0], "[batch] floating", ContractError, ["is a list", "floating tensor [batch]"]),
        (SCORES.long(), "[batch, n] floating", DtypeError, ["torch.int64", "floating is needed", ".float()"]),
        (SCORES, "[batch, n] int64", DtypeError, ["torch.float32", "int64 is needed", ".long()"]),
        (SCORES > 0, "[batch, n] real", DtypeError, ["torch.bool", "real is needed"]),
        (SCORES, "[batch] floating", ShapeError, ["[4, 3], but [batch] is needed"]),
        (SCORES, "[batch, h, w] floating", ShapeError, ["[4, 3]", "[batch, h, w] with h ≥ 1 and w ≥ 1"]),
        (SCORES[:, :0], "[batch, n] floating", ShapeError, ["[4, 0]", "n ≥ 1"]),
        (SCORES, "[batch, 2] floating", ShapeError, ["[4, 3]", "[batch, 2]"]),
        (torch.tensor(1.0), "[..., n] floating", ShapeError, ["[]", "[..., n]"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tensor, needed, error, words):
    with pytest.raises(error) as caught:
        check_inputs("mine/loss", prediction=(tensor, needed))
    for word in ["mine/loss: prediction", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("target", "needed", "error", "words"),
    [
        (SCORES[:2], "[batch, n]", ShapeError, ["[2, 3]", "[batch, n] = [4, 3]", "as in scores [4, 3]"]),
        (SCORES[:1], "[..., n]", ShapeError, ["[1, 3]", "[..., n] = [4, 3]"]),
        (SCORES[0], "[batch]", ShapeError, ["[3]", "[batch] = [4]"]),
        (SCORES.double(), "[batch, n] same", DtypeError, ["float64", "torch.float32 is needed", ".to(torch.float32)"]),
        (SCORES.to("meta"), "[batch, n]", DeviceError, ["target is on meta", "scores on cpu", ".to(device)"]),
        (None, "[batch, n]", ContractError, ["target is a NoneType"]),
    ],
)
def test_the_others_are_compared_with_the_first(target, needed, error, words):
    scores = "[..., n]" if "..." in needed else "[batch, n]"
    with pytest.raises(error) as caught:
        check_inputs("mine/loss", scores=(SCORES, scores), target=(target, needed))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("target", [[0], SCORES, torch.zeros(3, dtype=torch.int64)])
def test_advice_ends_the_message(target):
    with pytest.raises(ContractError, match=r"Make it with ranks\.$"):
        check_inputs(
            "mine/loss", scores=(SCORES, "[batch, n]"), target=(target, "[batch] int64", "Make it with ranks.")
        )


@pytest.mark.parametrize("needed", ["batch, n", "[batch, n] flowting", "[batch; n]", "[n, ...]", "[batch, n] typing"])
def test_a_shape_that_cannot_be_read_is_the_authors_fault(needed):
    with pytest.raises(ValueError, match=r"write"):
        check_inputs("mine/loss", prediction=(SCORES, needed))


def test_a_condition_holds_everywhere_or_not():
    assert holds(SCORES == 0)
    assert holds(SCORES[:0] == 1)
    assert not holds(SCORES.index_fill(1, torch.tensor([2]), torch.nan) == 0)


def test_what_cannot_be_read_is_not_known_to_be_wrong():
    assert holds(SCORES.to("meta") == 1)
    assert read(SCORES.to("meta").max()) is None
    answers = []
    torch.vmap(lambda row: answers.extend([holds(row == 1), read(row.max())]) or row)(SCORES)
    assert answers == [True, None]


def test_a_number_is_read():
    assert read(torch.tensor(2.5)) == 2.5
    assert read(torch.tensor(False)) is False


def test_a_compiled_loss_is_one_graph():
    @torch.compile(fullgraph=True, backend="eager")
    def loss(scores):
        check_inputs("mine/loss", scores=(scores, "[batch, n] floating"))
        assert holds(scores > 0)
        return working(scores).sum(dim=1)

    assert loss(SCORES).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
    ],
)
def test_the_working_precision(dtype, computed):
    assert working(SCORES.to(dtype)).dtype == computed


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(nlcore.inputs).failed == 0
