"""The commands check, new, doctor and completion, and what all commands have in common."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nlcore.cli import main
from nlcore.cli.arguments import parsed_options
from nlcore.cli.commands import COMMANDS
from nlcore.cli.parsers import core_command
from nlcore.errors import ConfigError
from nlcore.registry import Registry, default

LOSSES = """
import torch
from dataclasses import dataclass
from pydantic import Field
from typing import Literal
from nlcore import AlgorithmConfig
from nlcore.builtin.losses import SquaredError


class ScaledConfig(AlgorithmConfig):
    scale: float = Field(1.0, gt=0, description="Factor.")
    norm: Literal["whole", "half"] = Field("whole", description="What is squared.")


@dataclass(frozen=True, kw_only=True)
class Scaled(SquaredError):
    scale: float = 1.0
    norm: str = "whole"

    def __call__(self, prediction, target, *, generator=None):
        factor = self.scale * (1.0 if self.norm == "whole" else 0.5)
        return factor * super().__call__(prediction, target)

    def hessian(self, prediction, target, *, generator=None):
        factor = self.scale * (1.0 if self.norm == "whole" else 0.5)
        return factor * super().hessian(prediction, target)


class Reduced(SquaredError):
    def __call__(self, prediction, target, *, generator=None):
        return super().__call__(prediction, target).mean()
"""

PLUGIN = """
from nlcore.plugin import AlgorithmSpec, hookimpl

@hookimpl
def nlcore_algorithms():
    return [
        AlgorithmSpec(id="{name}/scaled-v1", factory="{here}:Scaled", config="{here}:ScaledConfig", summary="scaled"),
        AlgorithmSpec(id="{name}/reduced-v1", factory="{here}:Reduced", summary="reduced"),
    ][:{count}]
