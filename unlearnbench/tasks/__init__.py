"""Tasks: the only place where images and text differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.problem import Data, Task

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment


def bind(experiment: Experiment, data: Data) -> Task:
    """Return the task of the data set's kind, bound to the data, the device and the precision."""
    from unlearnbench.data.images import ImageData
    from unlearnbench.tasks.image import ImageTask

    assert isinstance(data, ImageData)
    return ImageTask(
        data, experiment.dataset, experiment.precision, experiment.model.parts().head, experiment.eval_batch
    )
