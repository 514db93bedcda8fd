"""leaderboard.md: the boards as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnbench.files.escapes import in_markdown
from unlearnbench.report.board import SEEDS, Board, noise_text, readings
from unlearnbench.report.language import HEADER as BIAS_HEADER
from unlearnbench.report.language import READING
from unlearnbench.report.reported import HEADER as REPORTED_HEADER
from unlearnbench.report.reported import NOTE
from unlearnbench.report.verdicts import READING as VERDICTS


def markdown(groups: list[Board], left_out: Sequence[tuple[str, str]] = ()) -> str:
    """Return the boards as GitHub Markdown, after a line for each file that is damaged and left out."""
    parts = ["# Leaderboard\n"]
    parts += [f"**Damaged and left out:** {in_markdown(name)}: {in_markdown(why)}\n" for name, why in left_out]
    for board in groups:
        parts.append(f"## {in_markdown(board.title)}\n")
        parts += [f"{in_markdown(board.rows)}\n"] if board.rows else []
        parts += _table(board.headline.header(), [line.cells() for line in board.lines])
        parts += ["", f"{in_markdown(' '.join(board.words))}\n"] if board.words else [""]
        parts.append(f"{noise_text(board)}\n")
        if board.checkpoint:
            parts.append(f"{in_markdown(board.checkpoint)}\n")
        if board.base_note:
            parts.append(f"**{in_markdown(board.base_note)}**\n")
        if board.cost_note:
            parts.append(f"{in_markdown(board.cost_note)}\n")
        if board.premise:
            parts.append(f"{in_markdown(board.premise)}\n")
        parts += [f"{in_markdown(remark)}\n" for remark in board.remarks]
        if board.bias:
            parts += [*_table(BIAS_HEADER, board.bias), ""]
        if board.verdicts:
            parts += ["### Verdicts\n", *_table(board.verdicts.header, board.verdicts.lines), ""]
            parts.append(f"{in_markdown(board.verdicts.note)}\n")
        for one in board.added:
            parts += [f"### {in_markdown(one.name)}\n", *_table(one.header, one.lines), ""]
            parts += [f"{in_markdown(one.note)}\n"] if one.note else []
        if board.reported:
            parts.append("### Reported and measured\n")
            parts += [f"{in_markdown(board.scale_note)}\n"] if board.scale_note else []
            parts += [*_table(REPORTED_HEADER, [one.cells() for one in board.reported]), ""]
    if not groups:
        parts.append("No finished runs: runs.csv says why.\n")
    parts += [f"{reading} {SEEDS}\n" for reading in readings(groups)]
    if any(board.verdicts for board in groups):
        parts.append(f"{VERDICTS}\n")
    if any(board.bias for board in groups):
        parts.append(f"{READING}\n")
    if any(board.reported for board in groups):
        parts.append(f"{NOTE}\n")
    return "\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = ["| " + " | ".join(in_markdown(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|", *lines]
