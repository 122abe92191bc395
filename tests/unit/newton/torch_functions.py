"""Simulators [N, 6] → [N, *features] from torch's own functions and modules, samples independent.

Every one is smooth around the predictions of the tests, so that central differences of its forward pass hold its
Jacobian. Modules are made once for each dtype, from one seed, in evaluation mode.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

SIZE = 6


def draw(*shape, seed=0):
    """Return fixed random numbers, [*shape] float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MIX = draw(SIZE, SIZE, seed=1) / 2
WIDE = draw(SIZE, 9, seed=2) / 2
KERNEL = draw(2, 1, 3, seed=3)
PLANE = draw(2, 1, 2, 2, seed=4)
SYMMETRIC = torch.diag(torch.tensor([1.0, 2.5, 4.0], dtype=torch.float64))
PLACES = torch.tensor([0, 0, 1, 3, 5, 3])


def like(constant, z):
    """Return a constant in the dtype of `z`."""
    return constant.to(z.dtype)


def square(z):
    """Return a matrix for each sample, diagonally dominant and so well conditioned, [N, 3, 3]."""
    upper = torch.zeros(len(z), 3, 3, dtype=z.dtype)
    rows, columns = torch.triu_indices(3, 3)
    return torch.eye(3, dtype=z.dtype) * 3 + 0.4 * upper.index_put((torch.arange(len(z))[:, None], rows, columns), z)


def symmetric(z):
    """Return a symmetric positive definite matrix of distinct eigenvalues for each sample, [N, 3, 3]."""
    a = square(z) - 3 * torch.eye(3, dtype=z.dtype)
    return like(SYMMETRIC, z) + 0.5 * (a + a.mT)


def matrix_logarithm(z):
    """Return the logarithm of a symmetric matrix by its eigenvectors, [N, 3, 3]."""
    values, vectors = torch.linalg.eigh(symmetric(z))
    return (vectors * values.log().unsqueeze(-2)) @ vectors.mT


def oblong(z):
    """Return a matrix for each sample, [N, 2, 3]."""
    return z.view(-1, 2, 3)


@functools.cache
def _made(make, dtype, trained):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().to(dtype).eval().requires_grad_(trained)


def module(make, run=lambda layer, z: layer(z), trained=False):
    """Return a simulator that runs a module of the dtype of its input, whose parameters may ask for a gradient."""
    return lambda z: run(_made(make, z.dtype, trained), z)


def sequence(z):
    """Return each sample as a sequence of three steps of two numbers, [N, 3, 2]."""
    return z.view(-1, 3, 2)


def embedded(z):
    """Return each sample as a sequence of three steps of four numbers, [N, 3, 4]."""
    return sequence(z) @ like(draw(2, 4, seed=12), z)


