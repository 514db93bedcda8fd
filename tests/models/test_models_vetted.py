"""Model folders of strangers: no code of theirs runs, nothing else is read, and what does not fit is refused."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import unlearnbench
from unlearnbench.errors import UserError
from unlearnbench.models import pretrained, saved, vetted, weights
from unlearnbench.models.llama import Pretrained
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.problem import DataInfo
from unlearnbench.results import model_in
from worlds import HERE, NO_ADAPTER, image_info, llama, same_weights

INFO = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
SAFE = {"trust_remote_code": False, "local_files_only": True}
NEVER = {
    "load_adapter", "get_class_from_dynamic_module", "load_state_dict_from_url", "loads_pickle", "Unpickler",
    "read_pickle", "convert_file",
}  # fmt: skip
AUTO_MAP = {name: f"evil.{name}" for name in ("AutoConfig", "AutoModelForCausalLM", "AutoModel")}


def spec_of(path):
    return Pretrained(
        path=path, hub=None, revision=None, package=None, adapter=NO_ADAPTER, load_in_4bit=False,
        gradient_checkpointing=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    llama().build(INFO).save_pretrained(tmp_path / "mine")
    llama().tokenizer(["some words to learn", "from a few texts"]).save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def change(file, **values):
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **values}))


def plant(folder, marker):
    """Put code into a model's folder that writes a file where it runs."""
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').write('x')\n")
    change(folder / "config.json", auto_map=AUTO_MAP)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Slow", "evil.Fast"]})


