"""Read back the scores in a run folder for a report; leave out damaged ones with a warning."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from unlearnbench.evidence import Scores

log = logging.getLogger("unlearnbench")

OWN = ("logits", "label", "index")
"""The arrays that every file of scores has."""


def read(run: Path, role: str, split: str) -> Scores | None:
    """Return a role's scores and clusters on a split; None if missing or damaged."""
    file = run / "scores" / f"{role}_{split}.npz"
    if not file.exists():
        return None
    try:
        return _checked(load(file, ("cluster",)))
    except ValueError as error:
        log.warning("report: %s is damaged and left out: %s", file, error)
        return None


def load(file: Path, extras: Collection[str] | None = None) -> Scores:
    """Read a file of scores with the named extras, or with all; raise ValueError where it is damaged."""
    try:
        with ZipFile(file) as packed:  # np.savez does not compress, so a file that does is not ours
            if sum(one.file_size for one in packed.infolist()) > file.stat().st_size:
                raise ValueError("it is compressed")
        with np.load(file, allow_pickle=False) as arrays:
            known = [name for name in arrays if name not in OWN and (extras is None or name in extras)]
            logits, label, index = (arrays[name] for name in OWN)
            return Scores(logits, label, index, {name: arrays[name] for name in known})
    except (OSError, KeyError, EOFError, RuntimeError, MemoryError, BadZipFile) as error:
        raise ValueError(str(error)) from error


def _checked(scores: Scores) -> Scores:
    """Return the scores; raise ValueError if their arrays do not fit together."""
    logits, label, rows = scores.logits, scores.label, (len(scores.logits),)
    shapes = {array.shape for array in (label, scores.index, *scores.extras.values())}
    kinds = (logits.dtype.kind, label.dtype.kind, scores.index.dtype.kind)
    if logits.ndim != 2 or not logits.size or shapes != {rows} or kinds not in (("f", "i", "i"), ("f", "i", "u")):
        raise ValueError(f"it has logits {logits.shape} and {sorted(shapes)} of kinds {', '.join(kinds)}")
    if not np.isfinite(logits.max(axis=1)).all():
        raise ValueError("it has rows without a finite logit, or with NaN")
    if label.min() < 0 or label.max() >= logits.shape[1]:
        raise ValueError(f"it has labels beyond its {logits.shape[1]} columns")
    return scores


def references(run: Path, split: str) -> tuple[Scores, ...]:
    """Return the scores of a run's retrained models on a split.

    () if any of them cannot be read.
    """
    names = sorted(file.stem for file in (run / "scores").glob(f"retrained_*{split}.npz"))
    roles = [name.removesuffix(f"_{split}") for name in names if re.fullmatch(rf"retrained(_\d+)?_{split}", name)]
    known = [scores for role in roles if (scores := read(run, role, split)) is not None]
    return tuple(known) if len(known) == len(roles) else ()


def models_of(run: Path, role: str, split: str) -> tuple[Scores, ...]:
    """Return the scores of a role's models on a split; there may be several retrained ones."""
    if role == "retrained":
        return references(run, split)
    one = read(run, role, split)
    return () if one is None else (one,)
