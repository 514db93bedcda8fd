"""Gradients of a loss over some batches, without a step: what importance and saliency are read from.

By batch they come from autograd. By example they come from torch.func, some examples at a time: on one CPU thread 1.7
times as fast as batches of one, with tiny_resnet and with llama_tiny, where whole batches would be 2.7 times as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from unlearnbench.contracts import IGNORED, Batch
from unlearnbench.models.modes import evaluating
from unlearnbench.techniques.batchable import Batchable

MEMORY = 2**27
"""The most numbers in the gradients by example that are held at once: half a gigabyte."""
SMALL = 2**21
"""The most weights of a model whose gradients by example a CPU computes together."""
ExampleLoss = Callable[[Batch], Tensor]
"""A loss of the model on a batch: one value per example, (n,)."""


def mean_gradient(model: nn.Module, loss: ExampleLoss, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Return the gradient of the mean loss over all examples, by parameter that can learn.

    The model is in evaluation mode meanwhile.
    """
    total, examples = zeros_like(model), 0
    for batch, slopes in _slopes(model, loss, batches):
        for name, slope in slopes.items():
            total[name] += len(batch) * slope
        examples += len(batch)
    return {name: value / max(examples, 1) for name, value in total.items()}


def batch_importance(
    model: nn.Module, loss: ExampleLoss, batches: Iterable[Batch], of: Callable[[Tensor], Tensor] = torch.square
) -> dict[str, Tensor]:
    """Return the mean over batches of `of(gradient of the batch's mean loss)`, by parameter that can learn.

    The model is in evaluation mode meanwhile. Squares give the diagonal that SSD calls importance.
    """
    total, count = zeros_like(model), 0
    for _, slopes in _slopes(model, loss, batches):
        for name, slope in slopes.items():
            total[name] += of(slope)
        count += 1
    return {name: value / max(count, 1) for name, value in total.items()}


def example_importance(
    model: nn.Module, loss: ExampleLoss, batches: Iterable[Batch], of: Callable[[Tensor], Tensor] = torch.square
) -> dict[str, Tensor]:
    """Return the mean over examples of `of(gradient of the example's loss)`, by parameter that can learn.

    An example's loss is what it is in a batch of its own. The model is in evaluation mode meanwhile. Squares give the
    diagonal of the empirical Fisher matrix, whatever the batches.
    """
    total, examples = zeros_like(model), 0
    for count, slopes in example_gradients(model, loss, batches):
        for name, slope in slopes.items():
            total[name] += of(slope).sum(dim=0)
        examples += count
    return {name: value / max(examples, 1) for name, value in total.items()}


def example_gradients(
    model: nn.Module, loss: ExampleLoss, batches: Iterable[Batch]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield the gradients of k examples' own losses at a time: k, and (k, ...) float32 by parameter that can learn.

    An example's loss is what it is in a batch of its own. Text is sorted by length within each batch, so that little is
    filled up. The model is in evaluation mode meanwhile.
    """
    lone = _Lone(model, loss)
    learning: dict[str, Tensor] = {name: one for name, one in lone.named_parameters() if one.requires_grad}
    together = _together(list(learning.values()))
    slopes = _one if together == 1 else _several
    with evaluating(model), Batchable():
        for batch in batches:
            for part in _fixed(batch, together):
                found = slopes(lone, learning, part)
                yield len(part[0]), {name.removeprefix("model."): one.float() for name, one in found.items()}


def zeros_like(model: nn.Module) -> dict[str, Tensor]:
    """Return zeros in the shape of each parameter that can learn, float32."""
    learning = ((name, one) for name, one in model.named_parameters() if one.requires_grad)
    return {name: torch.zeros_like(one, dtype=torch.float32) for name, one in learning}


def _slopes(model: nn.Module, loss: ExampleLoss, batches: Iterable[Batch]) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Yield each batch with the gradient of its mean loss, float32; a parameter that it does not reach is left out."""
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    with evaluating(model):
        for batch in batches:
            slopes = torch.autograd.grad(loss(batch).mean(), list(learning.values()), allow_unused=True)
            reached = zip(learning, slopes, strict=True)
            yield batch, {name: slope.float() for name, slope in reached if slope is not None}


def _together(weights: list[Tensor]) -> int:
    """Return how many examples' gradients to compute at once.

    On a CPU one example after another is faster at larger models: with ResNet18 it takes .6 of the time.
    """
    numbers = sum(one.numel() for one in weights)
    if weights and weights[0].device.type == "cpu" and numbers > SMALL:
        return 1
    return max(MEMORY // max(numbers, 1), 1)


class _Lone(nn.Module):
    """The loss of one example alone, as a module: torch.func can replace the model's weights in it."""

    def __init__(self, model: nn.Module, loss: ExampleLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs: Tensor, labels: Tensor, index: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the loss of an example, a scalar, from its part of each of a batch's tensors."""
        rows = 1.0 if places is None else (places >= 0).sum()
        where = None if places is None else places[None]
        return self.loss(Batch(inputs[None], labels[None], index[None], rows, where)).sum()


def _several(lone: _Lone, learning: dict[str, Tensor], part: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return the gradient of each example's loss, all at once."""

    def value(weights: dict[str, Tensor], example: tuple[Tensor, ...]) -> Tensor:
        found: Tensor = functional_call(lone, weights, example)
        return found

    weights = {name: one.detach() for name, one in learning.items()}
    slopes: dict[str, Tensor] = vmap(grad(value), in_dims=(None, 0))(weights, part)
    return slopes


def _one(lone: _Lone, learning: dict[str, Tensor], part: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return the gradient of the only example's loss."""
    slopes = torch.autograd.grad(
        lone(*(tensor[0] for tensor in part)), list(learning.values()), allow_unused=True, materialize_grads=True
    )
    return {name: slope[None] for name, slope in zip(learning, slopes, strict=True)}


def _fixed(batch: Batch, most: int) -> Iterator[tuple[Tensor, ...]]:
    """Cut a batch into the tensors of at most `most` examples: inputs, labels, index, and for text its places."""
    if batch.labels.ndim == 1:
        tensors: tuple[Tensor, ...] = (batch.inputs, batch.labels, batch.index)
        yield from zip(*(torch.split(tensor, most) for tensor in tensors), strict=True)
        return
    places = torch.arange(batch.labels.shape[1], device=batch.labels.device)
    supervised = (batch.labels != IGNORED) & (places > 0)
    lengths = torch.where(supervised, places + 1, 0).amax(dim=1)
    order = lengths.argsort(stable=True)
    first = supervised.to(torch.int8).argsort(dim=1, descending=True, stable=True)  # the supervised places come first
    counts = supervised.sum(dim=1)
    filled = torch.where(places < counts[:, None], first, -1)
    for part in torch.split(order, most):
        length, rows = int(lengths[part].max()), int(counts[part].max())
        yield batch.inputs[part, :length], batch.labels[part, :length], batch.index[part], filled[part, :rows]
