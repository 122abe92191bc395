"""Version and address of all distributions: `pyproject.toml` of the core has them, and other files repeat them.

`python -m tools.metadata` writes both into the other files, after a change of the version or of the address.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "address", "disagreeing", "distributions", "project", "projects", "repeated", "version"]

ROOT = Path(__file__).parents[1]
_TEMPLATE = "nlcore/cli/templates/plugin/README.md.template"


def projects(root: Path = ROOT) -> list[Path]:
    """Return the folders of all distributions, the core's first and each before those that need it."""
    plugins = sorted(path.parent for path in root.glob("plugins/*/pyproject.toml"))
    ordered = [root]
    while rest := [one for one in plugins if one not in ordered]:
        known = {project(one)["name"] for one in ordered}
        ready = [one for one in rest if _own_requirements(one) <= known]
        if not ready:
            raise ValueError(f"these need each other: {', '.join(str(one) for one in rest)}")
        ordered += ready
    return ordered


def project(folder: Path) -> dict[str, Any]:
    """Return the table `[project]` of a distribution."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def distributions(root: Path = ROOT) -> list[str]:
    """Return the names of all distributions, each behind those that it needs."""
    return [project(one)["name"] for one in projects(root)]


def version(root: Path = ROOT) -> str:
    """Return the version of all distributions."""
    return str(project(root)["version"])


def address(root: Path = ROOT) -> str:
    """Return the address of the repository."""
    return str(project(root)["urls"]["Repository"])


def repeated(root: Path = ROOT) -> dict[Path, str]:
    """Return the files that repeat the version or the address, with the text that they should have."""
    names = ("pyproject.toml", "CITATION.cff", "mkdocs.yml", "docs/install.md", _TEMPLATE)
    files = {root / name: (root / name).read_text("utf-8") for name in names}
    for folder in projects(root)[1:]:
        files |= {folder / name: (folder / name).read_text("utf-8") for name in ("pyproject.toml", "README.md")}
    number, link = version(root), address(root)
    for path, text in files.items():
        if path.name == "pyproject.toml":
            files[path] = _with_urls(_with_versions(text, number), link)
        elif path.name == "CITATION.cff":
            cited = _replaced(r"^version: .*$", f"version: {number}", text)
            files[path] = _replaced(r"^repository-code: .*$", f'repository-code: "{link}"', cited)
        elif path.name == "mkdocs.yml":
            files[path] = _replaced(r"^copyright: >-\n(?:  .*\n)+", _footer(link), text)
        elif path.name == "install.md":
            files[path] = _replaced(r"git\+https://\S+", f"git+{link}", text)
        else:
            files[path] = _replaced(r"\[nlcore\]\(https?://[^)]*\)", f"[nlcore]({link})", text)
    return files


def disagreeing(root: Path = ROOT) -> list[str]:
    """Return the files whose version or address is not that of the core's `pyproject.toml`."""
    return [str(path.relative_to(root)) for path, text in repeated(root).items() if path.read_text("utf-8") != text]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the version and the address into the files that repeat them."""
    parser = argparse.ArgumentParser(prog="python -m tools.metadata", description=__doc__)
    parser.add_argument("--version", help="the new version (default: that of pyproject.toml)")
    parser.add_argument("--address", help="the new address of the repository (default: that of pyproject.toml)")
    given = parser.parse_args(arguments)
    core = root / "pyproject.toml"
    text = _with_versions(core.read_text("utf-8"), given.version or version(root))
    core.write_text(_with_urls(text, (given.address or address(root)).rstrip("/")), "utf-8")
    changed = disagreeing(root)
    for path, new in repeated(root).items():
        path.write_text(new, "utf-8")
    print(f"{version(root)} at {address(root)}; changed: {', '.join(changed) or 'nothing else'}.")
    return 0


def _own_requirements(folder: Path) -> set[str]:
    names = {re.split(r"[^\w-]", one)[0] for one in project(folder)["dependencies"]}
    return {name for name in names if name == "nlcore" or name.startswith("nlcore-")}


def _with_versions(text: str, number: str) -> str:
    """Return a `pyproject.toml` with the version, and with requirements on distributions of the same minor version."""
    minor = ".".join(number.split(".")[:2])
    text = _replaced(r'^version = ".*"$', f'version = "{number}"', text)
    return re.sub(r'"(nlcore(?:-[a-z-]+)?(?:\[[a-z,]+\])?)>=[\d.]+,<1"', rf'"\1>={minor},<1"', text)


def _with_urls(text: str, link: str) -> str:
    urls = {
        "Repository": link,
        "Documentation": f"{link}/tree/main/docs",
        "Changelog": f"{link}/blob/main/CHANGELOG.md",
        "Citation": f"{link}/blob/main/CITATION.cff",
        "Issues": f"{link}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    return _replaced(r"^\[project\.urls\]\n(?:\w.*\n)*", f"[project.urls]\n{lines}", text)


def _footer(link: str) -> str:
    """Return the links below each page; the theme's own `repo_url` would load numbers of stars from elsewhere."""
    links = {"Repository": "", "Changelog": "/blob/main/CHANGELOG.md", "Cite": "/blob/main/CITATION.cff"}
    lines = [f'<a href="{link}{end}">{name}</a>' for name, end in links.items()]
    return "copyright: >-\n  MIT licence ·\n" + "".join(f"  {one}{' ·' * (one is not lines[-1])}\n" for one in lines)


def _replaced(pattern: str, replacement: str, text: str) -> str:
    found, count = re.subn(pattern, lambda _: replacement, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError(f"nothing matches {pattern!r}")
    return found


if __name__ == "__main__":
    sys.exit(main())
