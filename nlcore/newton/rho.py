"""The relative damping ρ that a batch asks for: by its amplification, or by generalised cross-validation."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.evaluation import signs
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.matrix import OperatorMatrix
from nlcore.newton.problem import Samples

__all__ = [
    "CANDIDATES",
    "VALIDATED",
    "amplification",
    "bounded_rho",
    "examined",
    "validated_rho",
    "validated_rho_by_solves",
]

CANDIDATES = tuple(10.0 ** (-3 + k / 2) for k in range(7))
"""The ρ that `Bounded` chooses among, 1e-3 to 1."""

VALIDATED = tuple(10.0 ** (-4 + k / 2) for k in range(11))
"""The ρ that cross-validation chooses among, 1e-4 to 10."""

_ITERATIONS = 24
"""Power iterations for the amplification; they bring it to a few per cent, from below."""

_SIGNS = 4
"""Random signs by which the trace of an inverse that is not formed is estimated."""

_SAMPLES = 16
"""Most samples of a rank that are looked at for the amplification."""


def bounded_rho(
    matrix: Tensor, blocks: Tensor, mean_curvature: Tensor, samples: Samples, *, limit: float, quantile: float
) -> Tensor:
    """Return the smallest candidate ρ whose amplification is within the limit, infinity where there is none, [].

    Args:
        matrix: [m, m], C, positive semi-definite.
        blocks: [N, m, m], H_i.
        mean_curvature: [], tr C/m.
        samples: Which samples count.
        limit: The largest amplification allowed.
        quantile: The share of the samples for which it must hold.
    """
    candidates = torch.tensor(CANDIDATES, dtype=matrix.dtype, device=matrix.device)
    amplifications = amplification(matrix, blocks, candidates * mean_curvature, samples, quantile)
    return torch.where(amplifications <= limit, candidates, torch.inf).amin()


def validated_rho(matrix: Tensor, mean_curvature: Tensor, samples: Samples, derivatives: Derivatives) -> Tensor:
    """Return the ρ of least generalised cross-validation, [].

    With r the F residuals of a sample and ŷ(λ) = y − (C + λI)⁻¹g, it is the mean of ‖r(ŷ)‖² over the square of the mean
    of F − tr C(C + λI)⁻¹: how well a residual is predicted that was left out. Noise that a small λ would fit raises it.

    Args:
        matrix: [m, m] for all samples, or [N, m, m].
        mean_curvature: [], tr C/m.
        samples: Which samples count.
        derivatives: Value [N] and gradient [N, m], and the number of features.
    """
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp(min=0.0).unsqueeze(-1)
    candidates = torch.tensor(VALIDATED, dtype=values.dtype, device=values.device)
    strengths = (candidates * mean_curvature).clamp(min=torch.finfo(values.dtype).tiny)
    kept = values / (values + strengths)
    along = (vectors.mT @ derivatives.gradient.double().unsqueeze(-1)).square().mT
    fit = (along @ ((kept - 2) / (values + strengths))).squeeze(-2)
    start = 2 * derivatives.value.double().unsqueeze(-1)
    rest = torch.maximum(start + fit, 1e-6 * start.abs())
    free = (derivatives.features or 0) - kept.sum(-2).expand(len(rest), -1)
    shares = samples.shares
    rest = torch.where(shares.unsqueeze(-1) > 0, rest, 0.0)  # a value that does not count may be NaN
    means = samples.total(torch.stack([shares @ rest, shares @ free]))
    return candidates[(means[0] / means[1].square()).argmin()]


def validated_rho_by_solves(
    matrix: OperatorMatrix, derivatives: Derivatives, strengths: Tensor, least: Tensor
) -> Tensor:
    """Return `validated_rho` of a matrix that is not formed, its trace by random signs (Hutchinson 1989).

    Args:
        matrix: C.
        derivatives: Value [N] and gradient [N, m], and the number of features.
        strengths: [11], the λ of the candidates.
        least: [], the smallest λ with which float64 can invert C + λI.
    """
    samples, gradient = matrix.samples, derivatives.gradient.double()
    some = examined(len(gradient))
    gradient, weight = gradient[some], samples.weight[some]
    value = torch.where(weight > 0, derivatives.value.double()[some], 0.0)
    probes = signs(gradient, (_SIGNS, matrix.size))
    weight = weight / samples.total(weight.sum()).clamp(min=1e-300)
    missing = (derivatives.features or 0) - matrix.size
    scores, excess = [], gradient.new_zeros(())
    if missing < 0:
        # C has a null space of m − F dimensions, or more. The estimate of its dimension has an error that would exceed
        # the degrees of freedom that are left; it is subtracted where the true dimension is m − F but for noise.
        flat = least * (probes * matrix.operator.solve(probes, least, 1.0)).sum() / _SIGNS
        noise = (2 / _SIGNS * flat * (1 - flat / matrix.size).clamp(min=0.0)).sqrt()
        excess = torch.where(flat + missing < 3 * noise, flat + missing, 0.0)
    for strength in strengths:
        solved = matrix.operator.solve(torch.cat([gradient, probes]), strength, 1.0)
        step, spread = solved.split([len(gradient), _SIGNS])
        fit = (step * matrix.matvec(step)).sum(-1) - 2 * (gradient * step).sum(-1)
        free = missing - excess + strength * (probes * spread).sum() / _SIGNS
        rest = samples.total(weight @ torch.maximum(2 * value + fit, 2e-6 * value))
        scores.append(rest / free.square())
    return strengths.new_tensor(VALIDATED)[torch.stack(scores).argmin()]


def examined(count: int) -> slice:
    """Return which of this rank's samples are looked at: at most 16, evenly spread; several ranks look at more."""
    return slice(None, None, -(-max(1, count) // _SAMPLES))


def amplification(
    matrix: Tensor, blocks: Tensor, strengths: Tensor, samples: Samples, quantile: float, *, roots: bool = False
) -> Tensor:
    """Return a quantile over the samples of ‖(C + λI)⁻¹H_i‖ / max(1, ‖H_i‖/‖C‖) for several λ at once.

    Args:
        matrix: [m, m], C, positive semi-definite.
        blocks: [N, m, m], H_i, of which those that `examined` names are looked at.
        strengths: [r], the λ.
        samples: Which samples count.
        quantile: Which quantile.
        roots: Whether the blocks are rows R_i, [N, F, m], with H_i = R_iᵀR_i.

    Returns:
        [r], the spectral norms by power iteration in the eigenbasis of C: at most a few per cent below the exact ones.
    """
    some = examined(len(blocks))
    blocks, samples = blocks[some], Samples.of(samples.weight[some], None, samples.ranks)
    values, vectors = torch.linalg.eigh(matrix)
    tiny = torch.finfo(matrix.dtype).tiny
    gradient_step = values.amax().clamp(min=tiny).reciprocal().expand(1, len(values))
    inverse = torch.cat([(values + strengths.unsqueeze(-1)).clamp(min=tiny).reciprocal(), gradient_step])
    rotated = blocks @ vectors if roots else vectors.mT @ blocks @ vectors

    def along(vector: Tensor) -> Tensor:
        image = torch.einsum("nij,rnj->rni", rotated, vector)
        return torch.einsum("nij,rni->rnj", rotated, image) if roots else image

    vector = torch.linspace(1, 3 * len(values), len(values), dtype=matrix.dtype, device=matrix.device).sin()
    vector = vector.expand(len(inverse), len(blocks), -1)
    norm = vector[..., 0]
    for _ in range(_ITERATIONS):
        vector = torch.nn.functional.normalize(vector, dim=-1)
        pushed = along(vector) * inverse.unsqueeze(1)
        norm = pushed.norm(dim=-1)
        vector = along(pushed * inverse.unsqueeze(1))
    return samples.quantile((norm[:-1] / norm[-1].clamp(min=1)).mT, quantile)
