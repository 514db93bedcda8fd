"""Keys move when, and only when, a result can change: by an edit of any module, and by any setting."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

import unlearnbench
from unlearnbench.assemble import assemble
from unlearnbench.experiment import build
from unlearnbench.graph import sources
from unlearnbench.graph.stage import in_order
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from worlds import TINY

PACKAGE = Path(unlearnbench.__file__).parent
MODULES = sorted(
    ".".join(("unlearnbench", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
)
AUDITS = ("eval=[standard,quantise,relearn,probe,path,ulira]", "eval.ulira.models=9", "eval.ulira.together=9")
IMAGES = (*TINY, "method=distill", *AUDITS)
TEXT = ("dataset=clinical_notes", "model=llama_tiny", "method=npo", "dataset.limit=60")
EVERY = "*"
ALL_MODELS = "*/train */incompetent images/shadows"
TEXT_MODELS = "text/train text/incompetent"
MARKS = {"bit": "rounded", "nf4": "rounded", "incompetent": "incompetent"}
SHARED = (
    "adapter", "checkpoint", "ensemble", "four_bit", "head", "hooks", "masks", "modes", "start", "vetted",
    "weight_files", "wrapper",
)  # fmt: skip
"""Modules of `models` that the models of both runs are built with."""
MOVED = {
    "contracts": EVERY,
    "task": "*/train images/shadows",
    "evidence": EVERY,
    "randomness": EVERY,
    "problem": "*/unlearn images/forgotten",
    "data.images": "images/*",
    "data.mapped": "images/*",
    "data.marks": "images/*",
    "data.text": "text/*",
    "data.sampling": "images/* text/*",
    "machine.determinism": EVERY,
    "methods.distill": "images/unlearn images/forgotten",
    "methods.npo": "text/unlearn",
    "models.tiny": "images/train images/incompetent images/shadows",
    "models.llama": TEXT_MODELS,
    "models.finetuned": TEXT_MODELS,
    "models.loading": TEXT_MODELS,
    "models.pretrained": TEXT_MODELS,
    "models.skeleton": TEXT_MODELS,
    "models.prefix": "images/train images/shadows text/train text/incompetent",
    "models.screened": "images/train images/shadows text/train text/incompetent",
    "models.weightless": "images/unlearn images/forgotten text/train text/incompetent",
    "models.weights": "*/train images/shadows",
    "models.wrapped": "*/train images/shadows",
    **dict.fromkeys((f"models.{name}" for name in SHARED), ALL_MODELS),
    "evaluations.halves": "images/relearn images/probe",
    "evaluations.probe": "images/probe",
    "evaluations.quantise": "images/rounded",
    "evaluations.relearn": "images/relearn",
    "metrics.confidence": "images/shadows",
    "stages.shadows": "images/shadows",
    "stages.forgotten": "images/forgotten",
    "stages.path": "images/path",
    "stages.resumable": "*/train images/shadows",
    "stages.resume": "*/train images/shadows",
    "stages.train": "*/train images/shadows",
    "stages.trained": "*/train images/shadows",
    "stages.unlearn": "*/unlearn images/forgotten",
    "stages.score": "*/score images/rounded */incompetent",
    "stages.of_model": "*/score images/rounded */incompetent images/relearn images/probe",
    "stages.incompetent": "*/incompetent",
    "tasks.image": "images/*",
    "tasks.augment": "images/*",
    "tasks.chat": "text/*",
    "tasks.conversation": "text/*",
    "tasks.encoding": "text/*",
    "tasks.examples": "text/*",
    "tasks.generation": "text/*",
    "tasks.options": "text/*",
    "tasks.rendering": "text/*",
    "tasks.rows": "text/*",
    "tasks.scoring": "text/*",
    "tasks.states": "text/*",
    "tasks.text": "text/*",
    "techniques.preferences": "*/unlearn images/forgotten",
    "techniques.remembered": "*/unlearn images/forgotten",
    "techniques.*": "",
    "training.watch": "*/unlearn images/forgotten",
    "training.*": "*/train images/shadows",
}
"""What an edit of a module moves by itself, as kinds of stages of the two runs; what reads them moves with them.

A module that is not here moves nothing.
"""


@pytest.fixture(scope="module")
def laid_out():
    """Two experiments, each with its bench."""
    benches = Benches()
    found = {}
    for name, words in (("images", IMAGES), ("text", TEXT)):
        experiment = assemble(prepare(list(words))).experiment
        found[name] = (experiment, benches.of(experiment))
    return found


def keys(laid_out):
    """Return the keys of all stages of the two runs, by run, kind and label, and what each one reads."""
    found, reads = {}, {}
    for name, (experiment, bench) in laid_out.items():
        for stage in in_order(stage for asked in build(experiment, bench) for stage in asked.stages()):
            kind = kind_of(stage)
            found[(name, kind, stage.label)] = stage.key
            reads[(name, kind, stage.label)] = stage
    return found, reads


def kind_of(stage):
    """Return a stage's kind; scorings of rounded and of incompetent models are kinds of their own."""
    return next((name for mark, name in MARKS.items() if mark in stage.label), stage.kind)


