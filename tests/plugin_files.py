"""A plugin with one method, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

PLUGIN = '''
"""A method of somebody else."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Shrink:
    """Scale the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({KINDS})
    factor: float

    def __call__(self, model, problem):
        model.get_submodule(problem.parts.head).weight.data.mul_(self.factor)
        return model
'''


def write_plugin(folder: Path, kinds: str = '"image"') -> list[str]:
    (folder / "mine" / "method").mkdir(parents=True)
    (folder / "shrinking.py").write_text(PLUGIN.replace("KINDS", kinds))
    (folder / "mine" / "method" / "shrink.yaml").write_text("_target_: shrinking.Shrink\nfactor: 0.5\n")
    return ["--config-dir", str(folder / "mine"), "--plugin", str(folder / "shrinking.py")]
