"""All that a plugin imports to register its algorithms; free of torch."""

from __future__ import annotations

from nlcore.registry.hooks import Subparsers, hookimpl
from nlcore.registry.spec import AlgorithmSpec

__all__ = ["AlgorithmSpec", "Subparsers", "hookimpl"]
