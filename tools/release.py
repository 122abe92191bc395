"""A release: what must agree, wheels and source distributions of all packages, and their installation.

`python -m tools.release ready v0.2.0` says what stands in the way of publishing that tag.
`python -m tools.release check` builds everything, and installs it in a new environment of each Python it finds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tools.metadata import ROOT, address, disagreeing, distributions, projects, version

__all__ = ["Environment", "build", "faults", "pythons", "unfinished"]

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_WITHOUT_TORCH = ("packaging", "pluggy", "pydantic")  # enough to list algorithms
_VERSIONS = "import nlcore; print(*sorted(f'{p.distribution}=={p.version} {p.state.value}' for p in nlcore.plugins()))"
_TRAINING = """
import nlcore, torch
prediction = torch.zeros(4, 3, requires_grad=True)
for _ in range(3):
    loss = nlcore.NewtonLoss(nlcore.make("core/squared_error"))(prediction, torch.ones(4, 3))
    (gradient,) = torch.autograd.grad(loss, prediction)
    prediction = (prediction - gradient).detach().requires_grad_()
print(f"loss {loss.item():.3g}")
"""


class CommandError(Exception):
    """A command that failed, with its output."""


def faults(root: Path = ROOT) -> list[str]:
    """Return the disagreements of versions, addresses and the changelog, one sentence each."""
    found = [f"{path} has another version or address; run: python -m tools.metadata" for path in disagreeing(root)]
    if not (heading := _heading(root)).startswith(f"## {version(root)} "):
        found.append(f"CHANGELOG.md begins with {heading!r}, and the version is {version(root)}")
    return found


def unfinished(tag: str, root: Path = ROOT) -> list[str]:
    """Return what stands in the way of publishing a tag, one sentence each."""
    found = faults(root)
    if tag != f"v{version(root)}":
        found.append(f"the tag is {tag}, and the version is {version(root)}")
    if "unreleased" in _heading(root):
        found.append(f"CHANGELOG.md says {_heading(root)!r}: put the date there")
    if (urlsplit(address(root)).hostname or "").endswith(".example"):
        found.append(f"{address(root)} is a placeholder; run: python -m tools.metadata --address URL")
    for name in ("README.md", "docs/install.md"):
        if "not on PyPI" in (root / name).read_text("utf-8"):
            found.append(f"{name} says that the packages are not on PyPI")
    return found


def build(folder: Path) -> list[Path]:
    """Build every distribution by way of its source distribution, check them with twine, and return the wheels."""
    for project in projects():
        _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, project])
    built = sorted(one for one in folder.iterdir() if one.name.endswith((".whl", ".tar.gz")))
    _run([sys.executable, "-m", "twine", "check", "--strict", *built])
    if len(built) != 2 * len(distributions()):
        raise CommandError(f"{folder} holds {len(built)} files of {2 * len(distributions())}: give an empty folder")
    return [one for one in built if one.suffix == ".whl"]


def pythons() -> dict[str, Path | None]:
    """Return the interpreter of each supported Python, on the path or of pyenv; `None` where there is none."""
    return {name: next(_working(name), None) for name in PYTHONS}


@dataclass(frozen=True)
class Environment:
    """A new environment that holds the wheels.

    Args:
        folder: An empty folder for it.
        interpreter: The interpreter that makes it.
    """

    folder: Path
    interpreter: Path

    def install(self, wheels: Sequence[Path], torch_index: str | None) -> bool:
        """Install the wheels, and return whether torch is there.

        torch comes from the index given, else from files that pip is configured to find: without one of them pip
        would bring the CUDA build of several GB, so the wheels are installed without it.
        """
        _run([self.interpreter, "-m", "venv", self.folder])
        torch = next(one for one in (ROOT / "constraints.txt").read_text().split() if one.startswith("torch=="))
        try:
            self._pip("--no-deps", *(["--index-url", torch_index] if torch_index else ["--no-index"]), torch)
        except CommandError:
            self._pip(*_WITHOUT_TORCH)
            self._pip("--no-deps", *wheels)
            return False
        self._pip("-c", ROOT / "constraints.txt", *wheels)
        return True

    def use(self, *, torch: bool) -> list[str]:
        """Use the installation, and return what was done."""
        installed = self._bin("python", "-c", _VERSIONS).split(" loaded")
        expected = {f"{name}=={version()}" for name in distributions()}
        if {one.strip() for one in installed} - {""} != expected:
            raise CommandError(f"nlcore.plugins() has {installed}, and the wheels are {sorted(expected)}")
        for words in (["list"], ["plugins"]):
            self._bin("nlcore", *words)
        if not torch:
            return ["nlcore list", "nlcore plugins"]
        for words in (["doctor"], ["check", "core/squared_error"]):
            self._bin("nlcore", *words)
        self._bin("python", "-c", _TRAINING)
        return ["nlcore list", "nlcore plugins", "nlcore doctor", "nlcore check core/squared_error", "a training"]

    def _pip(self, *words: str | Path) -> None:
        self._bin("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)

    def _bin(self, name: str, *words: str | Path) -> str:
        return _run([self.folder / "bin" / name, *words], cwd=self.folder)


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ready", help="is a tag fit to be published?").add_argument("tag")
    check = commands.add_parser("check", help="build all distributions and install them")
    check.add_argument("--out", type=Path, help="an empty folder for what is built (default: a temporary one)")
    check.add_argument("--torch-index", metavar="URL", help="an index of CPU builds of torch")
    given = parser.parse_args(arguments)
    wrong = unfinished(given.tag) if given.command == "ready" else faults()
    if wrong or given.command == "ready":
        print("\n".join(f"- {one}" for one in wrong) or f"{given.tag} can be published.")
        return 1 if wrong else 0
    with tempfile.TemporaryDirectory() as folder:
        out = given.out or Path(folder, "dist")
        out.mkdir(parents=True, exist_ok=True)
        try:
            return _check(out.resolve(), Path(folder), given.torch_index)
        except CommandError as error:
            print(error, file=sys.stderr)
            return 1


def _check(out: Path, folder: Path, torch_index: str | None) -> int:
    wheels = build(out)
    print(f"Built, and approved by twine: {', '.join(one.name for one in wheels)}, each with its sdist.", flush=True)
    left_out = []
    for name, interpreter in pythons().items():
        if interpreter is None:
            left_out.append(f"Python {name}: not found here")
            continue
        environment = Environment(folder / name, interpreter)
        torch = environment.install(wheels, torch_index)
        done = environment.use(torch=torch)
        print(f"Python {name}: installed; {', '.join(done)}.", flush=True)
        if not torch:
            left_out.append(f"Python {name}: all that needs torch, which pip found no CPU build of")
        shutil.rmtree(environment.folder)
    print("\n".join(f"Not tried: {one}." for one in left_out) or "Nothing was left out.")
    return 0


def _heading(root: Path) -> str:
    text = (root / "CHANGELOG.md").read_text("utf-8")
    return next((line for line in text.splitlines() if line.startswith("## ")), "nothing")


def _working(name: str) -> Iterator[Path]:
    """Yield interpreters of one version that can make environments."""
    given = [sys.executable, shutil.which(f"python{name}")]
    given += [str(one) for one in sorted((Path.home() / ".pyenv/versions").glob(f"{name}.*/bin/python"), reverse=True)]
    question = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in filter(None, given):
        try:
            if _run([path, "-c", question]).strip() == name:
                yield Path(path)
        except CommandError:
            continue


def _run(command: Sequence[str | Path], cwd: Path = ROOT) -> str:
    """Return the output of a command, apart from this environment's own packages.

    Raises:
        CommandError: It failed.
    """
    environment = {key: value for key, value in os.environ.items() if not re.match("PYTHON|NLCORE|VIRTUAL_ENV", key)}
    done = subprocess.run(command, cwd=cwd, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CommandError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
