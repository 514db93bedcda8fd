"""In-context unlearning: what comes before every question, and what it needs."""

from __future__ import annotations

from unlearnbench.methods.icul import Icul


def test_half_of_the_examples_are_forget_ones_corrected_and_half_retain_ones(text_problem, tiny_text):
    problem = text_problem()
    model = Icul(contexts=4)(tiny_text.original, problem)
    shown = tiny_text.task.encoder.tokenizer.decode(model.prefix.tolist())
    rows = {
        name: [place for place in index.tolist() if f"<|user|>{tiny_text.data.rows[place].prompt}<|end|>" in shown]
        for name, index in (("forget", problem.forget), ("retain", problem.retain))
    }
    assert {name: len(places) for name, places in rows.items()} == {"forget": 2, "retain": 2}
    count = len(tiny_text.data.rows)
    for place in rows["forget"]:
        row = tiny_text.data.rows[place]
        assert f"{row.prompt}<|end|><|assistant|>{tiny_text.data.answer(place + count)}<|end|>" in shown


def test_a_forget_set_with_too_few_examples_is_a_skip_with_a_reason(text_problem):
    problem = text_problem()
    small = text_problem(forget=problem.forget[:2])
    assert Icul(contexts=4).check(small) is None
    assert Icul(contexts=6).check(small) == (
        "icul draws 3 forget examples, and there are 2; try method.contexts=4, or a larger forget set"
    )
