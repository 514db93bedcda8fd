"""unlearnbench list: what there is to choose from."""

from __future__ import annotations

from unlearnbench.commands.parser import Parser, add_sources, use_sources
from unlearnbench.errors import DONE, UserError, nearest


def main(words: list[str]) -> int:
    """Show a topic, or all; return the exit code."""
    from unlearnbench.request.catalogue import TOPICS, entries

    parser = Parser("unlearnbench list", description="Show the available choices.")
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help=", ".join(TOPICS))
    add_sources(parser)
    given = parser.parse_args(words)
    use_sources(given)
    if given.topic is not None and given.topic not in TOPICS:
        raise UserError(
            f"unknown topic {given.topic!r}.{nearest(given.topic, TOPICS)}\nTry: unlearnbench list, or one of "
            f"{', '.join(TOPICS)}"
        )
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for topic in [given.topic] if given.topic else TOPICS:
        table = Table(title=topic, title_justify="left", box=None, pad_edge=False)
        rows = [(entry.name, entry.kind, entry.about, entry.paper) for entry in entries(topic, given.config_dir)]
        columns = dict(zip(("name", "kind", "what it is", "paper"), zip(*rows, strict=True), strict=False))
        used = {title: cells for title, cells in columns.items() if any(cells)}
        for title in used:
            table.add_column(title, no_wrap=title == "name")
        for cells in zip(*used.values(), strict=True):
            table.add_row(*(escape(text) for text in cells))
        console.print(table)
        console.print()
    return DONE
