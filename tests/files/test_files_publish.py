"""A folder gets its name in one rename, whoever else is publishing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearnbench.files import publish


@pytest.fixture
def folders(tmp_path):
    """Return two folders that say whose they are, and the name that both want."""
    for name in ("part", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "whose").write_text(name)
    return tmp_path / "part", tmp_path / "other", tmp_path / "place" / "final"


def test_the_first_one_stays_where_both_are_the_same(folders):
    part, other, final = folders
    publish.once(other, final)
    publish.once(part, final)
    assert (final / "whose").read_text() == "other" and part.exists()


def test_a_rename_that_fails_for_another_reason_is_not_hidden(folders):
    part, _, final = folders
    with pytest.raises(FileNotFoundError):
        publish.once(part.with_name("gone"), final)


def test_what_has_the_name_makes_way(folders):
    part, other, final = folders
    publish.once(other, final)
    publish.instead(part, final)
    assert (final / "whose").read_text() == "part" and [one.name for one in final.parent.iterdir()] == ["final"]


def test_a_file_replaces_a_file(tmp_path):
    (tmp_path / "part").write_text("new")
    (tmp_path / "final").write_text("old")
    publish.instead(tmp_path / "part", tmp_path / "final")
    assert (tmp_path / "final").read_text() == "new"


def test_two_processes_publish_in_one_place_at_once(tmp_path, monkeypatch):
    """The other one's folder appears between making way and renaming."""
    part, other, final = (tmp_path / name for name in ("part", "other", "final"))
    for folder in (part, other):
        folder.mkdir()
        (folder / "whose").write_text(folder.name)
    rename, once = Path.rename, [other]

    def racing(self, target):
        if self == part and once:
            rename(once.pop(), final)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", racing)
    publish.instead(part, final)
    assert (final / "whose").read_text() == "part"
    assert [place.name for place in tmp_path.iterdir()] == ["final"]
