"""`unlearnbench.unlearn`: the command's result for a model and data in hand, and plain words for what does not fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import unlearnbench
from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.experiment import build
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import in_order
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.runners.execute import computed
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from worlds import image_info, llama, same_weights

AUGMENT = ["dataset.augment.crop=1", "dataset.augment.flip=true"]
IMAGES = ["dataset=synthetic", "dataset.side=12", "dataset.channels=3", "dataset.mean=[0.4,0.5,0.6]",
          "dataset.std=[0.2,0.3,0.25]", "model=tiny_cnn", "train.epochs=2", "device=cpu", *AUGMENT]  # fmt: skip
TEXT = ["dataset=clinical_notes", "dataset.limit=60", "dataset.limit_test=24", "model=llama_tiny", "model.hidden=16",
        "model.vocabulary=600", "train.epochs=1", "eval.generate=0", "device=cpu"]  # fmt: skip


def of_the_command(folder, *words):
    """Return a command's bench, splits, and its original and unlearned model."""
    experiment = assemble(prepare([*words, f"outputs={folder}"])).experiment
    bench = Benches().of(experiment)
    (asked,) = build(experiment, bench)
    workshop = Workshop(Cache(folder / "cache"))
    for stage in in_order([asked.models.unlearned]):
        computed(stage, workshop, "cpu")
    models = [copy.deepcopy(workshop.model(one)) for one in (asked.models.original, asked.models.unlearned)]
    return bench, asked.world.splits, *models


def pair(data, index):
    return data.images[torch.from_numpy(index)], torch.from_numpy(data.labels[index])


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("npo", {"epochs": 2}),
        pytest.param("distill", {"epochs": 1}, marks=pytest.mark.slow),
        pytest.param("masking", {}, marks=pytest.mark.slow),
    ],
)
def test_images_in_hand_give_the_bytes_of_the_command(tmp_path, method, settings):
    words = [f"method={method}", *(f"method.{name}={value}" for name, value in settings.items()), "seed=3"]
    bench, splits, original, expected = of_the_command(tmp_path, *IMAGES, *words)
    before = copy.deepcopy(original)
    found = unlearnbench.unlearn(
        original, pair(bench.data, splits.retain), pair(bench.data, splits.forget), method,
        normalise=([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]), augment={"crop": 1, "flip": True}, seed=3, device="cpu",
        fresh=lambda: TinyCNN(checkpoint=None).build(bench.info), parts={"mask_layer": "features"}, **settings,
    )  # fmt: skip
    assert same_weights(found, expected)
    assert same_weights(original, before)
    assert not same_weights(found, before)


ADAPTER = {"r": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj"]}


@pytest.mark.parametrize("adapter", [None, pytest.param(ADAPTER, marks=pytest.mark.slow)])
def test_rows_in_hand_give_the_bytes_of_the_command(tmp_path, adapter):
    words = [*TEXT, "method=npo", "method.epochs=1"]
    if adapter:
        words += ["model.adapter.r=2", "model.adapter.alpha=4", "model.adapter.targets=[q_proj]"]
    bench, splits, original, expected = of_the_command(tmp_path, *words)

    def rows(index):
        return [{"prompt": bench.data.rows[i].prompt, "completion": bench.data.answer(i)} for i in index.tolist()]

    before = copy.deepcopy(original)
    found = unlearnbench.unlearn(
        original, rows(splits.retain), rows(splits.forget), "npo", tokenizer=bench.task.encoder.tokenizer,
        tuning="tiny_language", adapter=adapter, epochs=1, device="cpu",
    )  # fmt: skip
    assert same_weights(found, expected)
    assert same_weights(original, before) and not same_weights(found, before)


class Pairs(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, number):
        return self.images[number], int(self.labels[number])


@pytest.fixture
def world():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 1, 8, 8, generator=generator)
    labels = torch.arange(24) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    return model, (images[:18], labels[:18]), (images[18:], labels[18:])


def unlearn(*what, **settings):
    return unlearnbench.unlearn(*what, device="cpu", **settings)


