"""Photos are decoded once: what is remembered, what is decoded again, damage, and two processes at once."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest
from photos import encoded, fill, images, photo

from unlearnbench.data import decoded as looks
from unlearnbench.data import photos as files
from unlearnbench.data import pixels as store
from unlearnbench.errors import UserError
from unlearnbench.files import outside
from unlearnbench.graph.keys import digest


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch):
    """Look at the files whenever `info` is asked, and trust their times at once."""
    monkeypatch.setattr(looks, "PATIENCE", 0.0)
    monkeypatch.setattr(files, "SETTLED_NS", 0)


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "photos", 10)
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def work(monkeypatch):
    """Count the files that are read and those that are decoded."""
    done = {"read": 0, "decoded": 0}
    lock = threading.Lock()

    def counting(name, function):
        def counted(*given):
            with lock:
                done[name] += 1
            return function(*given)

        return counted

    monkeypatch.setattr(files.Photos, "read", counting("read", files.Photos.read))
    monkeypatch.setattr(files.Photos, "decoded", counting("decoded", files.Photos.decoded))
    return done


def fresh(root, cache, **changes):
    """Return what a new process would: nothing of it was looked at before."""
    looks._looked.clear()
    return images(root, cache, **changes)


def test_a_second_look_reads_and_decodes_nothing(root, cache, work):
    first = fresh(root, cache).load()
    assert work == {"read": 30, "decoded": 30}
    second = fresh(root, cache).load()
    assert work == {"read": 30, "decoded": 30}
    index = np.arange(30)
    assert second.fingerprint(index) == first.fingerprint(index)


def test_a_new_photo_is_decoded_alone(root, cache, work):
    fresh(root, cache).info()
    (root / "cat" / "zzz.png").write_bytes(encoded(photo(5555)))
    (root / "dog" / "003.png").unlink()
    data = fresh(root, cache, in_memory=True).load()
    assert work == {"read": 31, "decoded": 31} and len(data.labels) == 30
    again = fresh(root, cache.with_name("other")).load()
    assert np.array_equal(data.on("cpu").numpy(), again.on("cpu").numpy())


def test_a_renamed_photo_is_read_but_not_decoded(root, cache, work):
    fresh(root, cache).info()
    (root / "cat" / "000.png").rename(root / "cat" / "999.png")
    fresh(root, cache).info()
    assert work == {"read": 31, "decoded": 30}


def test_a_photo_whose_time_alone_changed_is_read_but_the_set_stays_the_same(root, cache, work):
    first = digest(fresh(root, cache))
    os.utime(root / "cat" / "000.png", ns=(10**18, 10**18))
    assert digest(fresh(root, cache)) == first
    assert work == {"read": 31, "decoded": 30}
    assert len(list((cache / "pixels").iterdir())) == 1


def test_photos_that_change_places_keep_their_own_pixels(root, cache):
    one, other = root / "cat" / "000.png", root / "dog" / "000.png"
    size = max(file.stat().st_size for file in (one, other))
    for file in (one, other):
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
        os.utime(file, ns=(0, 0))
    before = digest(fresh(root, cache))
    one.rename(root / "kept"), other.rename(one), (root / "kept").rename(other)
    after = fresh(root, cache)
    assert digest(after) != before and digest(after) == digest(fresh(root, cache.with_name("anew")))


def test_times_that_are_too_new_are_not_trusted(root, cache, work, monkeypatch):
    monkeypatch.setattr(files, "SETTLED_NS", 10**18)
    fresh(root, cache).info()
    fresh(root, cache).info()
    assert work == {"read": 60, "decoded": 30}


def test_info_sees_a_change_in_the_same_process(root, cache):
    one = images(root, cache)
    before = one.info()
    assert one.info() is before
    (root / "cat" / "new.png").write_bytes(encoded(photo(4321)))
    assert one.info().train + one.info().test == before.train + before.test + 1


def test_a_photo_that_appears_while_others_are_decoded_is_seen_the_next_time(root, cache, monkeypatch):
    one, read = fresh(root, cache), files.Photos.read

    def reading(*given):
        if not (root / "cat" / "new.png").exists():
            (root / "cat" / "new.png").write_bytes(encoded(photo(7777)))
        return read(*given)

    monkeypatch.setattr(files.Photos, "read", reading)
    one.info()
    looked = outside.look(one)
    assert outside.renewed(looked) is None
    assert one.info() and outside.renewed(outside.look(one)) is not None


def test_keys_move_with_content_and_labels_and_not_with_places(root, cache, tmp_path):
    first = digest(fresh(root, cache))
    root.rename(tmp_path / "elsewhere")
    assert digest(fresh(tmp_path / "elsewhere", cache, in_memory=False)) == first
    (tmp_path / "elsewhere" / "owl").rename(tmp_path / "elsewhere" / "eagle")
    assert digest(fresh(tmp_path / "elsewhere", cache)) != first
    (tmp_path / "elsewhere" / "eagle").rename(tmp_path / "elsewhere" / "owl")
    (tmp_path / "elsewhere" / "owl" / "000.png").write_bytes(encoded(photo(31)))
    assert digest(fresh(tmp_path / "elsewhere", cache)) != first


def only(cache):
    [folder] = (cache / "pixels").iterdir()
    return folder


@pytest.mark.parametrize("name", ["pixels.npy", "rows.npy", "facts.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "gone"])
def test_damage_is_found_and_mended(root, cache, work, name, how, caplog):
    sound = fresh(root, cache, in_memory=True).load().on("cpu").clone()
    file = only(cache) / name
    content = bytearray(file.read_bytes())
    content[-40] ^= 255
    file.unlink()
    if how != "gone":
        file.write_bytes(content if how == "flip" else content[:-50])
    data = fresh(root, cache, in_memory=True).load()
    assert np.array_equal(data.on("cpu"), sound)
    assert "is damaged, and made again" in caplog.text
    assert work["decoded"] == 60


def test_a_flipped_bit_behind_an_unchanged_time_is_found_when_the_set_moves_to_the_device(root, cache):
    data = fresh(root, cache, in_memory=True).load()
    file = only(cache) / "pixels.npy"
    times = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        last = opened.read(1)[0]
        opened.seek(-1, os.SEEK_END)
        opened.write(bytes([last ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match=r"pixels.npy is damaged"):
        fresh(root, cache, in_memory=True).load().on("cpu")
    assert data.info.classes


def test_a_copied_cache_is_read_once_and_used(root, cache, work):
    fresh(root, cache).info()
    os.utime(only(cache) / "pixels.npy", ns=(10**18, 10**18))
    fresh(root, cache).info()
    assert work["decoded"] == 30


def test_two_at_once_do_no_harm(root, cache):
    """The second one finds the first one's folder when it wants to publish its own."""
    listing = images(root, cache)._list()
    shape, place = (3, 8, 8), cache / "pixels"
    one, two = (files.Photos(root, listing.entries, cache / "index") for _ in range(2))
    decode = two.decoded

    def late(content, shape):
        if not list(place.glob("8x3-*")):
            store.pixels_of(one, shape, place, "one")
        return decode(content, shape)

    two.decoded = late
    found = store.pixels_of(two, shape, place, "two")
    assert len(found.map) == 30 and len(list(place.iterdir())) == 1
    assert store.is_sound(found)


