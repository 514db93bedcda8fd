"""What scoring keeps of an answer for membership attacks: the spread over the vocabulary, and the compressed length."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from unlearnbench.models.start import started
from unlearnbench.randomness import seeded
from worlds import llama, text_task


@pytest.mark.parametrize("branches", [True, False])
def test_the_spread_of_each_answer_token_is_that_over_the_vocabulary(branches, monkeypatch):
    if not branches:
        monkeypatch.setattr("unlearnbench.tasks.scoring.may_branch", lambda *_: False)
    task = text_task()
    with seeded("spread"):
        model = task.prepare(started(llama(), task.data.info)).eval()
    index = task.data.train[:6]
    extras = task.score(model, index).extras
    for place, position in enumerate(index.tolist()):
        prompt, answer = task.prompt(position), task.answer(position)
        with torch.no_grad():
            rows = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
        rows = rows[len(prompt) - 1 : -1].numpy()
        mean = (np.exp(rows) * rows).sum(axis=1)
        deviation = np.sqrt((np.exp(rows) * (rows - mean[:, None]) ** 2).sum(axis=1))
        for name, expected in (("mean", mean), ("deviation", deviation)):
            found = extras[f"answer_vocabulary_{name}"][place]
            assert found.dtype == np.float32
            np.testing.assert_allclose(found[~np.isnan(found)], expected, atol=1e-4)
        text = task.data.answer(position)
        assert extras["answer_zlib_bytes"][place] == len(zlib.compress(text.strip().encode()))
