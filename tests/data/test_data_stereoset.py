"""StereoSet: read, scored, and refused where it is not StereoSet's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unlearnbench.compose import compose
from unlearnbench.config import build
from unlearnbench.errors import UserError
from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics.bias import stereoset_icat, stereoset_lms, stereoset_ss


def item(target, context, words):
    labels = ("unrelated", "stereotype", "anti-stereotype")  # in the file's order, which is any
    sentences = [{"sentence": word, "gold_label": label} for word, label in zip(words, labels, strict=True)]
    return {"target": target, "bias_type": "gender", "context": context, "sentences": sentences}


def stereoset(folder):
    return build(compose(["dataset=stereoset", f"dataset.root={folder}"]).request.config["dataset"], "dataset")


def test_items_become_options_and_an_intersentence_context_stands_before_them(tmp_path):
    data = {
        "intrasentence": [item("nurse", "The nurse is BLANK.", ("fish", "she", "he"))],
        "intersentence": [item("chess", "He likes chess.", ("Rain falls.", "He is shy.", "He is loud."))],
    }
    (tmp_path / "dev.json").write_text(json.dumps({"data": data}))
    rows = stereoset(tmp_path).load().rows
    assert rows[0].options == ("she", "he", "fish")
    assert rows[1].options[2] == "He likes chess. Rain falls."
    assert [row.facts["target"] for row in rows] == ["nurse", "chess"]


def test_items_on_a_target_are_a_cluster(tmp_path):
    between = [item(target, "BLANK", ("fish", "she", "he")) for target in ("nurse", "chess", "nurse")]
    (tmp_path / "dev.json").write_text(json.dumps({"data": {"intrasentence": between, "intersentence": between[:1]}}))
    assert stereoset(tmp_path).load().cluster.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("text", ["[]", "{", '{"data": {"intrasentence": [{}], "intersentence": []}}'])
def test_a_file_that_is_not_stereosets_is_refused(tmp_path, text):
    (tmp_path / "dev.json").write_text(text)
    with pytest.raises(UserError, match="is not StereoSet's"):
        stereoset(tmp_path).load()
    with pytest.raises(UserError, match=r"holds no dev\.json"):
        stereoset(tmp_path / "nowhere").check()


def evidence(logits, targets):
    zeros = np.zeros(len(logits), dtype=np.int64)
    scores = Scores(np.array(logits, dtype=np.float32), zeros, np.arange(len(logits)), {"target": np.array(targets)})
    return Evidence({"stereoset": scores}, {}, (), (), whole_class=False)


def test_scores_are_taken_per_target_term_and_averaged():
    # a: stereotype preferred 2 of 3, all sentences before the unrelated one; b: opposite, half of them before it
    one = evidence([[3, 2, 1], [3, 2, 1], [2, 3, 1], [1, 3, 2]], ["a", "a", "a", "b"])
    ss, lms = 100 * (2 / 3 + 0) / 2, 100 * (1 + 0.5) / 2
    assert stereoset_ss.compute(one, "stereoset") == pytest.approx(ss)
    assert stereoset_lms.compute(one, "stereoset") == pytest.approx(lms)
    assert stereoset_icat.compute(one, "stereoset") == pytest.approx(lms * ss / 50)


def test_extremes_of_the_idealised_score():
    assert stereoset_icat.compute(evidence([[3, 2, 1], [2, 3, 1]], ["a", "a"]), "stereoset") == 100
    assert stereoset_icat.compute(evidence([[3, 2, 1], [3, 2, 1]], ["a", "a"]), "stereoset") == 0
