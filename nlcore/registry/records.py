"""What is known about an installed plugin, whether it works or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nlcore.registry.spec import AlgorithmSpec

__all__ = ["PluginRecord", "PluginState"]


class PluginState(StrEnum):
    """Where a plugin stands.

    Attributes:
        DISCOVERED: Installed, not yet needed.
        LOADED: Imported; its algorithms are registered.
        FAILED: Its import or its hooks failed.
        CONFLICT: Withheld, because its namespace belongs to another distribution or is claimed by several.
        DISABLED: Switched off by `NLCORE_PLUGINS` or `NLCORE_BLOCK_PLUGINS`.
        INCOMPATIBLE: Written for another plugin interface or another version of nlcore.
    """

    DISCOVERED = "discovered"
    LOADED = "loaded"
    FAILED = "failed"
    CONFLICT = "conflict"
    DISABLED = "disabled"
    INCOMPATIBLE = "incompatible"

    @property
    def faulty(self) -> bool:
        """Whether somebody has to mend something before the plugin can be used."""
        return self in {PluginState.FAILED, PluginState.CONFLICT, PluginState.INCOMPATIBLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One namespace of one distribution.

    Attributes:
        namespace: The entry-point name, which is the part of an id before the slash.
        distribution: What pip calls it; empty when the metadata does not tell, and for `register`.
        version: The distribution's version; empty as above.
        state: Where it stands.
        error: What is wrong and what to do, or `None`.
        seconds: How long the import and the hooks took.
        specs: Its algorithms, once it is loaded.
        value: The module that the entry point names.
        cause: The exception behind `error`, when there is one.
    """

    namespace: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.DISCOVERED
    error: str | None = None
    seconds: float = 0.0
    specs: tuple[AlgorithmSpec, ...] = ()
    value: str = ""
    cause: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """The distribution with its version, for messages."""
        if not self.distribution:
            return "a distribution without a name" if self.value else "this process"
        return f"{self.distribution} {self.version}".rstrip()
