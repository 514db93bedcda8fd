#!/usr/bin/env python3
"""Time several processes that train a network each on one GPU, to see what NVIDIA MPS gives.

    python scripts/bench_processes.py --processes 10 --batch 128
    nvidia-cuda-mps-control -d && python scripts/bench_processes.py --processes 10 --batch 128

Prints steps and images per second of all processes together: torchvision's ResNet18 with CIFAR's first layer, on random
images of 32x32, in bf16 with channels-last memory, four seconds after all have warmed up.
"""

import argparse
import time
from typing import Any

import torch
from torch import multiprocessing, nn
from torch.nn import functional
from torchvision.models import resnet18

SECONDS = 4.0
WARM_UP = 5
ASK_EVERY = 10
"""After how many steps a process waits for the GPU, so that it does not run ahead of it."""


def train(start: Any, rates: Any, batch: int) -> None:
    """Take steps once every process is warm, and put how many a second into the queue."""
    torch.set_num_threads(1)
    model = resnet18(num_classes=10)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    model = model.cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(batch, 3, 32, 32, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    start.wait()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        step()
        steps += 1
        if steps % ASK_EVERY == 0:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    rates.put(steps / (time.perf_counter() - began))


def main() -> None:
    """Start the processes and print what they do together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    start, rates = context.Barrier(given.processes), context.Queue()
    workers = [context.Process(target=train, args=(start, rates, given.batch)) for _ in range(given.processes)]
    for worker in workers:
        worker.start()
    found = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    print(f"{given.processes} processes, batch {given.batch}: {found:.0f} steps/s, {found * given.batch:.0f} images/s")


if __name__ == "__main__":
    main()
