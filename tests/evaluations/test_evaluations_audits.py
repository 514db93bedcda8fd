"""Audits of language models that have something around them, and the audits that ask and probe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas
import pytest
import torch

from toys import made
from unlearnbench.data.text import TextRow
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Found
from unlearnbench.evaluations.fluency import Fluency, Perplexity
from unlearnbench.evaluations.probe import Probe, layers_of, probed
from unlearnbench.evaluations.quantise import Rounded
from unlearnbench.evaluations.relearn import Relearning
from unlearnbench.evaluations.variants import PREFIX, Variants, after, begun, paraphrased, right_behind_prefix
from unlearnbench.evidence import Scores
from unlearnbench.forget.column import Column
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop
from unlearnbench.metrics.fluency import distinct, repetition
from unlearnbench.models.prefix import Prefixed, SoftPrompt
from unlearnbench.models.screened import Corrupted, Detector, Withheld
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.models.wrapper import inner
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.score import Score
from worlds import ADAMW, LORA, NO_ADAPTER, TINY, image_info, llama, notes, world

ALWAYS = Detector(torch.zeros(32), torch.tensor(1.0))
AROUND = {
    "nothing": lambda model: model,
    "prefix": lambda model: Prefixed(model, torch.tensor([1, 4, 9, 9, 1]), 1),
    "soft_prompt": lambda model: SoftPrompt(model, torch.ones(3, 16)),
    "corrupted": lambda model: Corrupted(model, ALWAYS, torch.randn(5, 16, generator=torch.manual_seed(1))),
    "withheld": lambda model: Withheld(model, ALWAYS, torch.tensor([40, 50])),
}


@dataclass(frozen=True, eq=False)
class Made:
    """A small language model with random weights, with something around it, or nothing."""

    around: str
    world: object
    role: str = "unlearned"
    inputs: tuple = ()

    @property
    def key(self):
        return f"made {self.around}"

    def build(self, workshop):
        torch.manual_seed(0)
        return AROUND[self.around](self.world.bench.spec.build(self.world.bench.info)).eval()


@dataclass(frozen=True)
class Roles:
    """What evaluations ask of the models of a run."""

    original: object
    others: tuple = ()
    unreferenced: bool = False

    def roles(self):
        yield "original", self.original
        yield from self.others


def here(adapter=NO_ADAPTER, **changes):
    dataset = notes(**changes)
    forget = Column(column="is_biased", value=True, fraction=1.0, seed=0)
    return world(dataset, dataset.load(), llama(adapter), forget, generate=2)


@pytest.fixture(scope="module")
def small():
    return here()


@pytest.mark.parametrize(
    ("around", "adapter"), [*((one, NO_ADAPTER) for one in AROUND), ("soft_prompt", LORA), ("withheld", LORA)]
)
def test_relearning_trains_the_weights_inside_and_nothing_around_them(around, adapter, tmp_path):
    place = here(adapter, limit=40)
    optimizer = replace(ADAMW, max_steps=2)
    forget = place.splits.forget
    stage = Relearning(place.bench, Made(around, place), forget[:8], forget[8:12], "forget", 0, 0, 4, optimizer)
    workshop, taken = Workshop(Cache(tmp_path)), []
    workshop.take = lambda model: taken.append(model.build(workshop)) or taken[-1]
    before = Made(around, place).build(workshop)
    found = stage.compute(workshop).facts
    assert len(found["right"]) == 3 and np.isfinite(found["loss"]).all()
    own = dict(before.own()) if around != "nothing" else {}
    assert all(torch.equal(value, taken[0].own()[name]) for name, value in own.items())
    if around == "withheld":  # a refusal teaches nothing, and hides what is there
        assert found["loss"][0] == pytest.approx(found["loss"][-1], abs=1e-2)
    else:
        assert found["loss"][0] != found["loss"][-1]


@pytest.mark.parametrize("around", AROUND)
def test_rounding_changes_the_weights_inside_and_nothing_around_them(around, small, tmp_path):
    model = Made(around, small)
    before, after_ = model.build(None), Rounded(model, "nf4", 8).build(Workshop(Cache(tmp_path)))
    changed = [
        not torch.equal(one, two)
        for one, two in zip(inner(before).parameters(), inner(after_).parameters(), strict=True)
    ]
    assert any(changed) and type(after_) is type(before)
    if around != "nothing":
        assert all(torch.equal(value, after_.own()[name]) for name, value in before.own().items())


@pytest.mark.parametrize("around", AROUND)
def test_a_probe_looks_past_what_is_around_a_model(around, small, tmp_path):
    (stage,) = Probe(rows=40).stages(Roles(Made(around, small)), small).values()
    found = stage.compute(Workshop(Cache(tmp_path))).facts
    assert found["layers"] == ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm"]
    bare = replace(stage, model=Made("nothing", small)).compute(Workshop(Cache(tmp_path))).facts
    assert found["accuracy"] == bare["accuracy"] and all(0 <= value <= 1 for value in found["random"])


def test_states_are_those_of_the_last_token_of_the_prompt(small):
    task, model = small.bench.task, Made("nothing", small).build(None)
    index = small.splits.forget[:7]
    found = task.states(model, index, ("model.layers.0", "model.norm"))
    for row, place in enumerate(index.tolist()):
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([task.prompt(place)]), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found["model.layers.0"][row], alone[1][0, -1], atol=1e-5)
        np.testing.assert_allclose(found["model.norm"][row], alone[2][0, -1], atol=1e-5)


def test_states_of_images_are_means_over_places():
    assert layers_of(TinyCNN(checkpoint=None).build(image_info(8, 1, 4)), TinyCNN(checkpoint=None).parts()) == (
        "conv1", "conv2", "features",
    )  # fmt: skip


def test_a_probe_finds_what_is_in_a_line_and_nothing_in_noise():
    draw = np.random.default_rng(0)
    answers = np.repeat([0, 1, 2], 40)
    noise = draw.normal(size=(120, 20))
    order = draw.permutation(120)
    first, second = order[:60], order[60:]
    there = noise + 4 * np.eye(20)[answers]
    assert probed(there[first], answers[first], there[second], answers[second]) > 0.95
    assert probed(noise[first], answers[first], noise[second], answers[second]) == pytest.approx(1 / 3, abs=0.15)
    always = np.zeros((120, 2))  # the same answer everywhere: one of three is right, however many rows it has
    assert probed(always[first], answers[first], always[second], answers[second]) == pytest.approx(1 / 3)


def test_a_run_on_images_probes_the_class_that_is_gone(tmp_path):
    words = [*TINY, "method=none", "eval=[standard,probe]", "reference.count=2", f"outputs={tmp_path}"]
    rows = pandas.read_csv(execute(prepare(words)).folder / "metrics.csv")
    right = rows[(rows["metric"] == "probe_accuracy") & (rows["split"] == "forget_held")].set_index("role")["value"]
    assert len(right) == 4 * 3 and right.between(0, 1).all()
    best = max(range(3), key=lambda layer: right[f"original_layer_{layer}"])
    expected = (
        right[f"unlearned_layer_{best}"] - (right[f"retrained_0_layer_{best}"] + right[f"retrained_1_layer_{best}"]) / 2
    )
    values = rows.set_index("metric")["value"]
    assert values["gap_probe_accuracy"] == pytest.approx(expected) and values["floor_probe_accuracy"] >= 0


ROW = TextRow(prompt="Where?", options=("Here.", None, "There."), label=0, corrected=2, pair="a")


def test_questions_are_asked_otherwise():
    other = replace(
        ROW, rephrased="In which place?", history=(("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"))
    )
    first, second = paraphrased([ROW, other], np.array([5, 5]))
    assert "Where?" in first.prompt and first.prompt != ROW.prompt and second.prompt == "In which place?"
    shots = (("user", "Who?"), ("assistant", "Nobody."))
    assert after(ROW, shots).history == shots
    assert [said for _, said in after(other, shots).history] == ["Be brief.", "Who?", "Nobody.", "Hi", "Yes?"]
    assert begun(ROW, PREFIX).options == (PREFIX + "Here.", None, PREFIX + "There.")


def hits(*rows):
    """Scores without options, of these hits on answer tokens, each with one closing token."""
    width = max(map(len, rows)) + 1
    found = np.array([[*row, 1, *[-1] * (width - len(row) - 1)] for row in rows], dtype=np.int8)
    count = len(rows)
    extras = {"answer_hit": found, "answer_end_tokens": np.ones(count, dtype=np.int64)}
    return Scores(np.zeros((count, 1), np.float32), np.zeros(count, int), np.arange(count), extras)


def test_tokens_of_a_prefix_do_not_count_as_right():
    plain = hits([1, 0], [1, 1, 0, 0])
    behind = hits([1, 1, 1, 0, 1], [0, 0, 0, 1, 1, 0, 1])
    assert right_behind_prefix(behind, plain) == pytest.approx((1 / 2 + 3 / 4) / 2)


@pytest.mark.parametrize("around", AROUND)
def test_variants_are_put_to_the_model_as_it_is(around, small, tmp_path):
    models = Roles(Made(around, small))
    stages = Variants(shots=1).stages(models, small)
    assert {name.removeprefix("original_") for name in stages} == {"plain", "paraphrase", "few_shot", "prefix"}
    scores = {name: made(tmp_path, stage)[0].read(made(tmp_path, stage)[1]) for name, stage in stages.items()}
    index = dict(small.scored())["forget"]
    whole = Score(small.bench, models.original, "forget", index).compute(Workshop(Cache(tmp_path)))
    np.testing.assert_allclose(scores["original_plain"].logits, Scores.from_tensors(whole.tensors).logits, rtol=1e-5)
    assert all(len(one) == len(index) and np.isfinite(one.loss).all() for one in scores.values())


def test_solved_questions_are_of_retain_and_must_fit():
    place = here(context=200)
    with pytest.raises(UserError, match=r"Try: eval.variants.shots=7, or .*context="):
        Variants(shots=8).stages(Roles(Made("nothing", place)), place)


def test_images_have_no_questions_and_write_nothing(tmp_path):
    for name in ("variants", "fluency"):
        with pytest.raises(UserError, match=f"eval={name} needs text; dataset=synthetic is image"):
            execute(prepare([*TINY, "method=none", f"eval=[standard,{name}]", f"outputs={tmp_path}"]))
    assert not (tmp_path / "cache" / "stages").exists()  # nothing was trained
    silent = here(limit=40)
    bench = replace(silent.bench, generate=0, _memo={})
    with pytest.raises(UserError, match=r"Try: eval.generate=24"):
        Fluency().stages(Roles(Made("nothing", silent)), replace(silent, bench=bench))


def test_variety_and_repetition_by_hand():
    assert distinct(["the cat saw the dog", "The dog"], 1) == pytest.approx(4 / 7)
    assert distinct(["the cat saw the dog", "The dog"], 2) == pytest.approx(4 / 5)
    assert distinct(["one"], 2) is None and distinct([], 1) is None
    assert repetition(["a b c d e", "x x x x x x", "short"]) == pytest.approx((0 + 2 / 3) / 2)
    assert repetition(["a b c"]) is None


def test_perplexity_is_that_of_the_written_tokens(small, tmp_path):
    index = dict(small.scored())["forget"]
    model, writes = Made("nothing", small), Made("withheld", small)
    stage, workshop = made(tmp_path, Perplexity(small.bench, model, Score(small.bench, writes, "forget", index)))
    scores, task = stage.score.read(workshop), small.bench.task
    nats = []
    for place, text in zip(index.tolist(), scores.extras["generated"].tolist(), strict=True):
        if text.strip():
            batch = task.answered(np.array([place]), [text])
            with torch.no_grad():
                said = model.build(None)(input_ids=batch.inputs).logits[0, :-1].log_softmax(dim=1)
            mine = batch.labels[0, 1:]
            nats += [-float(said[t, mine[t]]) for t in range(len(mine)) if mine[t] >= 0]
    facts = workshop.artefact(stage).facts
    assert facts["tokens"] == len(nats) > 0
    assert facts["perplexity"] == pytest.approx(np.exp(np.mean(nats)), rel=1e-4)


def test_equal_writers_have_no_gaps_of_fluency(small, tmp_path):
    writes = Made("withheld", small)
    models = Roles(Made("nothing", small), (("retrained", writes), ("unlearned", writes)))
    stages = Fluency().stages(models, small)
    assert set(stages) == {f"{role}_{split}" for role, _ in models.roles() for split in ("retain", "forget")}
    scores = {role: {} for role, _ in models.roles()}
    for name, stage in stages.items():
        _, workshop = made(tmp_path, stage)
        role, _, split = name.rpartition("_")
        scores[role][split] = stage.score.read(workshop)
    found = Found(models, small, scores, {}, stages, workshop, whole_class=False)
    rows = {(row.role, row.split, row.metric): row.value for row in Fluency().measure(found)}
    gaps = {value for (_, _, metric), value in rows.items() if metric.startswith("gap_")}
    assert gaps == {0.0} and rows["unlearned", "forget", "distinct_1"] < 0.6  # two refusals, the same
    assert rows["unlearned", "forget", "perplexity"] > 1


@pytest.mark.slow
def test_a_run_on_text_with_all_audits(tmp_path):
    words = ["dataset=clinical_notes", "model=llama_tiny", "model.hidden=16", "model.vocabulary=600", "method=eco"]
    words += ["dataset.limit=120", "dataset.limit_test=48", "train.epochs=1", "eval.generate=4", f"outputs={tmp_path}"]
    words += ["eval=[standard,relearn,quantise,probe,variants,fluency]", "eval.relearn.steps=2", "eval.relearn.seeds=1"]
    rows = pandas.read_csv(execute(prepare([*words, "eval.variants.shots=1"])).folder / "metrics.csv")
    mine = set(rows[rows["role"] == "unlearned"]["metric"])
    names = {"relearn_area", "quantise_gain", "quantise_robustness", "probe_accuracy", "variant_gain"}
    assert names | {f"gap_{name}" for name in names} <= mine
    assert np.isfinite(rows["value"]).all()
