"""Every stage draws its own seed from its name, so that no stage's randomness depends on another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager


def stage_seed(*names: str | int) -> int:
    """Return a seed in [0, 2**63) that is a hash of the names, e.g. (run seed, "retrained", 1)."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(*names: str | int) -> Iterator[None]:
    """Seed torch's global generators from the names inside the block, and restore them after it."""
    import torch

    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if started else ()
    with torch.random.fork_rng(gpus):  # manual_seed seeds every GPU
        torch.manual_seed(stage_seed(*names))
        yield
