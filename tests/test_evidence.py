"""Scores on their way to a file and back, text included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unlearnbench.evidence import Scores

EXTRAS: dict[str, NDArray[np.generic]] = {
    "generated": np.array(["", "Beltrán wrote “Ça va?” 日本語 🙂", "two\nlines\tand a tab"]),
    "group": np.array(["b", "ab", "a much longer group than the others"]),
    "empty": np.array(["", "", ""]),
    "is_biased": np.array([True, False, True]),
    "answer_hit": np.array([[1, 0, -1], [1, 1, 1], [0, -1, -1]], dtype=np.int8),
    "answer_log_probability": np.array([[-1.5, np.nan], [-0.25, -3.0], [0.0, np.nan]], dtype=np.float32),
    "pair": np.array([0, 0, 2]),
}


def scores() -> Scores:
    logits = np.array([[0.5, -np.inf], [-1.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    return Scores(logits, np.array([0, 1, 1]), np.array([4, 7, 9]), EXTRAS)


def same(one: Scores, other: Scores) -> bool:
    arrays = [({"logits": s.logits, "label": s.label, "index": s.index} | dict(s.extras)) for s in (one, other)]
    return arrays[0].keys() == arrays[1].keys() and all(
        a.dtype.kind == (b := arrays[1][name]).dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for name, a in arrays[0].items()
    )


def test_tensors_and_back_are_the_same_scores() -> None:
    back = Scores.from_tensors(scores().tensors())
    assert same(back, scores())
    assert back.extras["generated"].tolist() == EXTRAS["generated"].tolist()
    assert back.logits.dtype == np.float32 and back.extras["answer_hit"].dtype == np.int8


def test_scores_survive_a_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file(scores().tensors(), tmp_path / "scores.safetensors")
    assert same(Scores.from_tensors(load_file(tmp_path / "scores.safetensors")), scores())


def test_text_is_padded_utf8_of_the_longest() -> None:
    tensors = scores().tensors()
    assert tuple(tensors["text.group"].shape) == (3, len("a much longer group than the others"))
    assert bytes(tensors["text.group"][1].tolist()).rstrip(b"\0") == b"ab"
    assert tuple(tensors["text.empty"].shape) == (3, 1)


@pytest.mark.parametrize("chosen", [np.array([2, 0]), np.array([True, False, True])[[0, 1, 2]]])
def test_chosen_rows_of_text_go_and_come_back(chosen: NDArray[np.generic]) -> None:
    part = scores().rows(chosen)  # type: ignore[arg-type]
    assert same(Scores.from_tensors(part.tensors()), part)
    assert part.extras["group"].tolist() == EXTRAS["group"][chosen].tolist()  # type: ignore[index]


def test_no_rows_go_and_come_back() -> None:
    nothing = scores().rows(np.zeros(0, dtype=np.int64))
    back = Scores.from_tensors(nothing.tensors())
    assert len(back) == 0 and same(back, nothing)


def test_scores_without_extras_go_and_come_back() -> None:
    plain = Scores(scores().logits, scores().label, scores().index)
    assert same(Scores.from_tensors(plain.tensors()), plain) and not Scores.from_tensors(plain.tensors()).extras
