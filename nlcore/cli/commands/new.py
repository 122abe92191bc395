"""`nlcore new`: a plugin of one's own, complete and working, written from the templates of this package."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from nlcore.cli.files import new_folder
from nlcore.cli.output import print_json, say
from nlcore.errors import ConfigError
from nlcore.registry import PluginRecord, default
from nlcore.registry.discovery import LOCAL, RESERVED, core_version
from nlcore.registry.spec import is_namespace

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore new my_losses", "a plugin in ./nlcore-my-losses"),
    ("nlcore new my_losses --dir plugins/mine", "in another folder"),
)

_SUFFIX = ".template"
_TOKEN = re.compile(r"@([a-z_]+)@")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("name", help="the namespace: the part of an id before the slash, in lower snake case")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to write it; nlcore-NAME when left out")


def run(arguments: argparse.Namespace) -> int:
    """Write the plugin, and say what to do next."""
    names = Names(checked_name(arguments.name, default.registry.plugins()))
    folder = arguments.dir or Path(names.distribution)
    files = write_plugin(names, folder)
    if arguments.json:
        print_json(
            {
                "namespace": names.name,
                "distribution": names.distribution,
                "folder": str(folder),
                "files": [str(one.relative_to(folder)) for one in files],
            }
        )
        return 0
    say(f"{folder}: the plugin {names.distribution}, with the algorithm {names.name}/smooth_maximum")
    say(f"\n  pip install -e '{folder}[dev]'\n  nlcore check {names.name}\n  pytest {folder}\n")
    say(f"Then change {folder / 'src' / names.package / 'smooth_maximum.py'} into your algorithm.")
    return 0


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a new plugin.

    Attributes:
        name: The namespace.
    """

    name: str

    @property
    def package(self) -> str:
        """The module that Python imports."""
        return f"nlcore_{self.name}"

    @property
    def distribution(self) -> str:
        """The project that pip installs."""
        return f"nlcore-{self.name.replace('_', '-')}"

    def values(self) -> dict[str, str]:
        """Return the value of each token of the templates."""
        version = core_version().partition("+")[0]
        return {
            "name": self.name,
            "package": self.package,
            "distribution": self.distribution,
            "core": ".".join(version.split(".")[:2]),
        }


def checked_name(name: str, records: Sequence[PluginRecord]) -> str:
    """Return the name of a new plugin.

    Args:
        name: The argument of the command.
        records: The plugins that are installed.

    Raises:
        ConfigError: It cannot be a namespace, or another plugin has it. The message suggests one.
    """
    if not is_namespace(name) or name.startswith("nlcore"):
        words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
        words = words.removeprefix("nlcore").lstrip("0123456789_")
        hint = f" Try {words!r}." if is_namespace(words) else ""
        raise ConfigError(
            f"{name!r} is not a name for a plugin.{hint} Write it in lower snake case and without nlcore, which is put "
            "before it, as in 'my_losses'."
        )
    owner = RESERVED.get(name) or ("nlcore.register" if name == LOCAL else "")
    owner = owner or next((record.origin for record in records if record.namespace == name), "")
    if owner:
        raise ConfigError(f"the namespace {name!r} belongs to {owner}. Try {f'my_{name}'!r}.")
    return name


def write_plugin(names: Names, folder: Path) -> list[Path]:
    """Write a plugin into a folder that is not there yet, or empty.

    Returns:
        The files, in the order of their paths.

    Raises:
        ConfigError: There is something in the folder, or it cannot be written. Nothing is overwritten.
    """
    values = names.values()
    with new_folder(folder) as temporary:
        written = []
        for path, text in _templates():
            target = temporary / _filled(path, values)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_filled(text, values), "utf-8")
            written.append(folder / target.relative_to(temporary))
    return sorted(written)


def _templates() -> Iterator[tuple[str, str]]:
    """Yield the relative path and the text of each template."""
    pending: list[tuple[str, Traversable]] = [("", resources.files("nlcore.cli") / "templates" / "plugin")]
    while pending:
        path, item = pending.pop()
        if item.is_dir():
            pending += [(f"{path}/{one.name}".lstrip("/"), one) for one in item.iterdir()]
        elif path.endswith(_SUFFIX):
            yield path.removesuffix(_SUFFIX), item.read_text("utf-8")


def _filled(text: str, values: dict[str, str]) -> str:
    return _TOKEN.sub(lambda match: values[match[1]], text)
