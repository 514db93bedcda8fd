"""unlearnbench export: the unlearned model of a run, in the form it came in."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser, add_sources, log_to_terminal, use_sources
from unlearnbench.errors import DONE

TARGETS = "FILE.safetensors or FILE.pt (images), FOLDER (timm's local-dir:, or save_pretrained), or hf:OWNER/NAME"


def main(words: list[str]) -> int:
    """Write the model and say where; return the exit code."""
    parser = Parser(
        "unlearnbench export",
        description="Write the unlearned model of a run as other programs read it.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, such as outputs/runs/NAME")
    parser.add_argument("--to", required=True, metavar="TARGET", help=TARGETS)
    parser.add_argument("--adapter", action="store_true", help="of a language model, only the adapter it was given")
    parser.add_argument("--push", action="store_true", help="upload it to hf:OWNER/NAME, as a private repository")
    parser.add_argument("--force", action="store_true", help="replace a target that is there already")
    add_sources(parser)
    given = parser.parse_args(words)
    use_sources(given)
    log_to_terminal()
    from unlearnbench.files.escapes import printable
    from unlearnbench.runs.launch import torch_explained

    with torch_explained():
        from unlearnbench.runs.export import Wish, export

    wish = Wish(to=given.to, adapter=given.adapter, push=given.push, force=given.force)
    for line in export(given.run, wish, given.config_dir):
        print("\n".join(map(printable, line.splitlines())))
    return DONE
