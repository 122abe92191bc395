"""The checks of a plugin as it is installed: what its import costs, and whether its requirements are met."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeAlias

from nlcore.cli.commands.doctor import needed_core, unmet
from nlcore.errors import attempted, shorten
from nlcore.registry import PluginRecord
from nlcore.registry.discovery import RESERVED
from nlcore.registry.hooks import GROUP

__all__ = ["Found", "check_installation"]

Found: TypeAlias = tuple[str, str, str]
"""The name of a check, `passed`, `failed` or `skipped`, and the message."""

_LONGEST = 0.3
"""Seconds of processor time that an import may take: ample for a module that describes algorithms."""

_PATIENCE = 120

_IMPORT = """
import json, sys, time
from importlib.metadata import EntryPoint
import nlcore.config, nlcore.plugin
from nlcore.registry.hooks import Hooks

namespace, value, group = sys.argv[1:]
before, started = set(sys.modules), time.process_time()
Hooks(namespace, EntryPoint(namespace, value, group).load()).algorithms()
seconds = time.process_time() - started
known = {name.partition(".")[0] for name in before}
brought = {name.partition(".")[0] for name in set(sys.modules) - before} - known
brought = sorted(name for name in brought if not name.startswith("_") and name not in sys.stdlib_module_names)
found = {"seconds": seconds, "brought": brought, "torch": "torch" in sys.modules}
print(json.dumps(found), file=sys.__stdout__)
"""


def check_installation(record: PluginRecord) -> list[Found]:
    """Return the findings on a plugin itself, beside those on its algorithms.

    Args:
        record: Of a plugin that is loaded.
    """
    return [*_import(record), _requirements(record)]


def _import(record: PluginRecord) -> Iterator[Found]:
    """Yield what the import of a plugin brings with it and costs, in a fresh process."""
    found = attempted(lambda: _imported(record), None)
    if found is None:
        for name in ("plugin.torch_free", "plugin.quick"):
            yield name, "skipped", "it cannot be imported in a fresh process"
        return
    module = record.value.partition(":")[0]
    text = (
        f"the import of {module!r} imports torch, so that `nlcore list` takes seconds. Import it in the modules that "
        "the factories name, and there alone"
    )
    yield _found("plugin.torch_free", found["torch"], text)
    others = [one for one in found["brought"] if one != module.partition(".")[0]]
    text = (
        f"the import of {module!r} takes {found['seconds']:.1f} s{f' and brings {shorten(others)}' if others else ''}. "
        "Import what takes long in the modules that the factories name: every `nlcore` command waits for this one"
    )
    yield _found("plugin.quick", found["seconds"] > _LONGEST and not found["torch"], text)


def _requirements(record: PluginRecord) -> Found:
    """Return whether the requirements are met, and one on the core is there."""
    name, faults = "plugin.requirements", [f"{one.subject} {one.text}" for one in unmet([record])]
    if faults or needed_core(record) or RESERVED.get(record.namespace) == "nlcore":
        return _found(name, bool(faults), "; ".join(faults))
    return name, "skipped", "its metadata has no requirement on nlcore: pin one, as in nlcore>=0.2,<1"


def _found(name: str, failed: bool, text: str) -> Found:
    return (name, "failed", f"{text}.") if failed else (name, "passed", "")


def _imported(record: PluginRecord) -> dict[str, Any] | None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _IMPORT, record.namespace, record.value, GROUP],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    found: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
    return found
