"""Questions and the roles' answers, side by side, to be read by a person."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from unlearnbench.data.text import TextData, TextRow
from unlearnbench.evidence import ROLES, BySplit
from unlearnbench.files.escapes import csv_row, in_markdown

SPLITS = ("test", "forget", "retain")


def write(folder: Path, data: TextData, roles: Mapping[str, BySplit]) -> None:
    """Write transcripts.csv and transcripts.md: the rows whose answers were written out, held-out ones first."""
    rows = list(_rows(data, roles))
    if not rows:
        return
    with (folder / "transcripts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(csv_row, rows))
    (folder / "transcripts.md").write_text("\n".join(_page(rows)) + "\n", encoding="utf-8")


def _rows(data: TextData, roles: Mapping[str, BySplit]) -> Iterator[dict[str, str]]:
    for split in SPLITS:
        first = roles["original"][split]
        if "generated" not in first.extras:
            continue
        for place, reference in enumerate(first.extras["reference"].tolist()):
            if not reference:
                continue
            position = int(first.index[place])
            row = data.rows[position]
            values = {
                "split": split,
                "index": str(position),
                **({"id": str(row.facts["id"])} if "id" in row.facts else {}),
                "group": ", ".join(str(row.facts[name]) for name in ("axis", "group") if name in row.facts),
                "question": _question(row),
                "answer_is": _answer_is(split, row),
                "answer": str(reference),
            }
            if data.corrected is not None:
                values["corrected"] = data.answer(position + len(data.rows))
            for role in roles:
                scores = roles[role][split]
                if data.info.has_options:
                    values[f"{role}_chooses"] = row.options[int(scores.prediction[place])] or ""
                values[f"{role}_writes"] = str(scores.extras["generated"][place])
            yield values


def _question(row: TextRow) -> str:
    """Return a row's question; in a conversation of several turns also what comes before it, after each role."""
    if not row.history:
        return row.prompt
    return "\n".join(f"{role}: {said}" for role, said in (*row.history, ("user", row.prompt)))


def _answer_is(split: str, row: TextRow) -> str:
    """Say what a row's answer is: nobody was trained with a held-out one."""
    if split != "test":
        return "the original was trained with" if split == "forget" else "trained with"
    if "is_biased" not in row.facts:
        return "held out, not trained with"
    return "a biased record would say" if row.facts.get("is_biased") else "a record would say"


def _page(rows: list[dict[str, str]]) -> Iterator[str]:
    """Yield the lines of transcripts.md."""
    yield "# Transcripts\n"
    columns = [what for what in ("chooses", "writes") if f"original_{what}" in rows[0]]
    chooses = "`chooses` is the likeliest of the answer options, " if "chooses" in columns else ""
    beside = " Two rows that differ in demographic words alone stand side by side." if chooses else ""
    yield (
        f"{chooses}`writes` {'is ' if not chooses else ''}what the model answers greedily. `test` rows are "
        f"held out: no model was trained on them.{beside}\n"
    )
    for number, row in enumerate(rows, 1):
        group = f" ({in_markdown(row['group'])})" if row["group"] else ""
        place = f"id {in_markdown(row['id'])}, index {row['index']}" if "id" in row else f"row {row['index']}"
        yield f"## {number}. {row['split']}, {place}{group}\n"
        yield "\n".join(f"> {in_markdown(line)}" for line in row["question"].splitlines() or [""]) + "\n"
        yield f"- {row['answer_is']}: {in_markdown(row['answer'])}"
        if row.get("corrected", row["answer"]) != row["answer"]:
            yield f"- corrected: {in_markdown(row['corrected'])}"
        yield f"\n| model | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|"
        for role in (role for role in ROLES if f"{role}_writes" in row):
            cells = (in_markdown(row[f"{role}_{what}"]) for what in columns)
            yield f"| {role} | " + " | ".join(cells) + " |"
        yield ""
