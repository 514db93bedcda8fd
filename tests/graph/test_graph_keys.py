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
MARKS = {"bit": "rounded", "nf4": "rounded", "incompetent": "incompetent"}
MOVED = {
    "contracts": EVERY,
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
    "models.tiny": "images/*",
    "models.llama": "text/*",
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
    "tasks.scoring": "text/*",
    "tasks.states": "text/*",
    "tasks.text": "text/*",
    "techniques.preferences": "text/unlearn",
    "techniques.*": "",
    "training.watch": "*/unlearn images/forgotten",
    "training.*": "*/train images/shadows",
}
"""What an edit of a module moves by itself, as kinds of stages of the two runs; what reads them moves with them.

A module that is not here moves nothing. Those of `models` that several kinds of model share are looked at below.
"""
SHARED = "models.*"


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


OWN = [one for one in MODULES if not fnmatch(one, f"unlearnbench.{SHARED}")]


@pytest.mark.parametrize("module", [one for one in OWN if patterns(one)])
def test_an_edit_moves_exactly_the_stages_whose_result_it_can_change(laid_out, untouched, module):
    before, reads = untouched
    moved, allowed = own(before, edited(laid_out, module), reads), patterns(module)
    assert {one for one in moved if not any(fnmatch(one, shape) for shape in allowed)} == set()
    assert {shape for shape in allowed if not any(fnmatch(one, shape) for one in moved)} == set()


def test_an_edit_of_any_other_module_moves_nothing(laid_out, untouched):
    """All of them are edited at once: a key that one of them can move would move here too."""
    before, others = untouched[0], [one for one in OWN if not patterns(one)]
    assert len(others) > 200
    if edited(laid_out, *others) != before:
        assert [one for one in others if edited(laid_out, one) != before] == []


@pytest.mark.parametrize(
    ("module", "runs"),
    [
        ("tiny", {"images"}), ("llama", {"text"}), ("resnet", set()), ("vgg", set()), ("timm_model", set()),
        ("saved", set()), ("rebuilt", set()), ("pretrained", {"text"}), ("weights", {"images", "text"}),
        ("start", {"images", "text"}), ("modes", {"images", "text"}), ("prefix", {"images", "text"}),
    ],
)  # fmt: skip
def test_an_edit_of_a_model_moves_the_runs_that_use_it(laid_out, untouched, module, runs):
    before, after = untouched[0], edited(laid_out, f"unlearnbench.models.{module}")
    assert {place[0] for place in before if before[place] != after[place]} == runs


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
}


@pytest.mark.parametrize("word", WORDS)
def test_a_setting_moves_exactly_the_stages_that_it_decides(word):
    benches = Benches()

    def stages(words):
        experiment = assemble(prepare(list(words)), planning=True).experiment
        found = build(experiment, benches.of(experiment))
        return {
            (kind_of(one), one.label.replace("3bit", "8bit")): one
            for one in in_order(stage for asked in found for stage in asked.stages())
        }

    before, after = stages(IMAGES), stages((*IMAGES, *word.split()))
    known = {one.key for one in before.values()}
    moved = {place for place, one in after.items() if one.key not in known}
    alone = {f"images/{place[0]}" for place in moved if not any(one.key not in known for one in after[place].inputs)}
    allowed = set(WORDS[word].split())
    assert {one for one in alone if not any(fnmatch(one, shape) for shape in allowed)} == set()
    assert {shape for shape in allowed if not any(fnmatch(one, shape) for one in alone)} == set()
