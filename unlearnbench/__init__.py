"""unlearnbench: one command trains a model, makes it forget, and says honestly how well that went.

From Python: `run` is the command of that name, `load` reads the model of a run folder. `unlearn` and `evaluate` work on
a model and data in hand. docs/python.md shows all four.
"""

from __future__ import annotations

TYPE_CHECKING = False  # nothing is imported here: a signal may come before there is somebody to handle it
if TYPE_CHECKING:
    from unlearnbench.errors import UserError as UserError
    from unlearnbench.python.evaluating import evaluate as evaluate
    from unlearnbench.python.running import Result as Result
    from unlearnbench.python.running import load as load
    from unlearnbench.python.running import run as run
    from unlearnbench.python.unlearning import unlearn as unlearn

__version__ = "0.1.0"
__all__ = ["Result", "UserError", "evaluate", "load", "run", "unlearn"]

_PLACES = {
    "Result": "python.running",
    "UserError": "errors",
    "evaluate": "python.evaluating",
    "load": "python.running",
    "run": "python.running",
    "unlearn": "python.unlearning",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import unlearnbench` takes no time."""
    if name not in _PLACES:
        raise AttributeError(f"module 'unlearnbench' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"unlearnbench.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names too, for completion."""
    return sorted({*globals(), *__all__})
