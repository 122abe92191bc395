"""Algorithms by id: the registry, what it holds, and what it says about plugins."""

from __future__ import annotations

from nlcore.registry.records import PluginRecord, PluginState
from nlcore.registry.registry import Registry
from nlcore.registry.spec import AlgorithmSpec

__all__ = ["AlgorithmSpec", "PluginRecord", "PluginState", "Registry"]
