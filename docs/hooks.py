"""Hooks of mkdocs: generated pages join the navigation, formulas become MathML, and llms.txt is written."""

from __future__ import annotations

import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

sys.path.insert(0, str(Path(__file__).parent))  # mkdocs loads this file by its path

from results_list import FINDING, VALUE, Page, recorded

_TEXTS: list[tuple[str, str, str]] = []
_PICTURE = re.compile(r"\]\(([\w-]+\.png)\)")
_TABLE = re.compile(r"^\*\*([^*\n]+)\*\*\n\n((?:\|.*\n?){3,})", re.MULTILINE)
_LONG, _MANY = 12, 4  # lines of a table that is folded; tables of a page on which all but the first are folded
_DIRECTIVE = re.compile(r"^::: (\S+)(?:\n +\S.*)*", re.MULTILINE)
_FENCE = re.compile(r"^( *```\w+) (\w+=\S+)$", re.MULTILINE)
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def on_config(config: Any) -> Any:
    """Append the pages of the generated folders to their sections.

    Raises:
        SystemExit: The catalogue has not been generated.
    """
    _TEXTS.clear()
    docs = Path(config["docs_dir"])
    if not (docs / "algorithms/index.md").exists():
        raise SystemExit("docs/algorithms is empty. Run: python docs/generate.py; `make docs` does both.")
    for section in config["nav"]:
        if "Algorithms" in section:
            section["Algorithms"] = ["algorithms/index.md", *_pages(docs, docs / "algorithms")]
        if "Results" in section:
            groups = recorded(docs / "results").items()
            section["Results"] = ["results/index.md", *({group: _named(pages)} for group, pages in groups)]
        if "Reference" in section:
            section["Reference"] += _pages(docs, docs / "reference/plugins")
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the list of results, and keep the text for llms.txt."""
    if page.file.src_uri == "results/index.md":
        folder = Path(config["docs_dir"]) / "results"
        listed = "\n\n".join(
            "\n\n".join([f"## {group}", *(_listed(one.title, folder / one.path, folder) for one in pages)])
            for group, pages in recorded(folder).items()
        )
        markdown = markdown.replace("<!-- list of results -->", listed or "No study has been added yet.")
    elif page.file.src_uri == "index.md":
        finding = Path(config["docs_dir"]) / "landing.md"
        markdown = markdown.replace("<!-- finding -->", finding.read_text("utf-8") if finding.exists() else "")
    elif page.file.src_uri.startswith("results/"):
        markdown = _result(VALUE.sub("", markdown), Path(config["docs_dir"]) / page.file.src_uri)
    markdown = _FENCE.sub(_titled, markdown)
    if page.canonical_url or page.url is not None:
        _TEXTS.append((page.title or page.file.src_uri, page.url, markdown))
    return markdown


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Turn formulas into MathML, which browsers draw without a script."""
    content = _INLINE.sub(lambda found: _formula(found[1], "inline"), content)
    return _DISPLAY.sub(lambda found: f'<div class="formula" tabindex="0">{_formula(found[1], "block")}</div>', content)


def _formula(latex: str, display: str) -> str:
    """Return LaTeX as MathML."""
    return convert(unescape(latex).strip(), display=display)


def on_post_build(config: Any) -> None:
    """Write llms.txt, a list of the pages, and llms-full.txt, their text."""
    site = Path(config["site_dir"])
    index = [f"# {config['site_name']}", "", f"> {config['site_description']}", "", "## Pages", ""]
    index += [f"- [{title}]({url or './'}): {_first_sentence(text)}" for title, url, text in _TEXTS]
    index += ["", "The whole text: llms-full.txt", ""]
    (site / "llms.txt").write_text("\n".join(index), encoding="utf-8")
    whole = [f"<!-- {url or './'} -->\n\n{_DIRECTIVE.sub(_documented, text).strip()}\n" for _, url, text in _TEXTS]
    (site / "llms-full.txt").write_text("\n".join(whole), encoding="utf-8")


def _pages(docs: Path, folder: Path) -> list[Any]:
    """Return the pages of a folder for the navigation: files by name, then its folders as sections."""
    if not folder.is_dir():
        return []
    written = [path for path in sorted(folder.glob("*.md")) if path.name != "index.md"]
    found: list[Any] = [_entry(docs, path, {other.stem for other in written}) for path in written]
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if pages := _pages(docs, below):
            found.append({below.name: pages})
    return found


