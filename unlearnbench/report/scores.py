"""The scores that a run folder keeps, read back for a report; what is damaged is left out with a warning."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from unlearnbench.evidence import Scores

log = logging.getLogger("unlearnbench")


def read(run: Path, role: str, split: str) -> Scores | None:
    """Return a role's logits, labels, positions and clusters on a split; None where they are missing or damaged."""
    file = run / "scores" / f"{role}_{split}.npz"
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            extras = {name: arrays[name] for name in ("cluster",) if name in arrays}
            return Scores(arrays["logits"], arrays["label"], arrays["index"], extras)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("report: %s is damaged and left out: %s", file, error)
        return None


def references(run: Path, split: str) -> tuple[Scores, ...]:
    """Return the scores of a run's retrained models on a split; none where one of them cannot be read."""
    names = sorted(file.stem for file in (run / "scores").glob(f"retrained_*{split}.npz"))
    roles = [name.removesuffix(f"_{split}") for name in names if re.fullmatch(rf"retrained(_\d+)?_{split}", name)]
    known = [scores for role in roles if (scores := read(run, role, split)) is not None]
    return tuple(known) if len(known) == len(roles) else ()


def models_of(run: Path, role: str, split: str) -> tuple[Scores, ...]:
    """Return the scores of a role's models on a split: several where it is retrained; none that cannot be read."""
    if role == "retrained":
        return references(run, split)
    one = read(run, role, split)
    return () if one is None else (one,)