def calls():
    """Yield every call of the package that loads something: where, what is called, and its keywords."""
    for file in sorted(Path(unlearnbench.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                yield f"{file.name}:{node.lineno} {name}", name, {word.arg: word.value for word in node.keywords}


def literal(words, name):
    return words[name].value if isinstance(words.get(name), ast.Constant) else None


def test_every_loading_call_refuses_code_pickles_and_the_network():
    found = set()
    for where, name, words in calls():
        last = name.rpartition(".")[2]
        assert last not in NEVER and not name.startswith(("pickle.", "torch.hub.", "joblib.load", "marshal.")), where
        if last == "from_pretrained":
            assert all(literal(words, key) is value for key, value in SAFE.items()), where
            assert "Model" not in name or "gguf_file" in words or literal(words, "use_safetensors") is True, where
        elif last == "from_config":
            assert literal(words, "trust_remote_code") is False, where
        elif name == "torch.load":
            assert literal(words, "weights_only") is True, where
        elif last == "snapshot_download":
            assert {"allow_patterns", "local_files_only"} <= set(words), where
        elif last != "hf_hub_download":
            continue
        found.add(last)
    assert found >= {"from_pretrained", "from_config", "snapshot_download", "hf_hub_download"}


@pytest.mark.parametrize("kind", ["unheard_of", "llama"])
def test_code_in_a_folder_never_runs_whatever_is_typed(folder, tmp_path, kind):
    """A model that transformers does not know is refused; another is read by transformers' own code."""
    plant(folder, tmp_path / "marker")
    change(folder / "config.json", model_type=kind)
    words = ["run", "model=smollm2_135m", f"model.path={folder}", "dataset=clinical_notes", "method=finetune"]
    words += [] if kind == "unheard_of" else ["model.adapter.targets=[nothing]"]
    done = subprocess.run(
        [sys.executable, "-m", "unlearnbench", *words], cwd=tmp_path, input="y\ny\ny\n", capture_output=True, text=True,
        check=False, timeout=120, env={**HERE, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "marker").exists() and not (tmp_path / "modules").exists()
    assert "[y/N]" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert ("code of its own" if kind == "unheard_of" else "names nothing: linear layers were") in done.stderr
    assert done.stderr.count("Try: ") == 1


def test_a_tokenizers_code_is_not_run_either(folder, tmp_path):
    plant(folder, tmp_path / "marker")
    change(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer")
    with pytest.raises(UserError, match="needs code of its own"):
        spec_of(folder).check()
    assert not (tmp_path / "marker").exists()


def config(**values):
    return lambda folder: change(folder / "config.json", **values)


def tokenizer(**values):
    return lambda folder: change(folder / "tokenizer_config.json", **values)


def index(**names):
    return lambda folder: change(folder / vetted.INDEX, metadata={}, weight_map=names)


def header(size, content=b""):
    return lambda folder: (folder / "model.safetensors").write_bytes(size.to_bytes(8, "little") + content)


def tensors(**entries):
    content = json.dumps(entries).encode()
    return header(len(content), content + bytes(64))


def reshaped(folder):
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"] = torch.ones(3)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def missing(folder):
    state = load_file(folder / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def adapter_alone(folder):
    for file in (folder / "config.json", folder / "model.safetensors"):
        file.unlink()
    LoraConfig(base_model_name_or_path="/elsewhere").save_pretrained(folder)


def piped(name):
    def spoil(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return spoil


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
REFUSED = {
    "width": (config(hidden_size=10**7), "does not hold the weights of its config.json: .* has the shape"),
    "width beyond numbers": (config(hidden_size=10**19), "cannot be read"),
    "layers": (config(num_hidden_layers=10**5), "more layers than there are weights"),
    "layers beyond lists": (config(num_hidden_layers=10**9), "num_hidden_layers=1000000000: at most"),
    "vocabulary": (config(vocab_size=10**10), "has the shape"),
    "another width": (config(intermediate_size=64), "has the shape"),
    "one more layer": (config(num_hidden_layers=3), "is missing"),
    "a missing tensor": (missing, "up_proj.weight is missing"),
    "another shape": (reshaped, "has the shape"),
    "another file of weights": (config(transformers_weights="sub/x.safetensors"), "transformers_weights"),
    "a pickle": (config(transformers_weights="adapter_model.bin"), "transformers_weights"),
    "a kernel of the hub": (config(attn_implementation="kernels-community/x"), "code from elsewhere"),
    "a kernel by its short name": (config(_attn_implementation="flash_attention_2"), "code from elsewhere"),
    "a kernel in a part": (config(text_config={"attn_implementation": {"": "a/b"}}), "code from elsewhere"),
    "a quantiser": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "quantised by gptq"),
    "deep JSON": (lambda folder: (folder / "config.json").write_text("[" * 10**5), "config.json cannot be read"),
    "an index that goes up": (index(a="../x.safetensors"), "below its folder"),
    "an index to the root": (index(a="/x.safetensors"), "below its folder"),
    "an index of pickles": (index(a="x.bin"), "below its folder"),
    "an index of nothing": (index(), None),
    "a tokenizer outside": (tokenizer(fast_tokenizer_files=["../tokenizer.1.0.0.json"]), "outside its folder"),
    "merges outside": (tokenizer(merges_file="/etc/hostname"), "outside its folder"),
    "an adapter beside it": (lambda folder: LoraConfig().save_pretrained(folder), "holds an adapter"),
    "an adapter alone": (adapter_alone, "no folder with a config.json"),
    "a long header": (header(10 * 10**9), "header of over 32 MiB"),
    "a header beyond the file": (header(1000), "model.safetensors cannot be read"),
    "a header of no JSON": (header(4, b"abcd"), "model.safetensors cannot be read"),
    "overlapping tensors": (tensors(a=F32, b={**F32, "data_offsets": [4, 12]}), "model.safetensors cannot be read"),
    "an unknown format": (tensors(a={**F32, "dtype": "F31"}), "model.safetensors cannot be read"),
    "a shape of another size": (tensors(a={**F32, "shape": [10**9, 10**9]}), "model.safetensors cannot be read"),
    "a pipe for weights": (piped("model.safetensors"), "holds no \\*.safetensors"),
    "a pipe for a tokenizer": (piped("tokenizer.json"), "tokenizer in .* cannot be read"),
    "a pipe for a configuration": (piped("config.json"), "no folder with a config.json"),
    "a distributed checkpoint": (
        lambda folder: (folder / "shard-00000-model-00001-of-00001.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()
        ),
        "distributed checkpoint",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_folder_that_asks_for_more_is_refused_at_once(folder, what):
    spoil, says = REFUSED[what]
    spoil(folder)
    start = time.monotonic()
    if says is None:
        spec_of(folder).check()
        return
    with pytest.raises(UserError, match=says) as caught:
        spec_of(folder).check()
    assert "Try: " in str(caught.value)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["antigravity.x", "os.path", "../x", "a b", ""])
def test_a_package_is_one_plain_name(name):
    """To look for a part of a package imports the package."""
    from unlearnbench.config import build

    values = {**vars(spec_of(None)), "package": name, "adapter": vars(NO_ADAPTER)}
    with pytest.raises(UserError, match="package"):
        build({"_target_": "unlearnbench.models.llama.Pretrained", **values}, "model")


def test_links_of_the_hubs_cache_and_shards_below_are_read(folder, tmp_path):
    """A snapshot is links to ../../blobs; what the index names in a folder below is part of the keys."""
    spec_of(folder).start(INFO).save_pretrained(folder / "parts", max_shard_size="50KB")
    (folder / "model.safetensors").unlink()
    found = json.loads((folder / "parts" / vetted.INDEX).read_text())
    found["weight_map"] = {name: f"parts/{file}" for name, file in found["weight_map"].items()}
    (folder / vetted.INDEX).write_text(json.dumps(found))
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "abc", tmp_path / "hub" / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in folder.rglob("*") if file.is_file())):
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    spec_of(snapshot).check()
    spec_of(snapshot).start(INFO)
    shards = [name for name in spec_of(snapshot).files() if name.startswith("parts/")]
    assert len(shards) == len(set(found["weight_map"].values())) > 1


def test_every_file_that_is_opened_is_part_of_the_keys(folder):
    """Python's own opens are listened to; the libraries in Rust are given weights and tokenizer.json alone."""
    (folder / "additional_chat_templates").mkdir()
    for name in ("additional_chat_templates/tool.jinja", "chat_template.jinja"):
        (folder / name).write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    for name in ("special_tokens_map.json", "added_tokens.json", "vocab.json", "processor_config.json"):
        (folder / name).write_text("{}")
    for name in ("merges.txt", "README.md", "modeling.py", "pytorch_model.bin", "tokenizer.model", "LICENSE"):
        (folder / name).write_text("")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text("raise SystemExit(3)")
    program = f"""
import os, sys
from pathlib import Path
opened, folder = set(), Path({str(folder)!r})
def listen(event, what):
    if event == "open" and isinstance(what[0], (str, os.PathLike)):
        opened.add(os.fspath(what[0]))
sys.addaudithook(listen)
from test_models_vetted import INFO, spec_of
spec = spec_of(folder)
spec.check(); spec.start(INFO); spec.tokenizer([]); spec.parts(); spec.build(INFO); spec.context
inside = {{str(Path(name).relative_to(folder)) for name in opened if name.startswith(str(folder) + os.sep)}}
assert "config.json" in inside and "additional_chat_templates/tool.jinja" in inside, inside
assert inside <= set(spec.files()), inside - set(spec.files())
assert {{"model.safetensors", "tokenizer.json", "merges.txt", "generation_config.json"}} <= set(spec.files())
assert not {{"README.md", "modeling.py", "pytorch_model.bin"}} & set(spec.files())
"""
    paths = os.pathsep.join([HERE["PYTHONPATH"], str(Path(__file__).parent), str(Path(__file__).parents[1])])
    here = {**HERE, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


RUN_FOLDERS = {
    "code": (config(model_type="unheard_of", auto_map=AUTO_MAP), "code of its own"),
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
    with pytest.raises(UserError, match="without adapter_model"):
        vetted.check_adapter(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    vetted.check_adapter(tmp_path)
    change(tmp_path / "adapter_config.json", **changes)
    with pytest.raises(UserError, match="which no run wrote"):
        vetted.check_adapter(tmp_path)


def test_a_package_with_a_damaged_gguf_is_one_message(tmp_path, monkeypatch):
    (tmp_path / "broken_gguf").mkdir()
    (tmp_path / "broken_gguf" / "__init__.py").write_text("")
    (tmp_path / "broken_gguf" / "x.gguf").write_bytes(b"GGUF" + bytes(60))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pretrained.folder_of.cache_clear()
    with pytest.raises(UserError, match=r"x\.gguf cannot be read"):
        pretrained.folder_of(pretrained.Place(None, None, None, "broken_gguf"))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
