"""No configuration can ask for 10^14 of anything: every number of every configuration class has an upper bound."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import Field, TypeAdapter

import unlearnbench
from unlearnbench.assemble import Settings
from unlearnbench.cli import main
from unlearnbench.errors import UserError
from unlearnbench.request.config import config_root, typed
from worlds import TINY


def configurations() -> dict[str, Any]:
    """Return every class that a configuration file of ours names, and what is outside the groups."""
    found: dict[str, Any] = {"Settings": Settings}
    for file in config_root().rglob("*.yaml"):
        target = (yaml.safe_load(file.read_text()) or {}).get("_target_", "")
        if target:
            module, _, name = target.rpartition(".")
            found[target] = getattr(importlib.import_module(module), name)
    return found


def unbounded(schema: Any, path: str = "") -> Iterator[str]:
    """Yield the places of a JSON schema that take numbers without an upper or a lower bound."""
    if isinstance(schema, list):
        for entry in schema:
            yield from unbounded(entry, path)
    if not isinstance(schema, dict):
        return
    if schema.get("type") in ("integer", "number") and not {"enum", "const"} & set(schema):
        for bound in ("maximum", "minimum"):
            if bound not in schema and f"exclusive{bound.capitalize()}" not in schema:
                yield f"{path} has no {bound}"
    for name, child in schema.items():
        yield from unbounded(child, f"{path}.{name}" if name not in ("anyOf", "properties", "$defs") else path)


@pytest.mark.parametrize("kind", configurations().values(), ids=configurations())
def test_every_number_has_an_upper_bound(kind):
    assert not list(unbounded(TypeAdapter(kind).json_schema()))


def test_the_test_sees_a_number_without_a_bound():
    @dataclasses.dataclass
    class Inner:
        count: int | None

    assert list(unbounded(TypeAdapter(Inner).json_schema()))
    assert not list(unbounded(TypeAdapter(dict[str, bool]).json_schema()))


def test_all_classes_that_look_like_configurations_are_named():
    """A class with `kinds`, which marks what a group chooses, is in some YAML, so that the test above sees it."""
    seen = set(configurations().values())
    for module in pkgutil.walk_packages(unlearnbench.__path__, "unlearnbench."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and "kinds" in vars(value):
                in_hand = value.__module__.startswith(
                    "unlearnbench.python."
                )  # a model that a caller has, which no file names
                assert in_hand or value in seen or any(issubclass(one, value) for one in seen), value


@pytest.mark.parametrize(
    "word",
    [
        "reference.count=99999999999999", "method.epochs=99999999999999", "train.epochs=10000000",
        "seed=9223372036854775808",
        "train.batch_size=99999999999999", "dataset.train=99999999999999", "dataset.limit=99999999999999",
        "dataset.seed=-99999999999999999999", "eval.generate=99999999999999", "eval.batch_size=99999999999999",
        "eval.limit=99999999999999", "threads=99999999999999", "method.optimizer.lr=1e300", "method.optimizer.lr=inf",
        "method.optimizer.lr=nan", "dataset.noise=inf", "++train.optimizer.max_steps=99999999999999",
        "dataset.mean=[inf]", "dataset.std=[nan]", "model.depth=99999999999999",
    ],
)  # fmt: skip
def test_a_number_out_of_range_ends_with_its_range(word, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = "model=tiny_resnet" if word.startswith("model.") else "model=tiny_cnn"
    monkeypatch.setattr("sys.argv", ["unlearnbench", "run", *TINY, model, word])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert word.lstrip("+").partition("=")[0].partition(".")[0] in said and "expected" in said


def test_many_large_images_are_not_made(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["unlearnbench", "run", *TINY, "dataset.side=256", "dataset.train=1000000"])
    with pytest.raises(SystemExit):
        main()
    assert "at most 268,435,456" in capsys.readouterr().err


def test_a_name_that_is_a_number_is_no_setting():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Kind:
        lr: float = Field(ge=0, le=1)

    with pytest.raises(UserError, match=r"method\.1: unknown setting of method"):
        typed(Kind, {1: 2}, "method")
