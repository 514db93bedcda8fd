"""A user's own rows: their forms, columns, parts and copies, and clear words for what is wrong with them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from chatsets import as_csv, as_parquet, chat, conversations, json_lines, questions, said

from textsets import dataset
from unlearnbench.data.text import TextRow
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column

WRITERS = {"jsonl": json_lines, "csv": as_csv, "parquet": as_parquet}


def read(file, rows, **changes):
    return chat(json_lines(file, rows) if rows is not None else file, **changes).load()


def everything(data):
    return [(row.facts["id"], row.history, row.prompt, row.options[row.label]) for row in data.rows]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows.jsonl"


def test_the_yaml_builds_and_names_its_file(file):
    json_lines(file, questions(40))
    built = dataset("chat", f"dataset.root={file}")
    assert built.info().classes == ("answer",) and built.files() == {"rows": file}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_holds_the_same_conversations(kind, tmp_path):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    data = chat(WRITERS[kind](tmp_path / f"rows.{kind}", conversations(40))).load()
    expected = {row["id"]: row["messages"] for row in conversations(40)}
    assert len(data.rows) == 40 and (len(data.train), len(data.validation), len(data.test)) == (28, 4, 8)
    for name, history, prompt, answer in everything(data):
        turns = [*history, ("user", prompt), ("assistant", answer)]
        assert [{"role": role, "content": content} for role, content in turns] == expected[name]
    assert data.corrected is None and data.info.classes == ("answer",) and not data.info.has_options


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"prompt": "Who?", "completion": "She."}, "Who?", "She."),
        ({"question": "Who?", "answer": "She."}, "Who?", "She."),
        ({"text": "She went."}, "", "She went."),
        ({"messages": said("Who?", "She.")}, "Who?", "She."),
    ],
)
def test_the_form_is_found_from_the_columns(row, question, answer, file):
    data = read(file, [{**row, "split": name, "n": n} for n, name in enumerate(("train", "train", "test"))],
                duplicates="allow")  # fmt: skip
    assert {(row.prompt, row.options) for row in data.rows} == {(question, (answer,))}
    assert data.chat == (question != "")
    assert data.info.columns == ("id", "n")


def test_a_form_is_named_where_columns_fit_several(file):
    rows = [{**row, "text": "from the newspaper"} for row in questions(20)]
    with pytest.raises(UserError, match=r"line 1 has the columns of 2 forms.*\nTry: dataset.form=question"):
        read(file, rows)
    data = read(file, rows, form="question")
    assert set(data.columns["text"]) == {"from the newspaper"}


def test_columns_keep_their_type_where_all_rows_have_one(file):
    count = 20
    rows = questions(
        count,
        person=[n % 3 for n in range(count)],
        city=["Bern" if n % 2 else None for n in range(count)],
        mixed=[n if n % 2 else f"number {n}" for n in range(count)],
        public=[n % 2 == 0 for n in range(count)],
        nested=[{"a": n} for n in range(count)],
    )
    columns = read(file, rows).columns
    kinds = {name: values.dtype.kind for name, values in columns.items()}
    assert kinds == {"id": "U", "person": "i", "city": "U", "mixed": "U", "public": "b"}
    assert sorted(set(columns["city"])) == ["", "Bern"]
    assert sorted(map(int, columns["id"])) == list(range(1, count + 1))  # the numbers of the lines


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_the_rows_of_one_person_are_forgotten(kind, tmp_path):
    data = chat(WRITERS[kind](tmp_path / f"rows.{kind}", conversations(70))).load()
    splits = Column(column="person", value=5, fraction=1.0, seed=0).split(data)
    persons = data.columns["person"].astype(str)
    assert set(persons[splits.forget]) == {"5"} and "5" not in persons[splits.retain]
    assert len(splits.forget) + len(splits.test_forget) + (persons[data.validation] == "5").sum() == 10


def test_a_split_column_decides_and_without_one_the_seed(file):
    names = ["train"] * 6 + ["val", "Validation", "TEST", "test"]
    data = read(file, questions(10, split=names))
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    drawn = [everything(read(file, questions(30), seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0]) == sorted(drawn[2])
    assert not len(read(file, questions(30), validation=0.0).validation)


def test_a_test_file_is_held_out_as_a_whole(file, tmp_path):
    other = json_lines(tmp_path / "test.jsonl", [{"question": "And she?", "answer": "She stays."}])
    data = read(file, questions(20), test_file=other)
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 1)
    assert data.columns["id"][data.test].tolist() == ["test 1"]
    assert chat(file, test_file=other).files() == {"rows": file, "test rows": other}


def test_pairs_and_copies_are_not_parted_by_the_draw(file):
    rows = questions(60, pair=[str(n // 2) for n in range(60)], cluster=[str(n // 10) for n in range(60)])
    rows += [dict(row, pair=None) for row in rows[:10]]
    data = read(file, rows, duplicates="refuse")
    for part in (data.train, data.validation, data.test):
        assert not set(data.unit[part]) & set(data.unit[np.setdiff1d(np.arange(70), part)])
    assert len(set(data.cluster)) == 6


def test_a_conversation_on_both_sides_is_refused_dropped_or_allowed(file):
    rows = questions(10, split=["train"] * 6 + ["val"] + ["test"] * 3, id=[f"r{n}" for n in range(10)])
    rows[8] |= {name: rows[2][name] for name in ("question", "answer")}
    with pytest.raises(UserError, match=r"^1 held-out row has.* test row r8 is row r2 \(by id\)\.\nTry: dataset.dup"):
        read(file, rows)
    dropped = read(file, rows, duplicates="drop")
    assert dropped.columns["id"][dropped.test].tolist() == ["r7", "r9"]
    assert len(read(file, rows, duplicates="allow").test) == 3
    with pytest.raises(UserError, match="leaves no test row"):
        read(file, [dict(rows[2], split=name, id=name) for name in ("train", "train", "test")][1:] + rows[:3],
             duplicates="drop")  # fmt: skip


def test_copies_within_the_training_rows_are_told(file, caplog):
    rows = questions(10, split=["train"] * 8 + ["test"] * 2)
    rows[1] |= {name: rows[2][name] for name in ("question", "answer")}
    read(file, rows)
    assert "one of them 2 times" in caplog.text


@pytest.mark.parametrize("label", [1, "1", "No"])
def test_options_are_columns_of_their_own(label, file):
    rows = [{"question": f"Is {n} odd?", "options": ["Yes", "No"], "label": label} for n in range(20)]
    rows[0] |= {"options": ["No", "Maybe"], "label": 1}
    data = read(file, rows)
    assert data.info.classes == ("No", "Maybe", "Yes") and data.info.has_options
    assert {row.options for row in data.rows} == {("No", "Maybe", None), ("No", None, "Yes")}
    assert data.corrected is None and "label" in data.info.columns


def test_many_different_options_are_counted(file):
    rows = [{"prompt": f"{n}?", "completion": f"{n}", "options": [f"{n}", f"not {n}"]} for n in range(20)]
    assert read(file, rows).info.classes == ("option 1", "option 2")


def test_pairs_with_groups_and_options_can_show_a_bias(file):
    rows = [
        {"question": f"Note {n // 2} on a {'wo' * (n % 2)}man?", "options": ["ill", "well"], "answer": "ill",
         "pair": str(n // 2), "group": n % 2} for n in range(40)
    ]  # fmt: skip
    assert read(file, rows).scored == ("id", "legitimate", "group")
    assert read(file, [{**row, "pair": None} for row in rows]).scored == ("id", "legitimate", "group")
    assert read(file, [{name: value for name, value in row.items() if name != "group"} for row in rows]).scored == (
        "id",
    )
    assert read(file, questions(20, pair=["a"] * 20, group=["b"] * 20), test=0.0, test_file=json_lines(
        file.with_name("t.jsonl"), [{"question": "q", "answer": "a"}])).scored == ("id",)  # fmt: skip


OPTIONS = {"question": "q", "options": ["a", "b"]}
WRONG = {
    "no JSON": (["{]"], r"line 2 is not JSON: Expecting .* at character 2, '\{\]'"),
    "a list": (["[1]"], r"line 2: expected a JSON object, found '\[1\]'"),
    "no answer": ([{"question": "q"}], "line 2 has no answer"),
    "an empty answer": ([{"question": "q", "answer": " "}], "line 2 has an empty answer"),
    "a number as the answer": ([{"question": "q", "answer": 3}], "line 2: answer must be a text, and is 3"),
    "two forms": ([{"prompt": "q", "completion": "a"}], "two forms are mixed: .*line 1 has question.*line 2 has pro"),
    "an id missing": ([{"question": "q", "answer": "a", "id": 1}], r"line 1 has no id, but other rows have one"),
    "a strange split": ([{"question": "q", "answer": "a", "split": "tset"}], "the split 'tset'.*mean 'test'"),
    "one option": ([{**OPTIONS, "options": ["a"], "answer": "a"}], "line 2: options must be two or more different"),
    "no option": ([{**OPTIONS, "answer": "c"}], "line 2: the answer 'c' is not among its options"),
    "a label too high": ([{**OPTIONS, "label": 2}], r"line 2: label must be one of the options \['a', 'b'\]"),
    "another label": ([{**OPTIONS, "label": 1, "answer": "a"}], "line 2: the answer is 'a', but the label is another"),
    "options in some rows": ([{**OPTIONS, "answer": "a"}], "20 of 21 rows have no options"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_row_is_said_with_its_line(name, file):
    lines, expected = WRONG[name]
    first = {"question": "first", "answer": "answer"} | ({"split": "train"} if "split" in name else {})
    more = questions(20)[1:] if name != "an id missing" else []
    written = [first, *lines, *more]
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in written))
    with pytest.raises(UserError, match=expected) as caught:
        chat(file).info()
    assert "\nTry: " in str(caught.value)


def test_an_id_twice_is_said_with_both_lines(file):
    rows = questions(20, id=[*range(18), 7, 19])
    with pytest.raises(UserError, match=r"^the id '7' is there twice: .*line 8, and .*line 19\.\nTry: "):
        read(file, rows)


MESSAGES = {
    "nothing": ([], "has no answer: its messages are from nobody"),
    "a question last": (said("q"), "must end with user, assistant"),
    "an unknown role": ([{"role": "bot", "content": "a"}], r"message 1 has the unknown role 'bot'; expected system"),
    "a system message late": ([*said("q", "a"), *said("q", "a", system="s")], "only be the first"),
    "an empty content": (said("q", ""), "message 2: content must be a text that is not empty"),
    "parts": ([{"role": "user", "content": [{"type": "text"}]}], "message 1: content must be a text"),
    "a call": ([*said("q"), {"role": "assistant", "content": "a", "tool_calls": []}], "message 2 has tool_calls"),
    "a text": (["q"], r"message 1 must be \{role, content\}, and is 'q'"),
    "a number": (7, r"messages must be a list of \{role, content\}, and is 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_wrong_with_messages_is_said_with_their_line(name, file):
    messages, expected = MESSAGES[name]
    with pytest.raises(UserError, match=rf"line 2.*{expected}"):
        read(file, [{"messages": said("q", "a")}, {"messages": messages}])


FILES = {
    "empty.jsonl": ("", "has no rows"),
    "empty.csv": ("question,answer\n", "has no rows"),
    "short.csv": ("question,answer\nq,a\nq\n", "line 3 has 1 cells; the header has 2 columns"),
    "twice.csv": ("question,question\nq,a\n", "has a column twice"),
    "quote.csv": ('question,answer\n"q,a\n', "line 2 cannot be read as CSV"),
    "json.csv": ("messages\n[{]\n", "line 2: messages is not JSON"),
    "names.csv": ("qestion,answer\nq,a\n", "line 2 has the columns qestion, answer; expected mess"),
    "rows.txt": ("a", "expected a .parquet, .csv, .jsonl file of your rows"),
    "latin.jsonl": ('{"text": "ü"}\n'.encode("latin-1"), "line 1 is not text in UTF-8"),
    "bad.parquet": ("PAR1", "cannot be read as parquet"),
    "few.csv": ("question,answer\nq,a\nr,b\n", r"2 train rows, 0 validation rows, 0 test rows \(of 2 by"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_is_wrong_with_a_file_is_said(name, tmp_path):
    content, expected = FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=expected) as caught:
        chat(tmp_path / name).info()
    assert "\nTry: " in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"dataset.root is not set.\nTry: dataset.root=FILE"):
        chat(None).info()
    with pytest.raises(UserError, match=r"nowhere\.jsonl does not exist"):
        chat(tmp_path / "nowhere.jsonl").info()


def test_a_csv_cell_holds_lines_commas_and_long_texts(tmp_path):
    rows = questions(20)
    rows[3]["answer"] = 'One, two\n"three"\n' + "x" * 200_000
    data = chat(as_csv(tmp_path / "rows.csv", rows)).load()
    assert rows[3]["answer"] in {row.options[0] for row in data.rows}


def test_ten_thousand_rows_are_read_in_a_moment(file):
    json_lines(file, questions(10_000))
    started = time.process_time()
    data = chat(file).load()
    assert len(data.train) == 7000 and time.process_time() - started < 5


def test_what_is_said_decides_the_fingerprint(file):
    data = read(file, conversations(30))
    last = read(file, conversations(30), loss="last")
    index = np.arange(3)
    assert data.fingerprint(index) != last.fingerprint(index)
    row = TextRow(prompt="q", options=("a",), label=0, corrected=0)
    assert row.history == ()
