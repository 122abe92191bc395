"""Two gloo ranks under DistributedDataParallel against one process on the whole batch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import ranks

pytestmark = pytest.mark.filterwarnings("ignore:.*stands at padded outputs:nlcore.errors.NumericalWarning")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run both ranks once; return what each found, by case."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(Path(ranks.__file__))]
    running = [
        subprocess.Popen([*command, str(rank), str(folder)], stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def of_both(results, *key):
    """Return what both ranks found; a traceback in its place fails the test."""
    found = [rank.get(key, "did not get that far") for rank in results]
    assert not any(isinstance(one, str) for one in found), "\n".join(map(str, found))
    return found


@pytest.mark.parametrize("name", ranks.CASES)
def test_two_ranks_take_the_steps_of_one_process(results, name):
    expected = ranks.train(ranks.CASES[name])
    assert torch.isfinite(expected).all()
    assert expected.abs().amax() > 1e-4
    for found in of_both(results, "train", name):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().amax().item())


@pytest.mark.parametrize("name", ranks.INJECTED)
def test_the_injected_step_sees_the_fisher_matrix_of_all_ranks(results, name):
    expected = ranks.train_injected(ranks.INJECTED[name])
    for found in of_both(results, "inject", name):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().amax().item())


@pytest.mark.parametrize("name", [one for one in ranks.CURVATURES if "operator" not in one])
def test_the_matrix_of_one_rank_would_be_another(name):
    """The cases would notice a curvature of a rank's own samples alone."""
    case = ranks.CURVATURES[name]
    y, t = torch.randn(2, 8, case.outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, part = (ranks.newton_step(case.loss, y[:k], t[:k], case.curvature).direction[:4] for k in (8, 4))
    assert not torch.allclose(whole, part, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("prediction", "NonFiniteError", r"the prediction is NaN or infinite in 1 of 4 samples: 2"),
        ("loss", "NonFiniteError", r"the loss or its gradient is NaN or infinite.*1 of 4 samples: 1"),
        ("weight", "ContractError", "weight must be finite and not negative"),
        ("shape", "ShapeError", "both need the same batch in front"),
        ("raises", "ContractError", "The loss of rank 1 does not like it"),
    ],
)
@pytest.mark.parametrize("curvature", ["hessian", "fisher"])
def test_a_failure_on_one_rank_ends_the_step_on_both(results, curvature, kind, error, words):
    there, here = (found[f"{curvature}-{kind}"] for found in of_both(results, "failures", ""))
    assert there == ("NumericalError", there[1])
    assert "another rank could not take its step" in there[1]
    assert here[0] == error
    assert re.search(words, here[1])


@pytest.mark.parametrize("curvature", ["hessian", "fisher"])
def test_a_curvature_that_is_singular_is_so_on_both(results, curvature):
    for found in of_both(results, "failures", ""):
        assert found[f"{curvature}-singular"][0] == "SingularCurvatureError"


def test_one_samples_own_singular_curvature(results):
    there, here = (found["sample-singular"] for found in of_both(results, "failures", ""))
    assert there[0] == "NumericalError"
    assert here[0] == "SingularCurvatureError"
    assert "1 of 4 samples: 3" in here[1]


def test_a_fallback_on_one_rank(results):
    found = torch.cat(of_both(results, "fallback", ""), dim=1)
    torch.testing.assert_close(found, ranks.fallback(None), rtol=1e-9, atol=0)


def test_validation_on_one_rank_talks_to_none(results):
    values, _ = of_both(results, "validation", "")
    y, t = torch.randn(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    each = ranks.wavy(y, t)
    assert values == pytest.approx([each.mean().item(), each[:2].mean().item(), each.mean().item()])
