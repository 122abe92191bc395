"""The hooks of this distribution: `nlcore bench` and the simulators of its tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nlcore.plugin import AlgorithmSpec, hookimpl
from nlcore_bench.cli.parser import add_bench

if TYPE_CHECKING:
    from nlcore.plugin import Subparsers

__all__ = ["nlcore_algorithms", "nlcore_commands"]


@hookimpl
def nlcore_commands(subparsers: Subparsers) -> None:
    """Add `nlcore bench`."""
    add_bench(subparsers)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the simulators that the tasks train through."""
    return (
        AlgorithmSpec(
            id="bench/blur-v1",
            factory="nlcore_bench.simulators:Blur",
            config="nlcore_bench.config:BlurConfig",
            summary="a signal through a Gaussian blur, ½‖·‖² to the blurred signal",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="bench/drag-v1",
            factory="nlcore_bench.simulators:Drag",
            config="nlcore_bench.config:DragConfig",
            summary="a body with quadratic drag under given pushes, ½‖·‖² to its path",
            since="0.1.0",
        ),
    )
