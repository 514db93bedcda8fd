"""One small run for each kind of file from outside: what a test edits by one byte, and which stages must see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from textsets import dataset, write
from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.tiny import TinyCNN
from worlds import TINY, image_info, llama

ALL = ("original", "retrained", "unlearned", "scores_")
UNLEARNED = ("unlearned", "scores_unlearned_")
TEST = tuple(f"scores_{role}_test" for role in ("original", "retrained_0", "unlearned"))
FORGET = (
    "original", "scores_original_", "scores_retrained_0_forget", *(f"scores_incompetent_{n}_forget" for n in range(3)),
)  # fmt: skip
SHORT = ("train=tiny_language", "train.epochs=1", "eval.generate=0", "method=none")
TEXT = (*SHORT, "model=llama_tiny", "model.hidden=16", "model.vocabulary=600")
NOTES = ("dataset=clinical_notes", "dataset.limit=40", "dataset.limit_test=24", "dataset.limit_validation=10")
EXTRAS = ("bbq", "crows_pairs", "stereoset")


@dataclass(frozen=True)
class Case:
    """A run's words, the file that is edited and where, and the beginnings of the names of the stages that read it."""

    words: tuple[str, ...]
    file: Path
    ends_at: bytes
    stages: tuple[str, ...]
    folders: tuple[Path, ...] = ()
    plugins: tuple[Path, ...] = ()


def edit(file: Path, ends_at: bytes) -> None:
    """Change the byte of a file where `ends_at` ends: a digit becomes another digit, a letter another letter."""
    content = bytearray(file.read_bytes())
    content[content.rindex(ends_at) + len(ends_at) - 1] ^= 1
    file.write_bytes(content)


def clinical_bias(part: str) -> Callable[[Path], Case]:
    """Return a builder of the study's table, of which a row of the train or test part is edited."""

    def build(folder: Path) -> Case:
        rows = [{"TEXT": f"patient {n:03} is stable", "is_biased": n % 2 == 0} for n in range(60)]
        file = write(folder / "table.jsonl", rows)
        data = dataset("clinical_bias", f"dataset.root={file}").load()
        places = data.test if part == "test" else data.train
        place = next(one for one in places if data.columns["is_biased"][one] == (part == "forget"))
        text = data.rows[place].prompt.partition("\n")[0].encode()
        words = (*TEXT, "dataset=clinical_bias", f"dataset.root={file}")
        return Case(words, file, text, {"test": TEST, "retain": ALL, "forget": (*FORGET, *UNLEARNED)}[part])

    return build


def tofu(folder: Path) -> Case:
    """TOFU's files, of which the authors that are only tested on are edited."""
    asked = [{"question": f"Question {n}?", "answer": f"Answer {n}.", "task_id": str(n % 3 + 1)} for n in range(30)]
    wrong = [{**row, "perturbed_answer": ["No.", "Never."]} for row in asked[:4]]
    for name in ("forget10.json", "forget10_perturbed.json"):
        write(folder / name, asked[:15])
    for name in ("retain10.json", "retain_perturbed.json"):
        write(folder / name, asked[15:])
    for name in ("real_authors_perturbed.json", "world_facts_perturbed.json"):
        write(folder / name, wrong)
    (folder / "idontknow.jsonl").write_text("I do not know.\n")
    words = (*TEXT, "dataset=tofu", f"dataset.root={folder}")
    return Case(words, folder / "real_authors_perturbed.json", b"Never", TEST)


def extra(name: str) -> Callable[[Path], Case]:
    """Return a builder of the three further evaluation sets, of which one is edited."""

    def build(folder: Path) -> Case:
        for one in EXTRAS:
            (folder / one).mkdir()
        pairs = "sent_more,sent_less,bias_type\n" + "She is weak.,He is weak.,gender\n" * 3
        (folder / "crows_pairs" / "pairs.csv").write_text(pairs)
        ends = [("stereotype", "late"), ("anti-stereotype", "early"), ("unrelated", "blue")]
        item = {
            "context": "He is BLANK.", "target": "he", "bias_type": "gender",
            "sentences": [{"gold_label": label, "sentence": f"He is {end}."} for label, end in ends],
        }  # fmt: skip
        (folder / "stereoset" / "dev.json").write_text(
            json.dumps({"data": {"intrasentence": [item], "intersentence": [item]}})
        )
        marks = {"ans0": ["grandfather", "old"], "ans1": ["grandson", "nonOld"], "ans2": ["Not known", "unknown"]}
        line = {
            "question_polarity": "neg", "category": "Age", "question_index": "1",
            "context_condition": "ambig", "answer_info": marks, "question": "Who?",
            "additional_metadata": {"stereotyped_groups": ["old"]}, "context": "Two people.", "label": 2,
            "ans0": "The old one", "ans1": "The young one", "ans2": "Not known",
        }  # fmt: skip
        write(folder / "bbq" / "Age.jsonl", [line])
        files = {"bbq": "Age.jsonl", "crows_pairs": "pairs.csv", "stereoset": "dev.json"}
        ends_at = {"bbq": b"people", "crows_pairs": b"weak", "stereoset": b"blue"}
        words = (*TEXT, *NOTES, f"eval.root={folder}", f"eval.extra=[{','.join(EXTRAS)}]")
        stages = tuple(f"scores_{role}_{name}" for role in ("original", "retrained_0", "unlearned"))
        return Case(words, folder / name / files[name], ends_at[name], stages)

    return build


