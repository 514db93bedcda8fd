"""Tasks: the only place where images and text differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.problem import Data, Task

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment


def bind(experiment: Experiment, data: Data) -> Task:
    """Return the task of the data set's kind, bound to the data, the device and the precision."""
    from unlearnbench.data.images import ImageData, ImageSettings
    from unlearnbench.tasks.image import ImageTask

    dataset, head = experiment.dataset, experiment.model.parts().head
    assert isinstance(data, ImageData) and isinstance(dataset, ImageSettings)
    return ImageTask(data, dataset, experiment.precision, head, experiment.eval_batch)
