"""Is `nlcore.diagnose` right? Sixteen losses are diagnosed on an untrained network, then trained.

In every case a network reads pictures of digits, and only the output of an algorithm on its outputs is supervised. The
digits that it reads right are a measure of its outputs, so the verdict for the outputs is the one that is judged. Plain
training, the better of two clippings, the methods that the diagnosis advises and the one that it warns of are each
trained at the best of three learning rates, chosen on a tuning seed; other seeds are then measured on held-out
pictures.

Run it from the repository: python examples/diagnose_verdicts.py --out docs/results
Three seeds are few; --case logistic --seeds 15 looks closer at one case.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from verdicts.cases import CASES, Case, batch, network
from verdicts.training import BATCH, LEARNING_RATES, LIMITS, SEEDS, STEPS, TUNING, error, measured, methods, outcome

import nlcore
from nlcore_bench.tables import Table

torch.set_num_threads(1)


def examined(case: Case, seeds: Sequence[int]) -> dict[str, Any]:
    """Diagnose a case on an untrained network, then train it."""
    torch.manual_seed(0)
    prediction, target = batch(case, network(case), torch.Generator().manual_seed(0), 100)
    found = nlcore.diagnose(case.loss, prediction, target)
    runs = {name: measured(case, options, seeds) for name, options in methods(case, found).items()}
    return {"case": case.name, **found.as_dict(), "runs": runs, "borne_out": outcome(found.verdict_outputs, runs)}


def row(record: dict[str, Any]) -> tuple[str, ...]:
    """Return a row of the table."""

    def cell(name: str) -> str:
        run = record["runs"].get(name)
        if run is None:
            return "–"
        return f"{statistics.mean(run['accuracy']):.0f} ± {error(run['accuracy']):.0f}"

    further = record["amplification_further_0.1"]
    figures = [f"{record['condition']:.3g}", f"{record['cosine']:.2f}"]
    figures += [f"{record['amplification_0.1']:.2f} → {further:.2f}", f"{100 * record['float32_wrong']:.0f} %"]
    figures += ["–" if record["realised"] is None else f"{record['realised']:.2f}"]
    trained = [cell(name) for name in ("plain", "clipped", "advised", "or", "not advised")]
    return record["case"], record["verdict"], record["verdict_outputs"], *figures, *trained, record["borne_out"]


INTRO = """# Verdicts before training, and the outcome of training

{finding}

`nlcore.diagnose` saw 100 samples of an untrained network. Then networks were trained for {steps} steps of {batch}
samples, Adam with a cosine schedule: {seeds} seeds, at the best of the learning rates {learning_rates} (and of the
clippings at {limits} of the first gradient), chosen for every method on another seed. Accuracy on held-out pictures
in %, ± standard error. This is a measure of the outputs, so the verdict for the *outputs* is judged, and that for the
*loss* is shown beside it. *Advised* and *or* are expressions that the diagnosis names for the outputs, *not advised* is
the one that it warns of; all are in `diagnose.json`. A verdict holds by more than 3 points and 2 standard errors over
the better of plain and clipped, or by less where it says that nothing is to be gained. Amplification is at ρ = 0.1, at
the prediction → further on; *wrong* is the share of wrong float32 gradients; *realised* is the cosine of the samples'
own Newton steps with what the network makes of those of others.
"""
HEAD = (
    *("case", "loss", "outputs", "condition", "cosine", "amplification", "wrong", "realised"),
    *("plain", "clipped", "advised", "or", "not advised", "held"),
)


def finding(records: Sequence[dict[str, Any]]) -> str:
    """Return how many verdicts held in the training."""
    claimed = [record for record in records if record["borne_out"] != "no claim"]
    held = sum(record["borne_out"] == "yes" for record in claimed)
    return (
        f"**{held} of {len(claimed)} verdicts for the outputs held in the training that followed; "
        f"{len(records) - len(claimed)} cases were left undecided.**"
    )


def page(records: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    """Return the introduction and the table in Markdown."""
    shown = {"learning_rates": ", ".join(map(str, LEARNING_RATES)), "limits": " and ".join(map(str, LIMITS))}
    intro = INTRO.format(steps=STEPS, batch=BATCH, seeds=len(seeds), finding=finding(records), **shown)
    table = Table(head=HEAD, rows=tuple(map(row, records)), words=3)
    spent = f"{time.process_time():.0f} s on one core. To repeat: `python examples/diagnose_verdicts.py`."
    return f"{intro}\n{table.markdown()}\n{spent}\n"


def save(out: Path, text: str, records: Sequence[dict[str, Any]], seeds: Sequence[int]) -> None:
    """Write `diagnose.md` and `diagnose.json`."""
    settings = {
        "steps": STEPS,
        "batch": BATCH,
        "seeds": [*seeds],
        "tuning": TUNING,
        "learning_rates": LEARNING_RATES,
        "limits": LIMITS,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "diagnose.md").write_text(text, "utf-8")
    data = json.dumps({"settings": settings, "cases": records}, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "diagnose.json").write_text(data + "\n", "utf-8")


def main() -> None:
    """Print the table, and write it to the folder of `--out`."""
    parser = argparse.ArgumentParser(description="Train the losses that nlcore.diagnose has judged.")
    parser.add_argument("--out", type=Path, help="folder for diagnose.md and diagnose.json")
    parser.add_argument("--case", default="", help="only the cases with this word in their name")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="number of seeds, from 10 on")
    given = parser.parse_args()
    seeds, records = range(SEEDS[0], SEEDS[0] + given.seeds), []
    for case in (one for one in CASES if given.case in one.name):
        records.append(examined(case, seeds))
        print(f"{case.name}: {records[-1]['verdict_outputs']}, borne out: {records[-1]['borne_out']}", flush=True)
    text = page(records, seeds)
    print(f"\n{text}", end="")
    if given.out is not None:
        save(given.out, text, records, seeds)


if __name__ == "__main__":
    main()
