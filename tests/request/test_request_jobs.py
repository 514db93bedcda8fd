"""The jobs of a sweep: their words, and that composing them at once comes to what Hydra makes of each alone."""

from __future__ import annotations

import pytest

from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose
from unlearnbench.request.jobs import composed, swept


def test_jobs_are_the_product_of_all_values_and_the_last_word_varies_fastest():
    words = swept(["method=distill,none", "seed=0,1", "train.epochs=3"], []).words()
    assert [" ".join(one) for one in words] == [
        f"method={method} seed={seed} train.epochs=3" for method in ("distill", "none") for seed in (0, 1)
    ]


def test_a_word_replaces_the_parameter_of_its_name():
    words = list(swept(["model=tiny_cnn", "seed=3,4"], ["model=tiny_cnn,tiny_resnet", "seed=0,1,2"]).words())
    assert words == [["model=tiny_cnn", "seed=3"], ["model=tiny_cnn", "seed=4"]]


def test_globs_are_choices():
    words = {one[-1] for one in swept(["method=glob(dis*)"], []).words()}
    assert words == {"method=distill", "method=distill_paper"}
    with pytest.raises(UserError, match="does not match any choice"):
        swept(["method=glob(x*)"], []).first()


@pytest.mark.parametrize(
    "words",
    [
        ["method=distill,none", "seed=0,1,2"],
        ["forget=class,random", "forget.seed=1,2"],
        ["train.optimizer.lr=0.1,1e-3,1", "save_model=true,false,null"],
        ["forget.classes=[0],[1,2]", "eval.limit=10,null"],
        ["+train.compile=true,false", "seed=0,1"],
        ["method.epochs=${train.epochs}", "train.epochs=1,2"],
        ["dataset.root=/a,/b c", "dataset=cifar10"],
        ["model.checkpoint=1e3,null", "experiment=smoke"],
        ["train.epochs='a b',\"3\"", "seed=0"],
    ],
    ids=" ".join,
)
def test_each_job_is_what_hydra_composes_alone(words):
    for _number, one in composed(swept(words, [])):
        alone = compose(one.request.overrides).request
        assert one.request.config == alone.config
        assert {key: type(value) for key, value in _leaves(one.request.config)} == {
            key: type(value) for key, value in _leaves(alone.config)
        }
        assert one.request.choices == alone.choices and one.request.in_sweep


def _leaves(node, path=""):
    if not isinstance(node, dict):
        yield path, node
        return
    for key, child in node.items():
        yield from _leaves(child, f"{path}.{key}")
