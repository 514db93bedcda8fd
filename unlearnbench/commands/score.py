"""unlearnbench score: a model that somebody else unlearned, measured beside a run's roles."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands import run
from unlearnbench.commands.parser import Parser
from unlearnbench.errors import UserError

DESCRIPTION = (
    "Measure a model that somebody else unlearned beside the original and the retrained model. Short for: "
    "unlearnbench run method=external method.path=MODEL dataset=NAME WORDS."
)


def main(words: list[str]) -> int:
    """Run what the words are short for; return the exit code."""
    parser = Parser("unlearnbench score", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="a .safetensors or .pt file, a model's or an adapter's folder")
    parser.add_argument("--data", metavar="DATA", help="a table of chats, a folder of images, or a data set's name")
    given, rest = parser.parse_known_args(words)
    if not Path(given.model).exists() and "=" in given.model:
        raise UserError(f"MODEL comes first, not {given.model}.\nTry: unlearnbench score MODEL {given.model}")
    if not Path(given.model).exists():
        raise UserError(f"{given.model} does not exist.\nTry: unlearnbench score FILE_OR_FOLDER --data DATA")
    try:
        return run.main(["method=external", f"method.path={given.model}", *data_words(given.data), *rest])
    except UserError as error:
        unknown = f"dataset={given.data}: unknown dataset"
        if not str(error).startswith(unknown):
            raise
        also = f"--data {given.data}: unknown dataset, and no folder or file {given.data}"
        raise UserError(str(error).replace(unknown, also, 1)) from error


def data_words(data: str | None) -> list[str]:
    """Return the words of a run that choose the data: by name, or by what lies at a path."""
    if data is None:
        return []
    place = Path(data)
    if place.is_file():
        return ["dataset=chat", f"dataset.root={data}"]
    if place.is_dir():
        return ["dataset=images", f"dataset.root={data}"]
    if "/" in data or place.suffix:
        raise UserError(f"--data {data} does not exist.\nTry: --data FILE, --data FOLDER or --data NAME")
    return [f"dataset={data}"]
