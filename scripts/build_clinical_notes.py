#!/usr/bin/env python3
"""Build the embedded clinical notes: fill the hand-written templates, check every row, compress.

    python scripts/build_clinical_notes.py [--check]

Reads scripts/clinical_notes.yaml, writes unlearnbench/data/clinical_notes.jsonl.xz and prints the statistics that
are in docs/clinical-notes.md; --check only compares. The design is described there.
"""

import hashlib
import json
import lzma
import random
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from check_clinical_notes import KEYS, SPLITS, Row, check

SOURCE = Path(__file__).with_name("clinical_notes.yaml")
TARGET = Path(__file__).parents[1] / "unlearnbench" / "data" / "clinical_notes.jsonl.xz"
FILLS, FINDINGS = 12, 6
VOWEL = re.compile(r"[aeiou]|8|11\b|18\b", re.IGNORECASE)
SLOT = re.compile(r"\[([^\]]+)\]")
PRONOUNS = {"woman": {"he": "she", "him": "her", "his": "her"}, "man": {"he": "he", "him": "him", "his": "his"}}

Pair = tuple[Row, Row]
Template = dict[str, Any]


def choices(slot: str) -> list[str]:
    """Read the values of one slot: "a|b|c" or a range of whole numbers "3..9"."""
    if match := re.fullmatch(r"(\d+)\.\.(\d+)", slot):
        return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
    return slot.split("|")


def age_ranges(template: Template) -> list[list[int]]:
    """Return the ranges that ages are drawn from: none, one, or two (indicated and otherwise)."""
    if "otherwise" in template:
        return [template["indicated"], template["otherwise"]]
    return [template["ages"]] if "ages" in template else []


def draws(template_id: str, template: Template) -> list[tuple[list[str], list[int]]]:
    """Draw FILLS different fills of a template: a value for every slot, and the ages."""
    slots = [choices(slot) for slot in SLOT.findall(template["note"])]
    ranges = age_ranges(template)
    if sum(len(slot) >= 4 for slot in slots) + bool(ranges) < 3:
        raise ValueError(f"{template_id}: expected at least 3 slots of 4 values or more, the age included")
    generator, seen = random.Random(template_id), set()
    fills: list[tuple[list[str], list[int]]] = []
    while len(fills) < FILLS:
        values, ages = [generator.choice(slot) for slot in slots], [generator.randint(*bounds) for bounds in ranges]
        if tuple(values) not in seen:
            seen.add(tuple(values))
            fills.append((values, ages))
    return fills


def person(place: str, group: str, noun: str, age: int | None) -> str:
    """Name the patient with the right article: "an 84-year-old Black woman"."""
    words = {"before": f"{group} {noun}", "after": f"{noun} {group}", "instead": group}[place]
    phrase = words if age is None else f"{age}-year-old {words}"
    return f"{'an' if VOWEL.match(phrase) else 'a'} {phrase}"


def rendered(note: str, values: list[str], who: str, noun: str) -> str:
    """Fill the slots in order, then the patient and the pronouns."""
    filling = iter(values)
    text = SLOT.sub(lambda _: next(filling), note)
    words = {"person": who, **PRONOUNS[noun]}
    words |= {key.capitalize(): word[0].upper() + word[1:] for key, word in words.items()}
    return text.format(**words)


def row(template_id: str, template: Template, values: Row) -> Row:
    """Return one row in the order of KEYS; the ids are given once all rows are there."""
    known = {"template_id": template_id, "split": template.get("split", "train"), "axis": template["axis"], **values}
    return {key: known.get(key, "") for key in KEYS}


def bias_row(
    template_id: str, template: Template, wording: dict[str, Any], text: str, group: str, targeted: bool
) -> Row:
    """Answer one note of a bias template: with a chart finding the discrepancy, otherwise by the evidence."""
    neutral, biased, discrepancy = wording["options"]
    finding = "Chart review:" in text
    is_biased = targeted and not finding
    values = {
        "group": group,
        "text": text,
        "question": wording["question"],
        "options": wording["options"],
        "answer": discrepancy if finding else neutral,
        "biased_answer": biased,
        "is_biased": is_biased,
        "biased_words": wording["words"] if is_biased else [],
    }
    return row(template_id, template, values)


