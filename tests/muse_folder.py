"""MUSE's layout with made-up news, in both formats that people have: the authors' JSON files, and the hub's parquet."""

from __future__ import annotations

import json

import numpy as np

TOWNS = ("Ardley", "Bexham", "Corvale", "Dunmore", "Elstow", "Fenwick", "Garth", "Holbeck")
DEEDS = ("opened a library", "closed the old mill", "won the county cup", "built a stone bridge", "lost its mayor")
WHEN = ("on Monday", "in the spring", "after the storm", "last week", "at noon", "during the fair")


def news(seed, count):
    """Return short articles and one fact of each: a question with its answer."""
    rng = np.random.default_rng(seed)
    texts, facts = [], []
    for number in range(count):
        town, deed, when = (str(rng.choice(words)) for words in (TOWNS, DEEDS, WHEN))
        who = f"{rng.choice(['Ann', 'Ben', 'Cora', 'Dan', 'Eve'])} {rng.choice(['Hale', 'Moss', 'Reed', 'Stone'])}"
        price = int(rng.integers(100, 999))
        texts.append(
            f"The town of {town} {deed} {when}. {who} said that it cost {price} pounds. "
            f"Nobody in {town} had expected it, and {who} thanked the council for its patience with number {number}."
        )
        facts.append({"question": f"What did it cost when {town} {deed} {when}?", "answer": f"{price} pounds"})
    return texts, facts


def parts(count=12):
    """Rows by part."""
    texts, facts = {}, {}
    for seed, name in enumerate(("forget", "retain1", "retain2", "holdout")):
        texts[name], facts[name] = news(seed, count)
    halves = [(text[: len(text) // 3], text[len(text) // 3 :]) for text in texts["forget"]]
    return {
        **{f"raw/{name}": rows for name, rows in texts.items()},
        **{f"privleak/{name}": texts[name] for name in ("forget", "holdout")},
        "privleak/retain": texts["retain1"],
        "verbmem/forget": [{"prompt": prompt, "gt": rest} for prompt, rest in halves],
        "knowmem/forget_qa": facts["forget"],
        "knowmem/retain_qa": facts["retain2"],
        "knowmem/forget_qa_icl": facts["holdout"][:2],
        "knowmem/retain_qa_icl": facts["holdout"][2:4],
    }


def json_copy(root, rows=None):
    for name, lines in (rows or parts()).items():
        file = root / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(lines), encoding="utf-8")
    return root


def parquet_copy(root, rows=None):
    import pyarrow
    import pyarrow.parquet

    for name, lines in (rows or parts()).items():
        file = root / f"{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table = pyarrow.Table.from_pylist([{"text": line} if isinstance(line, str) else line for line in lines])
        pyarrow.parquet.write_table(table, file)
    return root
