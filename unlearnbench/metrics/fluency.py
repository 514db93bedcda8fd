"""Fluency of written texts: how many different words they have, and how often they repeat themselves.

Li, Galley, Brockett, Gao, Dolan: A Diversity-Promoting Objective Function, NAACL 2016, arXiv:1510.03055 (distinct-n);
Welleck et al.: Neural Text Generation with Unlikelihood Training, ICLR 2020, arXiv:1908.04319 (seq-rep-4). Both count
tokens of a vocabulary of their own; we count words and punctuation marks in lower case, the same for every tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS = re.compile(r"\w+|[^\w\s]")
REPEATED = 4


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Return the number of different n-grams over that of all n-grams, of all texts together; None without any.

    In (0, 1]. Low values are of models that say the same everywhere; it falls with the length of the texts, so compare
    with the retrained model's, which is the perfect value.
    """
    found = [gram for text in texts for gram in _grams(text, n)]
    return len(set(found)) / len(found) if found else None


def repetition(texts: Sequence[str]) -> float | None:
    """Return the share of a text's 4-grams that it has said before, mean over texts of 4 words or more; None without.

    In [0, 1): 0 for a text that never repeats itself, near 1 for one that is stuck.
    """
    each = [1 - len(set(grams)) / len(grams) for text in texts if (grams := _grams(text, REPEATED))]
    return sum(each) / len(each) if each else None


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = WORDS.findall(text.lower())
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
