"""Walk folders of any shape, and see every change in them."""

from __future__ import annotations

import os

import pytest

from unlearnbench.errors import UserError
from unlearnbench.files import trees


def names(folder):
    return [entry.name for entry in trees.files_below(folder)]


def test_two_files_of_equal_size_and_time_that_change_places_are_seen(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, ns=(0, 0))
    before = trees.stamp(tmp_path)
    assert trees.stamp(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "c").rename(tmp_path / "b")
    assert trees.stamp(tmp_path) != before


def test_a_file_that_is_written_anew_with_its_old_time_is_seen(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    os.utime(tmp_path / "a", ns=(0, 0))
    before = trees.entry_of(str(tmp_path / "a"), "a")
    while os.stat(tmp_path / "a").st_ctime_ns == before.ctime_ns:  # the file system's clock ticks every few ms
        (tmp_path / "a").write_bytes(b"b")
        os.utime(tmp_path / "a", ns=(0, 0))
    assert trees.line_of(trees.entry_of(str(tmp_path / "a"), "a")) != trees.line_of(before)


def test_files_are_in_order_and_folders_that_hold_themselves_end(tmp_path):
    for name in ("b/2", "b/1", "a", "b/c/3", ".hid/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    assert names(tmp_path) == ["a", "b/1", "b/2", "b/c/3"]


def test_a_folder_to_which_many_links_lead_is_entered_by_one(tmp_path):
    for level in range(25):
        (tmp_path / "pool" / str(level)).mkdir(parents=True)
        for link in "xy":
            (tmp_path / "pool" / str(level) / link).symlink_to(tmp_path / "pool" / str(level + 1))
    (tmp_path / "pool" / "25").mkdir()
    (tmp_path / "pool" / "25" / "a").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "one").symlink_to(tmp_path / "pool" / "0")
    assert names(tmp_path / "root") == ["one/" + "x/" * 25 + "a"]


def test_folders_that_are_too_deep_or_too_full_are_refused(tmp_path, monkeypatch):
    (tmp_path / "/".join("d" * 120)).mkdir(parents=True)
    with pytest.raises(UserError, match="more than 100 folders inside each other"):
        names(tmp_path)
    monkeypatch.setattr(trees, "ENTRIES", 50)
    with pytest.raises(UserError, match="more than 50 files and folders"):
        names(tmp_path)
