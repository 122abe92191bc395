"""Every block of Python and every `nlcore` command of the site runs, and prints what the page says."""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from pages import DOCS, ROOT, Block, blocks, pages

from nlcore.cli import main
from nlcore.registry import default

PAGES = pages()
ECHO = DOCS / "guides/write-a-plugin.md"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def _aside(tmp_path, monkeypatch):
    """Run in an empty folder, and forget the modules, seeds and algorithms of a page when it ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    known, path, state = set(sys.modules), list(sys.path), torch.get_rng_state()
    monkeypatch.setattr(default.registry, "_registered", {})
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)
    sys.path[:] = path
    default.registry.refresh()
    for name in set(sys.modules) - known:
        if name.startswith("nlcore_echo"):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_does_what_it_says(page, tmp_path, monkeypatch):
    module = types.ModuleType("page_of_the_site")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page):
        if "file" in block.attributes:
            _write(block, tmp_path)
        if block.attributes.get("after") == "install":
            _install(tmp_path)
        if block.reason or "file" in block.attributes or not _available(block):
            continue
        printed = _run(block, page, module, monkeypatch)
        if block.output is not None:
            assert _as_shown(block, printed), (
                f"{page.name}, line {block.line} printed\n{printed}\nand not\n{block.output}"
            )


def _as_shown(block: Block, printed: str) -> bool:
    """Return whether a block printed what the page shows, where a tolerance is given up to the size of numbers."""
    if not block.tolerance:
        return doctest.OutputChecker().check_output(block.output, printed, _SAME)
    shown, found = ([float(one) for one in _NUMBER.findall(text)] for text in (block.output, printed))
    if _NUMBER.sub("", block.output).split() != _NUMBER.sub("", printed).split():
        return False
    return all(abs(one - other) <= block.tolerance for one, other in zip(shown, found, strict=True))


def test_a_tolerance_is_for_numbers_alone():
    block = Block("python", "", 1, output="49% right\n77% right\n", tolerance=8)
    assert _as_shown(block, "45% right\n80% right\n")
    assert not _as_shown(block, "40% right\n80% right\n")
    assert not _as_shown(block, "45% wrong\n80% right\n")


def test_blocks_are_found():
    found = [block for page in PAGES for block in blocks(page)]
    assert sum(block.language == "python" for block in found) > 40
    assert sum(block.language == "bash" for block in found) > 15
    assert sum(block.output is not None for block in found) > 20


def test_few_blocks_of_python_are_left_out():
    left_out = [block for page in PAGES for block in blocks(page) if block.language == "python" and block.reason]
    assert len(left_out) <= 3
    assert all(len(block.reason) > 10 for block in left_out)


def test_a_wrong_output_is_noticed(tmp_path, monkeypatch):
    page = tmp_path / "wrong.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    with pytest.raises(AssertionError, match="printed"):
        test_the_page_does_what_it_says(page, tmp_path, monkeypatch)


def test_the_plugin_of_the_guide_passes_its_own_tests(tmp_path):
    for block in blocks(ECHO):
        if "file" in block.attributes:
            _write(block, tmp_path)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            "tests",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _run(block: Block, page: Path, module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    out = io.StringIO()
    if block.language == "python":
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        namespace = module.__dict__
        namespace["__name__"] = module.__name__
        with redirect_stdout(out):
            exec(code, namespace)
    elif block.language == "bash":
        for line in block.code.splitlines():
            _command(line, out, monkeypatch)
    return out.getvalue()


def _command(line: str, out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line if it calls nlcore; pip, make and git are other people's commands."""
    words = shlex.split(line, comments=True)
    with monkeypatch.context() as patch:
        while words and words[0].startswith("NLCORE_"):
            name, _, value = words.pop(0).partition("=")
            patch.setenv(name, value)
        if not words or words[0] != "nlcore":
            return
        default.registry.refresh()
        complaints = io.StringIO()
        with redirect_stdout(out), redirect_stderr(complaints):
            code = main(words[1:])
        assert code == 0, f"{line}: {complaints.getvalue()}{out.getvalue()[-2000:]}"
    default.registry.refresh()  # what the variables switched off is back


def _available(block: Block) -> bool:
    """Return whether the package that a block needs is installed."""
    needed = block.attributes.get("requires")
    return needed is None or find_spec(needed) is not None


def _write(block: Block, folder: Path) -> None:
    file = folder / block.attributes["file"]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.code)
    for package in (folder / "src").glob("nlcore_*"):
        (package / "__init__.py").touch()
        if str(folder / "src") not in sys.path:
            sys.path.insert(0, str(folder / "src"))


def _install(folder: Path) -> None:
    """Announce the plugin that the page has written, as `pip install -e .` would."""
    metadata = folder / "src/nlcore_echo-0.1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["nlcore.plugins.v1"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[nlcore.plugins.v1]", *lines, ""]))
    default.registry.refresh()