def _named(pages: Iterable[Page]) -> list[dict[str, str]]:
    """Return pages of results for the navigation, by their titles in the list."""
    return [{one.title: f"results/{one.path}"} for one in pages]


def _entry(docs: Path, path: Path, stems: set[str]) -> Any:
    """Return a page for the navigation: an algorithm by its name, with its version where there are several."""
    name, _, version = path.stem.rpartition("-v")
    if not version.isdigit():
        return str(path.relative_to(docs))
    alone = sum(stem.rpartition("-v")[0] == name for stem in stems) == 1
    return {name if alone else path.stem: str(path.relative_to(docs))}


def _listed(title: str, path: Path, folder: Path) -> str:
    """Return title, finding and picture of a page of results, for the list."""
    text, place = VALUE.sub("", path.read_text(encoding="utf-8")), path.relative_to(folder)
    finding, picture = FINDING.search(text), _PICTURE.search(text)
    parts = [f"### [{title}]({place})"]
    if finding:
        parts.append(finding[1])
    beside = path.with_suffix(".png")
    name = picture[1] if picture else beside.name if beside.exists() else None
    if name is not None:
        parts.append(f"[![{title}]({place.parent / name}){{ width=600 loading=lazy }}]({place})")
    return "\n\n".join(parts)


def _result(markdown: str, path: Path) -> str:
    """Return a table that a study wrote as a page, with a heading and the study's picture."""
    picture = path.with_suffix(".png")
    if not re.search(r"^# ", markdown, re.MULTILINE):
        markdown = f"# {_title(path)}\n\n{markdown}"
    if picture.exists() and picture.name not in markdown:
        markdown += f"\n\n[![{_title(path)}]({picture.name})]({picture.name})\n"
    tables = list(_TABLE.finditer(markdown))
    many = {one.start() for one in tables[1:]} if len(tables) > _MANY else set()
    return _TABLE.sub(lambda one: _folded(one, one.start() in many), markdown)


def _folded(table: re.Match[str], always: bool) -> str:
    """Return a table below its caption, folded if it is long."""
    lines = table[2].splitlines()
    if not always and len(lines) < _LONG:
        return table[0]
    rows = "\n".join(f"    {line}" for line in lines)
    return f'??? abstract "{table[1].replace(chr(34), chr(39))}"\n\n{rows}\n'


def _title(path: Path) -> str:
    match = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else path.stem.replace("_", " ").capitalize()


def _documented(directive: re.Match[str]) -> str:
    """Return signatures and docstrings as text, of an object or of all public names of a module."""
    found = pkgutil.resolve_name(directive[1])
    if not inspect.ismodule(found):
        return _entry_of(directive[1], found)
    return "\n\n".join(_entry_of(f"{directive[1]}.{name}", getattr(found, name)) for name in found.__all__)


def _entry_of(path: str, found: Any) -> str:
    parts = [f"{path}{_signature(found)}\n\n{inspect.getdoc(found) or ''}"]
    if inspect.isclass(found):
        own = [name for name, one in vars(found).items() if not name.startswith("_") and inspect.isroutine(one)]
        parts += [_entry_of(f"{path}.{name}", getattr(found, name)) for name in own]
    return "\n\n".join(parts)


def _signature(found: Any) -> str:
    try:
        return str(inspect.signature(found)) if callable(found) else ""
    except (TypeError, ValueError):
        return ""


def _titled(fence: re.Match[str]) -> str:
    """Return the head of a block without what the tests alone read, which is not rendered; a file is its title."""
    name, _, value = fence[2].partition("=")
    return f'{fence[1]} title="{value}"' if name == "file" else fence[1]


def _first_sentence(text: str) -> str:
    """Return the first sentence of prose."""
    prose = re.sub(r"```.*?```|<!--.*?-->|^---.*?^---$", "", text, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", prose):
        line = " ".join(paragraph.split())
        if line and line[0] not in "#|!-<:>" and not line.startswith("**"):
            line = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", line)
            return re.split(r"(?<=[.!?])(?<!al\.)\s(?=[A-Z`])", line)[0]
    return ""