def cell(make):
    """Return a simulator that runs a recurrent cell step by step."""

    def run(layer, z):
        state, states = None, []
        for step in sequence(z).unbind(1):
            state = layer(step, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(states, 1)

    return module(make, run)


def attended(layer, z):
    """Return self-attention without its weights."""
    x = embedded(z)
    return layer(x, x, x, need_weights=False)[0]


def attended_with_weights(layer, z):
    """Return self-attention and its weights."""
    x = embedded(z)
    out, weights = layer(x, x, x)
    return torch.cat([out.flatten(1), weights.flatten(1)], 1)


def dot_product_attention(z):
    """Return attention of one head over three places."""
    x = sequence(z).unsqueeze(1)
    return F.scaled_dot_product_attention(x, x, x)


def causal_attention(z):
    """Return attention with a causal mask, queries scaled."""
    x = sequence(z).unsqueeze(1)
    return F.scaled_dot_product_attention(2 * x, x, x.sin(), is_causal=True)


def distances(z):
    """Return the distances to three fixed points."""
    points = like(draw(3, 2, seed=5), z).expand(len(z), 3, 2)
    return torch.cdist(z.view(-1, 3, 2), points)


def scaled_in_a_loop(z):
    """Return three Euler steps, each under a checkpoint."""
    for _ in range(3):
        z = checkpoint(lambda x: x + 0.2 * (x @ like(MIX, x)).tanh(), z, use_reentrant=False)
    return z


def reentrant_in_a_loop(z):
    """Return three Euler steps, each under a reentrant checkpoint."""
    for _ in range(3):
        z = checkpoint(lambda x: x + 0.2 * (x @ like(MIX, x)).tanh(), z, use_reentrant=True)
    return z


def oscillator(z):
    """Return positions of three oscillators over five steps of a symplectic integrator."""
    place, speed = z[:, :3], z[:, 3:]
    out = []
    for _ in range(5):
        speed = speed - 0.3 * place.sin()
        place = place + 0.3 * speed
        out.append(place)
    return torch.stack(out, 1)


def until_it_settles(z):
    """Return the fixed point of x = tanh(Ax + z)/2, by as many steps as it takes."""
    x = torch.zeros_like(z)
    for _ in range(200):
        new = 0.5 * (0.5 * x @ like(MIX, z) + z).tanh()
        change = (new - x).abs().max().item()
        x = new
        if change < 1e-14:
            break
    return x


def filled_in_place(z):
    """Return a recursion written into a buffer place by place."""
    out = torch.zeros(len(z), SIZE, dtype=z.dtype)
    out[:, 0] = z[:, 0]
    for k in range(1, SIZE):
        out[:, k] = 0.5 * out[:, k - 1].clone() + z[:, k].sin()
    return out


def changed_copy(z):
    """Return a copy that was changed in place."""
    out = z.clone()
    out.mul_(2).add_(z.square())
    out[:, 1:] += z[:, :-1]
    return out


def gradient_of_an_energy(z):
    """Return the force of a potential, by autograd inside the simulator."""
    with torch.enable_grad():
        x = z if z.requires_grad else z.detach().requires_grad_()
        energy = (x[:, :-1] * x[:, 1:]).sin().sum() + 0.25 * x.pow(4).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


def force_by_func(z):
    """Return the force of a potential, by torch.func inside the simulator."""
    return torch.func.grad(lambda x: (x[:, :-1] * x[:, 1:]).sin().sum() + 0.25 * x.pow(4).sum())(z)


def stencil(z):
    """Return piecewise linear interpolation of a fixed table."""
    grid = torch.linspace(-5, 5, 21, dtype=z.dtype)
    table = grid.sin() + 0.3 * grid.square()
    place = torch.bucketize(z.detach(), grid).clamp(1, 20)
    left, right = grid[place - 1], grid[place]
    share = (z - left) / (right - left)
    return (1 - share) * table[place - 1] + share * table[place]


def warped(z):
    """Return a fixed picture sampled at three places that the prediction moves."""
    picture = like(draw(1, 1, 5, 5, seed=6), z).expand(len(z), 1, 5, 5)
    return F.grid_sample(picture, z.view(-1, 1, 3, 2).tanh(), align_corners=True)


def sampled_picture(z):
    """Return the prediction as a picture, sampled at fixed places."""
    grid = like(draw(1, 4, 1, 2, seed=7).tanh(), z).expand(len(z), 4, 1, 2)
    return F.grid_sample(z.view(-1, 1, 2, 3), grid, mode="bicubic", align_corners=False)


def turned(z):
    """Return a fixed picture under an affine map."""
    theta = z.view(-1, 2, 3) * 0.3 + torch.eye(2, 3, dtype=z.dtype)
    grid = F.affine_grid(theta, (len(z), 1, 3, 3), align_corners=True)
    return F.grid_sample(like(draw(1, 1, 6, 6, seed=8), z).expand(len(z), 1, 6, 6), grid, align_corners=True)


def aligned(z):
    """Return the connectionist loss of three short labels for each sample."""
    logits = torch.stack([z, z.roll(1, -1), z.sin()], -1)
    scores = logits.log_softmax(-1).transpose(0, 1)
    steps = torch.full((len(z),), SIZE)
    out = []
    for label in ([1], [1, 2], [2, 1, 2]):
        labels = torch.tensor(label).expand(len(z), len(label))
        out.append(F.ctc_loss(scores, labels, steps, torch.full((len(z),), len(label)), reduction="none"))
    return torch.stack(out, 1)


def spectrum(z):
    """Return the short-time spectrum's power."""
    window = torch.hann_window(4, dtype=z.dtype)
    return torch.stft(z, 4, 2, window=window, return_complex=True).abs().square()


def rotation(z):
    """Return a rotation of the plane by complex numbers."""
    numbers = torch.complex(z[:, :3], z[:, 3:])
    turned = numbers * torch.polar(1 + 0.1 * z[:, :3].square(), z[:, 3:])
    return torch.view_as_real(turned)


def soft_minimum_path(z):
    """Return a soft dynamic programme over a 2 × 3 grid."""
    cost = z.view(-1, 2, 3)
    best = [[cost[:, 0, 0]]]
    for k in range(1, 3):
        best[0].append(best[0][-1] + cost[:, 0, k])
    best.append([best[0][0] + cost[:, 1, 0]])
    for k in range(1, 3):
        before = torch.stack([best[0][k], best[1][-1], best[0][k - 1]], -1)
        best[1].append(cost[:, 1, k] - (-before).logsumexp(-1))
    return torch.stack(best[0] + best[1], 1)


def sinkhorn(z):
    """Return a transport plan after four normalisations."""
    plan = z.view(-1, 2, 3)
    for _ in range(4):
        plan = plan - plan.logsumexp(-1, keepdim=True)
        plan = plan - plan.logsumexp(-2, keepdim=True)
    return plan.exp()


def index_added(z):
    return torch.zeros(len(z), 4, dtype=z.dtype).index_add(1, torch.tensor([0, 1, 1, 3, 2, 0]), z.exp())


def scatter_largest(z):
    return torch.zeros(len(z), 3, dtype=z.dtype).scatter_reduce(
        1, PLACES.expand_as(z) // 2, z.sin(), "amax", include_self=False
    )


def bag(z):
    table = like(draw(5, 4, seed=9), z)
    place = torch.tensor([0, 1, 4, 2, 3, 3]).expand(len(z), SIZE).contiguous()
    return F.embedding_bag(place, table, mode="sum", per_sample_weights=z.sigmoid())


ELEMENTWISE = {
    "exp": torch.exp,
    "sin": torch.sin,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "abs": torch.abs,
    "atan2": lambda z: torch.atan2(z, z.roll(1, -1) + 4),
    "sqrt": lambda z: (1 + z.square()).sqrt(),
    "lgamma": lambda z: torch.lgamma(z.square() + 1),
    "xlogy": lambda z: torch.xlogy(z.square() + 0.5, z.square() + 1.5),
    "sinc": torch.sinc,
    "hypot": lambda z: torch.hypot(z, z.roll(1, -1)),
    "logaddexp": lambda z: torch.logaddexp(z, z.roll(1, -1)),
    "clamp": lambda z: z.clamp(-1.1, 1.1),
    "lerp": lambda z: torch.lerp(z, z.roll(1, -1), z.sigmoid()),
    "nan_to_num": lambda z: torch.nan_to_num(z.square()),
    "remainder": lambda z: torch.remainder(z, 1.7),
    "i0e": lambda z: torch.special.i0e(z),
    "gelu": F.gelu,
    "softplus": F.softplus,
    "silu": F.silu,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "hardswish": F.hardswish,
    "glu": F.glu,
    "prelu": lambda z: F.prelu(z, like(torch.tensor([0.2]), z)),
    "smooth_l1_loss": lambda z: F.smooth_l1_loss(z, torch.zeros_like(z), reduction="none"),
}

CUMULATIVE = {
    "cumsum": lambda z: z.cumsum(-1),
    "cumprod": lambda z: z.cumprod(-1),
    "logcumsumexp": lambda z: z.logcumsumexp(-1),
    "cummax": lambda z: z.cummax(-1).values,
    "cummin": lambda z: z.cummin(-1).values,
    "diff": lambda z: z.square().diff(dim=-1),
    "cumulative_trapezoid": lambda z: torch.cumulative_trapezoid(z.sin(), dim=-1),
    "gradient": lambda z: torch.gradient(z.square(), dim=-1)[0],
}

REDUCTIONS = {
    "prod": lambda z: oblong(z).prod(-1),
    "std": lambda z: oblong(z).std(-1),
    "var_mean": lambda z: torch.stack(torch.var_mean(oblong(z), -1), -1),
    "norm": lambda z: torch.linalg.vector_norm(oblong(z), 3, dim=-1),
    "logsumexp": lambda z: oblong(z).logsumexp(-1),
    "amax": lambda z: oblong(z).amax(-1),
    "median": lambda z: oblong(z).median(-1).values,
    "quantile": lambda z: torch.quantile(z, torch.tensor([0.2, 0.6], dtype=z.dtype), dim=-1).mT,
    "topk": lambda z: z.topk(3, -1).values,
    "kthvalue": lambda z: oblong(z).kthvalue(2, -1).values,
    "aminmax": lambda z: torch.stack(torch.aminmax(z, dim=-1), -1),
    "trapezoid": lambda z: torch.trapezoid(oblong(z).square(), dim=-1),
}

LINEAR_ALGEBRA = {
    "matmul": lambda z: z @ like(WIDE, z),
    "einsum": lambda z: torch.einsum("nij,nkj->nik", oblong(z), oblong(z)),
    "einsum of three": lambda z: torch.einsum("ni,ij,nj->nj", z, like(MIX, z), z),
    "bmm": lambda z: torch.bmm(oblong(z), oblong(z).sin().mT),
    "baddbmm": lambda z: torch.baddbmm(square(z), oblong(z).mT, oblong(z)),
    "bilinear": lambda z: F.bilinear(z[:, :3], z[:, 3:], like(draw(4, 3, 3, seed=10), z)),
    "solve": lambda z: torch.linalg.solve(square(z), z.view(-1, 3, 2)),
    "solve_triangular": lambda z: torch.linalg.solve_triangular(square(z), z.view(-1, 3, 2), upper=True),
    "cholesky": lambda z: torch.linalg.cholesky(symmetric(z)),
    "cholesky_solve": lambda z: torch.cholesky_solve(z.view(-1, 3, 2), torch.linalg.cholesky(symmetric(z))),
    "inv": lambda z: torch.linalg.inv(square(z)),
    "pinv": lambda z: torch.linalg.pinv(oblong(z)),
    "slogdet": lambda z: torch.linalg.slogdet(square(z))[1].unsqueeze(1),
    "svdvals": lambda z: torch.linalg.svdvals(oblong(z)),
    "nuclear norm": lambda z: torch.linalg.matrix_norm(oblong(z), "nuc").unsqueeze(1),
    "eigvalsh": lambda z: torch.linalg.eigvalsh(symmetric(z)),
    "eigvals": lambda z: torch.view_as_real(torch.linalg.eigvals(square(z))).sum(1),
    "eigh": matrix_logarithm,
    "qr": lambda z: torch.linalg.qr(square(z)).R,
    "matrix_exp": lambda z: torch.linalg.matrix_exp(0.3 * square(z)),
    "matrix_power": lambda z: torch.linalg.matrix_power(square(z), 3),
    "lu": lambda z: torch.linalg.lu(square(z))[2],
    "cross": lambda z: torch.linalg.cross(z[:, :3], z[:, 3:].sin()),
    "cdist": distances,
    "pairwise_distance": lambda z: F.pairwise_distance(oblong(z)[:, :1], oblong(z)[:, 1:].expand(-1, 2, -1)),
    "cosine_similarity": lambda z: F.cosine_similarity(oblong(z), oblong(z).flip(1) + 1, dim=1),
}

SIGNALS = {
    "rfft": lambda z: torch.fft.rfft(z).abs(),
    "fft and back": lambda z: torch.fft.ifft(torch.fft.fft(z) * torch.fft.fft(z.sin())).real,
    "fft2": lambda z: torch.view_as_real(torch.fft.fft2(oblong(z))).flatten(1).square(),
    "complex polar": rotation,
    "complex exp": lambda z: torch.exp(1j * z[:, :3] * z[:, 3:]).imag,
    "stft": spectrum,
    "conv1d": lambda z: F.conv1d(z.unsqueeze(1), like(KERNEL, z), padding=1).tanh(),
    "conv2d": lambda z: F.conv2d(z.view(-1, 1, 2, 3), like(PLANE, z), padding=1).sin(),
    "conv_transpose1d": lambda z: F.conv_transpose1d(z.unsqueeze(1), like(KERNEL, z).transpose(0, 1), stride=2),
    "avg_pool1d": lambda z: F.avg_pool1d(z.unsqueeze(1).exp(), 2),
    "max_pool1d": lambda z: F.max_pool1d(z.unsqueeze(1), 2, 1),
    "max_pool2d": lambda z: F.max_pool2d(z.view(-1, 1, 2, 3), 2, 1),
    "adaptive_avg_pool1d": lambda z: F.adaptive_avg_pool1d(z.unsqueeze(1).sin(), 4),
    "lp_pool1d": lambda z: F.lp_pool1d(z.unsqueeze(1).exp(), 3, 2),
    "interpolate, linear": lambda z: F.interpolate(z.unsqueeze(1), size=8, mode="linear"),
    "interpolate, bicubic": lambda z: F.interpolate(z.view(-1, 1, 2, 3), size=(3, 4), mode="bicubic"),
    "grid_sample, places": warped,
    "grid_sample, picture": sampled_picture,
    "affine_grid": turned,
    "pad, reflect": lambda z: F.pad(z.unsqueeze(1), (2, 1), mode="reflect").sin(),
    "unfold": lambda z: z.unfold(-1, 3, 1).prod(-1),
    "F.unfold": lambda z: F.unfold(z.view(-1, 1, 2, 3), (2, 2)).exp(),
    "F.fold": lambda z: F.fold(z.view(-1, 2, 3), (1, 4), (1, 2)),
    "ctc_loss": aligned,
}

NORMS = {
    "softmax": lambda z: z.softmax(-1),
    "log_softmax": lambda z: z.log_softmax(-1),
    "softmin": lambda z: F.softmin(oblong(z), -1),
    "normalize": lambda z: F.normalize(oblong(z), dim=-1),
    "layer_norm": lambda z: F.layer_norm(z, (SIZE,), like(draw(SIZE, seed=11), z)),
    "group_norm": lambda z: F.group_norm(z, 2),
    "instance_norm": lambda z: F.instance_norm(oblong(z)),
    "local_response_norm": lambda z: F.local_response_norm(oblong(z), 2),
    "batch_norm, evaluation": module(lambda: nn.BatchNorm1d(SIZE)),
}

MODULES = {
    "Sequential": module(lambda: nn.Sequential(nn.Linear(SIZE, 8), nn.Tanh(), nn.Linear(8, 7))),
    "parameters that ask for a gradient": module(
        lambda: nn.Sequential(nn.Linear(SIZE, 8), nn.Tanh(), nn.Linear(8, 7)), trained=True
    ),
    "LSTM": module(lambda: nn.LSTM(2, 3, batch_first=True), lambda layer, z: layer(sequence(z))[0]),
    "LSTM, two layers": module(
        lambda: nn.LSTM(2, 2, num_layers=2, bidirectional=True, batch_first=True),
        lambda layer, z: layer(sequence(z))[0],
    ),
    "GRU": module(lambda: nn.GRU(2, 3, batch_first=True), lambda layer, z: layer(sequence(z))[0]),
    "RNN": module(lambda: nn.RNN(2, 3, batch_first=True), lambda layer, z: layer(sequence(z))[0]),
    "LSTMCell": cell(lambda: nn.LSTMCell(2, 3)),
    "GRUCell": cell(lambda: nn.GRUCell(2, 3)),
    "MultiheadAttention": module(lambda: nn.MultiheadAttention(4, 2, batch_first=True), attended),
    "MultiheadAttention, with weights": module(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), attended_with_weights
    ),
    "TransformerEncoderLayer": module(
        lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), lambda layer, z: layer(embedded(z))
    ),
    "TransformerDecoderLayer": module(
        lambda: nn.TransformerDecoderLayer(4, 2, 8, dropout=0.0, batch_first=True, activation="gelu"),
        lambda layer, z: layer(embedded(z), embedded(z).sin()),
    ),
    "scaled_dot_product_attention": dot_product_attention,
    "scaled_dot_product_attention, causal": causal_attention,
    "embedding_bag": bag,
}

