"""A task as the one of its kind, for code that runs on one kind of data alone, as its `kinds` say."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from unlearnbench.task import Task
    from unlearnbench.tasks.image import ImageTask
    from unlearnbench.tasks.text import TextTask


def image_task(task: Task) -> ImageTask:
    """Return the task of an image data set with all that it has; this is not checked."""
    return cast("ImageTask", task)


def text_task(task: Task) -> TextTask:
    """Return the task of a text data set with all that it has; this is not checked."""
    return cast("TextTask", task)
