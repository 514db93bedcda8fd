"""Tasks: the only place where images and text differ."""

from __future__ import annotations

from unlearnbench.precision import Precision
from unlearnbench.problem import Data, Dataset, Task


def bind(data: Data, dataset: Dataset, precision: Precision, head: str, score_batch: int) -> Task:
    """Return the task of the data's kind, bound to the loaded data, its configuration and the precision."""
    from unlearnbench.data.images import ImageData, ImageSettings
    from unlearnbench.tasks.image import ImageTask

    assert isinstance(data, ImageData) and isinstance(dataset, ImageSettings)
    return ImageTask(data, dataset, precision, head, score_batch)
