"""Chat templates: rendered as transformers renders them, in a process with bounded memory and time."""

from __future__ import annotations

import time

import pytest
from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from unlearnbench.errors import UserError
from unlearnbench.models.llama import TEMPLATE as OURS
from unlearnbench.tasks import rendering
from unlearnbench.tasks.chat import DEFAULT_TEMPLATE, Chat
from unlearnbench.tasks.rendering import Refused, Renderer
from worlds import llama

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + "
    "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_3_2 = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none %}{{ raise_exception("no tools") }}{% endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'}}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
"""
QWEN_3 = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and not message.content.startswith('<tool_response>') %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') }}
            {{- '\n</think>\n\n' + content }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
"""
ODD = """{% for m in messages %}
  {% if loop.index > 5 %}{% break %}{% endif %}
  {% generation %}{{ m | tojson }} {{ [m.content, dict(a='<&>é')] | tojson(indent=2) }}{% endgeneration %}
  {{ m.content.split('\n') | join('|') | upper }} {{ unk_token is defined }}
{% endfor %}
"""
HONEST = {
    "ours": OURS, "default": DEFAULT_TEMPLATE, "llama_3": LLAMA_3, "llama_3_2": LLAMA_3_2, "qwen_3": QWEN_3, "odd": ODD,
}  # fmt: skip
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "26 Jul 2024"}
SAID = [
    [{"role": "user", "content": " a\nquestion? é \u2028 "}, {"role": "assistant", "content": "<think>x</think>\nyes"}],
    [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "q"}, {"role": "assistant", "content": ""}],
]
BOMBS = {
    "a constant": "{{ 'x' * 10**10 }}",
    "a product": "{% set n = messages | length %}{{ 'x' * (n * 10 ** 10) }}",
    "doubling": "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    "padding": "{{ 'x'.ljust(10 ** 10) }}",
    "a format": "{{ '%10000000000d' | format(1) }}",
    "a wide format": "{{ '{:10000000000}'.format(1) }}",
    "many pieces": "{% for i in range(90000) %}{% for j in range(90000) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
    "a list": "{{ [0] * 10 ** 10 }}",
    "a long text": "{{ 'x' * 10 ** 7 }}",
    "endless loops": "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "a power": "{% set n = messages | length %}{{ (7 + n) ** (9 ** 9) }}",
}
"""Templates that take memory or time without end."""


@pytest.mark.parametrize("name", HONEST)
def test_texts_are_those_of_transformers(name):
    names = {**NAMES, "add_generation_prompt": False}
    theirs, _ = render_jinja_template(SAID, chat_template=HONEST[name], **names)
    renderer = Renderer(HONEST[name], names)
    assert renderer.render(SAID) == theirs
    assert renderer.render([SAID[0]] * 600) == [theirs[0]] * 600


@pytest.mark.parametrize(
    "bomb", [pytest.param(name, marks=pytest.mark.slow) if name == "endless loops" else name for name in BOMBS]
)
def test_a_template_without_bounds_is_stopped(bomb, monkeypatch):
    if bomb != "endless loops":  # the process counts its own five seconds
        monkeypatch.setattr(rendering, "WALL_SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(Refused, match=r"memory|Memory|seconds|characters|Recursion|Overflow|range"):
        Renderer(BOMBS[bomb], {}).render(SAID)
    assert time.monotonic() - start < 15


def test_a_template_that_waits_for_the_data_is_stopped_and_named():
    """It is harmless for the conversation that it is tried with, and takes 10 GB for a real one."""
    tokenizer = llama().tokenizer(["some words"])
    tokenizer.chat_template = OURS + "{% if 'secret' in messages[0].content %}{{ 'x' * 10 ** 10 }}{% endif %}"
    chat = Chat(tokenizer)
    with pytest.raises(
        UserError, match=r"chat template rejects a conversation of user, assistant \(.*memory"
    ) as caught:
        chat.render([[{"role": "user", "content": "secret"}, {"role": "assistant", "content": "x"}]])
    assert "Try: " in str(caught.value)
    assert chat.render([SAID[1]])[0].startswith("<|start|><|system|>Be fair.")  # the process is there again


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ dict.mro() }}",
        "{{ self.__init__.__globals__ }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__.os }}",
        "{% include '/etc/passwd' %}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_does_not_leave_its_sandbox(escape):
    with pytest.raises(Refused):
        Renderer(escape, {}).render(SAID)
    with pytest.raises((TemplateError, TypeError, AttributeError)):
        render_jinja_template(SAID, chat_template=escape)


@pytest.mark.parametrize("template", ["{{ 1 + 'a' }}", "{% for", "{{ raise_exception('no system') }}", "{{ x.y.z }}"])
def test_a_template_that_fails_says_why(template):
    tokenizer = llama().tokenizer(["some words"])
    tokenizer.chat_template = template
    with pytest.raises(UserError, match="chat template rejects a conversation"):
        Chat(tokenizer)


def test_the_process_ends_with_its_renderer():
    renderer = Renderer(DEFAULT_TEMPLATE, {"eos_token": ""})
    renderer.render(SAID)
    process = renderer._process
    del renderer
    assert process.returncode is not None
