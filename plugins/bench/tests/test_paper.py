"""The studies of the paper: their full size, what a picture along the damping shows, and classification."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import image
from torch import Tensor, nn

from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore_bench import Classification, Ranking, find, load, make_report, run_study, shipped
from nlcore_bench.data.digits import digits
from nlcore_bench.readers import ConvReader
from nlcore_bench.sizes import full
from nlcore_bench.tasks.ranking import exchanged

PAPER = [id for id in shipped() if id.startswith("paper_")]


@pytest.mark.parametrize("id", PAPER)
def test_a_study_of_the_paper_has_its_full_size(id: str) -> None:
    small, whole = find(id), full(find(id))
    assert whole.steps >= 20 * small.steps
    assert whole.seeds >= 10
    assert [one.key for one in whole.entries()] == [one.key for one in small.entries()]
    assert whole.minutes is None
    for name, part in small.tasks.items():
        assert part.options.keys() <= whole.tasks[name].options.keys()
        assert whole.tasks[name].options != part.options


def test_a_study_of_one_size_has_no_full_one(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"small has one size: its file has no table \[full\]"):
        full(load(content))
    assert main(["bench", "run", "totals", "--full"]) == 2
    assert "Leave out --full" in capsys.readouterr().err


def test_the_table_full_replaces_values_and_merges_tables(content: dict[str, Any]) -> None:
    content["minutes"] = 5
    content["full"] = {"steps": 900, "learning_rates": [0.5], "tasks": {"totals": {"options": {"batch": 70}}}}
    study = full(load(content))
    assert (study.steps, study.learning_rates, study.seeds, study.minutes) == (900, (0.5,), 2, None)
    assert study.tasks["totals"].options == {"length": 3, "batch": 70, "hidden": [8]}
    content["full"]["sted"] = 1
    with pytest.raises(ConfigError, match=r"the field sted is unknown \(did you mean"):
        full(load(content))


def test_a_full_study_without_its_data_names_the_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "run", "paper_ranking", "--full", "--quiet", "--out", str(tmp_path)]) == 2
    assert "--option folder=DIR" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_picture_along_the_damping(content: dict[str, Any], tmp_path: Path) -> None:
    content |= {"along_damping": True, "learning_rates": [1e-3]}
    del content["methods"]["clipping"], content["methods"]["supervised"]
    for value in (0.1, 1.0, 10.0):
        content["methods"][f"fisher_{value}"] = {"curvature": {"EmpiricalFisher": {"damping": value}}}
    del content["methods"]["fisher"]
    report = make_report(run_study(load(content), tmp_path, quiet=True))
    assert list(report.pictures) == ["dampings.png"]
    assert image.imread(io.BytesIO(report.pictures["dampings.png"])).shape[0] > 300


def test_the_convolutions_are_those_of_the_paper() -> None:
    network = ConvReader(784, 4, (32, 64), 64)
    shapes = [tuple(one.shape) for one in network.parameters() if one.ndim > 1]
    assert shapes == [(32, 1, 5, 5), (64, 32, 5, 5), (64, 64 * 7 * 28), (1, 64)]
    assert network(torch.zeros(2, 3, 784 * 4)).shape == (2, 3)
    few = ConvReader(64, 1, (2, 3), 5, outputs=10)
    assert few(torch.zeros(4, 64)).shape == (4, 10)
    picture = torch.arange(64 * 2.0).view(1, -1)
    seen: list[Tensor] = []
    pair = ConvReader(64, 2, (2, 3), 5)
    pair.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pair(picture)
    assert torch.equal(seen[0][0, 0], picture.view(8, 16))


def test_exchanged_ranks_stay_permutations_with_one_pair_wrong() -> None:
    ranks = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0)).argsort(1)
    found = exchanged(ranks, 0.3, torch.Generator().manual_seed(1))
    assert torch.equal(found.sort(1).values, torch.arange(5).expand(4000, 5))
    wrong = (found != ranks).sum(1)
    assert set(wrong.tolist()) == {0, 2}
    assert (wrong == 2).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(exchanged(ranks, 0.0, torch.Generator()), ranks)


def test_only_training_lists_are_wrong_and_lists_of_another_length_are_measured() -> None:
    noisy, clean = Ranking(exchanged=1.0, batch=4, transfer=7), Ranking(batch=4)
    for part, same in (("train", False), ("validation", True)):
        one, other = (next(iter(task.batches(3, part))) for task in (noisy, clean))
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.target, other.target) == same
    found = noisy.evaluate(noisy.network(0), "test")
    assert list(found) == [one.name for one in noisy.measures] == ["exact", "items", "exact_transfer", "items_transfer"]
    assert found["exact_transfer"] <= found["exact"]


def test_classification_counts_the_pictures_that_are_right() -> None:
    task = Classification(hidden=())
    batch = next(iter(task.batches(0)))
    assert batch.target.dtype == torch.int64
    assert task.loss(task.network(0)(batch.inputs), batch.target).shape == (100,)

    class Three(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.eye(10)[3].expand(len(images), 10)

    labels = digits().test.labels
    assert task.evaluate(Three(), "test")["accuracy"] == pytest.approx(100 * (labels == 3).float().mean().item())
    assert Classification(reader="conv", hidden=(8,)).network(0)(batch.inputs).shape == (100, 10)