"""


@pytest.fixture
def run(shelf, monkeypatch, capsys):
    """Return a function that runs a command line and returns exit code, output and errors."""

    def call(*words, **environ):
        for name in [one for one in os.environ if one.startswith("NLCORE_")]:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(default, "registry", Registry(entry_points=lambda: shelf.entry_points, environ=environ))
        monkeypatch.setenv("COLUMNS", "100")
        code = main(list(words))
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def losses(shelf):
    here = shelf.module(LOSSES)
    shelf.add("mixed", PLUGIN.format(name="mixed", here=here, count=2), distribution="mixed-losses")
    shelf.add("fine", PLUGIN.format(name="fine", here=here, count=1), distribution="fine-losses")
    return shelf


class TestCheck:
    def test_a_sound_algorithm(self, run, losses):
        code, out, err = run("check", "fine/scaled")
        assert (code, err) == (0, "")
        assert out.splitlines()[0].startswith("ok      fine/scaled-v1: ")
        assert out.splitlines()[-1] == "passed: 1 configuration"

    def test_a_faulty_one_ends_with_the_names_of_the_checks(self, run, losses):
        code, out, err = run("check", "mixed/reduced")
        assert (code, err) == (1, "")
        assert out.splitlines()[0].startswith("FAILED  mixed/reduced-v1: ")
        assert "for a prediction of shape [1, 5] the loss returned shape []" in " ".join(out.split())
        assert out.splitlines()[-1] == "failed: shape.value"

    def test_all_of_a_plugin_with_every_choice(self, run, losses):
        code, out, _ = run("check", "fine")
        assert code == 0
        assert "ok      fine/scaled-v1(norm='half'): " in out
        assert out.splitlines()[0].startswith("ok      plugin fine: 2 passed, 1 skipped")
        assert out.splitlines()[-1] == "passed: 2 configurations"
        code, out, _ = run("check", "mixed")
        assert code == 1
        assert out.splitlines()[-1] == "failed: mixed/reduced-v1: shape.value"

    def test_options(self, run, losses):
        code, out, _ = run("check", "fine/scaled", "-o", "scale=.5", "norm=half")
        assert code == 0
        assert out.startswith("ok      fine/scaled-v1(scale=0.5, norm='half'): ")
        code, out, _ = run("check", "fine/scaled", "--every-choice", "--option", "scale=2")
        assert "fine/scaled-v1(scale=2, norm='half')" in out

    def test_verbose_lists_every_check(self, run, losses):
        code, out, _ = run("check", "mixed/reduced", "--verbose")
        assert code == 1
        text = " ".join(out.split())
        assert "shape.example passed `example(batch_size)` returns a prediction" in text
        assert "newton.finite blocked builds on shape.value" in text
        assert "mask.nothing skipped traits.takes_mask is False" in text

    def test_as_json(self, run, losses):
        code, out, err = run("check", "mixed", "--json")
        assert (code, err) == (1, "")
        assert {one["algorithm"]: one["failed"] for one in json.loads(out)} == {
            "plugin mixed": [],
            "mixed/reduced-v1": ["shape.value"],
            "mixed/scaled-v1": [],
            "mixed/scaled-v1(norm='half')": [],
        }

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("fine/scald",), "there is no algorithm 'fine/scald'. Did you mean 'fine/scaled'?"),
            (("fin",), "no installed plugin has the namespace 'fin' (did you mean 'fine'?)"),
            (("fine/scaled", "-o", "scal=2"), "unknown option 'scal' (given 2) (did you mean 'scale'?)"),
            (("fine/scaled", "-o", "scale=-1"), "option 'scale' was given -1"),
            (("mixed/reduced", "-o", "scale=1"), "mixed/reduced-v1 has no options, but was given scale"),
            (("fine", "-o", "scale=1"), "--option needs an id"),
            (("fine/scaled", "-o", "scale"), "--option scale: write NAME=VALUE"),
        ],
    )
    def test_wrong_use_is_told_before_anything_runs(self, run, losses, words, message):
        code, out, err = run("check", *words)
        assert (code, out) == (2, "")
        assert message in err

    @pytest.mark.parametrize("stop", ["SystemExit(0)", "GeneratorExit()", "type('Mute', (BaseException,), {})()"])
    def test_an_algorithm_cannot_end_the_program(self, run, shelf, stop):
        here = shelf.module(
            LOSSES.replace(
                "return super().__call__(prediction, target).mean()", f"print('noise')\n        raise {stop}"
            )
        )
        shelf.add("mixed", PLUGIN.format(name="mixed", here=here, count=2))
        code, out, err = run("check", "mixed", "--json")
        found = {one["algorithm"]: one["failed"] for one in json.loads(out)}
        assert code == 1
        assert "noise" in err
        assert found["mixed/scaled-v1"] == []
        assert "shape.value" in found["mixed/reduced-v1"]

    def test_a_constructor_cannot_end_the_program(self, run, shelf):
        here = shelf.module(f"{LOSSES}    def __init__(self):\n        raise SystemExit(0)")
        shelf.add("mixed", PLUGIN.format(name="mixed", here=here, count=2))
        code, out, _ = run("check", "mixed/reduced", "--verbose")
        assert code == 1
        assert "it cannot be made: SystemExit: 0" in " ".join(out.split())

    def test_options_that_cannot_be_had_fail_their_own_algorithm(self, run, losses):
        here = losses.module("raise SystemExit(0)")
        losses.add("gone", PLUGIN.format(name="gone", here=here, count=2))
        code, out, _ = run("check", "gone")
        assert code == 1
        assert out.splitlines()[-1] == "failed: gone/reduced-v1: plugin.makes; gone/scaled-v1: plugin.makes"

    def test_what_cannot_be_made_fails(self, run, shelf):
        shelf.add("gone", PLUGIN.format(name="gone", here="no_such_module", count=2)).strip()
        code, out, _ = run("check", "gone/reduced")
        assert code == 1
        assert out.splitlines()[-1] == "failed: plugin.makes"

    def test_what_was_skipped_is_summed_up_by_reason(self, run, losses):
        _, out, _ = run("check", "fine")
        summary = " ".join(out.partition("skipped:\n")[2].split())
        assert "stochastic.* it is not stochastic" not in summary, "a group of which a part ran is named by its checks"
        assert "stochastic.reproducible, stochastic.varies it is not stochastic" in summary
        assert "mask.* traits.takes_mask is False" in summary
        assert "plugin.requirements its metadata has no requirement on nlcore: pin one" in summary

    def test_a_second_sum_names_the_groups_that_took_long(self, capsys, monkeypatch):
        from nlcore.cli.commands import check
        from nlcore.testing import Outcome, Report, Status

        outcomes = [
            Outcome(f"{name}.x", Status.PASSED, seconds=took) for name, took in (("a", 0.2), ("b", 7), ("c", 3))
        ]
        check._print_times([Report("x", tuple(outcomes))])
        assert capsys.readouterr().out.strip() == "time: 10 s, of which b 7 s, c 3 s, the others 0 s"
        check._print_times([Report("x", tuple(outcomes[:1]))])
        assert capsys.readouterr().out == ""

    def test_a_terminal_shows_what_runs(self, capsys, monkeypatch):
        from nlcore.cli.progress import ProgressLine

        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "50")
        with ProgressLine.on_terminal() as line:
            line.show("nobody sees it")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        with pytest.raises(ValueError), ProgressLine.on_terminal() as line:
            line.show("first, longer")
            line.show("second")
            line.show("x" * 80)
            raise ValueError
        captured = capsys.readouterr()
        assert captured.out == ""
        shown = [one.rstrip() for one in captured.err.split("\r") if one.strip()]
        assert list(dict.fromkeys(shown)) == ["first, longer", "second", "x" * 49]
        assert max(map(len, shown)) < 50
        assert captured.err.endswith(f"\r{' ' * 49}\r"), "the line is removed, after an error, too"

    def test_each_check_is_announced(self, losses):
        from nlcore.plugin import AlgorithmSpec
        from nlcore.testing import cases

        seen = []
        here = losses.module(LOSSES)
        case = cases(AlgorithmSpec(id="a/b-v1", factory=f"{here}:Reduced", summary="x"))[0]
        report = case.report(lambda name, number, count: seen.append((name, number, count)))
        assert [one.name for one in report.outcomes[1:]] == [name for name, _, _ in seen]
        assert [number for _, number, _ in seen] == list(range(1, seen[0][2] + 1))

    def test_an_import_of_torch_by_the_plugin_is_a_fault(self, run, shelf):
        shelf.add("heavy", "import torch\n" + PLUGIN.format(name="heavy", here="x", count=0))
        code, out, _ = run("check", "heavy")
        assert code == 1
        assert "imports torch, so that `nlcore list` takes seconds" in " ".join(out.split())
        assert out.splitlines()[-1] == "failed: plugin.torch_free"

    def test_a_slow_import_is_a_fault(self, run, shelf):
        slow = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
        shelf.add("slow", slow + PLUGIN.format(name="slow", here="x", count=0))
        code, out, _ = run("check", "slow")
        assert code == 1
        assert re.search(r"takes 0\.[5-9] s\. Import what takes long", " ".join(out.split()))
        assert out.splitlines()[-1] == "failed: plugin.quick"

    def test_an_entry_point_that_leads_nowhere(self, run, shelf):
        shelf.announce("lost", "no_such_module._plugin", distribution="lost-losses")
        code, out, err = run("check", "lost")
        assert (code, out) == (1, "")
        assert "failed to load from 'no_such_module._plugin': ModuleNotFoundError" in err

    def test_an_algorithm_that_cannot_be_imported_is_named_with_its_place(self, run, shelf):
        module = shelf.module("import torch\nimport no_such_thing\n")
        shelf.add("lame", PLUGIN.format(name="lame", here=module, count=1), distribution="lame-losses")
        code, out, _ = run("check", "lame")
        assert code == 1
        assert "No module named 'no_such_thing'. Install 'no_such_thing'." in " ".join(out.split())
        assert f"{module}.py,line2." in re.sub(r"\s", "", out)

    def test_a_constructor_with_other_names(self, run, shelf):
        here = shelf.module(LOSSES.replace("    scale: float = 1.0\n", "    skale: float = 1.0\n"))
        shelf.add("mixed", PLUGIN.format(name="mixed", here=here, count=1))
        code, out, _ = run("check", "mixed/scaled")
        text = " ".join(out.split())
        assert code == 1
        assert "the constructor of Scaled does not take 'scale', an option of ScaledConfig" in text
        assert "(did you mean 'skale'?)" in text


class TestGivenOptions:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", 1), (".5", 0.5), ("[3, 5]", [3, 5]), ("null", None), ("true", True), ("rows", "rows"), ("a=b", "a=b")],
    )
    def test_values(self, text, value):
        assert parsed_options([[f"name={text}"]]) == {"name": value}

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([["x=" + "[" * 100_000]], "--option 'x': the value is nested too deeply"),
            ([["=1"]], "--option =1: write"),
            ([["a"]], "--option a: write"),
            ([["a=1"], ["a=2"]], "'a' is given twice"),
        ],
    )
    def test_faults(self, given, message):
        with pytest.raises(ConfigError, match=message):
            parsed_options(given)


class TestNew:
    def test_it_writes_a_plugin_and_says_what_is_next(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        code, out, err = run("new", "my_losses")
        assert (code, err) == (0, "")
        assert "nlcore check my_losses" in out
        folder = tmp_path / "nlcore-my-losses"
        project = (folder / "pyproject.toml").read_text("utf-8")
        assert 'name = "nlcore-my-losses"' in project
        assert 'my_losses = "nlcore_my_losses._plugin"' in project
        assert 'dependencies = ["nlcore>=0.2,<1"]' in project
        assert (folder / "src/nlcore_my_losses/py.typed").exists()
        for file in folder.rglob("*"):
            assert "@name" not in str(file)
            assert not (file.is_file() and "@package@" in file.read_text("utf-8"))
            assert file.suffix != ".template"

    def test_the_algorithm_has_the_form_of_the_guide(self, run, tmp_path):
        run("new", "my_losses", "--dir", str(tmp_path / "a"))
        algorithm = (tmp_path / "a/src/nlcore_my_losses/smooth_maximum.py").read_text("utf-8")
        guide = (Path(__file__).parents[2] / "docs/guides/write-a-plugin.md").read_text("utf-8")
        for text, id in ((algorithm, "my_losses/smooth_maximum-v1"), (guide, "echo/echo-v1")):
            assert re.search(rf'class \w+\(\s*Configured,\s*id="{id}",\s*config=\w+Config,\s*traits=Traits\(', text)
            assert "check_inputs(self.id, " in text
            assert "dataclass(" not in text

    def test_the_specification_asks_for_a_reference(self, run, tmp_path):
        run("new", "my_losses", "--dir", str(tmp_path / "a"))
        plugin = (tmp_path / "a/src/nlcore_my_losses/_plugin.py").read_text("utf-8")
        guide = (Path(__file__).parents[2] / "docs/guides/write-a-plugin.md").read_text("utf-8")
        for text in (plugin, guide):
            assert re.search(r'# .*the paper or page that defines the algorithm.*\n +reference=".*",\n', text)

    def test_as_json_into_a_folder(self, run, tmp_path):
        code, out, _ = run("new", "my_losses", "--dir", str(tmp_path / "a" / "b"), "--json")
        found = json.loads(out)
        assert (code, found["distribution"], found["folder"]) == (0, "nlcore-my-losses", str(tmp_path / "a" / "b"))
        assert all((tmp_path / "a" / "b" / one).is_file() for one in found["files"])
        assert {".github/workflows/ci.yml", "LICENSE", "README.md", "tests/test_conformance.py"} <= set(found["files"])

    def test_nothing_is_overwritten(self, run, tmp_path):
        (tmp_path / "mine.txt").write_text("mine", "utf-8")
        code, out, err = run("new", "my_losses", "--dir", str(tmp_path))
        assert (code, out) == (2, "")
        assert "is there already, and not empty" in err
        assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]
        assert run("new", "my_losses", "--dir", str(tmp_path / "mine.txt"))[0] == 2
        assert (tmp_path / "mine.txt").read_text("utf-8") == "mine"

    def test_a_folder_that_cannot_be_made(self, run, tmp_path):
        (tmp_path / "file").write_text("", "utf-8")
        code, _, err = run("new", "my_losses", "--dir", str(tmp_path / "file" / "below"))
        assert code == 2
        assert "cannot be written" in err

    @pytest.mark.parametrize("words", [("a" * 300,), ("mine", "--dir", "a" * 300), ("mine", "--dir", "/dev/null/x")])
    def test_a_folder_that_no_disk_takes(self, run, tmp_path, monkeypatch, words):
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.iterdir())
        code, out, err = run("new", *words)
        assert (code, out) == (2, "")
        assert "cannot be written: " in err
        assert set(tmp_path.iterdir()) == before

    def test_nothing_half_written_is_left(self, run, tmp_path, monkeypatch):
        from nlcore.cli.commands import new

        def stops(*_):
            yield "first.txt", "first"
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(new, "_templates", stops)
        code, _, err = run("new", "mine", "--dir", str(tmp_path / "plugin"))
        assert code == 2
        assert "cannot be written: No space left on device" in err
        assert not list(tmp_path.glob("*plugin*"))

    def test_an_empty_folder_is_filled(self, run, tmp_path):
        (tmp_path / "plugin").mkdir()
        inode = (tmp_path / "plugin").stat().st_ino
        assert run("new", "mine", "--dir", str(tmp_path / "plugin"))[0] == 0
        assert (tmp_path / "plugin" / "pyproject.toml").is_file()
        assert (tmp_path / "plugin").stat().st_ino == inode
        assert [one.name for one in tmp_path.glob("*plugin*")] == ["plugin"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("My-Losses", "Try 'my_losses'."),
            ("MyLosses", "Try 'my_losses'."),
            ("my losses!", "Try 'my_losses'."),
            ("3d_losses", "Try 'd_losses'."),
            ("nlcore_blur", "Try 'blur'."),
            ("nlcore-blur", "Try 'blur'."),
            ("__", "'__' is not a name for a plugin. Write it"),
            ("../up", "Try 'up'."),
            ("sorting", "the namespace 'sorting' belongs to nlcore-sorting. Try 'my_sorting'."),
            ("core", "belongs to nlcore."),
            ("local", "belongs to nlcore.register."),
            ("fine", "the namespace 'fine' belongs to fine-losses 1.0"),
        ],
    )
    def test_a_name_that_will_not_do(self, run, losses, tmp_path, monkeypatch, name, message):
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.iterdir())
        code, out, err = run("new", name)
        assert (code, out) == (2, "")
        assert message in err
        assert set(tmp_path.iterdir()) == before

    def test_the_first_algorithm_has_the_name_that_is_given(self, run, tmp_path):
        code, out, _ = run("new", "mine", "--algorithm", "soft_count", "--dir", str(tmp_path / "plugin"), "--json")
        assert (code, json.loads(out)["algorithm"]) == (0, "mine/soft_count-v1")
        assert {"src/nlcore_mine/soft_count.py", "tests/test_soft_count.py"} <= set(json.loads(out)["files"])
        for file in filter(Path.is_file, (tmp_path / "plugin").rglob("*")):
            assert "@" not in re.sub(r"@(dataclass|hookimpl|property|parametrize|v\d)", "", file.read_text("utf-8")), (
                file
            )
            assert "smooth_maximum" not in file.read_text("utf-8")
        assert "class SoftCount(\n    Configured,\n" in (tmp_path / "plugin/src/nlcore_mine/soft_count.py").read_text(
            "utf-8"
        )

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("SoftCount", "Try 'soft_count'."),
            ("soft-count", "Try 'soft_count'."),
            ("mine/soft_count", "Try 'mine_soft_count'."),
            ("lambda", "Try 'my_lambda'."),
            ("config", "Try 'my_config'."),
            ("-", "--algorithm"),
        ],
    )
    def test_a_name_of_an_algorithm_that_will_not_do(self, run, tmp_path, monkeypatch, name, message):
        monkeypatch.chdir(tmp_path)
        before = set(tmp_path.iterdir())
        code, out, err = run("new", "mine", f"--algorithm={name}")
        assert (code, out) == (2, "")
        assert message in err
        assert set(tmp_path.iterdir()) == before

    def test_how_to_add_an_algorithm_to_a_plugin_that_is_installed(self, run, losses):
        code, _, err = run("new", "fine", "--algorithm", "second")
        assert code == 2
        assert "To add an algorithm to it, write a module, its options and its specification there" in err
        assert "To add" not in run("new", "sorting")[2]

    @pytest.mark.parametrize("algorithm", ["smooth_maximum", "blur", "zebra"])
    def test_the_code_of_the_template_is_in_order(self, run, tmp_path, algorithm):
        run("new", "my_losses", "--algorithm", algorithm, "--dir", str(tmp_path / "plugin"))
        ruff = [sys.executable, "-m", "ruff"]
        rules = ["--isolated", "--line-length", "120"]
        for words in (["check", *rules, "--select", "E,F,I,UP,B,C4,PIE,PTH,N"], ["format", "--check", *rules]):
            done = subprocess.run(
                [*ruff, *words, "."], cwd=tmp_path / "plugin", capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr


class TestDoctor:
    def findings(self, out):
        return {(one["subject"], one["level"]): one["text"] for one in json.loads(out)["findings"]}

    def test_all_is_well(self, run, losses):
        code, out, err = run("doctor")
        assert (code, err) == (0, "")
        assert out.endswith("\nAll is well.\n")
        for word in ("python", "torch", "plugin fine"):
            assert f"\n{'ok':4}  {word}" in f"\n{out}" or f"note  {word}" in out

    def test_faulty_plugins_are_wrong(self, run, losses):
        losses.add("bad", "raise RuntimeError('boom')", distribution="bad-one", version="0.3")
        losses.add("picky", "", distribution="picky-one", requires=("nlcore>=99,<100",))
        losses.add("future", "", distribution="future-one", group="nlcore.plugins.v2")
        losses.add("fine", "", distribution="impostor")
        code, out, _ = run("doctor", "--json")
        found = self.findings(out)
        assert code == 1
        assert json.loads(out)["ok"] is False
        assert "RuntimeError: boom" in found["plugin bad", "wrong"]
        assert re.search(r" At .*\.py, line \d+$", found["plugin bad", "wrong"])
        assert "it requires 'nlcore>=99,<100', but nlcore is" in found["plugin picky", "wrong"]
        assert "reads 'nlcore.plugins.v1'" in found["plugin future", "wrong"]
        assert "claimed by fine-losses 1.0, impostor 1.0" in found["plugin fine", "wrong"]
        code, out, _ = run("doctor")
        assert code == 1
        assert "5 things to fix: plugin bad, plugin fine, plugin fine, plugin future, plugin picky" in out

    def test_names_in_the_environment_that_match_nothing(self, run, losses):
        code, out, _ = run("doctor", "--json", NLCORE_PLUGINS="fine, mxied", NLCORE_BLOCK_PLUGINS="mixed-losses nobody")
        texts = [(one["level"], one["subject"], one["text"]) for one in json.loads(out)["findings"]]
        assert code == 1
        nothing = "which is neither a namespace nor a distribution of a plugin"
        assert ("wrong", "NLCORE_PLUGINS", f"names 'mxied', {nothing} (did you mean 'mixed'?)") in texts
        assert ("wrong", "NLCORE_BLOCK_PLUGINS", f"names 'nobody', {nothing}") in texts
        assert ("note", "NLCORE_PLUGINS", "names 'fine'") in texts
        assert ("note", "plugin mixed", "mixed-losses 1.0 is switched off by NLCORE_BLOCK_PLUGINS") in texts

    def test_settings_that_may_be_meant_are_notes(self, run, losses):
        code, out, _ = run("doctor", "--json", NLCORE_PLUGINS="", NLCORE_STRICT_PLUGINS="1")
        found = self.findings(out)
        assert code == 0
        assert "no plugin but the core" in found["NLCORE_PLUGINS", "note"]
        assert ("NLCORE_STRICT_PLUGINS", "note") in found

    def test_requirements_of_what_is_installed(self, run, monkeypatch):
        from nlcore.cli.commands import doctor

        versions = {"torch": "2.3.1", "pluggy": None, "pydantic": "2.9"}
        monkeypatch.setattr(doctor, "_version", versions.get)
        monkeypatch.setattr(doctor, "_requires", lambda name: ["torch>=2.4", "pluggy>=1.7", "pydantic>=2.7"])
        code, out, _ = run("doctor", "--json")
        found = self.findings(out)
        assert code == 1
        assert found["torch", "wrong"] == "2.3.1, but nlcore requires 'torch>=2.4': pip install 'torch>=2.4'"
        assert found["pluggy", "wrong"] == "not installed, but nlcore needs it: pip install pluggy"
        assert found["pydantic", "ok"] == "2.9"

    def test_what_a_plugin_needs_and_does_not_have(self, run, losses, monkeypatch):
        from nlcore.cli.commands import doctor

        true = doctor._requires
        needs = {"fine-losses": ["nlcore>=0.1,<1", "no-such-thing>=2", "pydantic>=2"]}
        monkeypatch.setattr(doctor, "_requires", lambda name: needs.get(name) or true(name))
        code, out, _ = run("doctor", "--json")
        found = self.findings(out)
        assert code == 1
        assert "not installed, but fine-losses needs it" in found["no-such-thing", "wrong"]
        assert "needs 'nlcore>=0.1,<1'" in found["plugin fine", "ok"]

    def test_a_distribution_that_is_there_twice(self, run, tmp_path, monkeypatch):
        for folder, version in (("one", "1.0"), ("two", "2.0")):
            info = tmp_path / folder / f"doubled-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: doubled\nVersion: {version}\n", "utf-8")
            (info / "entry_points.txt").write_text("[nlcore.plugins.v1]\ndoubled = doubled\n", "utf-8")
            monkeypatch.syspath_prepend(tmp_path / folder)
        code, out, _ = run("doctor", "--json")
        text = self.findings(out)["doubled", "wrong"]
        assert code == 1
        assert text.startswith(f"installed 2 times: 2.0 in {tmp_path / 'two'}, 1.0 in {tmp_path / 'one'}.")

    def test_an_algorithm_that_cannot_be_imported(self, run, shelf, tmp_path):
        module = shelf.module("import torch\nimport no_such_thing\n")
        shelf.add("lame", PLUGIN.format(name="lame", here=module, count=1), distribution="lame-losses")
        code, out, _ = run("doctor", "--json")
        text = self.findings(out)["lame/scaled-v1", "wrong"]
        assert code == 1
        assert "ModuleNotFoundError: No module named 'no_such_thing'" in text
        assert "Install 'no_such_thing'." in text
        assert re.search(rf"At .*{module}\.py, line 2$", text)

    def test_a_distribution_with_a_misspelt_group(self, run, tmp_path, monkeypatch):
        for name, entries in (("typo", "[nlcore.plugin.v1]\ntypo = typo\n"), ("idle", "")):
            info = tmp_path / f"{name}-1.0.dist-info"
            info.mkdir()
            needs = "Requires-Dist: nlcore>=0.1,<1\n"
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}", "utf-8")
            (info / "entry_points.txt").write_text(entries, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        code, out, _ = run("doctor", "--json")
        found = self.findings(out)
        assert code == 1
        assert found["typo", "wrong"].startswith("has the entry-point group 'nlcore.plugin.v1', which is not read")
        assert found["idle", "note"].startswith("needs nlcore and registers nothing")

    @pytest.mark.parametrize(
        "entries", [b"[x]\nno equals sign\n", b"[x]\na = \xe9\n", b"[nlcore_echo.filters]\na = b\n"]
    )
    def test_other_peoples_entry_points_are_no_fault(self, run, tmp_path, monkeypatch, entries):
        info = tmp_path / "other-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_bytes(entries)
        monkeypatch.syspath_prepend(tmp_path)
        code, out, _ = run("doctor", "--json")
        assert code == 0
        assert not [subject for subject, _ in self.findings(out) if subject == "other"]

    def test_what_pip_has_left_behind_is_a_note(self, run, tmp_path, monkeypatch):
        info = tmp_path / "~lcore_stale-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nlcore-stale\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text("[nlcore.plugins.v1]\nstale = stale\n", "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        code, out, _ = run("doctor", "--json")
        assert code == 0
        assert self.findings(out)["nlcore-stale", "note"] == f"pip has left {info} behind, which is not used: delete it"

    @pytest.mark.parametrize("metadata", [None, b"Name: caf\xe9\n", b"Name: torch\n"])
    def test_stale_metadata_of_a_requirement(self, run, tmp_path, monkeypatch, metadata):
        info = tmp_path / "torch-0.1.dist-info"
        info.mkdir()
        if metadata is not None:
            (info / "METADATA").write_bytes(metadata)
        monkeypatch.syspath_prepend(tmp_path)
        code, out, _ = run("doctor", "--json")
        levels = [one["level"] for one in json.loads(out)["findings"] if one["subject"] == "torch"]
        assert (code, levels) == (0, ["ok"])

    def test_a_plugin_in_a_renamed_folder_keeps_its_requirements(self, run, tmp_path, monkeypatch, losses):
        info = tmp_path / "something_else-1.0.dist-info"
        info.mkdir()
        text = "Metadata-Version: 2.1\nName: fine-losses\nVersion: 1.0\nRequires-Dist: nlcore>=0.1,<1\n"
        (info / "METADATA").write_text(text, "utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        assert "needs 'nlcore>=0.1,<1'" in self.findings(run("doctor", "--json")[1])["plugin fine", "ok"]

    @pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed")
    def test_a_folder_that_is_gone(self, run, tmp_path, monkeypatch, losses):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        code, out, _ = run("doctor", "--json")
        monkeypatch.chdir(tmp_path)
        assert code == 0
        assert "cannot be used" in self.findings(out)["folder", "note"]

    def test_an_algorithm_that_exits_at_import(self, run, shelf):
        module = shelf.module("print('noise')\nraise SystemExit(0)")
        shelf.add("lame", PLUGIN.format(name="lame", here=module, count=1))
        shelf.good("fine")
        code, out, err = run("doctor", "--json")
        assert code == 1
        assert "SystemExit: 0" in self.findings(out)["lame/scaled-v1", "wrong"]
        assert "noise" in err

    def test_torch_imported_while_plugins_are_listed(self, shelf, tmp_path):
        (tmp_path / "heavy_losses.py").write_text("import torch\n" + PLUGIN.format(name="heavy", here="x", count=0))
        info = tmp_path / "heavy_losses-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-losses\nVersion: 1.0\n", "utf-8")
        (info / "entry_points.txt").write_text("[nlcore.plugins.v1]\nheavy = heavy_losses\n", "utf-8")
        start = "import sys; sys.path.insert(0, sys.argv[1]); from nlcore.cli import main; sys.exit(main(['doctor']))"
        done = subprocess.run([sys.executable, "-c", start, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "torch was imported while the plugins were listed" in " ".join(done.stdout.split())
        assert done.stdout.endswith("1 thing to fix: plugin heavy\n")


class TestCompletion:
    @pytest.fixture
    def completed(self, run, losses):
        losses.add(
            "tools",
            "from pathlib import Path\nfrom nlcore.plugin import hookimpl\n@hookimpl\n"
            "def nlcore_commands(subparsers):\n"
            "    tool = subparsers.add_parser('tool', help='it\\'s a tool')\n"
            "    inner = tool.add_subparsers()\n"
            "    speed = inner.add_parser('speed', help='how fast')\n"
            "    speed.add_argument('--steps', help='how many')\n"
            "    speed.add_argument('--mode', choices=('slow', 'fast'))\n"
            "    speed.add_argument('--out', type=Path)\n"
            "    speed.add_argument_group('more').add_argument('--fuel')\n"
            "    speed.add_mutually_exclusive_group().add_argument('--gas', choices=('air', 'water'))",
        )

        def words(*typed, shell="fish"):
            code, out, err = run("completion", shell, "--words", *typed)
            assert (code, err) == (0, "")
            return [line.partition("\t")[0] for line in out.splitlines()]

        return words

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            (["che"], ["check"]),
            (["too"], ["tool"]),
            (["--v"], ["--version"]),
            (["nothing", ""], []),
            (["check", "mixed/s"], ["mixed/scaled-v1"]),
            (["check", "mix"], ["mixed", "mixed/reduced-v1", "mixed/scaled-v1"]),
            (["list", "mi"], ["mixed"]),
            (["show", "fine/scaled", "fi"], []),
            (["check", "--every"], ["--every-choice"]),
            (["check", "fine/scaled-v1", "--js"], ["--json"]),
            (["check", "fine/scaled-v1", "--json", "--js"], []),
            (["completion", "f"], ["fish"]),
            (["plugins", "fine/"], []),
            (["show", "fine/scaled", "--plot", "pic"], [":files"]),
            (["new", "mine", "--dir", ""], [":files"]),
            (["diagnose", "fine/scaled", "--batch", ""], []),
            (["diagnose", "fine/scaled", "--batch=3", "--se"], ["--seed"]),
            (["diagnose", "fine/scaled", "--option", "sc"], ["scale="]),
            (["diagnose", "fine/scaled", "-o", "scale=2", "n"], ["norm="]),
            (["diagnose", "--option", "s"], []),
            (["diagnose", "fine/lost", "--option", "w"], []),
            (["tool", "s"], ["speed"]),
            (["tool", "speed", "--s"], ["--steps"]),
            (["tool", "speed", "--mode", ""], ["slow", "fast"]),
            (["tool", "speed", "--out", ""], [":files"]),
            (["tool", "speed", "--fu"], ["--fuel"]),
            (["tool", "speed", "--gas", "w"], ["water"]),
            (["tool", "speed", "--gas", "air", "--ga"], []),
        ],
    )
    def test_what_a_word_can_become(self, completed, typed, found):
        assert completed(*typed) == found

    def test_at_the_start_all_commands(self, completed):
        assert set(completed("")) == {*COMMANDS, "tool", "--help", "--version"}

    def test_each_comes_with_a_line_about_it(self, completed, run):
        assert run("completion", "fish", "--words", "too")[1] == "tool\tit's a tool\n"
        assert run("completion", "zsh", "--words", "tool", "sp")[1] == "speed:how fast\n"

    def test_bash_takes_words_apart_at_the_equals_sign(self, completed):
        assert completed("diagnose", "fine/scaled", "--batch", "=", "3", "--se", shell="bash") == ["--seed"]

    def test_no_private_name_of_argparse_is_used(self):
        sources = [file.read_text("utf-8") for file in Path(main.__code__.co_filename).parent.rglob("*.py")]
        assert [
            text for text in sources if re.search(r"argparse\._|\._actions|\._option_string|_choices_actions", text)
        ] == []

    def test_a_broken_plugin_costs_its_own_commands_alone(self, completed, losses):
        losses.add("bad", "raise RuntimeError('boom')")
        assert completed("too") == ["tool"]

    @pytest.mark.parametrize("typed", ["che", "check core/sq", "show core/squared_error --plot READ"])
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_script_completes_in_its_shell(self, shell, typed):
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        words = shlex.join(["nlcore", *typed.split()])
        ask = {
            "bash": f"COMP_WORDS=({words}); COMP_CWORD={len(typed.split())}; _nlcore; printf '%s\\n' ${{COMPREPLY[@]}}"
            '; [ -n "${COMPREPLY[*]}" ] || compgen -f READ',
            "zsh": f"words=({words}); CURRENT={len(typed.split()) + 1}; _nlcore",
            "fish": f"complete -C '{words}'",
        }
        load = {
            "bash": 'eval "$(nlcore completion bash)"',
            "zsh": "compdef() { : }; _describe() { print -l ${(P)2} }; _files() { print -l READ* }\n"
            'eval "$(nlcore completion zsh)"',
            "fish": "nlcore completion fish | source",
        }
        flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
        done = subprocess.run(
            [shell, *flags[shell], "-c", f"{load[shell]}\n{ask[shell]}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        )
        expected = {"che": "check", "check core/sq": "core/squared_error-v1"}.get(typed, "README.md")
        assert done.stdout.split()[0].partition(":")[0] == expected, done


class TestAllCommands:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_help_shows_examples_that_are_valid(self, name, run, capsys):
        from importlib import import_module

        examples = import_module(COMMANDS[name].module).EXAMPLES
        code, out, _ = run(name, "--help")
        assert code == 0
        assert "\nexamples:\n" in out
        assert examples
        parser, _ = core_command(name)
        for line, what in examples:
            assert what in out
            words = shlex.split(line.removeprefix('eval "$(').removesuffix(')"').partition(" | ")[0])
            assert words[:2] == ["nlcore", name]
            parser.parse_args(words[2:])

    @pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"completion"}))
    def test_each_speaks_json(self, name):
        parser, _ = core_command(name)
        assert any("--json" in action.option_strings for action in parser._actions)

    def test_ids_for_scripts(self, run, losses):
        assert run("list", "--ids") == (0, "fine/scaled-v1\nmixed/reduced-v1\nmixed/scaled-v1\n", "")

    @pytest.mark.parametrize("words", [["--help"], ["list"], ["plugins"], ["completion", "bash"], ["check", "core/x"]])
    def test_starts_without_torch(self, words):
        code = f"import sys; from nlcore.cli import main; main({words!r}); print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False"
