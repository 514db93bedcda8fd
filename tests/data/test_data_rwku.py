"""RWKU's local copy: whose passages are forgotten, how each kind of probe is put, and files that are missing."""

from __future__ import annotations

import json

import pytest
from rwku_folder import PEOPLE, copy_of, parts

from textsets import PLAIN
from unlearnbench.data.rwku import Rwku
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return copy_of(tmp_path_factory.mktemp("rwku"))


def loaded(root, **changes):
    return Rwku(**{**PLAIN, "root": root, **changes}).load()


def test_one_persons_passages_are_forgotten_and_the_others_retained(folder):
    data = loaded(folder)
    splits = Column(column="subject", value="Stephen King", fraction=1.0, seed=0).split(data)
    assert set(data.columns["subject"][splits.forget]) == {"Stephen King"} and len(splits.forget) == 6
    assert set(data.columns["subject"][splits.retain]) == set(PEOPLE[1:])
    assert splits.test_forget is None and len(splits.test) == len(parts()["retain_mia"])


def test_probes_are_put_as_their_authors_put_them(folder):
    probes = loaded(folder).probes
    assert probes["forget_level1"].prompts[0].startswith("Please complete the blank in the following question.\nQ")
    assert probes["neighbor_level2"].prompts[0].startswith("Please briefly answer the following question.\nQuestion: W")
    attacks = probes["forget_level3"]
    assert attacks.openings[:3] == ("", "Answer:", "Answer:") and probes["forget_level2"].openings[0] == "Answer:"
    assert (
        attacks.prompts[1]
        == "Please briefly answer the following question.\nQuestion: Where is Stephen King from (0)?\n"
    )
    assert attacks.prompts[2].count("Question:") == 2  # the same query behind a prefix of its own


def test_a_probe_can_be_cut_to_some_people_and_to_its_first_prompts(folder):
    probe = loaded(folder).probes["forget_level2"].about({"Ada Moss"})
    assert set(probe.subjects) == {"Ada Moss"} and set(probe.references) == {"Ardley"} and len(probe.prompts) == 3
    assert (
        probe.first(2).prompts == probe.prompts[:2] and probe.first(None) is probe and len(probe.first(9).prompts) == 3
    )


def test_the_folder_all_itself_is_the_same_data(folder):
    first, second = loaded(folder), loaded(folder / "All")
    assert first.fingerprint(first.train) == second.fingerprint(second.train) and first.probes == second.probes


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("forget_mia", None, "lacks RWKU's forget_mia"),
        ("neighbor_level1", [{"query": "a", "subject": "b"}], "row 1 has no text in answer"),
        ("positive", "text", "expected a list of rows"),
    ],
)
def test_missing_and_other_files_are_named(tmp_path, name, content, said):
    file = copy_of(tmp_path) / "All" / f"{name}.json"
    file.unlink() if content is None else file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as error:
        loaded(tmp_path)
    assert "Try: dataset.root=FOLDER, a local copy of jinzhuoran/RWKU" in str(error.value)


def test_without_a_folder_the_message_says_which_one():
    with pytest.raises(UserError, match=r"RWKU needs a local copy, and dataset\.root is not set"):
        Rwku(**{**PLAIN, "root": None}).info()
