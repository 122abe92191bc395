"""The registry of this process, and its methods as functions such as `nlcore.make`."""

from __future__ import annotations

from nlcore.registry.registry import Registry

__all__ = ["dump", "make", "names", "plugins", "refresh", "register", "registry", "restore", "spec"]

registry = Registry()

make = registry.make
names = registry.names
spec = registry.spec
plugins = registry.plugins
register = registry.register
refresh = registry.refresh
dump = registry.dump
restore = registry.restore
