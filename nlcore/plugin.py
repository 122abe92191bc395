"""The names that a plugin imports to register and export its algorithms, tasks and studies; does not import torch."""

from __future__ import annotations

from nlcore.lazy import lazy_exports
from nlcore.registry.hooks import Subparsers, hookimpl
from nlcore.registry.spec import AlgorithmSpec, TaskSpec

__all__ = ["AlgorithmSpec", "Subparsers", "TaskSpec", "hookimpl", "lazy_exports"]
