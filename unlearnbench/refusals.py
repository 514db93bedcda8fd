"""What a configuration may not name: code that is not ours, what reaches outside it. A configuration is data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unlearnbench.errors import UserError

RESOLVERS = {"now", "hydra", "oc.select", "oc.create", "oc.dict.keys", "oc.dict.values", "oc.deprecated"}
TARGETS = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
)
TARGET_FAMILIES = ("optuna.samplers.",)


def refuse_code(config: DictConfig) -> None:
    """Raise UserError where the configuration names code that is not ours, or reaches outside itself."""
    for path, node in _leaves(OmegaConf.to_container(config, resolve=False), ""):
        if isinstance(node, str) and "${" in node:
            _refuse_resolvers(path, node)
        under_hydra = path.startswith("hydra.") or path.startswith("hydra_logging.")
        if not under_hydra:
            continue
        last = path.rpartition(".")[2]
        known = isinstance(node, str) and (node in TARGETS or node.startswith(TARGET_FAMILIES))
        if last == "_target_" and not known:
            raise UserError(
                f"{path}={node} is refused: under hydra. only Hydra's own and known launchers may be named."
            )
        logs = isinstance(node, str) and node.startswith(("logging.", "colorlog."))
        if last == "()" or (last == "class" and "logging" in path and not logs):
            raise UserError(f"{path}={node} is refused: a configuration may not name code to run.")
        if isinstance(node, str) and "ext://" in node and not node.startswith("ext://sys.std"):
            raise UserError(f"{path}={node} is refused: a configuration may not name code to run.")


def _refuse_resolvers(path: str, text: str) -> None:
    """Refuse resolvers that are not known to stay inside, and names that are put together from others."""
    for start in re.finditer(r"\$\{", text):
        end = re.search(r"[:}]|\$\{", text[start.end() :])
        mark = end.group() if end else ""
        name = text[start.end() : start.end() + end.start()].strip() if end else text
        if mark == "${" or (mark == ":" and name not in RESOLVERS):
            raise UserError(
                f"{path}={text} is refused: the resolver {name!r} may reach outside the configuration.\n"
                "Try: the value itself"
            )


def refuse_paths(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that would let Hydra import packages."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key == "hydra.searchpath":
            raise UserError(f"{override} is refused: it can import packages.\nTry: --config-dir FOLDER")


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested dicts and lists with its dotted path."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _leaves(child, f"{path}.{number}")
    else:
        yield path, node
