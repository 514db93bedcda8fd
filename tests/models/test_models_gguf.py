"""A GGUF file in a Python package: converted once, into safetensors with its weights and tokenizer."""

from __future__ import annotations

import gguf
import numpy as np
import torch

from unlearnbench.contracts import DataInfo
from unlearnbench.graph.keys import digest
from unlearnbench.models import pretrained
from unlearnbench.models.llama import Pretrained
from worlds import LORA


def test_a_packages_gguf_is_converted_once_into_safetensors(tmp_path, monkeypatch):
    package = tmp_path / "tiny_gguf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    embedding = write_gguf(package / "tiny.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pretrained.folder_of.cache_clear()
    spec = Pretrained(
        path=None, hub=None, revision=None, package="tiny_gguf", checkpoint=None, base="clean", adapter=LORA,
        load_in_4bit=False, gradient_checkpointing=False,
    )  # fmt: skip
    spec.check()
    model = spec.start(DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=()))
    assert type(model).__name__ == "LlamaForCausalLM"
    found = model.get_input_embeddings().weight.float()
    torch.testing.assert_close(found, torch.from_numpy(embedding).bfloat16().float())
    assert spec.tokenizer([]).encode("ab") == [3, 4]
    key, converted = digest(spec), pretrained.folder_of(spec._place())
    monkeypatch.setattr(pretrained, "convert", lambda source, target: target.mkdir(parents=True))
    pretrained.folder_of.cache_clear()
    assert pretrained.folder_of(spec._place()) == converted
    content = (package / "tiny.gguf").read_bytes()
    (package / "tiny.gguf").write_bytes(content[:-1] + b"x")  # as long as before
    pretrained.folder_of.cache_clear()
    assert pretrained.folder_of(spec._place()) != converted
    assert digest(spec) != key
    pretrained.folder_of.cache_clear()


def write_gguf(file):
    """Write a LLaMA of one layer with a tokenizer of seven tokens; return its embedding."""
    rng, hidden = np.random.default_rng(0), 8
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(32)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(7)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(["<unk>", "<s>", "</s>", "a", "b", "c", "bc"])
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1])
    writer.add_token_merges(["b c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {"token_embd": (7, hidden), "output_norm": (hidden,), "output": (7, hidden)}
    shapes |= {f"blk.0.attn_{name}": (hidden, hidden) for name in ("q", "k", "v", "output")}
    shapes |= {"blk.0.attn_norm": (hidden,), "blk.0.ffn_norm": (hidden,)}
    shapes |= {"blk.0.ffn_gate": (16, hidden), "blk.0.ffn_up": (16, hidden), "blk.0.ffn_down": (hidden, 16)}
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]