INDEXING = {
    "sort": lambda z: z.sort(-1).values,
    "argsort and gather": lambda z: z.square().gather(-1, z.argsort(-1)),
    "scatter_add": lambda z: torch.zeros_like(z).scatter_add(
        -1, torch.tensor([0, 0, 1, 3, 5, 3]).expand_as(z), z.exp()
    ),
    "scatter_reduce": scatter_largest,
    "index_select": lambda z: z.sin().index_select(1, torch.tensor([0, 2, 2, 5])),
    "index_add": index_added,
    "take_along_dim": lambda z: torch.take_along_dim(z.exp(), z.argsort(-1, descending=True), -1),
    "where": lambda z: torch.where(z > 0, z.square(), z.sin()),
    "masked_fill": lambda z: z.square().masked_fill(torch.tensor([0, 1, 0, 0, 1, 0], dtype=torch.bool), 0.5),
    "roll and flip": lambda z: z.roll(2, -1) * z.flip(-1),
    "tril": lambda z: (z.unsqueeze(-1) * z.unsqueeze(-2)).tril(),
    "as_strided": lambda z: z.contiguous().sin().as_strided((len(z), 3, 2), (SIZE, 1, 3)),
    "repeat_interleave": lambda z: z.square().repeat_interleave(2, -1),
    "cartesian differences": lambda z: (z.unsqueeze(-1) - z.unsqueeze(-2)).sigmoid().sum(-1),
}

