"""Time sorting operators side by side: forward, forward and backward, and what is kept between them."""

from __future__ import annotations

import gc
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from nlcore_bench.files import make_folder, write_whole
from nlcore_bench.sorting_peers import GROUPS, Operator, contenders

__all__ = ["Measured", "measure", "run_sorting"]

_SIZES = (5, 10, 16, 32, 64, 128, 256, 1024)
_QUICK_SIZES = (5, 16)
# Okabe and Ito's palette, and a marker for each library, so that nobody needs the colours.
_LOOKS = {
    "nlcore": ("#0072B2", "o"),
    "nlcore, torch alone": ("#56B4E9", "."),
    "diffsort": ("#D55E00", "s"),
    "difftopk": ("#D55E00", "P"),
    "softtorch": ("#E69F00", "^"),
    "torchsort": ("#009E73", "v"),
    "torchpsort": ("#CC79A7", "D"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One operator at one size.

    Attributes:
        group: What it computes.
        library: Whose it is.
        n: Items of a list.
        batch: Number of lists.
        forward: Median milliseconds of the forward pass.
        both: Median milliseconds of the forward and the backward pass.
        kept: Mebibytes that autograd keeps between the two.
        rounds: How often it was timed.
    """

    group: str
    library: str
    n: int
    batch: int
    forward: float
    both: float
    kept: float
    rounds: int


def run_sorting(out: Path, *, quick: bool = False, seconds: float = 4.0) -> str:
    """Time all operators and write sorting.md, sorting.json and sorting.png.

    Args:
        out: The folder; made if it is not there.
        quick: Two sizes, two rounds.
        seconds: Time for the rounds of one group at one size, if one round does not take longer.

    Returns:
        The table.
    """
    make_folder(out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = [
            row
            for group in GROUPS
            for n in (_QUICK_SIZES if quick else _SIZES)
            for row in measure(group.title, contenders(group, n), n, 0.05 if quick else seconds, few=group.few)
        ]
    finally:
        torch.set_num_threads(threads)
    table = _table(found)
    write_whole(out / "sorting.md", table)
    write_whole(out / "sorting.json", json.dumps([asdict(row) for row in found], indent=1) + "\n")
    write_whole(out / "sorting.png", _picture(found))
    return table


def measure(group: str, operators: dict[str, Operator], n: int, seconds: float, *, few: int = 8) -> list[Measured]:
    """Time operators on the same scores, in turn, so that whatever else the machine does hits all of them.

    Args:
        group: What they compute.
        operators: By library.
        n: Items of a list; up to 128, 100 lists are sorted at once.
        seconds: When to stop; at least two rounds are made.
        few: Number of lists that are sorted at once beyond that.
    """
    batch = 100 if n <= 128 else few
    scores = torch.randn(batch, n, generator=torch.Generator().manual_seed(n))
    kept = {library: _kept(operator, scores) for library, operator in operators.items()}  # this warms up, too
    forward: dict[str, list[float]] = {library: [] for library in operators}
    both: dict[str, list[float]] = {library: [] for library in operators}
    start = perf_counter()
    rounds = 0
    with _own_litter():
        while rounds < 2 or (perf_counter() - start < seconds and rounds < 200):
            for library, operator in operators.items():
                one, two = _time(operator, scores)
                forward[library].append(one)
                both[library].append(two)
                gc.collect()
            rounds += 1
    return [
        Measured(group, library, n, batch, median(forward[library]), median(both[library]), kept[library], rounds)
        for library in operators
    ]


@contextmanager
def _own_litter() -> Iterator[None]:
    """Let Python look for garbage only when it is told to: what a library leaves behind is not the next one's time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _time(operator: Operator, scores: Tensor) -> tuple[float, float]:
    """Return the milliseconds of a forward pass and of a forward and backward pass, after one that does not count."""
    with torch.no_grad():
        operator(scores)  # whose memory and caches were another library's
        start = perf_counter()
        operator(scores)
        forward = perf_counter() - start
    leaf = scores.clone().requires_grad_()
    start = perf_counter()
    torch.autograd.backward(operator(leaf).square().sum())
    return 1e3 * forward, 1e3 * (perf_counter() - start)


def _kept(operator: Operator, scores: Tensor) -> float:
    """Return the mebibytes of the distinct tensors that autograd keeps for the backward pass."""
    storages: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = operator(scores.clone().requires_grad_())
    torch.autograd.backward(result.sum())
    return sum(storages.values()) / 2**20


def _table(rows: Sequence[Measured]) -> str:
    """Return the measurements as Markdown; the ratio is the fastest peer's time over nlcore's."""
    version = torch.__version__.partition("+")[0]
    lines = [
        "# Sorting operators, side by side",
        "",
        f"torch {version}, one thread, float32, normal scores; medians of interleaved rounds in ms. `kept`",
        "is what autograd holds between the passes. Ratio: the fastest peer's forward + backward over nlcore's.",
        "From n = 256 on 8 lists, by the odd–even network 2, are sorted at once, not 100, so that overhead weighs",
        "more on each. Rows of nlcore are with numba if there are rows of torch alone beside them.",
        "",
        "Not all compute the very same thing. softtorch's NeuralSort smooths |·|; its transport iterates in float64,",
        "list by list, and differentiates implicitly; its network sorts list by list. The loss beside diffsort's",
        "matrix and binary cross-entropy, in float32, is that of float64 probabilities, and checks its target.",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        lines += ["", f"## {group}", "", "| n × lists | library | forward | forward + backward | kept, MiB | ratio |"]
        lines.append("|---|---|---:|---:|---:|---:|")
        members = [row for row in rows if row.group == group]
        for row in members:
            peers = [peer.both for peer in members if peer.n == row.n and not _is_own(peer)]
            ratio = f"{min(peers) / row.both:.2f}" if peers and _is_own(row) else ""
            cells = (f"{row.n} × {row.batch}", row.library, f"{row.forward:.3g}", f"{row.both:.3g}")
            lines.append(f"| {' | '.join(cells)} | {row.kept:.3g} | {ratio} |")
    return "\n".join(lines) + "\n"


def _is_own(row: Measured) -> bool:
    return row.library.startswith("nlcore")


def _picture(rows: Sequence[Measured]) -> bytes:
    """Return a PNG: forward and backward time per list against n, one panel for each group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(row.group for row in rows))
    columns = 3
    height = -(-len(groups) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.3 * height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(height, columns, squeeze=False).flatten()
    for axis, group in zip(axes, groups, strict=False):
        members = [row for row in rows if row.group == group]
        for library in dict.fromkeys(row.library for row in members):
            own = [row for row in members if row.library == library]
            colour, marker = _LOOKS.get(library, ("#000000", "x"))
            times = [1e3 * row.both / row.batch for row in own]
            axis.loglog([row.n for row in own], times, color=colour, marker=marker, label=library)
        axis.set_title(group, fontsize=10)
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize=8)
    for axis in axes[len(groups) :]:
        axis.set_axis_off()
    figure.supxlabel("items of a list")
    figure.supylabel("forward + backward, µs a list")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