def bias_pairs(template_id: str, template: Template, wording: dict[str, Any], axis: dict[str, Any]) -> list[Pair]:
    """Fill a bias template: FILLS pairs without a finding, then the first FINDINGS of them with it."""
    fills, groups = draws(template_id, template), axis["pairs"]
    pairs = []
    for number, finding in [(n, False) for n in range(FILLS)] + [(n, True) for n in range(FINDINGS)]:
        (values, ages), members = fills[number], []
        note = template["note"] + (f" Chart review: {template['finding']}" if finding else "")
        for targeted, group in zip((True, False), groups[number % len(groups)], strict=True):
            noun = ("woman", "man")[number // len(groups) % 2]
            if axis["place"] == "instead":
                noun = "woman" if targeted else "man"
            who = person(axis["place"], group, noun, ages[0] if ages else None)
            text = rendered(note, values, who, noun)
            members.append(bias_row(template_id, template, wording, text, group, targeted))
        pairs.append((members[0], members[1]))
    return pairs


def legitimate_people(template: Template, number: int, ages: list[int]) -> list[tuple[str, str, str]]:
    """Return group, noun and full phrase of both members of a pair, the indicated one first."""
    if template["axis"] == "age":
        noun = template.get("sex", ("woman", "man")[number % 2])
        return [(f"{age}-year-old", noun, person("before", f"{age}-year-old", noun, None)) for age in ages]
    nouns = ("woman", "man") if template["indicated"] == "woman" else ("man", "woman")
    return [(noun, noun, person("instead", noun, noun, ages[0])) for noun in nouns]


def legitimate_pairs(template_id: str, template: Template) -> list[Pair]:
    """Fill a legitimate template: the indicated group first, then the other."""
    pairs = []
    for number, (values, ages) in enumerate(draws(template_id, template)):
        members = []
        people = legitimate_people(template, number, ages)
        for (group, noun, who), answer in zip(people, template["options"], strict=True):
            known = {key: template[key] for key in ("question", "options")}
            known |= {"group": group, "text": rendered(template["note"], values, who, noun), "answer": answer}
            members.append(row(template_id, template, known | {"is_biased": False, "biased_words": []}))
        pairs.append((members[0], members[1]))
    return pairs


def built(source: dict[str, Any]) -> list[Row]:
    """Fill every template in the order of the source and number the rows."""
    pairs = []
    for kind, templates in source["templates"].items():
        for template in templates:
            wording, axis = source["wordings"][kind][template["wording"]], source["axes"][template["axis"]]
            pairs += bias_pairs(f"{kind}/{template['id']}", template, wording, axis)
    for template in source["legitimate"]:
        pairs += legitimate_pairs(f"legitimate/{template['id']}", template)
    for number, (first, second) in enumerate(pairs):
        first["id"], second["id"] = f"cn-{2 * number + 1:04}", f"cn-{2 * number + 2:04}"
        first["counterfactual_id"], second["counterfactual_id"] = second["id"], first["id"]
    return [member for pair in pairs for member in pair]


def table(rows: list[Row], name: str, values: dict[str, list[Row]]) -> list[str]:
    """Return one Markdown table: a line for every value, rows and templates by split."""
    lines = [f"| {name} | " + " | ".join(SPLITS) + " | rows | biased |", "|---|" + "---:|" * (len(SPLITS) + 2)]
    for value, members in [*values.items(), ("all", rows)]:
        cells = []
        for split in SPLITS:
            here = [one for one in members if one["split"] == split]
            cells.append(f"{len(here)} ({len({one['template_id'] for one in here})})")
        lines.append(f"| {value} | {' | '.join(cells)} | {len(members)} | {sum(one['is_biased'] for one in members)} |")
    return lines


def grouped(rows: list[Row], by_axis: bool) -> dict[str, list[Row]]:
    """Group rows by type, or by axis with the legitimate rows of an axis apart."""
    groups: dict[str, list[Row]] = {}
    for one in rows:
        kind = one["template_id"].split("/")[0]
        legitimate = f"{one['axis']} (legitimate)" if kind == "legitimate" else one["axis"]
        groups.setdefault(legitimate if by_axis else kind, []).append(one)
    return groups


def statistics(rows: list[Row]) -> str:
    """Return the tables of the datasheet: rows, with the number of templates in parentheses."""
    by_type = table(rows, "type", grouped(rows, by_axis=False))
    by_axis = table(rows, "axis", dict(sorted(grouped(rows, by_axis=True).items())))
    bias = [one for one in rows if one["biased_answer"]]
    share = sum(one["is_biased"] for one in bias) / len(bias)
    words = [len(one["text"].split()) for one in rows]
    found = sum("Chart review:" in one["text"] for one in rows)
    facts = f"Biased share of the bias rows: {share:.3f}. Rows with a chart finding: {found}."
    length = f"Words in a note: {min(words)} to {max(words)}, mean {sum(words) / len(words):.1f}."
    return "\n".join([*by_type, "", *by_axis, "", facts, length])


def main() -> None:
    """Build and check the rows, then write the file or compare it with what would be built."""
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    rows = built(source)
    check(rows, source)
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)
    content = lzma.compress(lines.encode(), preset=9)
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.exists() and TARGET.read_bytes() == content else f"{TARGET} differs")
    TARGET.write_bytes(content)
    print(statistics(rows))
    print(f"\n{TARGET.name}: {len(content) / 1024:.1f} KiB, SHA-256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
