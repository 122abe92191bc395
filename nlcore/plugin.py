"""The names that a plugin imports to register and export its algorithms; does not import torch."""

from __future__ import annotations

from nlcore.lazy import lazy_exports
from nlcore.registry.hooks import Subparsers, hookimpl
from nlcore.registry.spec import AlgorithmSpec

__all__ = ["AlgorithmSpec", "Subparsers", "hookimpl", "lazy_exports"]
