"""Whatever a user can meet stands on the site: names, hooks, errors, variables, commands, options of commands."""

from __future__ import annotations

import argparse
import inspect
import json
import pkgutil
import re
from importlib import import_module

import pytest
from pages import DOCS, ROOT, pages

import nlcore
import nlcore.errors
import nlcore.testing
from nlcore.cli.commands import COMMANDS
from nlcore.cli.parsers import plugin_commands
from nlcore.registry import PluginState, hooks
from nlcore.registry.discovery import RESERVED


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def everything() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages())


@pytest.mark.parametrize("name", nlcore.__all__)
def test_every_public_name_is_in_the_reference(name):
    reference = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    assert f"::: nlcore.{name}\n" in reference or f"`nlcore.{name}`" in reference


def test_the_kit_is_in_the_reference_whole():
    assert "::: nlcore.testing\n" in text("reference/testing.md")
    assert all(inspect.getdoc(getattr(nlcore.testing, name)) for name in nlcore.testing.__all__)


def test_every_hook_has_a_section():
    found = [name for name in vars(hooks) if name.startswith("nlcore_")]
    assert len(found) >= 2
    assert [name for name in found if f"\n## {name}\n" not in text("reference/hooks.md")] == []
    assert hooks.GROUP in text("reference/hooks.md")


def test_every_error_has_a_section_with_cause_and_remedy():
    page = text("reference/errors.md")
    classes = [name for name in nlcore.errors.__all__ if inspect.isclass(getattr(nlcore.errors, name))]
    assert len(classes) > 20
    sections = dict(re.findall(r"^##+ (\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(classes) <= set(sections)
    told = [name for name in classes if "**Cause.**" in sections[name] and "**Remedy.**" in sections[name]]
    assert set(classes) - set(told) <= {"NlcoreError", "PluginError"}  # bases, raised as one of those below them


def test_no_error_is_made_up():
    named = re.findall(r"^### (\w+)$", text("reference/errors.md"), re.MULTILINE)
    assert [name for name in named if not hasattr(nlcore.errors, name)] == []


def test_every_environment_variable_is_explained():
    sources = [*ROOT.glob("nlcore/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py"), *ROOT.glob("examples/*.py")]
    read = {name for path in sources for name in re.findall(r"\bNLCORE_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))}
    assert len(read) >= 4
    assert {name for name in read if f"`{name}`" not in text("reference/environment.md")} == set()


def test_every_command_has_a_section():
    found = [*COMMANDS, *(name for name, command in plugin_commands()[0].items() if command.help)]
    assert [name for name in found if f"\n## nlcore {name}\n" not in text("reference/commands.md")] == []


def test_every_subcommand_of_a_plugin_is_named():
    whole, missing = everything(), []
    for name, command in plugin_commands()[0].items():
        groups = [one for one in command.parser._actions if isinstance(one, argparse._SubParsersAction)]
        missing += [
            f"nlcore {name} {sub}" for group in groups for sub in group.choices if f"nlcore {name} {sub}" not in whole
        ]
    assert missing == []


def test_every_option_of_a_command_stands_somewhere():
    whole = everything()
    missing = []
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(add_help=False)
        import_module(command.module).add_arguments(parser)
        options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
        missing += [f"{name} {option}" for option in options if option not in whole]
    assert missing == []


def test_every_state_of_a_plugin_is_explained():
    assert [str(state) for state in PluginState if f"| `{state}` |" not in text("guides/debug-plugins.md")] == []


def test_the_reserved_namespaces_are_named():
    assert [name for name in RESERVED if f"`{name}`" not in text("guides/write-a-plugin.md")] == []


def test_the_table_of_auto_is_that_of_the_code():
    rows = [line.strip() for line in (inspect.getdoc(nlcore.Auto) or "").splitlines() if line.startswith("| ")]
    assert len(rows) > 4
    page = re.sub(r" +", " ", text("guides/curvature.md"))
    assert [row for row in rows[1:] if re.sub(r" +", " ", row) not in page] == []


def test_every_verdict_of_a_diagnosis_is_explained():
    from typing import get_args

    from nlcore.diagnosis.rules import Verdict

    assert [one for one in get_args(Verdict) if f"| `{one}` |" not in text("concepts/diagnose.md")] == []


def test_the_landing_page_counts_the_algorithms() -> None:
    ids = [name for name in nlcore.names() if not name.startswith("bench/") and name.partition("/")[0] in RESERVED]
    said = re.search(r"\*\*(\d+) algorithms", text("index.md"))
    assert said is not None
    assert int(said[1]) == len(ids)


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Fields of the study", "study.Study"),
        ("Fields of `[tasks.NAME]`", "parts.TaskPart"),
        ("Fields of `[losses.NAME]`, and of the table `loss` of a method", "parts.LossPart"),
        ("Fields of `[methods.NAME]`", "parts.MethodPart"),
        ("Fields of `[optimizers.NAME]`", "parts.OptimizerPart"),
    ],
)
def test_every_field_of_a_study_file_is_on_its_page(heading: str, name: str) -> None:
    fields = pkgutil.resolve_name(f"nlcore_bench.{name}").model_fields
    table = text("reference/bench.md").partition(f"**{heading}**\n\n")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    explained = {field: cells[-1].strip(" |") for cells in rows for field in re.findall(r"`(\w+)`", cells[0])}
    assert set(explained) == set(fields)
    for field, default in explained.items():
        assert (default == "required") == fields[field].is_required(), field
        if isinstance(fields[field].default, int | float) or fields[field].default in (
            "cpu",
            "cosine",
            "adam",
            "target",
        ):
            assert default.strip("`") == json.dumps(fields[field].default).removesuffix(".0"), field


def test_every_option_of_a_bench_command_is_on_its_page() -> None:
    from nlcore_bench.cli.parser import add_bench

    parser = argparse.ArgumentParser()
    add_bench(parser.add_subparsers())
    (bench,) = parser._subparsers._group_actions[0].choices.values()
    commands = bench._subparsers._group_actions[0].choices
    page = text("reference/bench.md")
    for name in ("run", "resume", "status", "report", "engine"):
        options = [one for action in commands[name]._actions for one in action.option_strings if one.startswith("--")]
        assert [one for one in options if f"{one}" not in page and one != "--help"] == []


def test_every_study_is_on_the_page_and_in_the_readme_of_the_bench() -> None:
    from nlcore_bench import shipped

    readme = (ROOT / "plugins/bench/README.md").read_text("utf-8")
    for id in shipped():
        assert f"| `{id}` | " in text("reference/bench.md"), id
        assert f"`{id}`" in readme, id


def test_every_task_is_on_the_page_of_the_bench_with_all_of_its_options() -> None:
    import nlcore_bench
    from nlcore.registry.default import registry

    for id, spec in registry.tasks().items():
        if id.startswith("bench/"):
            assert f"| `{id.partition('-v')[0]}` | " in text("reference/bench.md"), id
            assert spec.factory.partition(":")[2] in nlcore_bench.__all__, id
            documented = inspect.getdoc(pkgutil.resolve_name(spec.factory)) or ""
            options = pkgutil.resolve_name(spec.config).model_fields
            assert [one for one in options if not re.search(rf"^ *{one}: ", documented, re.MULTILINE)] == [], id
