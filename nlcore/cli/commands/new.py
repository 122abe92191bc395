"""`nlcore new`: a plugin of one's own, complete and working, written from the templates of this package."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from keyword import iskeyword
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
    ("nlcore new my_losses --algorithm soft_count", "with the name of its first algorithm"),
    ("nlcore new my_losses --dir plugins/mine", "in another folder"),
)

_SUFFIX = ".template"
_FIRST = "smooth_maximum"
_TAKEN = {"config", "configured", "tensor", "torch", "traits"}
"""Names of modules and classes of the template."""

_TOKEN = re.compile(r"@([a-z_]+)@")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("name", help="the namespace: the part of an id before the slash, in lower snake case")
    parser.add_argument(
        "--algorithm",
        default=_FIRST,
        metavar="NAME",
        help=f"the first algorithm, in lower snake case; {_FIRST} if left out",
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to write it; nlcore-NAME when left out")


def run(arguments: argparse.Namespace) -> int:
    """Write the plugin, and say what to do next."""
    name = checked_name(arguments.name, default.registry.plugins())
    names = Names(name, checked_algorithm(arguments.algorithm))
    folder = arguments.dir or Path(names.distribution)
    files = write_plugin(names, folder)
    if arguments.json:
        print_json(
            {
                "namespace": names.name,
                "distribution": names.distribution,
                "algorithm": f"{names.name}/{names.algorithm}-v1",
                "folder": str(folder),
                "files": [str(one.relative_to(folder)) for one in files],
            }
        )
        return 0
    say(f"{folder}: the plugin {names.distribution}, with the algorithm {names.name}/{names.algorithm}")
    say(f"\n  pip install -e '{folder}[dev]'\n  nlcore check {names.name}\n  pytest {folder}\n")
    module = folder / "src" / names.package / f"{names.algorithm}.py"
    say(f"It is a smooth maximum for now: change {module}, its options in config.py and its test into yours.")
    return 0


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a new plugin.

    Attributes:
        name: The namespace.
        algorithm: The first algorithm.
    """

    name: str
    algorithm: str = _FIRST

    @property
    def package(self) -> str:
        """The module that Python imports."""
        return f"nlcore_{self.name}"

    @property
    def distribution(self) -> str:
        """The project that pip installs."""
        return f"nlcore-{self.name.replace('_', '-')}"

    @property
    def class_name(self) -> str:
        """The class of the algorithm."""
        return "".join(part.capitalize() for part in self.algorithm.split("_"))

    def values(self) -> dict[str, str]:
        """Return the value of each token of the templates."""
        version = core_version().partition("+")[0]
        homes = {"config": f"{self.class_name}Config", self.algorithm: self.class_name}
        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "class": self.class_name,
            "imports": "\n".join(f"    from {self.package}.{home} import {homes[home]}" for home in sorted(homes)),
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
        words = _snake(_snake(name).removeprefix("nlcore"))
        hint = f" Try {words!r}." if is_namespace(words) else ""
        raise ConfigError(
            f"{name!r} is not a name for a plugin.{hint} Write it in lower snake case and without nlcore, which is put "
            "before it, as in 'my_losses'."
        )
    owner = RESERVED.get(name) or ("nlcore.register" if name == LOCAL else "")
    owner = owner or next((record.origin for record in records if record.namespace == name), "")
    if owner:
        add = (
            ""
            if name in RESERVED or name == LOCAL
            else (
                " To add an algorithm to it, write a module, its options and its specification there, as the guide "
                "'Write a plugin' says."
            )
        )
        raise ConfigError(f"the namespace {name!r} belongs to {owner}. Try {f'my_{name}'!r}.{add}")
    return name


def checked_algorithm(name: str) -> str:
    """Return the name of the first algorithm.

    Raises:
        ConfigError: It cannot be the name of an algorithm and of its module. The message suggests one.
    """
    if is_namespace(name) and not iskeyword(name) and name not in _TAKEN:
        return name
    words = _snake(name)
    words = f"my_{words}" if iskeyword(words) or words in _TAKEN else words
    hint = f" Try {words!r}." if is_namespace(words) else ""
    raise ConfigError(
        f"--algorithm {name}: it becomes a part of an id and a module, so write it in lower snake case, without the "
        f"namespace; words of Python and names of the template are taken.{hint}"
    )


def _snake(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
    return words.lstrip("0123456789_")


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