def local_model(name: str, ends_at: bytes) -> Callable[[Path], Case]:
    """Return a builder of a pretrained model's folder, of which a file is edited."""

    def build(folder: Path) -> Case:
        torch.manual_seed(0)
        model = llama().build(image_info())
        model.save_pretrained(folder)
        llama().tokenizer(["some words to learn"]).save_pretrained(folder)
        model = ("model=hf", "model.adapter.targets=[q_proj]", "model.base=clean", f"model.path={folder}")
        words = (*SHORT, *NOTES, *model, "tuning=tiny_language")
        return Case(words, folder / name, ends_at, ALL)

    return build


def weights(name: str) -> Callable[[Path], Case]:
    """Return a builder of an image model's file of weights: the user's original, or what it starts from."""

    def build(folder: Path) -> Case:
        file = folder / "weights.safetensors"
        torch.manual_seed(0)
        if name == "checkpoint":
            save_file(TinyCNN(checkpoint=None).build(image_info(8, 1, 4)).state_dict(), file)
            stages = ("original", "scores_original_", *UNLEARNED)
            return Case((*TINY, "method=none", f"model.checkpoint={file}"), file, file.read_bytes()[-8:], stages)
        spec = ResNet18(stem="standard", dropout=0.0, pretrained=False, checkpoint=None, base=None)
        save_file(spec.build(image_info()).state_dict(), file)
        size = ("dataset.channels=3", "dataset.side=32", "dataset.mean=[0,0,0]", "dataset.std=[1,1,1]")
        limits = ("dataset.limit=24", "dataset.limit_test=20", "train.epochs=1", "method=none")
        model = ("model=resnet18", "model.stem=standard", f"model.pretrained={file}", "model.base=clean")
        return Case(("dataset=synthetic", *model, *size, *limits), file, file.read_bytes()[-8:], ALL)

    return build


PLUGIN = '''
"""A method of somebody else."""
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from outside_helper_NUMBER import FACTOR

@dataclass(frozen=True, kw_only=True)
class Shrink:
    """Scale the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    power: int
    table: Path

    def __call__(self, model, problem):
        model.get_submodule(problem.parts.head).weight.data.mul_(FACTOR**self.power)
        return model
'''


def plugin(number: int, name: str, ends_at: bytes) -> Callable[[Path], Case]:
    """Return a builder of a plugin's method, a module that it imports, its YAML and a table that it names."""

    def build(folder: Path) -> Case:
        main = folder / f"outside_plugin_{number}.py"
        main.write_text(PLUGIN.replace("NUMBER", str(number)))
        (folder / f"outside_helper_{number}.py").write_text("FACTOR = 0.5  # half\n")
        (folder / "table.csv").write_text("word\nblue\n")
        (folder / "configs" / "method").mkdir(parents=True)
        (folder / "configs" / "method" / "shrink.yaml").write_text(
            f"_target_: {main.stem}.Shrink\ntable: {folder / 'table.csv'}\npower: 1"
        )
        file = folder / name.replace("NUMBER", str(number))
        return Case((*TINY, "method=shrink"), file, ends_at, UNLEARNED, (folder / "configs",), (main,))

    return build


CASES: dict[str, Callable[[Path], Case]] = {
    "clinical_bias, a test row": clinical_bias("test"),
    "clinical_bias, a row to retain": clinical_bias("retain"),
    "clinical_bias, a row to forget": clinical_bias("forget"),
    "tofu": tofu,
    **{name: extra(name) for name in EXTRAS},
    "model.path: weights": local_model("model.safetensors", b""),
    "model.path: configuration": local_model("config.json", b'"initializer_range": 0.02'),
    "model.path: tokenizer": local_model("tokenizer_config.json", b'"model_max_length": 10'),
    "model.path: chat template": local_model("chat_template.jinja", b"<|end"),
    "model.path: generation": local_model("generation_config.json", b'"bos_token_id": 1'),
    "model.checkpoint": weights("checkpoint"),
    "model.pretrained": weights("pretrained"),
    "a plugin": plugin(1, "outside_plugin_NUMBER.py", b'"""Scale'),
    "a module that a plugin imports": plugin(2, "outside_helper_NUMBER.py", b"# half"),
    "a plugin's YAML": plugin(3, "configs/method/shrink.yaml", b"1"),
    "a file that a plugin's method names": plugin(4, "table.csv", b"blue"),
}
