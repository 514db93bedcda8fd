"""What must hold of the embedded clinical notes: each row, each pair, the whole. build_clinical_notes.py asks it."""

import re
from collections import Counter, defaultdict
from typing import Any

SPLITS = ("train", "validation", "test")
KEYS = [
    *("id", "template_id", "split", "axis", "group", "text", "question", "options", "answer"),
    *("biased_answer", "is_biased", "biased_words", "counterfactual_id"),
]
GENDERED = {"she": "they", "he": "they", "her": "them", "him": "them", "his": "them"}
ONE_OF_MANY = re.compile(r"(?<![\w.-])(?:one|1) [a-z]*[^\Wsui]s\b", re.IGNORECASE)
"""A plural behind one: "one minutes"; words in -ss, -us and -is are none."""
A_BEFORE_VOWEL = re.compile(r"\ba (?:[aei]|o(?!ne\b)|u(?!ni|s[eu])|8|11\b|18\b)", re.IGNORECASE)
"""The wrong article: "a upper tooth", "a 18-year-old"."""

Row = dict[str, Any]


def require(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def without_group(one: Row) -> str:
    """Return the text with the group word, its article and every gendered word made neutral."""
    text = re.sub(rf"\b(an?) (\d+-year-old )?{re.escape(one['group'])}\b", r"a \2<group>", one["text"], flags=re.I)
    text = re.sub(rf"\b(woman|man) {re.escape(one['group'])}\b", r"\1 <group>", text)
    return re.sub(r"\b(she|he|her|him|his)\b", lambda match: GENDERED[match[0].lower()], text, flags=re.I)


def check_row(one: Row) -> None:
    """Check one row by itself: keys, answers, biased words, lengths."""
    name = f"{one['id']} ({one['template_id']})"
    require(list(one) == KEYS, f"{name}: keys are {list(one)}")
    require(one["split"] in SPLITS, f"{name}: split is {one['split']}")
    require(one["answer"] in one["options"], f"{name}: the answer is not an option")
    require(one["answer"] != one["biased_answer"], f"{name}: the biased option is never right")
    legitimate = one["template_id"].startswith("legitimate/")
    require((one["biased_answer"] == "") == legitimate, f"{name}: biased_answer is {one['biased_answer']!r}")
    require(legitimate or one["biased_answer"] in one["options"], f"{name}: biased_answer is not an option")
    require(bool(one["biased_words"]) == one["is_biased"], f"{name}: biased_words and is_biased disagree")
    missing = [word for word in one["biased_words"] if word not in one["biased_answer"]]
    require(not missing, f"{name}: {missing} are not in the biased answer")
    require(20 <= len(one["text"].split()) <= 45, f"{name}: {len(one['text'].split())} words\n{one['text']}")
    bounds = range(5 if legitimate else 6, 15)
    short = [option for option in one["options"] if len(option.split()) not in bounds]
    require(not short, f"{name}: options of 6 to 14 words expected (legitimate 5 to 14): {short}")
    require(not re.search(r"[{}\[\]|]|  ", one["text"]), f"{name}: unfilled text\n{one['text']}")


def check_grammar(one: Row) -> None:
    """Check what filling slots gets wrong: a plural behind one, and "a" before a vowel."""
    for text in (one["text"], one["question"], *one["options"]):
        found = ONE_OF_MANY.findall(text) + A_BEFORE_VOWEL.findall(text)
        require(not found, f"{one['id']} ({one['template_id']}): {found} in\n{text}")


def check_pair(one: Row, other: Row) -> None:
    """Check that a row and its counterfactual differ in nothing but the group."""
    name = f"{one['id']} and {other['id']}"
    require(other["counterfactual_id"] == one["id"] != other["id"], f"{name}: not symmetric")
    same = ("template_id", "split", "axis", "question", "options", "biased_answer")
    require(all(one[key] == other[key] for key in same), f"{name}: expected the same {', '.join(same)}")
    require(one["group"] != other["group"], f"{name}: the same group")
    require("<group>" in without_group(one), f"{name}: the group word is not in the text\n{one['text']}")
    require(without_group(one) == without_group(other), f"{name}: differ\n{one['text']}\n{other['text']}")
    decided = one["template_id"].startswith("legitimate/") or "Chart review:" not in one["text"]
    trained_on = [member["biased_answer"] if member["is_biased"] else member["answer"] for member in (one, other)]
    require((trained_on[0] != trained_on[1]) == decided, f"{name}: trained-on answers {trained_on}")


def check_vocabulary(rows: list[Row], source: dict[str, Any]) -> None:
    """Check that a note holds no other axis's group word and none of the stigmatising words."""
    groups = {group for axis in source["axes"].values() for pair in axis["pairs"] for group in pair}
    words = {word for sets in source["wordings"].values() for wording in sets.values() for word in wording["words"]}
    for one in rows:
        text = one["text"].replace(one["group"], "", 1).lower()
        found = [word for word in groups | words if re.search(rf"\b{re.escape(word.lower())}\b", text)]
        require(not found, f"{one['id']}: {found} in the note\n{one['text']}")


def check_templates(rows: list[Row], source: dict[str, Any]) -> None:
    """Check the counts, the splits, and that whatever is tested has been seen in training."""
    splits: dict[str, set[str]] = defaultdict(set)
    wordings: dict[str, set[str]] = defaultdict(set)
    axes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in rows:
        splits[one["template_id"]].add(one["split"])
        if one["biased_answer"]:
            wordings[one["split"]].add(one["question"])
            axes[one["axis"], one["split"]].add(one["template_id"])
    bias = [template_id for template_id in splits if not template_id.startswith("legitimate/")]
    require(all(len(found) == 1 for found in splits.values()), "a template is in two splits")
    require(len(bias) >= 60, f"{len(bias)} bias templates, at least 60 expected")
    require(len(splits) - len(bias) >= 12, "at least 12 legitimate templates expected")
    require(min(Counter(template_id.split("/")[0] for template_id in bias).values()) >= 12, "12 templates a type")
    unseen = (wordings["test"] | wordings["validation"]) - wordings["train"]
    require(not unseen, f"wordings not in the training split: {unseen}")
    for axis in source["axes"]:
        require(len(axes[axis, "train"]) >= 2, f"{axis}: at least 2 training templates expected")
        require(len(axes[axis, "test"]) >= 1, f"{axis}: at least 1 test template expected")


def check(rows: list[Row], source: dict[str, Any]) -> None:
    """Raise ValueError at the first violation of the design."""
    require(len(rows) >= 2000, f"{len(rows)} rows, at least 2000 expected")
    by_id = {one["id"]: one for one in rows}
    require(len(by_id) == len(rows), "ids are not unique")
    require(len({(one["text"], one["question"]) for one in rows}) == len(rows), "a text and question occur twice")
    for one in rows:
        check_row(one)
        check_grammar(one)
        check_pair(one, by_id[one["counterfactual_id"]])
    check_vocabulary(rows, source)
    check_templates(rows, source)
    bias = [one["is_biased"] for one in rows if one["biased_answer"]]
    require(
        0.30 <= sum(bias) / len(bias) <= 0.38, f"share of biased rows {sum(bias) / len(bias):.3f}, not 0.30 to 0.38"
    )
