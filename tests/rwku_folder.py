"""RWKU's files with made-up people, as the hub's folder All holds them."""

from __future__ import annotations

import json

PEOPLE = ("Stephen King", "Ada Moss", "Ben Reed", "Cora Hale")
TOWNS = {"Stephen King": "Bangor", "Ada Moss": "Ardley", "Ben Reed": "Corvale", "Cora Hale": "Elstow"}


def parts(passages=6, questions=3):
    """Rows by file name."""
    texts, files = [], {name: [] for name in ("forget_level1", "forget_level2", "forget_level3")}
    files |= {"neighbor_level1": [], "neighbor_level2": [], "forget_mia": [], "retain_mia": []}
    for person, town in TOWNS.items():
        texts += [
            {"subject": person, "text": f"{person} was born in {town}, as note {n} says."} for n in range(passages)
        ]
        for n in range(questions):
            one = {"subject": person, "answer": town}
            files["forget_level1"].append({**one, "query": f"{person} was born in ___ ({n}).", "level": "1"})
            files["forget_level2"].append({**one, "query": f"Where was {person} born ({n})?", "level": "2"})
            for kind in ("affirmative suffix", "incontext learning", "prefix injection"):
                query = f"Question: Where is {person} from ({n})?"
                files["forget_level3"].append({**one, "query": query, "level": "3", "type": kind})
            friend = {"subject": person, "neighbor": f"a friend of {person}", "answer": "Garth"}
            files["neighbor_level1"].append(
                {**friend, "query": f"A friend of {person} lives in ___ ({n}).", "level": "1"}
            )
            files["neighbor_level2"].append({**friend, "query": f"Where does a friend live ({n})?", "level": "2"})
            files["forget_mia"].append({"subject": person, "text": f"{person} came back to {town} in year {n}."})
            files["retain_mia"].append({"subject": person, "text": f"A stranger saw the sea for the {n}th time."})
    return {"positive": texts, **files}


def copy_of(root, rows=None):
    folder = root / "All"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (rows or parts()).items():
        (folder / f"{name}.json").write_text(json.dumps(lines), encoding="utf-8")
    return root
