"""Images: uint8 tensors on the device, augmented, resized and normalised there batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Data, Index, Predictions
from unlearnbench.data.images import ImageData, ImageSettings
from unlearnbench.evidence import Scores
from unlearnbench.machine.precision import Precision
from unlearnbench.models.ensemble import everywhere
from unlearnbench.models.hooks import output_of, outputs_of, with_input
from unlearnbench.models.modes import evaluating
from unlearnbench.tasks.augment import coloured, erased, moved


class ImageTask:
    """Image classification, bound to a loaded data set.

    `dataset` says how to normalise (per channel, pixels in [0, 1]), resize and augment. `head` names the model's
    classifier, which is kept in float32 for scoring; `score_batch` is the number of images per scoring batch.
    """

    def __init__(
        self, data: ImageData, dataset: ImageSettings, precision: Precision, head: str, score_batch: int
    ) -> None:
        self.data, self.dataset, self.precision, self.head, self.score_batch = (
            data,
            dataset,
            precision,
            head,
            score_batch,
        )
        self.device = torch.device(precision.device)

    longest_answer = 0
    limit = None
    cut = 0

    @property
    def fixed(self) -> bool:
        """Whether no image is augmented."""
        changes = self.dataset.augment
        shapes, colours = (changes.crop, changes.flip, changes.rotate, changes.erase), (changes.jitter, changes.sharpen)
        return not any((*shapes, *colours))

    @cached_property
    def labels(self) -> Tensor:
        """The labels on the device, (n,) int64."""
        return torch.from_numpy(self.data.labels).to(self.device)

    @cached_property
    def _scaling(self) -> tuple[Tensor, Tensor]:
        """What a pixel is multiplied by, and what is then taken off, by channel."""
        mean, std = _channels(self.dataset.mean), _channels(self.dataset.std)
        return (1 / (255 * std)).to(self.device), (mean / std).to(self.device)

    @property
    def span(self) -> tuple[Tensor, Tensor]:
        """What black and white become in a batch, by channel, (1, c, 1, 1) each."""
        scale, shift = self._scaling
        return -shift, 255 * scale - shift

    def answers(self, index: Index) -> Index:
        """Return the classes of the images at these positions, (n,)."""
        return self.data.labels[index]

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return that an image can have every class, (n, c)."""
        return self.data.choices(index)

    def answering(self, index: Index, answers: Index) -> ImageTask:
        """Return this task with other classes, (n,), for the images at these positions: `batch` then has them."""
        task, labels = copy.copy(self), self.data.labels.copy()
        labels[index] = answers
        task.labels = torch.from_numpy(labels).to(self.device)
        return task

    def on(self, data: Data) -> ImageTask:
        """Return a task for the same model on another data set of the same settings."""
        assert isinstance(data, ImageData)
        return ImageTask(data, self.dataset, self.precision, self.head, self.score_batch)

    def settings(self) -> tuple[object, ...]:
        """Return the settings of the data set that can change a result."""
        dataset = self.dataset
        return (dataset.mean, dataset.std, dataset.size, dataset.augment)

    def shortened(self, index: Index, longer: int = 0) -> tuple[object, ...]:
        """Return (): images are never cut."""
        return ()

    def batch(self, index: Index, generator: torch.Generator | None, epoch: int = 0, seed: int = 0) -> Batch:
        """Return the images at these positions as floats, (n, c, h, w); augmented if a generator is given."""
        places, augment = torch.from_numpy(index), self.dataset.augment
        where = places.to(self.device)
        images = self.data.batch(index, self.device)
        if generator is not None:
            images = moved(images, places, augment, generator, epoch, seed)
        layout = self._layout()
        floats = images.to(dtype=torch.float32, memory_format=layout)
        if generator is not None:
            floats = coloured(floats, augment, generator)
        if self.dataset.size is not None and self.dataset.size != floats.shape[-1]:
            side = (self.dataset.size, self.dataset.size)
            floats = functional.interpolate(floats, side, mode="bilinear", antialias=True, align_corners=False)
        scale, shift = self._scaling
        floats = floats.mul_(scale).sub_(shift)
        if generator is not None:
            floats = erased(floats, augment, generator)
        return Batch(floats.to(memory_format=layout), self.labels[where], where)

    def predict(self, model: nn.Module, batch: Batch, inputs: Tensor | None = None) -> Predictions:
        """Run the model in the run's precision; logits are (n, c) float32. `inputs` replace the batch's images."""
        with self._autocast():
            logits = model(batch.inputs if inputs is None else inputs)
        example = torch.arange(len(batch), device=self.device)
        return Predictions(logits.float(), batch.labels, example, len(batch))

    def features(self, model: nn.Module, batch: Batch) -> tuple[Predictions, Tensor]:
        """Run the model; also return what its classifier gets for each image, (n, d) float32."""
        predictions, seen = with_input(model.get_submodule(self.head), lambda: self.predict(model, batch))
        return predictions, seen.flatten(1)

    def fetch(self, index: Index) -> None:
        """Start to read the images at these positions, if they are in a file: `batch` is asked for them next."""
        self.data.fetch(index, self.device)

    def arranged(self, index: Index, sizes: Sequence[int], generator: torch.Generator) -> list[Index]:
        """Split shuffled positions into batches of these sizes, in order: all images take equally long."""
        return np.split(index, np.cumsum(sizes)[:-1])

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the images as a tensor that can take a gradient, (n, c, h, w) float32."""
        return batch.inputs

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return the named submodule's output for the batch, (n, ...) float32."""
        return output_of(model, layer, lambda: self.predict(model, batch))

    def represent(self, model: nn.Module, batch: Batch, layer: str) -> Predictions:
        """Return the named submodule's output as one row per image, (n, d) float32, in place of the logits."""
        rows = self.hidden(model, batch, layer).flatten(1)
        return Predictions(rows, batch.labels, torch.arange(len(batch), device=self.device), len(batch))

    def answered(self, index: Index, answers: Sequence[str]) -> Batch:
        """Raise TypeError: images are not questions."""
        raise TypeError("images have no written answers")

    def rewritten(self, model: nn.Module, index: Index, instruction: str, temperature: float) -> list[str]:
        """Raise TypeError: images are not questions."""
        raise TypeError("images have no written answers")

    def states(self, model: nn.Module, index: Index, layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return what each of the named submodules makes of the images at these positions, (n, d) each.

        The mean over places.
        """
        found: list[dict[str, NDArray[np.float32]]] = []
        with evaluating(model), torch.inference_mode():
            for start in range(0, len(index), self.score_batch):
                batch = self.batch(index[start : start + self.score_batch], None)
                out = outputs_of(model, layers, partial(self.predict, model, batch))
                found.append({layer: _pooled(one).cpu().numpy() for layer, one in out.items()})
        return {layer: np.concatenate([one[layer] for one in found]) for layer in layers}

    def score(self, model: nn.Module, index: Index) -> Scores:
        """Evaluate the model on the images at these positions, in order, without augmentation."""
        with evaluating(model), torch.inference_mode(), self._exact_head(model):
            parts = []
            for start in range(0, len(index), self.score_batch):
                now, then = (index[at : at + self.score_batch] for at in (start, start + self.score_batch))
                self.fetch(then)
                parts.append(self.predict(model, self.batch(now, None)).logits)
        logits = torch.cat(parts).cpu().numpy()
        return Scores(logits, self.data.labels[index], np.asarray(index, dtype=np.int64))

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to the device and into the memory layout of the run's precision."""
        moved: nn.Module = model.to(device=self.device, memory_format=self._layout())  # type: ignore[call-overload]
        return moved

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write nothing more: image models have no other format."""

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.precision.channels_last else torch.contiguous_format

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16)

    @contextmanager
    def _exact_head(self, model: nn.Module) -> Iterator[None]:
        """Compute the classifier in float32 inside the block, whatever the run's precision."""
        if not self.precision.bf16:
            yield
            return

        def again(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
            with torch.autocast(self.device.type, enabled=False):
                out: Tensor = module.forward(inputs[0].float())
            return out

        heads = everywhere(model, self.head)
        handles = [head.register_forward_hook(again, prepend=True) for head in heads]  # before what masks its output
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _pooled(out: Tensor) -> Tensor:
    """Return the mean of (n, c, h, w) over places, or of (n, t, d) over tokens, (n, d)."""
    return out.mean(dim=(2, 3)) if out.ndim == 4 else out.mean(dim=1) if out.ndim == 3 else out.flatten(1)


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
