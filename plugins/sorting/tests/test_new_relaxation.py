"""A relaxation is added by its module, its configuration and its specification, and by nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nlcore_sorting

MODULE = '''"""BlurSort: SoftSort with squared distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore_sorting._lists import identity_at_padding, log_of_zero, real_items
from nlcore_sorting._permutation_loss import PermutationLoss
from nlcore_sorting.config import BlurSortConfig, Objective

__all__ = ["BlurSort"]


@dataclass(frozen=True, kw_only=True, repr=False)
class BlurSort(PermutationLoss):
    """Ranking loss whose matrix has the rows softmax_j(−(s_(i) − s_j)²/τ)."""

    temperature: float = 1.0
    objective: Objective = "rows"

    id: ClassVar[str] = "sorting/blursort-v1"
    config = BlurSortConfig

    def _log_permutation(self, scores: Tensor, length: Tensor | None = None) -> Tensor:
        key = scores if length is None else torch.where(real_items(length, scores.shape[-1]), scores, torch.inf)
        ordered = scores.gather(-1, key.argsort(dim=-1, stable=True))
        logits = -(ordered.unsqueeze(-1) - scores.unsqueeze(-2)).square() / self.temperature
        return identity_at_padding(logits, length, on=0.0, off=log_of_zero(scores.dtype)).log_softmax(dim=-1)

    def _limit(self, n: int, dtype: torch.dtype) -> float:
        return (torch.finfo(dtype).max / (16 * n)) ** 0.5 * min(1.0, self.temperature)
'''
CONFIG = '''

class BlurSortConfig(AlgorithmConfig):
    """Options of `BlurSort`."""

    temperature: float = Field(1.0, gt=0, description="Softness τ in squared units of the scores.")
    objective: Objective = Field("rows", description=_OBJECTIVE)
'''
SPEC = """    AlgorithmSpec(
        id="sorting/blursort-v1",
        factory="nlcore_sorting.blursort:BlurSort",
        config="nlcore_sorting.config:BlurSortConfig",
        summary="Ranking through a softmax over squared distances to the sorted scores",
        since="0.2.0",
    ),
)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A copy of the distribution with one more relaxation, found before the installed one."""
    folder = tmp_path_factory.mktemp("tree")
    package = folder / "nlcore_sorting"
    shutil.copytree(
        Path(str(nlcore_sorting.__file__)).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
    )
    (package / "blursort.py").write_text(MODULE)
    config, plugin = package / "config.py", package / "_plugin.py"
    config.write_text(config.read_text() + CONFIG)
    text = plugin.read_text()
    end = "    ),\n)\n"
    assert text.count(end) == 1, "the table of algorithms in _plugin.py is not where this test adds a row"
    plugin.write_text(text.replace(end, f"    ),\n{SPEC}"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def run(environment: dict[str, str], *command: str) -> str:
    ran = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_it_is_listed_and_exported(environment: dict[str, str]) -> None:
    code = (
        "import nlcore, nlcore_sorting; assert 'sorting/blursort-v1' in nlcore.names('sorting'); "
        "assert {'BlurSort', 'BlurSortConfig'} <= {*nlcore_sorting.__all__}; "
        "print(nlcore.make('sorting/blursort', temperature=0.5), nlcore_sorting.BlurSort())"
    )
    assert "BlurSort(temperature=0.5, objective='rows')" in run(environment, "-c", code)


def test_the_conformance_kit_passes(environment: dict[str, str]) -> None:
    run(environment, "-m", "nlcore", "check", "sorting/blursort")


def test_the_tests_of_this_folder_take_it_up(environment: dict[str, str]) -> None:
    here = Path(__file__).parent
    files = [str(here / name) for name in ("test_contract.py", "test_lists.py", "test_operators.py")]
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "blursort")
    found = run(environment, "-m", "pytest", *options, *files)
    assert int(found.rsplit(" passed", 1)[0].split()[-1]) > 20
