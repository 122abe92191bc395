"""The methods of `nlcore bench ranking`: two relaxations, each plain and with two curvatures."""

from __future__ import annotations

from typing import Any, Literal

from nlcore_bench.methods.base import Curvature, Method

__all__ = ["RANKING"]


def _ranking_methods(prefix: str, group: str, loss: str, options: dict[str, Any]) -> tuple[Method, ...]:
    plain = Method(name=f"{prefix}_plain", label="plain", group=group, loss=loss, options=options, supervision="ranks")
    kinds: tuple[tuple[Literal["fisher", "hessian"], str], ...] = (
        ("fisher", "empirical Fisher"),
        ("hessian", "Hessian"),
    )
    return (
        plain,
        *(
            Method(
                name=f"{prefix}_{kind}",
                label=word,
                group=group,
                loss=loss,
                options=options,
                supervision="ranks",
                curvature=Curvature(kind=kind, damping=0.1),
                baseline=plain.name,
            )
            for kind, word in kinds
        ),
    )


RANKING: tuple[Method, ...] = (
    *_ranking_methods("neuralsort", "NeuralSort", "sorting/neuralsort-v1", {"temperature": 1.0}),
    *_ranking_methods(
        "network", "odd–even network", "sorting/diffsort-v1", {"network": "odd_even", "distribution": "cauchy"}
    ),
)
