"""splits.npz and scores/*.npz: which rows there are, and what each model said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unlearnbench.contracts import Index
from unlearnbench.evidence import BySplit


def write_scores(folder: Path, splits: Mapping[str, Index], roles: Mapping[str, BySplit]) -> None:
    """Write splits.npz and scores/<role>_<split>.npz."""
    import numpy as np

    np.savez_compressed(folder / "splits.npz", allow_pickle=False, **splits)
    target = folder / "scores"
    target.mkdir()
    for role, by_split in roles.items():
        for split, scores in by_split.items():
            arrays = {"logits": scores.logits, "label": scores.label, "index": scores.index}
            np.savez(target / f"{role}_{split}.npz", allow_pickle=False, **arrays, **scores.extras)
