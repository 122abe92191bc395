"""Learning to rank: disjoint parts, metrics, masks and the command."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore_bench import Cell, Ltr, find
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.queries import Queries, files, table
from nlcore_bench.parts import TaskPart
from nlcore_bench.run import train_cell
from nlcore_bench.study import Entry

PARTS: tuple[PartName, ...] = ("train", "validation", "test")


def ragged_file(path: Path, queries: int, seed: int = 0) -> Path:
    """Write queries of 1 to 12 rows whose grade is told by the first of three features."""
    random = np.random.RandomState(seed)
    lines = []
    for query in range(queries):
        for _ in range(1 + query % 12):
            grade = random.randint(4)
            lines.append(f"{grade} qid:{query} 1:{grade + 0.2 * random.randn():.4f} 2:{random.randn():.4f} 3:{query}")
    path.write_text("\n".join(lines))
    return path


class Column(nn.Module):
    """Scores a row by one of its features."""

    def __init__(self, column: int, sign: float = 1.0) -> None:
        super().__init__()
        self.column, self.sign = column, sign

    def forward(self, features: Tensor) -> Tensor:
        return self.sign * features[..., self.column]


@pytest.mark.parametrize("name", ["diabetes", "digits"])
def test_the_parts_of_a_table_share_no_row_and_are_always_the_same(name: str) -> None:
    parts = table(name, items=8, groups=30)
    rows = {part: {tuple(row) for row in parts[part].features.tolist()} for part in PARTS}
    assert not rows["train"] & rows["validation"]
    assert not rows["train"] & rows["test"]
    assert not rows["validation"] & rows["test"]
    again = table(name, items=8, groups=30)
    for part in PARTS:
        assert torch.equal(parts[part].features, again[part].features)
        assert parts[part].starts.tolist() == list(range(0, 241, 8))
        assert set(parts[part].relevance.tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
        for start in range(0, 240, 8):
            assert len({tuple(row) for row in parts[part].features[start : start + 8].tolist()}) == 8


def test_columns_are_standardised_by_the_training_rows() -> None:
    parts = table("digits", items=10, groups=400)
    train_rows = parts["train"].features
    assert train_rows.mean(0).abs().max() < 1e-5
    spread = train_rows.std(0, correction=0)
    assert ((spread - 1).abs() < 1e-4).logical_or(spread == 0).all()
    assert parts["test"].features.isfinite().all()


def test_wrong_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose 'diabetes' or 'digits'"):
        table("wine", items=5, groups=2)
    with pytest.raises(ConfigError, match="part of diabetes has 88 rows"):
        table("diabetes", items=100, groups=2)


def test_rows_of_lists_are_padded_and_long_lists_sampled() -> None:
    queries = Queries(torch.zeros(7, 1), torch.zeros(7), torch.tensor([0, 2, 6, 7]))
    assert queries.rows(torch.tensor([1, 2])).tolist() == [[2, 3, 4, 5], [6, -1, -1, -1]]
    assert queries.lengths.tolist() == [2, 4, 1]
    seen = set()
    for seed in range(20):
        row = queries.rows(torch.tensor([1]), 2, torch.Generator().manual_seed(seed))[0].tolist()
        assert row == sorted(row)
        assert len(row) == 2
        seen |= set(row)
    assert seen == {2, 3, 4, 5}


def test_files_without_validation_and_test_are_split_by_query(tmp_path: Path) -> None:
    path = ragged_file(tmp_path / "train.txt", 40)
    parts = files(str(path), None, None)
    assert [len(parts[part]) for part in PARTS] == [24, 8, 8]
    names = [{round(x, 3) for x in parts[part].features[:, 2].tolist()} for part in PARTS]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    other = ragged_file(tmp_path / "test.txt", 5, seed=1)
    parts = files(str(path), None, str(other))
    assert [len(parts[part]) for part in PARTS] == [32, 8, 5]
    few = ragged_file(tmp_path / "few.txt", 2)
    with pytest.raises(ConfigError, match="2 queries, too few for training and validation and test"):
        files(str(few), None, None)
    with pytest.raises(ConfigError, match=r"nowhere\.txt cannot be read: No such file"):
        files(str(tmp_path / "nowhere.txt"), None, None)


def test_files_of_different_width_are_read_alike(tmp_path: Path) -> None:
    narrow, wide = tmp_path / "narrow.txt", tmp_path / "wide.txt"
    narrow.write_text("1 qid:1 1:1\n0 qid:1 1:2\n")
    wide.write_text("1 qid:1 4:1\n")
    parts = files(str(narrow), str(wide), str(wide))
    assert all(parts[part].features.shape[1] == 4 for part in PARTS)


def test_metrics_tell_a_good_column_from_its_opposite(tmp_path: Path) -> None:
    task = Ltr(data=str(ragged_file(tmp_path / "train.txt", 60)))
    for part in PARTS:
        good, bad = task.evaluate(Column(0), part), task.evaluate(Column(0, -1.0), part)
        assert min(good["ndcg10"], good["ndcg5"], good["pairs"]) > 97
        assert max(bad["ndcg10"], bad["ndcg5"]) < 75
        assert bad["pairs"] == pytest.approx(100 - good["pairs"], abs=1e-3)


def test_evaluation_in_pieces_is_evaluation_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Ltr(data=str(ragged_file(tmp_path / "train.txt", 60)))
    whole = task.evaluate(Column(1), "train")
    monkeypatch.setattr("nlcore_bench.tasks.ltr._PAIRS", 200)
    assert task.evaluate(Column(1), "train") == pytest.approx(whole)


def test_batches_of_ragged_lists_carry_a_mask_and_take_every_list_in_turn(tmp_path: Path) -> None:
    task = Ltr(data=str(ragged_file(tmp_path / "train.txt", 60)), batch=6, longest=9)
    batches = list(islice(task.batches(3), 6))
    masks = [batch.options["mask"] for batch in batches]
    lengths = sorted(int((~mask).sum(1)[i]) for mask in masks for i in range(6))
    assert lengths == sorted(task._part("train").lengths.clamp(max=9).tolist())
    for batch, mask in zip(batches, masks, strict=True):
        assert batch.inputs.shape == (*mask.shape, 3)
        assert not batch.inputs[mask].any()
    same, other = next(iter(task.batches(3))), next(iter(task.batches(4)))
    assert torch.equal(same.inputs, batches[0].inputs)
    assert not torch.equal(other.inputs, batches[0].inputs)
    assert not next(iter(Ltr(groups=20).batches(0))).options


@pytest.mark.parametrize("entry", find("ltr").entries(), ids=lambda entry: entry.name)
def test_every_method_learns_from_ragged_lists(tmp_path: Path, entry: Entry) -> None:
    options = {"data": str(ragged_file(tmp_path / "train.txt", 60)), "batch": 12, "hidden": [16]}
    part = TaskPart(id="bench/ltr", options=options)
    study = find("ltr").model_copy(update={"tasks": {"ltr": part}, "steps": 40})
    outcome = train_cell(study, entry, Cell("report", entry.name, 1e-2, 0, task="ltr"))
    assert outcome.failure is None
    assert outcome.final["pairs"] > 80


def test_settings_know_files_by_their_content(tmp_path: Path) -> None:
    one, copy = (ragged_file(tmp_path / name, 6) for name in ("one.txt", "copy.txt"))
    other = ragged_file(tmp_path / "other.txt", 7)
    assert Ltr(data=str(one)).settings() == Ltr(data=str(copy)).settings()
    assert Ltr(data=str(one)).settings() != Ltr(data=str(other)).settings()


WORDS = ["bench", "run", "ltr", "--quick", "--workers", "1", "--quiet"]


def test_the_command_ranks_a_table_and_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*WORDS, "--methods", "listnet"]
    assert main([*words, "--option", "table=digits", "--out", str(tmp_path / "table")]) == 0
    assert "NDCG@10" in capsys.readouterr().out
    data = str(ragged_file(tmp_path / "train.txt", 12))
    assert main([*words, "--option", f"data={data}", "--out", str(tmp_path / "file")]) == 0
    settings = json.loads((tmp_path / "file" / "ltr" / "settings.json").read_text())["settings"]
    assert len(settings["tasks"]["ltr"]["options"]["data"]) == 64
    assert main([*words, "--out", str(tmp_path / "table")]) == 1
    assert "tasks.ltr.options.table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--option", "test=x.txt"], "go with data"),
        (["--option", "table=wine"], "'diabetes' or 'digits'"),
        (["--methods", "listnett"], "did you mean 'listnet'"),
    ],
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], message: str) -> None:
    assert main([*WORDS, "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_wrong_is_named_by_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("1 qid:1 1:1\n1 1:1\n")
    words = [*WORDS, "--option", f"data={path}", "--out", str(tmp_path)]
    assert main(words) == 1
    assert "train.txt, line 2: '1 1:1' is not a row" in capsys.readouterr().err
    path.unlink()
    assert main(words) == 2
    assert "train.txt cannot be read: No such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_part_in_which_nothing_can_be_ranked_is_refused(tmp_path: Path) -> None:
    path, flat = ragged_file(tmp_path / "train.txt", 40), tmp_path / "flat.txt"
    flat.write_text("1 qid:1 1:1\n1 qid:1 1:2\n0 qid:2 1:1\n")
    for validation, test, part in ((str(flat), None, "validation"), (None, str(flat), "test")):
        with pytest.raises(
            ConfigError, match=rf"flat\.txt: no query of the {part} part has rows of different relevance"
        ):
            Ltr(data=str(path), validation=validation, test=test).settings()