def test_a_cache_that_is_removed_while_the_same_photos_are_decoded_is_made_again(root, cache, monkeypatch):
    first = fresh(root, cache).content()
    shutil.rmtree(cache / "index")
    with monkeypatch.context() as patched:
        patched.setattr(store._Builder, "_copy", lambda self, file: pytest.fail("the photos are there already"))
        assert fresh(root, cache).content() == first
    build = store._Builder.build

    def building(self, title):
        found = build(self, title)
        for folder in (cache / "pixels").glob("8x3-*"):
            shutil.rmtree(folder)
        return found

    monkeypatch.setattr(store._Builder, "build", building)
    shutil.rmtree(cache / "index")
    one = fresh(root, cache)
    assert one.content() == first and len(one.load().on("cpu")) == 30


def test_a_damaged_row_is_decoded_from_what_is_in_the_file_now(root, cache, monkeypatch):
    fresh(root, cache).info()
    (pixels,) = (cache / "pixels").glob("*/pixels.npy")
    stamp, content = pixels.stat(), pixels.read_bytes()
    pixels.write_bytes(content[:-8] + bytes(byte ^ 255 for byte in content[-8:]))
    os.utime(pixels, ns=(0, stamp.st_mtime_ns))
    (root / "cat" / "new.png").write_bytes(encoded(photo(7777)))
    kept, copy, last = (root / "owl" / "009.png").read_bytes(), store._Builder._copy, root / "owl" / "009.png"

    def copying(self, file):
        last.write_bytes(encoded(photo(8888)))
        copy(self, file)

    with monkeypatch.context() as patched:
        patched.setattr(store._Builder, "_copy", copying)
        fresh(root, cache).info()
    last.write_bytes(kept)
    found, expected = (fresh(root, place, in_memory=True).load() for place in (cache, cache.with_name("anew")))
    assert np.array_equal(found.on("cpu"), expected.on("cpu"))


def test_a_part_that_a_killed_process_left_is_removed(root, cache):
    place = cache / "pixels"
    place.mkdir(parents=True)
    (place / ".part-00000000-999999999-1-00000000").mkdir()
    left = store.leftovers.named(place)
    dead = left.with_name(left.name.replace(f"-{os.getpid()}-", "-999999999-"))
    dead.mkdir()
    fresh(root, cache).info()
    assert not dead.exists()


def test_a_disk_that_is_too_small_is_told_of_before_anything_is_decoded(root, cache, work, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 100})())
    with pytest.raises(UserError, match=r"cannot hold decoded images: they need .*\nTry: dataset.cache=FOLDER"):
        fresh(root, cache).info()
    assert work["read"] == 0


def test_unreadable_files_are_looked_at_again_the_next_time(root, cache, work):
    (root / "cat" / "broken.png").symlink_to("later.png")
    assert len(fresh(root, cache, corrupt="skip").load().left_out) == 1
    (root / "cat" / "broken.png").unlink()
    (root / "cat" / "broken.png").write_bytes(encoded(photo(99)))
    assert not fresh(root, cache, corrupt="skip").load().left_out


def test_corrupt_files_are_remembered_too(root, cache, work):
    (root / "cat" / "bad.png").write_bytes(b"no image")
    fresh(root, cache, corrupt="skip").info()
    done = dict(work)
    assert fresh(root, cache, corrupt="skip").load().left_out == {"cat/bad.png": "is not an image of a known format"}
    assert work == done
