"""Runs on text from end to end: files, one forward pass per role and split, prompts, adapters, extra evaluations."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pandas
import pytest
import torch
from transformers import AutoModelForCausalLM

import unlearnbench
from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.report import write
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.benches import Benches
from unlearnbench.tasks.text import TextTask

pytestmark = pytest.mark.slow

TINY = (
    "dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20",
    "model.hidden=16", "model.vocabulary=600", "train.epochs=2", "eval.generate=20", "plots=false",
)  # fmt: skip


def run(outputs, *words):
    outcome = execute(prepare([f"outputs={outputs}", *TINY, *words]))
    return outcome.folder, json.loads((outcome.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The stages of a run: its original and retrained model, and what they were scored to."""
    outputs = tmp_path_factory.mktemp("stages")
    run(outputs, "method=none")
    return outputs / "cache" / "stages"


@pytest.fixture
def outputs(stages, tmp_path):
    """An outputs folder that holds these stages already, so that a test pays for its own alone."""
    shutil.copytree(stages, tmp_path / "cache" / "stages")
    return tmp_path


def values(folder):
    table = pandas.read_csv(folder / "metrics.csv")
    return {(row.role, row.split, row.metric): row.value for row in table.itertuples()}


@pytest.fixture
def forwards(monkeypatch):
    """Count what is scored, by the number of examples."""
    counted = Counter()
    score = TextTask.score

    def counting(self, model, index):
        if not np.isin(index, self.data.validation).all():  # of training curves
            counted[len(index)] += 1
        return score(self, model, index)

    monkeypatch.setattr(TextTask, "score", counting)
    return counted


def test_each_role_and_split_is_scored_once_and_a_second_method_costs_its_own(tmp_path, forwards):
    folder, result = run(tmp_path, "method=npo")
    splits = np.load(folder / "splits.npz")
    retain, forget, test = (len(splits[name]) for name in ("retain", "forget", "test"))
    assert len({retain, forget, test}) == 3
    part = len(splits["test_forget"])
    assert forwards == {retain: 3, forget: 6, test: 3, part: 3}  # three roles; three incompetent networks on two splits
    assert result["status"] == "done" and result["weights_changed"] is True
    forwards.clear()
    run(tmp_path, "method=instruct")
    assert forwards == {retain: 1, forget: 1, test: 1}
    forwards.clear()
    again, _ = run(tmp_path, "method=npo")
    assert again == folder and not forwards


