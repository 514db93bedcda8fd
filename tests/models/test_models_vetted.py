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
from spoiled import AUTO_MAP, change, config, header, index, tensors, tokenizer

import unlearnbench
from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.models import pretrained, vetted
from worlds import HERE, NO_ADAPTER, pretrained_at

INFO = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
SAFE = {"trust_remote_code": False, "local_files_only": True}
NEVER = {
    "load_adapter", "get_class_from_dynamic_module", "load_state_dict_from_url", "loads_pickle", "Unpickler",
    "read_pickle", "convert_file",
}  # fmt: skip


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


@pytest.mark.parametrize("kind", ["unheard_of", pytest.param("llama", marks=pytest.mark.slow)])
def test_code_in_a_folder_never_runs_whatever_is_typed(folder, tmp_path, kind):
    """A model that transformers does not know is refused; another is read by transformers' own code."""
    plant(folder, tmp_path / "marker")
    change(folder / "config.json", model_type=kind)
    words = ["run", "model=hf", f"model.path={folder}", "model.base=clean", "dataset=clinical_notes", "method=finetune"]
    words += [] if kind == "unheard_of" else ["model.adapter.targets=[nothing]"]
    done = subprocess.run(
        [sys.executable, "-m", "unlearnbench", *words], cwd=tmp_path, input="y\ny\ny\n", capture_output=True, text=True,
        check=False, timeout=120, env={**HERE, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert not (tmp_path / "marker").exists() and not (tmp_path / "modules").exists()
    assert "[y/N]" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert ("its own code" if kind == "unheard_of" else "expected linear layers, got nothing") in done.stderr
    assert done.stderr.count("Try: ") == 1


def test_a_tokenizers_code_is_not_run_either(folder, tmp_path):
    plant(folder, tmp_path / "marker")
    change(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer")
    with pytest.raises(UserError, match="needs its own code"):
        pretrained_at(folder).check()
    assert not (tmp_path / "marker").exists()


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
    "layers beyond lists": (config(num_hidden_layers=10**9), "num_hidden_layers=1000000000: expected at most"),
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
    "an adapter alone": (adapter_alone, "is an adapter, which changes another model"),
    "a long header": (header(10 * 10**9), "header of over 32 MiB"),
    "a header beyond the file": (header(1000), "model.safetensors cannot be read"),
    "a header of no JSON": (header(4, b"abcd"), "model.safetensors cannot be read"),
    "overlapping tensors": (tensors(a=F32, b={**F32, "data_offsets": [4, 12]}), "model.safetensors cannot be read"),
    "an unknown format": (tensors(a={**F32, "dtype": "F31"}), "model.safetensors cannot be read"),
    "a shape of another size": (tensors(a={**F32, "shape": [10**9, 10**9]}), "model.safetensors cannot be read"),
    "a pipe for weights": (piped("model.safetensors"), "has no \\*.safetensors"),
    "a pipe for a tokenizer": (piped("tokenizer.json"), "tokenizer in .* cannot be read"),
    "a pipe for a configuration": (piped("config.json"), "not a folder with a config.json"),
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
        pretrained_at(folder).check()
        return
    with pytest.raises(UserError, match=says) as caught:
        pretrained_at(folder).check()
    assert "Try: " in str(caught.value)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("name", ["antigravity.x", "os.path", "../x", "a b", ""])
def test_a_package_is_one_plain_name(name):
    """To look for a part of a package imports the package."""
    from unlearnbench.request.config import build

    values = {**vars(pretrained_at(None)), "package": name, "adapter": vars(NO_ADAPTER)}
    with pytest.raises(UserError, match="package"):
        build({"_target_": "unlearnbench.models.llama.Pretrained", **values}, "model")


def test_links_of_the_hubs_cache_and_shards_below_are_read(folder, tmp_path):
    """A snapshot is links to ../../blobs; what the index names in a folder below is part of the keys."""
    pretrained_at(folder).start(INFO).save_pretrained(folder / "parts", max_shard_size="50KB")
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
    pretrained_at(snapshot).check()
    pretrained_at(snapshot).start(INFO)
    shards = [name for name in pretrained_at(snapshot).files() if name.startswith("parts/")]
    assert len(shards) == len(set(found["weight_map"].values())) > 1


@pytest.mark.slow
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
from test_models_vetted import INFO
from worlds import pretrained_at
spec = pretrained_at(folder)
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