def test_tensors_arrays_and_data_sets_are_the_same(world):
    model, retain, forget = world
    found = [
        unlearn(model, form(retain), form(forget), "grad_diff", epochs=1)
        for form in (
            tuple,
            lambda pair: (pair[0].numpy(), pair[1].numpy().astype(np.int32)),
            lambda pair: TensorDataset(*pair),
            lambda pair: Pairs(*pair),
        )
    ]
    assert all(same_weights(found[0], other) for other in found[1:])


def test_the_result_has_the_formats_of_the_model(world):
    model, retain, forget = world
    model = model.to(torch.bfloat16).train()
    model[1].requires_grad_(False)
    found = unlearn(model, retain, forget, "grad_diff", optimizer={"lr": 1.0}, epochs=1)
    assert {one.dtype for one in found.parameters()} == {torch.bfloat16}
    assert not found[1].weight.requires_grad and found[3].weight.requires_grad
    assert not found.training and model.training
    assert not same_weights(found, model)


def test_what_only_uses_forget_needs_no_retain(world):
    model, _, forget = world
    for method in ("gradient_ascent", "task_vector"):
        assert not same_weights(unlearn(model, None, forget, method, epochs=1), model)
    with pytest.raises(UserError, match=r"uses retain examples, and retain is None.\nTry: "):
        unlearn(model, None, forget, "npo")


def test_a_new_model_is_trained_by_the_recipe(world):
    model, retain, forget = world
    found = unlearn(model, retain, forget, "retrain", recipe={"epochs": 2, "batch_size": 8})
    assert not same_weights(found, model)
    again = unlearn(model, retain, forget, "retrain", recipe={"epochs": 2, "batch_size": 8})
    assert same_weights(found, again)
    assert not same_weights(found, unlearn(model, retain, forget, "retrain", recipe={"epochs": 2, "batch_size": 5}))


def test_parts_are_found():
    from torchvision.models import resnet18, vgg11

    from unlearnbench.python.models import image_parts

    found = image_parts(resnet18(num_classes=7), 7, {})
    assert (found.head, found.mask_layer) == ("fc", "layer4")
    assert found.blocks == ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    with torch.device("meta"):
        found = image_parts(vgg11(num_classes=7), 7, {})
    assert (found.head, found.mask_layer) == ("classifier.6", "features.18")
    given = image_parts(TinyCNN(checkpoint=None).build(image_info()), 10, {"mask_layer": "features"})
    assert (given.head, given.mask_layer, given.blocks) == ("linear", "features", ("conv1", "bn1", "conv2", "bn2"))


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64, 3))

    def forward(self, x):
        return x.flatten(1) @ self.scale


