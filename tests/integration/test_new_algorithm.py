"""A loss added to a copy of the ranking plugin by a module, a configuration and a specification, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the catalogue draws; matplotlib is not installed")

ROOT = Path(__file__).parents[2]
ID = "ranking/pairwise_exponential-v1"

MODULE = '''
"""PairwiseExponential: an exponential loss for every pair of items whose order is known."""

from __future__ import annotations

from typing import final

from torch import Tensor

from nlcore_ranking._base import SMOOTH, ListLoss
from nlcore_ranking._lists import Lists
from nlcore_ranking.config import PairwiseExponentialConfig

__all__ = ["PairwiseExponential"]


@final
class PairwiseExponential(
    ListLoss, id="ranking/pairwise_exponential-v1", config=PairwiseExponentialConfig, traits=SMOOTH
):
    """Exponential loss of every pair: ℓ = Σ over r_i > r_j of exp(−tanh(s_i − s_j)/temperature).

    prediction: [batch, n], the scores; target: [batch, n], the relevance.
    """

    temperature: float = 1.0

    def _loss(self, lists: Lists) -> Tensor:
        margins = (lists.scores.unsqueeze(2) - lists.scores.unsqueeze(1)).tanh() / self.temperature
        return (lists.preferred() * (-margins).exp()).sum(dim=(1, 2))
'''

CONFIG = '''

class PairwiseExponentialConfig(AlgorithmConfig):
    """Options of `PairwiseExponential`."""

    temperature: float = Field(1.0, ge=0.1, description="Scale of the margins.")
'''

SPEC = """    (
        "pairwise_exponential",
        "PairwiseExponential",
        "Exponential loss of every pair of items with different relevance",
        "RankBoost, Freund et al., JMLR 2003 (the idea)",
    ),
)
"""

CATALOGUE = """
import sys
from pathlib import Path
import generate
from nlcore.registry.default import registry
registry.names = lambda namespace=None: [sys.argv[2]]  # one page takes long enough
generate.main(Path(sys.argv[1]), registry)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sources of a plugin with one more loss: one new file, two that are appended to."""
    source = tmp_path_factory.mktemp("ranking") / "src"
    shutil.copytree(ROOT / "plugins/ranking/src", source, ignore=shutil.ignore_patterns("__pycache__"))
    package = source / "nlcore_ranking"
    (package / "pairwise_exponential.py").write_text(MODULE, encoding="utf-8")
    with (package / "config.py").open("a", encoding="utf-8") as config:
        config.write(CONFIG)
    text = (package / "_plugin.py").read_text(encoding="utf-8")
    end = "    ),\n)\n"
    assert text.count(end) == 1, "the table of losses in _plugin.py is not where this test adds a row"
    (package / "_plugin.py").write_text(text.replace(end, f"    ),\n{SPEC}"), encoding="utf-8")
    return source


def run(tree: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(ROOT / "docs")]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_is_listed(tree: Path) -> None:
    assert "ranking/pairwise_exponential" in run(tree, "-m", "nlcore", "list", "ranking")


def test_it_is_made(tree: Path) -> None:
    code = f"import nlcore; print(nlcore.make('{ID}', temperature=2.0), nlcore.make('{ID}').id)"
    assert run(tree, "-c", code) == f"PairwiseExponential(temperature=2.0) {ID}\n"


def test_it_is_checked(tree: Path) -> None:
    assert "pairwise_exponential" in run(tree, "-m", "nlcore", "check", ID)


@pytest.mark.slow
def test_it_is_documented_and_drawn(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "algorithms"
    run(tree, "-c", CATALOGUE, str(folder), ID)
    page = (folder / "ranking/pairwise_exponential-v1.md").read_text(encoding="utf-8")
    assert "ℓ = Σ over r_i > r_j of exp(" in page
    assert "Scale of the margins." in page
    assert "pairwise_exponential-v1" in (folder / "index.md").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        picture = folder / f"ranking/pairwise_exponential-v1-{scheme}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_plugins_own_tests_run_it(tree: Path) -> None:
    code = "import conftest; print([type(loss).__name__ for loss in conftest.GRADED])"
    tests = ROOT / "plugins/ranking/tests"
    assert "PairwiseExponential" in run(tree, "-c", f"import sys; sys.path.insert(0, {str(tests)!r}); {code}")
