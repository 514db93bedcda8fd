"""Run folders of strangers: their models are read as data, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import save_file
from spoiled import AUTO_MAP, change, config, header, index, tensors

from unlearnbench.errors import UserError
from unlearnbench.models import saved, vetted, weights
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.results.model import model_in
from worlds import image_info, same_weights

RUN_FOLDERS = {
    "code": (config(model_type="unheard_of", auto_map=AUTO_MAP), "its own code"),
    "an adapter": (lambda folder: LoraConfig(base_model_name_or_path="x").save_pretrained(folder), "holds an adapter"),
    "width": (config(hidden_size=10**7), "does not hold the weights of its config.json: .* has the shape"),
    "an index": (index(a="../../x.safetensors"), "below its folder"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "config.json cannot be read"),
    "a prompt": (lambda folder: (folder / saved.PROMPT).write_bytes(b"x"), "prompt.safetensors cannot be read"),
    "a prompt of nothing": (
        lambda folder: save_file({"x": torch.zeros(1)}, folder / saved.PROMPT), "prompt.safetensors cannot be read"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RUN_FOLDERS)
def test_a_run_folder_of_somebody_else_is_data_too(folder, tmp_path, what):
    spoil, says = RUN_FOLDERS[what]
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "model")
    model_in(tmp_path / "run" / "model")
    spoil(tmp_path / "run" / "model")
    with pytest.raises(UserError, match=says):
        model_in(tmp_path / "run" / "model")


IMAGES = {
    "code": (config(model={"_target_": "os.system"}), "_target_"),
    "pixels": (config(data={"kind": "image", "classes": ["a"], "shape": [3, 10**9, 8]}), "which images"),
    "more pixels": (config(data={"kind": "image", "classes": ["a"] * 4, "shape": [1, 20000, 20000]}), None),
    "more classes": (
        config(data={"kind": "image", "classes": ["a"] * 9, "shape": [1, 8, 8]}),
        "describes|does not fit",
    ),
    "no data": (config(data=[]), "which images"),
    "no model": (config(model=None), "which images"),
    "a long header": (header(10 * 10**9), "header of over"),
    "no tensors": (tensors(), "cannot be read"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
}


@pytest.mark.parametrize("what", IMAGES)
def test_a_run_folder_of_images_is_data_too(tmp_path, what):
    spec = TinyCNN(checkpoint=None)
    values = {"_target_": "unlearnbench.models.tiny.TinyCNN", "checkpoint": None}
    model = spec.build(image_info(8, 1, 4))
    (tmp_path / "model").mkdir()
    save_file(weights.state_of(model), tmp_path / "model" / "model.safetensors")
    data = {"kind": "image", "classes": ["a", "b", "c", "d"], "shape": [1, 8, 8]}
    change(tmp_path / "model" / "config.json", model=values, data=data)
    assert same_weights(model_in(tmp_path / "model"), model)
    spoil, says = IMAGES[what]
    spoil(tmp_path / "model")
    if says is None:  # this network's weights do not depend on the images' size
        model_in(tmp_path / "model")
        return
    with pytest.raises(UserError, match=says):
        model_in(tmp_path / "model")


@pytest.mark.parametrize(
    "changes",
    [
        {"megatron_config": {"x": 1}, "megatron_core": "evil"},
        {"auto_mapping": {"parent_library": "evil", "base_model_class": "X"}},
        {"peft_type": "XLORA"},
        {"init_lora_weights": "corda", "corda_config": {"cache_file": "x.pt"}},
        {"base_model_name_or_path": "/elsewhere"},
        {"unheard_of": 1},
    ],
)
def test_an_adapter_that_no_run_wrote_is_not_given_to_peft(tmp_path, changes):
    LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=["q_proj"]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no adapter_model"):
        vetted.check_adapter(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    vetted.check_adapter(tmp_path)
    change(tmp_path / "adapter_config.json", **changes)
    with pytest.raises(UserError, match="which no run writes"):
        vetted.check_adapter(tmp_path)
