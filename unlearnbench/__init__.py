"""unlearnbench: one command trains a model, makes it forget, and says honestly how well that went."""

from __future__ import annotations

TYPE_CHECKING = False  # nothing is imported here: a signal may come before there is somebody to handle it
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas
    from torch import nn

__version__ = "0.1.0"


def run(overrides: Sequence[str] = ()) -> pandas.DataFrame:
    """Do one run, as `unlearnbench run` does, and return its metrics: the rows of metrics.csv.

    A finished run is read, not repeated. Raises errors.UserError for a mistake in the overrides, and the
    run's own exception where it fails.
    """
    from unlearnbench.results.rows import read_metrics
    from unlearnbench.runs.launch import prepare, single

    return read_metrics(single(prepare(list(overrides))))


def load(folder: str | Path) -> nn.Module:
    """Return the unlearned model of a run folder, in evaluation mode on the CPU.

    Raises errors.UserError where the run kept no model (save_model=true keeps it).
    """
    from pathlib import Path

    from unlearnbench.results.model import load_model

    return load_model(Path(folder))
