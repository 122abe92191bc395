"""Algorithms by id: the registry, its entries, and the records of plugins."""

from __future__ import annotations

from nlcore.registry.registry import Registry
from nlcore.registry.spec import AlgorithmSpec, PluginRecord, PluginState

__all__ = ["AlgorithmSpec", "PluginRecord", "PluginState", "Registry"]
