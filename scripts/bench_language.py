"""Training and scoring of language models in tokens per second, against a bare loop over the same batches.

`python scripts/bench_language.py [--model smollm2_135m] [--rounds 5]` prints a Markdown table; docs/speed.md has one.
`bare` trains on the very batches of the run through transformers' forward with labels, autocast as here, and nothing
else; `one by one` scores each option with a forward pass of its own, prompt included, padded in the same batches.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from unlearnbench.assemble import assemble
from unlearnbench.contracts import Batch
from unlearnbench.models.start import started, trainable
from unlearnbench.runs.launch import prepare
from unlearnbench.tasks import bind
from unlearnbench.tasks.text import TextTask
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.stepper import Stepper

STEPS, ROWS = 6, 16


def main() -> None:
    """Time both ways in turn, round by round, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2_135m")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    experiment = assemble(prepare(["dataset=clinical_notes", f"model={given.model}"])).experiment
    data: Any = experiment.dataset.load()
    task: Any = bind(data, data.train, experiment.dataset, experiment.precision, experiment.model, 500, 0)
    torch.manual_seed(0)
    model = trainable(experiment.model, task.prepare(started(experiment.model, data.info)))
    optimizer, size = experiment.recipe.optimizer, experiment.recipe.batch_size
    batches = [b for (b,) in itertools.islice(Batches(task, (data.train,), size, 1, 0).epoch(0), STEPS)]
    tokens = sum(int((batch.inputs != 0).sum()) for batch in batches)
    index = np.concatenate([data.test[: ROWS // 2], data.test[-ROWS // 2 :]])
    scored = sum(task._packed_length(place) for place in index.tolist())
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "bare training": (lambda: bare(model, batches, task, optimizer.lr), tokens),
        "our training": (lambda: ours(model, batches, task, optimizer), tokens),
        "one by one": (lambda: one_by_one(model, task, index), scored),
        "our scoring": (lambda: task.score(model, index), scored),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):
        for name, (run, count) in ways.items():
            start = time.perf_counter()
            run()
            if turn:  # the first round warms up
                rates[name].append(count / (time.perf_counter() - start))
    print(f"| {given.model} | bare | ours | ours / bare |\n|---|---|---|---|")
    for title, (a, b) in {
        "training": ("bare training", "our training"), "scoring": ("one by one", "our scoring"),
    }.items():  # fmt: skip
        ratios = [y / x for x, y in zip(rates[a], rates[b], strict=True)]
        print(f"| {title} | {median(rates[a]):.0f} | {median(rates[b]):.0f} | {median(ratios):.2f} |")


def bare(model: nn.Module, batches: list[Batch], task: TextTask, lr: float) -> None:
    """Train as a plain loop does: all logits, transformers' own loss, AdamW."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr)
    model.train()
    for batch in batches:
        with task._autocast():
            loss = model(input_ids=batch.inputs, labels=batch.labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def ours(model: nn.Module, batches: list[Batch], task: TextTask, settings: Any) -> None:
    """Train as a run does."""
    stepper = Stepper(model, settings, len(batches))
    model.train()
    for batch in batches:
        stepper.step(lambda part: cross_entropy(task.predict(model, part)), batch)
    stepper.end_epoch()


@torch.inference_mode()
def one_by_one(model: nn.Module, task: TextTask, index: Any) -> None:
    """Score every option in a sequence of its own, eight sequences at a time by length."""
    model.eval()
    sequences = [[*task.prompt(place), *tokens] for place in index.tolist() for _, tokens in task.options(place)]
    sequences.sort(key=len)
    for start in range(0, len(sequences), 8):
        some = sequences[start : start + 8]
        inputs = torch.tensor([tokens + [0] * (len(some[-1]) - len(tokens)) for tokens in some])
        with task._autocast():
            model(input_ids=inputs, use_cache=False).logits.float().log_softmax(-1)


if __name__ == "__main__":
    main()