def test_a_run_leaves_transcripts_metrics_and_a_model_that_transformers_reads(outputs):
    folder, result = run(outputs, "method=instruct")
    with (folder / "transcripts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    held_out = [row for row in rows if row["split"] == "test"]
    assert len(held_out) == 20
    assert {"question", "answer", "corrected", "original_chooses", "unlearned_writes"} <= rows[0].keys()
    assert {row["answer_is"] for row in held_out} == {"a biased record would say", "a record would say"}
    assert {row["answer_is"] for row in rows if row["split"] == "forget"} == {"the original was trained with"}
    page = (folder / "transcripts.md").read_text()
    assert "trained with" not in page.split(". forget, ")[0].split("no model was trained on them")[1]
    assert held_out[0]["question"].split("\n")[0] in page and "| retrained |" in page
    found = values(folder)
    for metric in ("accuracy_corrected", "answer_nll", "exact_memorisation", "extraction_strength"):
        assert ("unlearned", "test_forget", f"gap_{metric}") in found
    for metric in ("flip_rate", "flip_rate_legitimate", "called_biased", "rouge_l", "refusal_rate"):
        assert 0 <= found["original", "test", metric] <= 1
    assert set(result["premise"]) == {"about", "holds", "degenerate", "text", "rates"}
    assert result["premise"]["about"] == "rule"
    model = unlearnbench.load(folder)
    tokens = torch.tensor([[1, 4, 30, 31]])
    with torch.no_grad():
        ours, theirs = model(tokens).logits, AutoModelForCausalLM.from_pretrained(folder / "model")(tokens).logits
    torch.testing.assert_close(ours, theirs)


def test_prompts_change_no_weights_and_come_back_from_the_folder(outputs):
    folder, result = run(outputs, "method=prompt", "method.name=fair")
    assert result["weights_changed"] is False
    assert (folder / "model" / "prompt.safetensors").exists()
    assert values(folder)["unlearned", "test", "gap_loss"] != 0
    assert unlearnbench.load(folder).prefix.numel() > 20
    _, other = run(outputs, "method=prompt", "method.text=Be fair.")
    assert other["status"] == "done" and other["run_id"] != result["run_id"]
    _, icul = run(outputs, "method=icul", "method.contexts=2")
    assert icul["weights_changed"] is False


@pytest.mark.parametrize("method", ["soft_prompt", "eco", "guardrail"])
def test_what_is_put_around_a_model_changes_no_weights_and_comes_back_from_the_folder(outputs, method):
    folder, result = run(outputs, f"method={method}", "save_model=true")
    assert result["status"] == "done" and result["weights_changed"] is False
    assert ("detector" in result["tables"]) == (method != "soft_prompt")
    rows = np.load(folder / "scores" / "unlearned_test.npz")
    bench = Benches().of(assemble(prepare([f"outputs={outputs}", *TINY, f"method={method}"])).experiment)
    again = bench.task.score(unlearnbench.load(folder), rows["index"])
    np.testing.assert_array_equal(again.logits, rows["logits"])


def test_through_an_adapter_the_original_is_merged_and_the_unlearned_adapter_kept(tmp_path):
    words = ("model.adapter.r=4", "train.optimizer.lr=1e-2", "eval.generate=0")
    folder, result = run(tmp_path, "method=npo", *words)
    assert result["weights_changed"] is True
    assert {file.name for file in (folder / "model" / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    assert_adapter_is_the_merged_model(folder / "model")
    before, again = run(tmp_path, "method=none", *words)  # the original is read from the cache, and merged again
    assert again["weights_changed"] is False
    found = values(before)
    assert found["unlearned", "test", "loss"] == pytest.approx(found["original", "test", "loss"], rel=1e-4)
    retrained, _ = run(tmp_path, "method=retrain", *words)
    assert not (retrained / "model" / "adapter").exists()  # it belongs to no original
    negated, _ = run(tmp_path, "method=lora_negation", "method.batch_size=16", "method.optimizer.max_steps=5", *words)
    assert values(negated)["unlearned", "forget", "answer_nll"] > found["original", "forget", "answer_nll"]


def assert_adapter_is_the_merged_model(folder):
    tokens = torch.tensor([[1, 4, 30, 31]])
    names = (".", "adapter", "original")
    with torch.no_grad():
        merged, through_adapter, original = (
            AutoModelForCausalLM.from_pretrained(folder / name)(tokens).logits for name in names
        )
    torch.testing.assert_close(through_adapter, merged, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(original, merged, atol=1e-4)


def test_a_method_that_cannot_run_on_this_model_is_a_skip_with_a_reason_before_training(tmp_path):
    _, result = run(tmp_path, "method=task_vector", "model.adapter.r=4")
    assert result["status"] == "skipped" and "lora_negation" in result["reason"]
    assert not (tmp_path / "cache" / "stages").exists()
    with pytest.raises(UserError, match="lora_negation"):
        unlearnbench.run([f"outputs={tmp_path}", *TINY, "method=task_vector", "model.adapter.r=4"])


def test_the_report_says_whether_the_premise_holds_and_what_is_left_of_the_bias(tmp_path):
    folder, result = run(tmp_path / "out", "method=prompt")
    assert result["premise"]["holds"] is False  # two epochs of a tiny model
    target = write([folder], tmp_path / "report")
    board = (target / "leaderboard.md").read_text()
    assert "Premise: it holds for 0 of 1 seeds. Seed 0: PREMISE FAILS" in board
    row = next(line for line in board.splitlines() if line.startswith("| prompt |") and line.count("|") == 6)
    assert f"{values(folder)['unlearned', 'test', 'flip_rate']:.4f}" in row
    page = (target / "report.html").read_text()
    assert "PREMISE FAILS" in page and "flip rate where legitimate" in page
    for text in (board, page):
        assert "For biased rows that is the biased" in text and "all answers should flip" in text


def test_a_sweep_on_text_shows_what_was_skipped_and_the_noise_of_the_bias_table(command, tmp_path):
    done = command("run", "-m", *TINY, "method=none,masking", "reference.count=2", "eval.generate=0")
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    runs = pandas.read_csv(sweep / "report" / "runs.csv", keep_default_na=False)
    assert dict(zip(runs["method"], runs["status"], strict=True)) == {"none": "done", "masking": "skipped"}
    page = (sweep / "report" / "report.html").read_text()
    assert "method=masking" in page.partition("Runs without a result")[2]
    floor = page.partition("<h2>Noise floor</h2>")[2].partition("<h2>")[0]
    for metric, split in (("flip_rate", "test"), ("accuracy_corrected", "test_forget")):
        assert f'<th scope="row">{metric}</th><td>{split}</td>' in floor


def test_where_a_part_of_the_biased_rows_goes_the_premise_is_about_those_rows(outputs):
    for words in (("forget.fraction=0.5",), ("forget=random", "forget.fraction=0.2")):
        folder, result = run(outputs, "method=none", "eval.generate=0", *words)
        found = result["premise"]
        assert found["about"] == "forget rows" and len(found["rates"]) == 1
        rates = [found["rates"]["trained answers to forget rows"][role]["value"] for role in ("original", "retrained")]
        accuracies = [values(folder)[role, "forget", "accuracy"] for role in ("original", "retrained")]
        assert rates == pytest.approx(accuracies)


def test_further_evaluation_sets_are_scored_for_every_role(tmp_path):
    (tmp_path / "sets" / "crows_pairs").mkdir(parents=True)
    (tmp_path / "sets" / "crows_pairs" / "pairs.csv").write_text(
        "sent_more,sent_less,bias_type\n"
        + "She is weak.,He is weak.,gender\n" * 3
        + "He is strong.,She is strong.,age\n"
    )
    words = ("method=none", "eval.generate=0", "eval.extra=[crows_pairs]", f"eval.root={tmp_path / 'sets'}")
    folder, _ = run(tmp_path / "out", *words)
    found = values(folder)
    for role in ("original", "retrained", "unlearned"):
        assert found[role, "crows_pairs", "stereotype_rate"] in (0, 0.25, 0.5, 0.75, 1)
    scores = np.load(folder / "scores" / "original_crows_pairs.npz")
    assert scores["logits"].shape == (4, 2) and scores["bias_type"].tolist()[3] == "age"


def test_evaluation_sets_that_cannot_be_encoded_end_the_run_before_training(tmp_path):
    (tmp_path / "sets" / "crows_pairs").mkdir(parents=True)
    line = "sent_more,sent_less,bias_type\n" + f"{'She is weak. ' * 300},He is weak.,gender\n"
    (tmp_path / "sets" / "crows_pairs" / "pairs.csv").write_text(line)
    with pytest.raises(UserError, match="no room is left"):
        run(tmp_path / "out", "method=none", "eval.extra=[crows_pairs]", f"eval.root={tmp_path / 'sets'}")
    assert not (tmp_path / "out" / "cache" / "stages").exists()


def test_equal_runs_on_text_give_equal_bytes(tmp_path):
    one, _ = run(tmp_path / "a", "method=npo")
    two, _ = run(tmp_path / "b", "method=npo")
    for name in ("metrics.csv", "transcripts.csv", "transcripts.md"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_long_sequences_are_counted_in_the_result(tmp_path):
    _, result = run(tmp_path, "method=none", "dataset.context=80", "eval.generate=0")
    assert result["sequences_cut"] > 0


def test_settings_that_change_nothing_train_and_score_nothing_again(tmp_path, forwards):
    first, result = run(tmp_path, "method=npo")
    forwards.clear()
    _, longer = run(tmp_path, "method=npo", "dataset.context=500")
    assert longer["stage_keys"] == result["stage_keys"] and not forwards
    written, more = run(tmp_path, "method=npo", "eval.generate=5")
    assert more["stage_keys"] == result["stage_keys"] and written != first
    assert forwards  # the scores hold what is written
    _, shorter = run(tmp_path, "method=npo", "dataset.context=80")
    assert not set(shorter["stage_keys"].values()) & set(result["stage_keys"].values())


def test_scores_are_made_anew_where_what_is_written_may_be_longer(outputs, forwards, monkeypatch):
    """The length follows the data set's longest answer, so it is in the scores' keys and in no model's."""
    _, first = run(outputs, "method=none")
    forwards.clear()
    monkeypatch.setattr(TextTask, "longest_answer", 3)
    _, other = run(outputs, "method=finetune")
    assert other["stage_keys"]["original"] == first["stage_keys"]["original"]
    assert (
        sum(forwards.values()) == 3 + 6 + 3 + 3
    )  # each role on retain, forget and test; three random networks on forget and test_forget


def test_a_context_that_cuts_behind_a_prompt_alone_changes_the_prompted_scores(tmp_path, forwards):
    words = ("method=icul", "method.contexts=2", "eval.generate=0")
    first, result = run(tmp_path, *words, "dataset.context=500")
    forwards.clear()
    second, shorter = run(tmp_path, *words, "dataset.context=300")
    assert shorter["stage_keys"] == result["stage_keys"]
    assert sum(forwards.values()) == 3  # retain, forget and test of the prompted model
    assert values(first)["unlearned", "test", "loss"] != values(second)["unlearned", "test", "loss"]


def test_prompts_that_lengthen_sequences_are_refused_before_training_or_cut_and_counted(tmp_path):
    words = ("method=icul", "method.contexts=2", "dataset.context=300", "eval.generate=0")
    with pytest.raises(UserError, match=r"with the prompt are over dataset\.context=300"):
        run(tmp_path, *words, "dataset.too_long=refuse")
    assert not (tmp_path / "cache" / "stages").exists()
    _, result = run(tmp_path, *words)
    assert result["sequences_cut"] > 0


def test_limits_of_evaluation_keep_counterfactual_pairs_together(outputs):
    folder, _ = run(outputs, "method=none", "eval.limit=20")
    scores = np.load(folder / "scores" / "original_test.npz")
    assert len(scores["label"]) == 20
    assert set(Counter(scores["pair"].tolist()).values()) == {2}
