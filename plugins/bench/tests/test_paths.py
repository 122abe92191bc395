"""Maps with hidden costs: the terrain, the Warcraft files, the task, its picture and its command."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import nlcore
from nlcore.cli import main
from nlcore.errors import ConfigError
from nlcore_bench import Cell, find
from nlcore_bench._plugin import nlcore_studies
from nlcore_bench.config import warcraft_folder
from nlcore_bench.criteria import make_criterion
from nlcore_bench.data import warcraft
from nlcore_bench.data.terrain import COSTS, Maps, terrain
from nlcore_bench.parts import TaskPart
from nlcore_bench.run import train_cell
from nlcore_bench.study import Entry
from nlcore_bench.tasks import Paths
from nlcore_bench.tasks import paths as paths_task
from nlcore_bench.tasks.base import task_settings
from nlcore_shortest_paths import path_cost, shortest_path

STUDIES = list(nlcore_studies())


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Maps:
    """Small parts in place of the real ones."""
    maps = {part: terrain(20, seed=seed) for seed, part in enumerate(("train", "validation", "test"))}
    monkeypatch.setattr(paths_task, "terrain_part", maps.__getitem__)
    return maps["test"]


class Oracle(nn.Module):
    """Knows the costs of the maps, up to what is done to them."""

    def __init__(self, maps: Maps, change=lambda costs: costs) -> None:
        super().__init__()
        self.maps, self.change = maps, change

    def forward(self, images: Tensor) -> Tensor:
        same = [[bool(torch.equal(one, other)) for other in self.maps.images].index(True) for one in images]
        return self.change(self.maps.costs[same])


def test_terrain_is_what_it_says() -> None:
    maps = terrain(6, seed=3)
    assert maps.images.shape == (6, 96, 96, 3)
    assert maps.images.dtype == torch.uint8
    assert maps.costs.shape == maps.paths.shape == (6, 12, 12)
    assert set(maps.costs.unique().tolist()) <= set(torch.tensor(COSTS).tolist())
    assert torch.equal(maps.paths, shortest_path(maps.costs))
    # smooth: half of the neighbours are of one kind, where a fifth would be by chance
    assert (maps.costs[:, 1:] == maps.costs[:, :-1]).float().mean() > 0.5
    for again, same in ((terrain(6, seed=3), True), (terrain(6, seed=4), False)):
        assert torch.equal(maps.images, again.images) == same


def test_kinds_look_different() -> None:
    maps = terrain(50, seed=5)
    cells = maps.images.float().reshape(50, 12, 8, 12, 8, 3).mean((2, 4))
    colours = torch.stack([cells[maps.costs == cost].mean(0) for cost in COSTS])
    assert torch.pdist(colours).min() > 20


def test_an_oracle_is_right_and_a_constant_is_not(few: Maps) -> None:
    task = Paths()
    assert task.evaluate(Oracle(few), "test") == {"optimal": 100.0, "label": 100.0, "ratio": pytest.approx(100.0)}
    assert task.evaluate(Oracle(few, lambda costs: 3 * costs), "test")["optimal"] == 100.0
    flat = task.evaluate(Oracle(few, torch.ones_like), "test")
    diagonal = torch.eye(12).expand_as(few.costs)
    ratio = path_cost(few.costs, few.paths) / path_cost(few.costs, diagonal)
    assert flat["optimal"] == pytest.approx(100 * float((ratio >= 0.9999).float().mean()))
    assert flat["ratio"] == pytest.approx(100 * float(ratio.mean()), rel=1e-5)
    nothing = task.evaluate(Oracle(few, lambda costs: costs * torch.nan), "test")
    assert set(nothing.values()) == {0.0}


def test_a_tie_is_optimal_without_being_the_label(few: Maps) -> None:
    # a little dearer on the label's path alone: another path that costs the same is taken where there is one
    moved = Oracle(few, lambda costs: costs * (1 + 1e-5 * few.paths))
    found = Paths().evaluate(moved, "test")
    assert found["optimal"] == 100.0
    assert found["label"] < 100.0


def test_every_map_comes_once_an_epoch(few: Maps) -> None:
    batches = list(islice(Paths(batch=5).batches(1), 8))
    seen = torch.cat([batch.inputs for batch in batches])
    for epoch in (seen[:20], seen[20:]):
        assert len({bytes(image.numpy().tobytes()) for image in epoch}) == 20
    for batch in batches:
        assert torch.equal(batch.target, shortest_path(batch.outputs))


@pytest.mark.parametrize("entry", find("paths").entries(), ids=lambda entry: entry.name)
def test_every_method_trains(few: Maps, entry: Entry) -> None:
    study = find("paths").model_copy(
        update={"steps": 2, "tasks": {"paths": TaskPart(id="bench/paths", options={"batch": 4})}}
    )
    first = entry.candidates[0]
    cell = Cell("tune", entry.name, first.learning_rate, 0, first.damping, task="paths")
    assert train_cell(study, entry, cell).failure is None


def test_every_loss_of_the_plugin_is_there_with_the_curvatures_it_has() -> None:
    entries = {entry.name: entry for entry in find("paths").entries()}
    losses = {entry.loss.id for entry in entries.values() if entry.loss is not None}
    on_maps = {one for one in nlcore.names("shortest_paths") if nlcore.make(one).traits.event_ndim == 2}
    assert losses - {"core/squared_error-v1"} == on_maps
    for name, entry in entries.items():
        if entry.baseline is None and entry.loss is not None and name.endswith("_plain"):
            stem = name.removesuffix("_plain")
            assert f"{stem}_fisher" in entries
            loss = nlcore.make(entry.loss.id, **entry.loss.options)
            if isinstance(loss, nlcore.protocol.SuppliesHessian) and entry.loss.options.get("num_samples") != 1:
                assert {f"{stem}_hessian", f"{stem}_normalized_hessian"} & set(entries)
        assert len(set(entry.candidates)) == 9
        if entry.baseline is not None:
            rates = {one.learning_rate for one in entries[entry.baseline].candidates}
            assert {one.learning_rate for one in entry.candidates} <= rates


def test_the_reference_is_the_squared_error_of_the_costs() -> None:
    reference = find("paths").entries(methods=["true_costs"])[0]
    prediction, target = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = ((prediction - target) ** 2).sum() / 2 / 3
    criterion = make_criterion(nlcore.make("core/squared_error"), reference.method, flat=True)
    torch.testing.assert_close(criterion(prediction, target), expected)


def test_the_least_cost_keeps_all_walks_finite() -> None:
    task = Paths()
    model = task.network(0)
    nn.init.zeros_(model.layers[-1].weight)
    nn.init.constant_(model.layers[-1].bias, -4.0)
    costs = model(torch.zeros(2, 96, 96, 3, dtype=torch.uint8))
    torch.testing.assert_close(costs, torch.full((2, 12, 12), task.floor))
    loss = nlcore.make("shortest_paths/max_entropy-v1")
    assert bool(loss(costs, shortest_path(costs)).isfinite().all())


def test_the_command_writes_table_and_pictures(few: Maps, tmp_path: Path, capsys) -> None:
    path = tmp_path / "few.toml"
    text = next(one for one in STUDIES if one.name == "paths.toml").read_text()
    path.write_text(text.replace('id = "paths"', 'id = "few"').replace("steps = 240", "steps = 2"))
    words = ["bench", "run", str(path), "--seeds", "2", "--workers", "1", "--quiet", "--out", str(tmp_path)]
    assert main([*words, "--methods", "blackbox_plain", "blackbox_fisher", "true_costs"]) == 0
    shown = capsys.readouterr().out
    assert "equal time: difference to plain" in shown
    assert "Fisher is level with plain at equal time (" in " ".join(shown.split())
    for name in ("overview.png", "curves.png", "curves_time.png"):
        assert (tmp_path / "few" / name).read_bytes().startswith(b"\x89PNG")


def test_the_archive_is_checked_by_the_command(tmp_path: Path, monkeypatch, capsys) -> None:
    path = tmp_path / "maps.tar.gz"
    path.write_bytes(b"maps")
    assert main(["bench", "check", str(path)]) != 0
    assert "4 bytes in place of 915169563" in capsys.readouterr().err
    monkeypatch.setattr(warcraft, "_BYTES", 4)
    monkeypatch.setattr(warcraft, "_MD5", "7e94476d62556cc8501e3df5b8d6470d")
    assert main(["bench", "check", str(path)]) == 0
    assert "whole" in capsys.readouterr().out


class TestWarcraft:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for seed, prefix in enumerate(("train", "val", "test")):
            maps = terrain(4, seed=seed)
            np.save(tmp_path / f"{prefix}_maps.npy", maps.images.numpy())
            np.save(tmp_path / f"{prefix}_vertex_weights.npy", maps.costs.numpy().astype(np.float16))
            np.save(tmp_path / f"{prefix}_shortest_paths.npy", maps.paths.numpy().astype(np.uint8))
        return tmp_path

    def test_files_of_the_layout_are_read(self, folder: Path, monkeypatch) -> None:
        maps = Paths(folder=str(folder)).maps("validation")
        known = terrain(4, seed=1)
        assert torch.equal(maps.images, known.images)
        torch.testing.assert_close(maps.costs, known.costs, rtol=1e-3, atol=0)
        assert torch.equal(maps.paths, known.paths)
        monkeypatch.setenv(warcraft.VARIABLE, str(folder))
        assert warcraft_folder() == Paths().folder == str(folder)
        assert Paths(folder="elsewhere").folder == "elsewhere"

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("val_maps.npy", None, r"no such file.*10\.17617/3\.YJCQ5S.*--option folder=DIR"),
            ("val_maps.npy", b"broken", "not a NumPy file"),
            ("val_vertex_weights.npy", np.zeros((4, 12, 12), np.int16), "holds int16"),
            ("val_shortest_paths.npy", np.zeros((4, 6, 6), np.uint8), "whose shapes do not match"),
            ("val_shortest_paths.npy", np.ones((4, 12, 12), np.uint8), "val map 0 is not shortest"),
            ("val_shortest_paths.npy", np.zeros((4, 12, 12), np.uint8), "val map 0 is not shortest"),
            ("val_maps.npy", np.zeros((4, 48, 48, 3), np.uint8), "whose shapes do not match"),
            ("val_maps.npy", np.zeros((4, 96, 96, 3), np.uint16), "holds uint16 .* expected uint8 in 4 dimensions"),
            (
                "val_vertex_weights.npy",
                np.full((4, 12, 12), np.nan, np.float16),
                "map 0 has weights that are not finite",
            ),
            ("val_vertex_weights.npy", np.zeros((4, 12, 12), np.float16), "val map 0 has weights that are not finite"),
            ("val_vertex_weights.npy", np.array([{}]), "not a NumPy file"),
            ("val_maps.npy", b"PK\x03\x04 an archive", "not a NumPy file"),
            ("val_maps.npy", b"\x93NUMPY\x01\x00\x08\x00{'descr'", "not a NumPy file, or one that is cut off"),
        ],
    )
    def test_other_files_are_refused(self, folder: Path, name: str, content, message: str) -> None:
        path = folder / name
        if content is None:
            path.unlink()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content)
        with pytest.raises(ConfigError, match=message):
            warcraft.read_warcraft(str(folder), "validation")

    def test_a_file_with_fewer_or_more_bytes_than_its_header_says_is_refused(self, folder: Path) -> None:
        path = folder / "val_vertex_weights.npy"
        whole = path.read_bytes()
        for data, message in (
            (whole[:-1], "cut off"),
            (whole[:200], "cut off"),
            (whole + b"ab", "1154 bytes of data in place of 1152"),
            (whole.replace(b"(4, 12, 12)", b"(4, 12, 10**9)"[:11]), "not a NumPy file"),
            (whole.replace(b"(4, 12, 12)", b"(9**9,9,99)"), "not a NumPy file"),
            (whole.replace(b"(4, 12, 12), }  ", b"(4, 12, 99999)}"), "not a NumPy file"),
        ):
            path.write_bytes(data)
            with pytest.raises(ConfigError, match=rf"val_vertex_weights\.npy: .*{message}"):
                warcraft.read_warcraft(str(folder), "validation")

    def test_a_wrong_folder_is_named_before_a_folder_of_results_is_made(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "train_maps.npy").unlink()
        words = ["bench", "run", "paths", "--quick", "--option", f"folder={folder}", "--out", str(folder / "runs")]
        assert main([*words, "--workers", "1", "--quiet"]) == 2
        assert "train_maps.npy: no such file" in capsys.readouterr().err
        assert not (folder / "runs").exists()

    def test_archives_are_told_by_size_and_sum(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "warcraft_maps.tar.gz"
        with pytest.raises(ConfigError, match="no such file"):
            warcraft.check_archive(path)
        path.write_bytes(b"maps")
        with pytest.raises(ConfigError, match="4 bytes in place of 915169563"):
            warcraft.check_archive(path)
        monkeypatch.setattr(warcraft, "_BYTES", 4)
        with pytest.raises(ConfigError, match="download is damaged"):
            warcraft.check_archive(path)
        monkeypatch.setattr(warcraft, "_MD5", "7e94476d62556cc8501e3df5b8d6470d")
        warcraft.check_archive(path)


def test_settings_tell_tasks_apart() -> None:
    assert task_settings("bench/paths", {}) == {"id": "bench/paths-v1", "options": {"folder": None}}
    assert task_settings("bench/paths", {"batch": 3})["options"] == {"batch": 3, "folder": None}
