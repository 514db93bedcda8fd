"""Crafted YAML and overrides: each ends with one message that names file and line, in seconds and little memory."""

from __future__ import annotations

import time

import pytest

from unlearnbench.compose import compose
from unlearnbench.errors import UserError
from worlds import TINY

HEADER = b"# @package _global_\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GROWING = "v0: xxxxxxxxxx\n" + "".join(f"v{n + 1}: '${{v{n}}}${{v{n}}}'\n" for n in range(60))
WIDE = "v0: {x: 1}\n" + "".join(f"v{n + 1}: {{x: '${{v{n}}}', y: '${{v{n}}}'}}\n" for n in range(60))
CHAIN = "v0: 1\n" + "".join(f"v{n + 1}: ${{v{n}}}\n" for n in range(500))
NESTED = "&a [1]\n" + "".join(f"v{n}: &n{n} [*n{n - 1}]\n" for n in range(1, 3000))

FILES = {
    "a syntax error": ("seed: [1\nlr: 2\n", "line 3"),
    "a tab": ("seed:\n\tx: 1\n", "line 3"),
    "a Python object": ("seed: !!python/object/apply:os.system [id]\n", "line 2 has the tag"),
    "a tag of its own": ("a: 1\nseed: !x 1\n", "line 3 has the tag"),
    "a binary tag": ("seed: !!binary aGk=\n", "line 2 has the tag"),
    "an alias bomb": (BOMB, "line 5 comes to more than 10,000 values"),
    "an alias chain": ("n0: &n0 [1]\n" + NESTED.partition("\n")[2], "is nested more than 20 deep"),
    "a recursive alias": ("a: &a [*a]\n", "line 2 repeats &a"),
    "an unknown alias": ("a: *b\n", "line 2 repeats &b"),
    "brackets": (f"seed: {'[' * 2000}{']' * 2000}\n", "line 2 is nested more than 20 deep"),
    "open brackets": (f"seed: {'[' * 100_000}\n", "line 2 is nested more than 20 deep"),
    "open braces": (f"seed: {'{' * 100_000}\n", "line 2 has a name that is no word"),
    "braces": (f"seed: {'{a: ' * 2000}1{'}' * 2000}\n", "line 2 is nested more than 20 deep"),
    "indentation": ("".join(f"{' ' * n}k{n}:\n" for n in range(400)), "line 22 is nested more than 20 deep"),
    "dashes": (f"seed:\n {'- ' * 2000}1\n", "line 3 is nested more than 20 deep"),
    "many values": (f"seed: [{','.join('1' * 20_000)}]\n", "more than 10,000 values"),
    "a large file": ("#" + " " * 10_000_000, "and at most 131,072 bytes"),
    "a name twice": ("seed: 1\nseed: 2\n", "line 3 has the name 'seed' a second time"),
    "a name that is a list": ("? [1]\n: 2\n", "line 2 has a name that is no word"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "line 3 begins a second document"),
    "a list": ("- 1\n", "line 2 is no mapping"),
    "a word": ("hello\n", "line 2 is no mapping"),
    "a NUL": ("a: 1\nseed: \0\n", "line 3 holds a character that is no text"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "line 2 is no text in UTF-8"),
    "Latin-1": ("a: 1\nname: Zürich\n".encode("latin-1"), "line 3 is no text in UTF-8"),
    "bytes": (bytes(range(256)) * 10, "is no text"),
    "a huge integer": (f"seed: {'9' * 5000}\n", "line 2: a number of 5,000 characters"),
    "a huge hexadecimal": (f"seed: 0x{'f' * 50_000}\n", "line 2: a number of 50,002 characters"),
    "a huge sexagesimal": (f"seed: 1{':1' * 20_000}\n", "line 2: a number of 40,001 characters"),
    "text that doubles": (GROWING, "refers to several values"),
    "nested references": (f"a: {'${' * 500}b{'}' * 500}\n", "refers to several values"),
    "values that double": (WIDE, "repeat each other"),
    "references in a row": (CHAIN, "more than 20 references"),
    "a circle": ("a: ${b}\nb: ${a}\n", "refers to itself"),
    "a circle of one": ("a: ${a}\n", "refers to itself"),
    "a circle of a section": ("a: {b: {c: '${a}'}}\n", "refers to itself"),
    "a relative circle": ("a: {b: '${..a}'}\n", "refers to itself"),
    "a comment for Hydra": ("# @package\nseed: 1\n", "line 1 has a comment that Hydra cannot read"),
}  # fmt: skip


def preset(folder, content, name="e"):
    (folder / "configs" / "experiment").mkdir(parents=True, exist_ok=True)
    file = folder / "configs" / "experiment" / f"{name}.yaml"
    file.write_bytes(HEADER + (content if isinstance(content, bytes) else content.encode()))
    return file


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_crafted_file_ends_with_one_message(content, tmp_path):
    file = preset(tmp_path, content[0])
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        compose([*TINY, "experiment=e"], [tmp_path / "configs"])
    assert content[1] in str(caught.value)
    assert str(file) in str(caught.value) or "refer" in str(caught.value) or "repeat" in str(caught.value)
    assert time.monotonic() - started < 5
