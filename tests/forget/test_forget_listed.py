"""Lists of examples to forget: found by id, path or position; what is not there is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from named import images, listed

from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column
from unlearnbench.forget.listed import Listed
from unlearnbench.forget.splits import remarks
from worlds import notes, synthetic

DATA = images()
TRAIN = DATA.train.tolist()


def forgotten(folder, text, data=DATA, **changes):
    return listed(folder, text, **changes).split(data).forget.tolist()


def refused(folder, text, data=DATA, **changes):
    with pytest.raises(UserError) as error:
        listed(folder, text, **changes).split(data)
    assert "\nTry: " in str(error.value)
    return str(error.value)


CHOSEN = TRAIN[:5]


@pytest.mark.parametrize(
    "entries",
    [
        [f"photo-{place}" for place in CHOSEN],
        [DATA.columns["path"][place] for place in CHOSEN],
        [f"{place}.jpg" for place in CHOSEN],
        [f"./{DATA.columns['path'][place]}" for place in CHOSEN],
        [f"my/photos/{DATA.columns['path'][place]}" for place in CHOSEN],
        [str(place) for place in CHOSEN],
    ],
)
def test_ids_paths_names_and_positions_are_found(entries, tmp_path):
    text = "# what to forget\n\n" + "\n".join(entries) + "\n"
    assert forgotten(tmp_path, text) == CHOSEN
    assert forgotten(tmp_path, "\r\n".join(entries)) == CHOSEN


@pytest.mark.parametrize("header", ["id", "path", "position"])
def test_a_table_says_itself_what_its_entries_are(header, tmp_path):
    cells = {"id": "photo-{}", "path": "{}.jpg", "position": "{}"}[header]
    rows = "\n".join(f"x,{cells.format(place)}" for place in CHOSEN)
    assert forgotten(tmp_path, f"why,{header}\n{rows}\n", name="ids.csv") == CHOSEN


def test_ids_win_over_positions_and_by_says_otherwise(tmp_path):
    ids = np.array([str(place + 1) for place in range(len(DATA.labels))])
    data = images(id=ids)
    text = "\n".join(str(place + 1) for place in CHOSEN)
    assert forgotten(tmp_path, text, data) == CHOSEN
    also = "\n".join(str(place) for place in CHOSEN)
    assert forgotten(tmp_path, also, data, by="position") == CHOSEN


def test_a_list_mixed_of_ids_and_names_is_not_guessed(tmp_path):
    said = refused(tmp_path, f"photo-{TRAIN[0]}\n" + "\n".join(f"{place}.jpg" for place in TRAIN[1:5]))
    assert f"'{TRAIN[1]}.jpg' (it is a path)" in said and "All entries of a list are of one kind." in said
    assert "1 of 5 entries match an id" in said and "forget.by=path, which finds 4" in said


def test_numbers_as_ids_are_found(tmp_path):
    data = images(id=np.arange(len(DATA.labels)) + 1000)
    assert forgotten(tmp_path, "\n".join(str(place + 1000) for place in CHOSEN), data) == CHOSEN


def test_an_id_of_several_rows_forgets_them_all_and_leaves_what_is_held_out(tmp_path):
    people = np.array([f"p{place % 40}" for place in range(len(DATA.labels))])
    data = images(id=people)
    forget = listed(tmp_path, "p3\np4\np3\n")
    wanted = np.intersect1d(np.flatnonzero(np.isin(people, ["p3", "p4"])), data.train)
    assert np.array_equal(forget.split(data).forget, wanted)
    (said,) = remarks(forget, data)
    assert f"2 entries by id, {len(wanted)} training rows" in said
    assert "more are held out and stay so" in said and "1 repeated line counts once" in said


def test_unknown_entries_are_named_with_the_nearest_and_how_many_matched(tmp_path):
    said = refused(
        tmp_path, "\n".join([f"photo-{place}" for place in CHOSEN] + ["photo_7", *map(str, range(9000, 9014))])
    )
    assert "5 of 20 entries match an id" in said and "'photo_7' (did you mean 'photo-7'?)" in said
    assert "'9008', and 5 more" in said and "'9009'" not in said
    assert "0 of 2 entries match an id or path or position" in refused(tmp_path, "who\nwhat\n")


def test_a_name_of_several_files_is_refused(tmp_path):
    paths = DATA.columns["path"].copy()
    paths[TRAIN[0]], paths[TRAIN[1]] = "a/same.jpg", "b/same.jpg"
    data = images(path=paths)
    assert "'same.jpg' (2 files have this name: write their paths)" in refused(
        tmp_path, f"same.jpg\n{TRAIN[2]}.jpg", data
    )
    assert forgotten(tmp_path, "a/same.jpg\nb/same.jpg\n", data) == TRAIN[:2]


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("IMG_2003.png", "beach/IMG_2003.PNG"),
        ("img_2003", "beach/IMG_2003.PNG"),
        ("/home/ann/photos/IMG_2003.jpg", "beach/IMG_2003.PNG"),
        ("C:\\photos\\IMG_2003.png", "beach/IMG_2003.PNG"),
        ("IMG-2003.png", "beach/IMG_2003.PNG"),
        ("IMG_2004.png", None),
        ("other/holiday.png", None),
    ],
)
def test_the_file_that_was_meant_is_suggested_and_no_other_photo(entry, meant, tmp_path):
    paths = DATA.columns["path"].astype("U40")
    paths[TRAIN[0]], paths[TRAIN[1]] = "beach/IMG_2003.PNG", "beach/IMG_2007.png"
    for data in (images(path=paths), images(path=paths, id=paths)):
        for text in (f"{entry}\n", f"{entry}\n{paths[TRAIN[2]]}\n{paths[TRAIN[3]]}\n"):
            said = refused(tmp_path, text, data)
            assert f"Unknown: {entry!r}" + (f" (did you mean {meant!r}?)." if meant else ".\n") in said


def test_an_id_of_other_digits_is_not_suggested(tmp_path):
    assert "Unknown: 'photo-9007'." in refused(tmp_path, f"photo-9007\nphoto-{TRAIN[0]}\n")


def test_another_folder_is_not_taken_for_the_same_file(tmp_path):
    flat = images(path=np.array([f"{place}.jpg" for place in range(len(DATA.labels))]))
    names = "\n".join(f"photos/{place}.jpg" for place in CHOSEN)
    assert forgotten(tmp_path, names, flat) == CHOSEN
    assert "'elsewhere/9.jpg'" in refused(tmp_path, f"{names}\nelsewhere/9.jpg\n{TRAIN[9]}.jpg", flat)


def test_rows_that_are_held_out_are_named_with_their_part(tmp_path):
    held, test = int(DATA.validation[0]), int(DATA.test[0])
    said = refused(tmp_path, f"photo-{TRAIN[0]}\nphoto-{held}\nphoto-{test}\n")
    assert f"2 of 3 entries are not training rows here: 'photo-{held}' (validation), 'photo-{test}' (test)" in said
    assert "dataset.validation=0" in said and "never saw the test part, so there is nothing of it to forget" in said


def test_a_corrupt_photo_that_was_left_out_is_told_of(tmp_path):
    data = images()
    object.__setattr__(data, "left_out", {"cat/broken.jpg": "truncated"})
    for text in ("broken.jpg\n", f"cat/broken.jpg\n{TRAIN[0]}.jpg\n"):
        assert "broken.jpg' (it was left out as corrupt)" in refused(tmp_path, text, data)


def test_copies_that_are_forgotten_with_whole_pairs_are_counted(tmp_path):
    unit = np.arange(len(DATA.labels))
    unit[TRAIN[7]] = unit[TRAIN[0]]
    data, forget = dataclasses.replace(DATA, copies=unit), listed(tmp_path, f"{TRAIN[0]}.jpg\n", whole_pairs=True)
    assert forget.split(data).forget.tolist() == [TRAIN[0], TRAIN[7]]
    (said,) = remarks(forget, data)
    assert "1 training row; 1 copy is forgotten too" in said


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "ids.txt", "has no entries"),
        ("# nothing\n\n", "ids.txt", "has no entries"),
        ("photo-1\nphoto-2\n", "ids.csv", "expected a header with a column id, path or position"),
        ("\n".join(f"photo-{place}" for place in TRAIN), "ids.txt", "leaves 0 of 216 training rows to retain"),
    ],
)
def test_what_cannot_be_a_list_is_said(text, name, says, tmp_path):
    assert says in refused(tmp_path, text, name=name)


def test_one_photo_can_be_forgotten(tmp_path):
    splits = listed(tmp_path, f"photo-{TRAIN[0]}\n").split(DATA)
    assert splits.forget.tolist() == TRAIN[:1] and splits.retain.tolist() == TRAIN[1:]
    only = np.array(["ann" if place == TRAIN[0] else "bob" for place in range(len(DATA.labels))])
    assert Column(column="who", value="ann", fraction=1.0, seed=0).split(images(who=only)).forget.tolist() == TRAIN[:1]


def test_a_missing_file_is_said_before_data_are_loaded(tmp_path):
    with pytest.raises(UserError, match=r"forget\.file=ids\.txt"):
        Listed(file=None, by="auto", whole_pairs=False).label(DATA.info)
    with pytest.raises(UserError, match="No such file"):
        Listed(file=tmp_path / "no.txt", by="auto", whole_pairs=False).label(DATA.info)


def test_positions_need_no_column_and_ids_do(tmp_path):
    data = synthetic().load()
    assert forgotten(tmp_path, "\n".join(map(str, CHOSEN)), data) == CHOSEN
    assert "has no column id" in refused(tmp_path, "1\n2\n", data, by="id")
    assert "'-1'" in refused(tmp_path, f"-1\n{TRAIN[0]}\n99999999999999999999\n", data)


@pytest.mark.parametrize("number", ["1000000000005", "9" * 5000])
def test_a_number_beyond_the_rows_is_no_position(number, tmp_path):
    assert f"'{number}'" in refused(tmp_path, f"{number}\n{TRAIN[0]}\n{TRAIN[1]}\n", synthetic().load())


def test_the_name_is_of_the_entries_and_not_of_the_place(tmp_path):
    first = listed(tmp_path, "photo-1\nphoto-2\n").label(DATA.info)
    (tmp_path / "other").mkdir()
    assert first.startswith("list:ids-")
    assert listed(tmp_path / "other", "# the same\nphoto-2\n\nphoto-1\n").label(DATA.info) == first
    assert listed(tmp_path / "other", "photo-1\nphoto-3\n").label(DATA.info) != first


def test_text_is_listed_too_and_twins_go_with_whole_pairs(tmp_path):
    data = notes().load()
    chosen = data.train[[0, 5, 9]]
    text = "\n".join(map(str, chosen.tolist()))
    assert forgotten(tmp_path, text, data) == chosen.tolist()
    pairs = listed(tmp_path, text, whole_pairs=True)
    assert pairs.label(data.info).endswith(":whole_pairs")
    splits = pairs.split(data)
    assert len(splits.forget) > 3 and not np.isin(data.unit[splits.retain], data.unit[splits.forget]).any()


def test_images_are_forgotten_by_a_column_and_the_test_set_is_split():
    who = np.array(["ann" if place % 3 else "bob" for place in range(len(DATA.labels))])
    splits = Column(column="who", value="bob", fraction=1.0, seed=0).split(images(who=who))
    assert set(who[splits.forget]) == set(who[splits.test_forget]) == {"bob"}
    assert set(who[splits.retain]) == set(who[splits.test_retain]) == {"ann"} == set(who[splits.steering])


def test_a_column_of_texts_takes_true_for_a_word():
    flags = np.array(["true" if place % 3 else "false" for place in range(len(DATA.labels))])
    splits = Column(column="flag", value=False, fraction=1.0, seed=0).split(images(flag=flags))
    assert set(flags[splits.forget]) == {"false"}


def test_the_name_of_a_list_says_how_it_is_read(tmp_path):
    """The same entries may be ids or positions, and are then other rows."""
    info = images().info
    plain, by_id = (listed(tmp_path, "1\n2\n", **words).label(info) for words in ({}, {"by": "id"}))
    table = listed(tmp_path, "position\n1\n2\n", name="ids.csv").label(info)
    assert len({plain, by_id, table}) == 3 and by_id == f"{plain}:id"


def test_indices_are_exactly_the_listed_rows(tmp_path):
    unit = np.arange(len(DATA.labels))
    unit[TRAIN[7]] = unit[TRAIN[0]]
    data = dataclasses.replace(DATA, copies=unit)
    exact = listed(tmp_path, f"{TRAIN[0]}.jpg\n{TRAIN[3]}.jpg\n", exact=True)
    assert exact.split(data).forget.tolist() == [TRAIN[0], TRAIN[3]]  # not the copy
    assert exact.label(data.info).startswith("indices:ids-")
    assert forgotten(tmp_path, f"{TRAIN[3]}\n{TRAIN[0]}\n", exact=True) == [TRAIN[0], TRAIN[3]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{TRAIN[0]}\n{TRAIN[1]}\n{TRAIN[0]}\n", f"1 line repeats an earlier one: '{TRAIN[0]}'"),
        (f"{TRAIN[0]}\n0{TRAIN[0]}\n", f"entries are the same row as another: '0{TRAIN[0]}' ('{TRAIN[0]}')"),
        (f"{DATA.test[0]}\n{TRAIN[0]}\n", f"'{DATA.test[0]}' (test)"),
        (f"{TRAIN[0]}\n99999\n", "Unknown: '99999'"),
    ],
)
def test_indices_refuse_what_is_not_exact(text, says, tmp_path):
    with pytest.raises(UserError) as error:
        forget = listed(tmp_path, text, exact=True)
        forget.label(DATA.info)
        forget.split(DATA)
    assert says in str(error.value) and "\nTry: " in str(error.value)


def test_indices_refuse_an_id_of_several_rows_and_twins(tmp_path):
    names = np.array([f"p{place}" for place in range(len(DATA.labels))])
    names[TRAIN[:5]] = "ann"
    people = images(id=names)
    assert "'ann' (5 rows)" in refused(tmp_path, "ann\n", people, exact=True)
    with pytest.raises(UserError, match="Try: forget=list"):
        listed(tmp_path, "ann\n", exact=True, whole_pairs=True).label(people.info)