PROGRAMS = {
    "checkpoint": lambda z: checkpoint(lambda x: x.sin().cumsum(-1), z, use_reentrant=False),
    "checkpoint, reentrant": lambda z: checkpoint(lambda x: x.sin().cumsum(-1), z, use_reentrant=True),
    "checkpoint in a loop": scaled_in_a_loop,
    "checkpoint in a loop, reentrant": reentrant_in_a_loop,
    "integrator": oscillator,
    "fixed point by .item()": until_it_settles,
    "buffer filled in place": filled_in_place,
    "copy changed in place": changed_copy,
    "autograd.grad inside": gradient_of_an_energy,
    "func.grad inside": force_by_func,
    "func.vmap inside": torch.func.vmap(lambda x: torch.outer(x[:3], x[3:].sin()).flatten()),
    "table": stencil,
    "soft dynamic programme": soft_minimum_path,
    "sinkhorn": sinkhorn,
    "polynomial by Horner": lambda z: functools.reduce(lambda out, c: out * z + c, (0.2, -0.5, 0.3, 1.0)),
    "Fourier series": lambda z: sum((k * z * math.pi / 4).sin() / k for k in (1, 3, 5)),
}

FUNCTIONS = {
    **ELEMENTWISE,
    **CUMULATIVE,
    **REDUCTIONS,
    **LINEAR_ALGEBRA,
    **SIGNALS,
    **NORMS,
    **MODULES,
    **INDEXING,
    **PROGRAMS,
}
