"""What Hydra shows itself: --cfg, --info, --help, and completion in a shell."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from unlearnbench.request.config import config_root

NAME = "unlearnbench"
"""What Hydra takes the command's name to be: as `python -m unlearnbench`, it would complete for `python`."""


def by_hydra(words: Sequence[str]) -> None:
    """Give the words to Hydra as its own command line; it composes, shows, and runs nothing."""
    import hydra

    from unlearnbench.request.loader import checked

    before = sys.argv
    sys.argv = [NAME, *words]
    try:
        with checked():
            hydra.main(version_base="1.3", config_path=str(config_root()), config_name="run")(_nothing)()
    finally:
        sys.argv = before


def _nothing(config: DictConfig) -> None:
    raise AssertionError("Hydra was asked to show something, and ran instead")
