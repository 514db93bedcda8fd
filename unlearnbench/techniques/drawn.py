"""Labels drawn from a model's own predictions: what the Fisher matrix is an expectation over."""

from __future__ import annotations

from dataclasses import replace

import torch

from unlearnbench.contracts import IGNORED, Batch, Predictions


def drawn(predictions: Predictions, batch: Batch) -> Batch:
    """Return the batch with a label for each row drawn from softmax(logits), by torch's global generator."""
    noise = torch.empty_like(predictions.logits).exponential_().log()
    labels, supervised = batch.labels.clone(), batch.labels != IGNORED
    if labels.ndim > 1:
        supervised[:, 0] = False  # nothing predicts the first token
    labels[supervised] = (predictions.logits - noise).argmax(dim=1)
    return replace(batch, labels=labels)
