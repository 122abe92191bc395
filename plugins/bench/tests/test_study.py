"""A study as data: what follows from its file, and what a mistake in it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nlcore.errors import ConfigError, NlcoreError
from nlcore_bench import Study, find, load, make_report, run_study, shipped
from nlcore_bench.run import open_store
from nlcore_bench.study import Candidate


def put(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *tables, last = path.split(".")
    place = content
    for table in tables:
        place = place.setdefault(table, {})
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("stepps", 5, r"the field stepps is unknown \(did you mean 'steps'\?\)"),
        ("steps", "five", "steps is 'five': input should be a valid integer"),
        ("steps", 0, "steps is 0"),
        ("methods.fisher.clipp", 1.0, r"the field methods.fisher.clipp is unknown \(did you mean 'clip'\?\)"),
        ("methods.supervised.loss.targt", "a", r"methods.supervised.loss.targt is unknown \(did you mean 'target'\?\)"),
        ("methods.fisher.curvature", 3, "methods.fisher.curvature is 3"),
        ("methods.fisher.curvature", {"Auto": {}, "Hessian": {}}, "methods.fisher.curvature"),
        ("methods.fisher.normalize", "all", "should be 'sample' or 'batch'"),
        ("methods.plain.dampings", [1.0], "no curvature that takes one"),
        ("methods.fisher.update", "a:b", "leave out curvature"),
        ("methods.plain.tasks", ["total"], r"tasks names 'total', .*\(did you mean 'totals'\?\)"),
        ("methods.plain.baseline", "fischer", r"\(did you mean 'fisher'\?\)"),
        ("baseline", "plane", r"\(did you mean 'plain'\?\)"),
        ("subject", "fishr", r"\(did you mean 'fisher'\?\)"),
        ("against", ["contrl"], "against names 'contrl'"),
        ("optimizers", {"a": {"kind": "adagrad"}}, "optimizers.a.kind is 'adagrad'"),
        ("learning_rates", [], "have 0 candidates"),
        ("learning_rates", [-1.0], r"learning_rates.0 is -1\.0"),
        ("methods.fisher.learning_rates", [0.1], "tune all with equally many"),
        ("tasks", {}, "tasks is {}"),
        ("id", "a b", "id is 'a b'"),
    ],
)
def test_a_mistake_is_named_with_its_field(content: dict[str, Any], path: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(put(content, path, value))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tasks.totals.id", "bench/total", r"no task 'bench/total' \(did you mean 'bench/totals'\?\)"),
        ("tasks.totals.id", "stranger/rooms", "is the plugin of 'stranger' installed"),
        ("tasks.totals.options.lenght", 3, r"unknown option 'lenght' .*did you mean 'length'"),
        ("methods.fisher.curvature", {"EmpiricalFischer": {}}, r"did you mean 'EmpiricalFisher'"),
        ("methods.fisher.curvature", {"EmpiricalFisher": {"dampin": 1.0}}, r"no option 'dampin' .*'damping'"),
        ("methods.fisher.curvature", {"EmpiricalFisher": {"damping": {"relativ": 1.0}}}, "did you mean 'Relative'"),
        ("methods.fisher.curvature", {"EmpiricalFisher": {"damping": -1.0}}, "damping"),
        ("methods.supervised.loss.id", "core/squared", "squared_error"),
        ("methods.supervised.loss.target", "digits", r"no target 'digits' \(supervised\): target, outputs"),
        ("methods.plain.measure", "loss", r"no measure 'loss' \(plain\): accuracy"),
        ("measures", ["loss"], "no task has the measure 'loss'"),
        ("methods.clipping.update", "nlcore_bench.absent:Update", "cannot resolve"),
        ("optimizers", {"adam": {"options": {"bettas": 1}}}, "does not take its options"),
    ],
)
def test_what_is_absent_is_named_before_a_folder_is_made(
    content: dict[str, Any], tmp_path: Path, path: str, value: Any, words: str
) -> None:
    study = load(put(content, path, value))
    with pytest.raises(NlcoreError, match=words):
        open_store(study, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_an_absent_optimiser_is_named_with_its_install_command(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    study = load(put(content, "optimizers", {"soap": {"kind": "soap"}}))
    with pytest.raises(ConfigError, match=r"pip install pytorch-optimizer"):
        open_store(study, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_report_needs_no_optimiser(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    study = load(put(content, "optimizers", {"soap": {"kind": "soap"}}))
    assert open_store(study, tmp_path / "runs", ()).runs == {}


def test_files_that_are_no_studies_are_named(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    for text, words in (
        ("id = ", "Invalid value"),
        ("\udcff", "cannot be read"),
        ("id = 'a'", "the field title is missing"),
    ):
        path.write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ConfigError, match=rf"study\.toml.*{words}"):
            find(str(path))
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read"):
        find(str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match=r"no study 'totls' \(did you mean 'totals'\?\)"):
        find("totls")


def test_the_shipped_studies_are_small_files_or_grids() -> None:
    studies = shipped()
    assert set(studies) >= {
        "default",
        "default_long",
        "default_outputs",
        "defaults",
        "half_inverse",
        "ltr",
        "paths",
        "ranking",
        "sequences",
        "totals",
    }
    assert all(origin.startswith("nlcore-bench") for origin, _ in studies.values())
    counts = {name: len(study.entries()) for name, (_, study) in studies.items()}
    assert studies["paths"][1].count(studies["paths"][1].entries()) == 43 * 9 + 43 * 5 + 24 * 5
    assert counts == {**counts, "default": 352, "default_outputs": 208, "default_long": 57}
    assert counts == {**counts, "defaults": 103, "ltr": 15, "paths": 43, "ranking": 8, "totals": 7}


def test_long_runs_are_rows_of_the_study_that_tunes_them() -> None:
    short, long = find("default"), find("default_long")
    tuned = {entry.key: entry for entry in short.entries()}
    for entry in long.entries():
        assert entry.curvature == tuned[entry.key].curvature
        methods = [one.method.model_dump(exclude={"tasks", "optimizers"}) for one in (entry, tuned[entry.key])]
        assert methods[0] == methods[1]
        assert long.steps_of(entry.task) == 10 * short.steps_of(entry.task)
        own, other = long.tasks[entry.task], short.tasks[entry.task]
        assert (own.id, own.options) == (other.id, other.options)


def test_losses_multiply_methods_and_each_has_its_own_baseline(content: dict[str, Any]) -> None:
    content["losses"] = {
        "sum": {"id": "sequences/prefix_sum", "label": "sum"},
        "blur": {"id": "bench/blur", "scale": 0.5},
    }
    study = load(put(content, "methods.fisher.losses", ["blur"]))
    entries = {entry.name: entry for entry in study.entries()}
    assert list(entries) == ["sum_plain", "sum_clipping", "supervised", "blur_plain", "blur_clipping", "blur_fisher"]
    assert entries["blur_fisher"].baseline == "blur_plain"
    assert entries["blur_fisher"].title == "blur, empirical Fisher"
    assert entries["blur_fisher"].candidates == (Candidate(5e-4), Candidate(5e-3))
    assert entries["sum_plain"].baseline is entries["supervised"].baseline is None
    assert [one.name for one in study.entries(methods=["blur"])] == ["blur_plain", "blur_clipping", "blur_fisher"]
    assert [one.name for one in study.entries(methods=["plain"])] == ["sum_plain", "blur_plain"]


def test_methods_run_under_the_optimisers_that_they_name(content: dict[str, Any]) -> None:
    content["optimizers"] = {"adam": {}, "muon": {"kind": "muon", "learning_rates": [0.1, 0.2]}}
    content["methods"]["clipping"]["optimizers"] = ["adam"]
    study = load(content)
    assert [(one.optimizer, one.name) for one in study.entries()] == [
        *(("adam", name) for name in ("plain", "clipping", "fisher", "supervised")),
        *(("muon", name) for name in ("plain", "fisher", "supervised")),
    ]
    assert study.entries(optimizers=["muon"])[0].candidates == (Candidate(0.1), Candidate(0.2))
    with pytest.raises(ConfigError, match=r"--optimizers: small has no 'moun' \(did you mean 'muon'\?\)"):
        study.entries(optimizers=["moun"])


def test_a_method_takes_the_curvature_of_the_task(content: dict[str, Any], tmp_path: Path) -> None:
    content["tasks"]["blur"] = {"id": "bench/totals", "options": {"algorithm": "bench/blur"}}
    content["tasks"]["totals"]["curvature"] = {"GaussNewton": {"max_ratio": 2.0}}
    content["methods"]["half"] = {"curvature": {"task": {"power": 0.5}}}
    with pytest.raises(ConfigError, match=r"methods\.half takes the curvature of tasks\.blur, which has no curvature"):
        load(content)
    study = load(put(content, "tasks.blur.curvature", "Hessian"))
    half = [entry.curvature for entry in study.entries(methods=["half"])]
    assert half == [{"GaussNewton": {"max_ratio": 2.0, "power": 0.5}}, {"Hessian": {"power": 0.5}}]
    assert {entry.curvature is None for entry in study.entries(methods=["plain"])} == {True}
    settings = study.settings({"totals": {"id": "a"}, "blur": {"id": "b"}})
    assert settings["methods"]["half"]["curvature"] == {"task": {"power": 0.5}}
    assert settings["tasks"]["blur"] == {"id": "b", "curvature": {"Hessian": {}}}
    open_store(study, tmp_path / "runs")
    with pytest.raises(ConfigError, match="no option 'powr'"):
        open_store(load(put(content, "methods.half.curvature", {"task": {"powr": 0.5}})), tmp_path / "others")


def test_dampings_multiply_learning_rates(content: dict[str, Any]) -> None:
    content["methods"]["fisher"] |= {"learning_rates": [1e-3], "dampings": [0.1, 10.0]}
    fisher = next(entry for entry in load(content).entries() if entry.name == "fisher")
    assert fisher.candidates == (Candidate(1e-3, 0.1), Candidate(1e-3, 10.0))


def test_a_task_may_have_its_own_number_of_steps(content: dict[str, Any], tmp_path: Path) -> None:
    content["tasks"]["short"] = {**content["tasks"]["totals"], "steps": 2}
    content |= {"learning_rates": [1e-3], "seeds": 1, "tuning_seeds": 1}
    study = load(content)
    assert [study.steps_of(task) for task in study.tasks] == [6, 2]
    assert [load({**content, "steps": 500}).quick().steps_of(task) for task in study.tasks] == [60, 2]
    assert study.settings({"totals": {}, "short": {}})["tasks"] == {"totals": {}, "short": {"steps": 2}}
    plan = run_study(study, tmp_path / "small", entries=study.entries(methods=["plain"]), quiet=True)
    assert {cell.task: run.steps for cell, run in plan.runs.items() if cell.phase == "report"} == {
        "totals": (4, 6),
        "short": (2,),
    }
    assert "6 steps (2 on short)" in make_report(plan).text()


def test_quick_has_one_seed_and_few_steps(study: Study) -> None:
    quick = find("totals").quick()
    assert (quick.seeds, quick.tuning_seeds, quick.steps) == (1, 1, 60)
    assert study.quick().steps == study.steps