def own(before, after, reads):
    """Return the stages that moved though nothing that they read did: as run/kind."""
    moved = {place for place in before if before[place] != after[place]}
    labels = {reads[place].key: place for place in moved}
    return {
        f"{name}/{kind}"
        for name, kind, label in moved
        if not any(one.key in labels for one in reads[(name, kind, label)].inputs)
    }


def patterns(module):
    name = module.removeprefix("unlearnbench.")
    return next((set(kinds.split()) for shape, kinds in MOVED.items() if fnmatch(name, shape)), set())


@pytest.fixture(scope="module")
def untouched(laid_out):
    """The keys before any edit."""
    return keys(laid_out)


def edited(laid_out, *modules):
    """Return the keys of all stages where these modules are edited."""
    digest, files = sources.tree_digest, {sources.source_of(one) for one in modules}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sources, "tree_digest", lambda path: "edited" if path in files else digest(path))
        sources.sources.cache_clear()
        sources.source_digest.cache_clear()
        after, _ = keys(laid_out)
    sources.sources.cache_clear()
    sources.source_digest.cache_clear()
    return after


@pytest.mark.parametrize("module", [one for one in MODULES if patterns(one)])
def test_an_edit_moves_exactly_the_stages_whose_result_it_can_change(laid_out, untouched, module):
    before, reads = untouched
    moved, allowed = own(before, edited(laid_out, module), reads), patterns(module)
    assert {one for one in moved if not any(fnmatch(one, shape) for shape in allowed)} == set()
    assert {shape for shape in allowed if not any(fnmatch(one, shape) for one in moved)} == set()


def test_an_edit_of_any_other_module_moves_nothing(laid_out, untouched):
    """All of them are edited at once: a key that one of them can move would move here too."""
    before, others = untouched[0], [one for one in MODULES if not patterns(one)]
    assert len(others) > 200
    if edited(laid_out, *others) != before:
        assert [one for one in others if edited(laid_out, one) != before] == []


WORDS = {
    "seed=1": "images/*",
    "unlearn_seed=1": "images/unlearn",
    "eval_seed=1": "images/relearn images/probe images/shadows",
    "train.epochs=3": "images/train images/shadows",
    "method.epochs=9": "images/unlearn images/forgotten",
    "eval.batch_size=100": "images/relearn images/probe images/shadows images/score images/rounded images/incompetent "
    "images/path",
    "eval.path.points=4": "images/path",
    "eval.path.stopping=none": "",
    "eval.quantise.bits=[3]": "images/rounded",
    "eval.relearn.steps=9": "images/relearn",
    "eval.probe.rows=20": "images/probe",
    "precision=bf16": "images/*",
    "device=cuda precision=fp32": "",
    "threads=1": "",
    "outputs=elsewhere": "",
    "save_model=true": "",
    "plots=true": "",
    "deterministic=false": "",
    "dataset.seed=1": "images/*",
    "dataset.mean=[0.1]": "images/*",
    "dataset.augment.flip=true": "images/*",
    "dataset.noise=0.4": "images/*",
    "model=tiny_resnet": "images/*",
    "forget=random": "images/train images/unlearn images/score images/rounded images/incompetent images/relearn "
    "images/probe images/shadows",
    "reference.count=2": "images/train",
    "train.optimizer.lr=0.2": "images/train images/shadows",
    "train.batch_size=50": "images/train images/shadows",
    "method.temperature=3": "images/unlearn images/forgotten",
    "method.optimizer.lr=0.2": "images/unlearn images/forgotten",
    "eval.limit=20": "images/score images/rounded images/incompetent images/path images/shadows",
    "eval.ulira.models=10": "images/shadows",
}
TEXT_WORDS = {
    "dataset.limit=50": "text/*",
    "dataset.seed=1": "text/*",
    "model.layers=1": "text/*",
    "model.adapter.r=4": "text/train text/incompetent",
    "forget.column=axis forget.value=race": "text/train text/incompetent",
    "method.beta=0.2": "text/unlearn",
    "train.optimizer.lr=0.2": "text/train",
    "eval.generate=4": "text/score text/incompetent",
    "plots=true": "",
}


@pytest.mark.parametrize(
    ("run", "word", "shapes"),
    [("images", word, shapes) for word, shapes in WORDS.items()]
    + [("text", word, shapes) for word, shapes in TEXT_WORDS.items()],
)
def test_a_setting_moves_exactly_the_stages_that_it_decides(run, word, shapes):
    benches = Benches()

    def stages(words):
        experiment = assemble(prepare(list(words)), planning=True).experiment
        found = build(experiment, benches.of(experiment))
        return {
            (kind_of(one), one.label.replace("3bit", "8bit")): one
            for one in in_order(stage for asked in found for stage in asked.stages())
        }

    words = {"images": IMAGES, "text": TEXT}[run]
    before, after = stages(words), stages((*words, *word.split()))
    known = {one.key for one in before.values()}
    moved = {place for place, one in after.items() if one.key not in known}
    alone = {f"{run}/{place[0]}" for place in moved if not any(one.key not in known for one in after[place].inputs)}
    allowed = set(shapes.split())
    assert {one for one in alone if not any(fnmatch(one, shape) for shape in allowed)} == set()
    assert {shape for shape in allowed if not any(fnmatch(one, shape) for one in alone)} == set()
