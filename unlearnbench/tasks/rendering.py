"""Render chat templates, a stranger's programs, in a process with limited memory and time.

This file is also the script that runs in that process, and then imports only jinja2. It sets jinja2 up like
transformers (utils/chat_template_utils.py), and a test compares the two. It answers one request per line with one line.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Timer
from typing import Any

import jinja2
import jinja2.ext
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

CPU_SECONDS, WALL_SECONDS = 5, 60
"""How long a request may take. A request has CHUNK conversations, which take a tenth of a millisecond each."""
MIB = 1024
"""Memory limit of the process; Python and jinja2 need 40."""
CHUNK = 256
LONGEST = 10**6
"""The most characters a template may add to the messages."""


class Refused(Exception):
    """The template raised an exception (with `raise_exception` or otherwise) or exceeded a limit."""


class Renderer:
    """Renders conversations with one template.

    Its process starts at the first use and ends with this one.
    """

    def __init__(self, template: str, names: Mapping[str, object]) -> None:
        self._template, self._names = template, dict(names)
        self._process: subprocess.Popen[str] | None = None

    def render(self, conversations: Sequence[Sequence[dict[str, str]]]) -> list[str]:
        """Return the conversations as text; raise Refused with the reason if the template fails."""
        texts: list[str] = []
        for start in range(0, len(conversations), CHUNK):
            texts += self._ask([list(messages) for messages in conversations[start : start + CHUNK]])
        return texts

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _ask(self, conversations: list[list[dict[str, str]]]) -> list[str]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        timer = Timer(WALL_SECONDS, process.kill)
        timer.start()
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(conversations) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BaseException:
            self.close()  # half an answer may be left in the pipe
            raise
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            ended = process.wait()
            self.close()
            raise Refused(_reason(ended))
        answer = json.loads(line)
        if isinstance(answer, str):
            raise Refused(answer)
        return [str(text) for text in answer]

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, encoding="utf-8", start_new_session=True,
            )  # fmt: skip
            weakref.finalize(self, _end, process)
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps([self._template, self._names]) + "\n")
        return self._process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def _reason(ended: int) -> str:
    if ended in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it takes more than {CPU_SECONDS} seconds"
    return f"it ended its process with {signal.Signals(-ended).name if ended < 0 else ended}"


class _Generation(jinja2.ext.Extension):
    """The tag `generation`, which templates put around a model's turns.

    Its body is rendered unchanged.
    """

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Any) -> Any:
        return caller()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _json
    environment.globals |= {"raise_exception": _raise, "dict": _Dict(), "namespace": _Namespace}
    return environment


class _Dict:
    """The parts of `dict` that templates need, without the class itself."""

    def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
        return dict(*values, **named)

    def fromkeys(self, *values: Any) -> dict[Any, Any]:
        return dict.fromkeys(*values)


class _Namespace(Namespace):
    """A namespace without underscore names, which would lead into Python's internals."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.TemplateError(f"a namespace cannot hold {name!r}")
        super().__setitem__(name, value)


def _json(
    value: object, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _rendered(template: jinja2.Template, names: dict[str, Any], conversations: list[Any]) -> list[str] | str:
    """Return the conversations as text, or the reason for a failure."""
    texts = []
    for messages in conversations:
        try:
            text = template.render(messages=messages, tools=None, documents=None, **names)
        except MemoryError:
            return f"it takes over {MIB} MiB of memory"
        except Exception as error:
            return str(error) if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {error}"
        if len(text) > LONGEST + 10 * sum(len(value) for message in messages for value in message.values()):
            return f"it writes {len(text)} characters"
        texts.append(text)
    return texts


def _bound() -> None:
    """Limit the CPU time of the next request."""
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + CPU_SECONDS, resource.RLIM_INFINITY))


def main() -> None:
    """Answer requests until there are no more."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MIB * 2**20, MIB * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound()
    source, names = json.loads(sys.stdin.readline())
    found: jinja2.Template | str
    try:
        found = _environment().from_string(source)
    except (jinja2.TemplateError, RecursionError, MemoryError) as error:
        found = str(error) or f"it takes over {MIB} MiB of memory"
    for line in sys.stdin:
        _bound()
        answer = found if isinstance(found, str) else _rendered(found, names, json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