FLOATS = torch.zeros(4, 1, 8, 8)
LABELS = torch.tensor([0, 1, 2, 0])
ROW = {"question": "Who?", "answer": "He."}
WRONG = [
    ({"method": "nop"}, "Did you mean 'npo'"),
    ({"epohcs": 2}, "Did you mean 'epochs'"),
    ({"epochs": 0}, "epochs=0: expected"),
    ({"optimizer": {"lr": "hot"}}, 'optimizer.lr="hot": expected'),
    ({"precision": "fp8"}, "expected 'auto', 'fp32' or 'bf16'"),
    ({"seed": -1}, "seed=-1"),
    ({"method": "instruct"}, "method=instruct needs text; the data are images"),
    ({"method": "distill", "model": Bare()}, "Try: parts={'head': NAME}"),
    ({"method": "distill", "model": Bare(), "parts": {"head": ""}}, "Try: fresh=lambda: MyModel(...)"),
    ({"parts": {"haed": "1"}}, "Did you mean 'head'"),
    ({"parts": {"head": "7"}}, "no submodule '7'"),
    ({"forget": FLOATS}, "Try: forget=(images, labels)"),
    ({"forget": (FLOATS, LABELS[:3])}, "expected 4 whole numbers as labels"),
    ({"forget": (FLOATS, LABELS.float())}, "whole numbers"),
    ({"forget": (FLOATS, LABELS + 1)}, "the label 3 is outside 0 to 2"),
    ({"forget": (FLOATS[:0], LABELS[:0])}, "forget is empty"),
    ({"forget": (FLOATS[:, :, :4], LABELS)}, "retain has images of (1, 8, 8) float, but forget"),
    ({"forget": (FLOATS / 0, LABELS)}, "NaN or infinite"),
    ({"retain": None, "forget": (FLOATS.byte(), LABELS), "method": "task_vector"}, "Try: normalise="),
    ({"normalise": ([0.5], [0.5])}, "normalise is for uint8 images"),
    ({"forget": [ROW]}, "tokenizer=AutoTokenizer"),
    ({"adapter": {"r": 2}}, "adapter is for text"),
    ({"augment": {"crp": 2}}, "Did you mean 'crop'"),
    ({"augment": {"crop": 0, "flip": False, "jitter": 0.5}}, "need uint8 images"),
    ({"device": "cuda:99"}, "Try: device=c"),
    ({"device": "gpu"}, "Did you mean 'cuda'"),
    ({"optimizer": {"schedule": "plateau"}}, "Try: validation=EXAMPLES"),
    ({"model": nn.Sequential(nn.Flatten(), nn.Linear(60, 3))}, "the model cannot take images of shape (1, 8, 8)"),
    ({"model": nn.Conv2d(1, 3, 3)}, "the model returns (2, 3, 6, 6) for 2 images"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=[says for _, says in WRONG])
def test_what_does_not_fit_is_said_in_plain_words(world, changes, says):
    model, retain, forget = world
    given = {"model": model, "retain": retain, "forget": forget, "device": "cpu", **changes}
    with pytest.raises(UserError) as error:
        unlearnbench.unlearn(**given)
    assert says in str(error.value)


@pytest.fixture(scope="module")
def language():
    torch.manual_seed(0)
    spec = llama()
    texts = ["Who wrote it? She did.", "Where is it? There."]
    return spec.build(image_info()), spec.tokenizer(texts)


WRONG_ROWS = [
    ([{"question": "Who?"}], "forget[0] has no answer"),
    ([ROW, {"messages": [{"role": "user", "content": "Who?"}]}], "forget[1] has messages"),
    ([{"question": "Who?", "answer": " "}], "forget[0]"),
    ([{"question": "Who?", "answer": 3}], "forget[0]: answer must be a text"),
    ([3], "forget[0]: expected a dict, got int"),
    ([], "forget is empty"),
    ("text", "expected a list of dicts"),
]


@pytest.mark.parametrize(("rows", "says"), WRONG_ROWS, ids=[says for _, says in WRONG_ROWS])
def test_wrong_rows_are_named(language, rows, says):
    model, tokenizer = language
    with pytest.raises(UserError) as error:
        unlearn(model, [ROW], rows, tokenizer=tokenizer)
    assert says in str(error.value)


def test_settings_have_their_names_of_python(language):
    model, tokenizer = language
    with pytest.raises(
        UserError, match=r"over context=16; .* \(too_long=refuse\).\nTry: too_long=cut, or context="
    ) as error:
        unlearn(model, [ROW], [{**ROW, "question": "Who? " * 20}], tokenizer=tokenizer, context=16, too_long="refuse")
    assert "dataset." not in str(error.value)
    with pytest.raises(UserError, match=r"adapter\.targets: expected linear layers, got foo"):
        adapter = {"r": 2, "alpha": 2, "dropout": 0.0, "targets": ["foo"]}
        unlearn(model, [ROW], [ROW], tokenizer=tokenizer, adapter=adapter)


@pytest.mark.parametrize("form", ["messages", "text"])
def test_conversations_and_texts_are_rows_too(language, form):
    model, tokenizer = language
    turns = [
        ("system", "Be kind."),
        ("user", "Who?"),
        ("assistant", "She."),
        ("user", "Where?"),
        ("assistant", "There."),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "text": "She did."}
    rows = [{form: row[form]}] * 4
    found = unlearn(model, rows, rows[:2], "grad_diff", tokenizer=tokenizer, epochs=1)
    assert not same_weights(found, model)


def test_a_language_model_needs_to_know_where_it_began(language):
    model, tokenizer = language
    with pytest.raises(UserError, match=r"Try: fresh=lambda: AutoModelForCausalLM"):
        unlearn(model, [ROW], [ROW], "distill", tokenizer=tokenizer)
    found = unlearn(
        model, [ROW], [{**ROW, "corrected": "She."}], "instruct", tokenizer=tokenizer, epochs=1, batch_size=2
    )
    assert not same_weights(found, model)
    assert type(found) is type(model)
