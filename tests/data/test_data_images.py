"""Image data sets: disjoint parts, balanced subsets, superclasses, and clear words for damaged or missing files."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from unlearnbench.data import fashion
from unlearnbench.data.sampling import balanced
from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build
from worlds import synthetic

ROOT = Path(__file__).parents[2]
PACK = ROOT.parent / "shared" / "data" / "unpack.py"


def dataset(name, *words):
    return build(compose([f"dataset={name}", *words]).request.config["dataset"], "dataset")


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """The official CIFAR-10 and CIFAR-100 files, where the packs are at hand."""
    if not PACK.exists():
        pytest.skip("needs the CIFAR packs beside the checkout (../shared/data)")
    target = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(PACK), str(target)], check=True, capture_output=True)
    return target


OFFLINE = ("fashion", "digits", "synthetic")


@pytest.mark.parametrize("name", OFFLINE)
def test_parts_are_disjoint_and_as_info_says(name):
    one = dataset(name)
    data, info = one.load(), one.info()
    together = np.concatenate([data.train, data.validation, data.test])
    assert np.array_equal(np.sort(together), np.arange(len(data.labels)))
    assert len(data.train) + len(data.validation) == info.train
    assert len(data.validation) == info.held_out > 0
    assert len(data.test) == info.test
    assert tuple(data.images.shape[1:]) == info.shape
    assert set(np.unique(data.labels)) == set(range(len(info.classes)))


@pytest.mark.parametrize("name", OFFLINE)
def test_two_loads_are_the_same(name):
    first, second = dataset(name).load(), dataset(name).load()
    index = np.arange(len(first.labels))
    assert first.fingerprint(index) == second.fingerprint(index)
    assert first.fingerprint(index) != first.fingerprint(index[1:])


@pytest.mark.parametrize("limit", [20, 55, 100, 399])
def test_limit_is_balanced_and_validation_stratified(limit):
    data = dataset("fashion", f"dataset.limit={limit}").load()
    counts = Counter(data.subclass[np.concatenate([data.train, data.validation])].tolist())
    assert sum(counts.values()) == limit
    assert max(counts.values()) - min(counts.values()) <= 1
    held = Counter(data.subclass[data.validation].tolist())
    assert max(held.values()) - min(held.get(c, 0) for c in counts) <= 1


def test_limit_of_the_test_part_does_not_move_the_training_part():
    few, all_ = dataset("fashion", "dataset.limit_test=50").load(), dataset("fashion").load()
    assert few.fingerprint(few.train) == all_.fingerprint(all_.train)
    assert len(few.test) == 50


def test_balanced_gives_out_what_there_is():
    labels = np.array([0] * 3 + [1] * 50 + [2] * 50)
    counts = Counter(labels[balanced(labels, 43, 0, "x")].tolist())
    assert counts == {0: 3, 1: 20, 2: 20}


def test_superclasses_keep_the_fine_labels():
    data = dataset("fashion", "dataset.labels=superclass").load()
    info = data.info
    assert info.classes == ("tops", "trousers", "dresses", "footwear", "bags")
    assert np.array_equal(np.array(info.parents)[data.subclass], data.labels)
    tops = {info.subclasses[number] for number in np.unique(data.subclass[data.labels == 0])}
    assert tops == {"t-shirt", "pullover", "coat", "shirt"}


def test_embedded_file_is_small_licensed_and_has_its_checksum():
    content = fashion.FILE.read_bytes()
    assert len(content) <= 3 * 2**20
    assert hashlib.sha256(content).hexdigest() == fashion.SHA256
    licence = fashion.FILE.with_name("fashion.LICENSE").read_text()
    assert "MIT License" in licence and "Zalando" in licence


def test_embedded_images_are_class_balanced():
    data = dataset("fashion").load()
    train = np.concatenate([data.train, data.validation])
    assert set(Counter(data.subclass[train].tolist()).values()) == {400}
    assert set(Counter(data.subclass[data.test].tolist()).values()) == {100}


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").exists(), reason="needs dataset-fashion-mnist")
def test_build_script_makes_the_embedded_file_again():
    script = ROOT / "scripts" / "build_fashion.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0


def test_damaged_embedded_file_is_recognised(tmp_path, monkeypatch):
    broken = tmp_path / "fashion.npz.xz"
    broken.write_bytes(fashion.FILE.read_bytes()[:-1])
    monkeypatch.setattr(fashion, "FILE", broken)
    with pytest.raises(UserError, match="damaged"):
        dataset("fashion").check()


def test_mean_and_std_must_be_one_a_channel():
    with pytest.raises(UserError, match="one per channel"):
        dataclasses.replace(synthetic(), mean=(0.5, 0.5, 0.5)).info()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_from_the_official_files(cifar, name, classes):
    one = dataset(name, f"dataset.root={cifar}", "dataset.limit=1000", "dataset.limit_test=200")
    one.check()
    data = one.load()
    assert tuple(data.images.shape) == (1200, 3, 32, 32)
    assert len(np.unique(data.labels)) == len(one.info().classes) == classes
    assert 0.4 < data.images.float().mean() / 255 < 0.55


@pytest.mark.slow
def test_cifar100_superclasses_are_the_official_ones(cifar):
    import pickle

    data = dataset("cifar100", f"dataset.root={cifar}", "dataset.labels=superclass").load()
    official = pickle.loads((cifar / "cifar-100-python" / "train").read_bytes(), encoding="latin1")
    assert np.array_equal(data.labels[:50000], official["coarse_labels"])
    assert np.array_equal(data.subclass[:50000], official["fine_labels"])
    assert data.info.subclasses[69] == "rocket"


@pytest.mark.slow
def test_cifar_keeps_the_classes_that_are_named(cifar):
    """Kept superclasses are numbered anew, in the files' order, and the fine labels below them too."""
    whole = dataset("cifar100", f"dataset.root={cifar}", "dataset.labels=superclass").load()
    words = ("dataset.labels=superclass", "dataset.classes=[vehicles_2,people]")
    part = dataset("cifar100", f"dataset.root={cifar}", *words).load()
    assert part.info.classes == ("people", "vehicles_2")
    assert part.info.subclasses == tuple(
        name for name, parent in zip(whole.info.subclasses, whole.info.parents, strict=True) if parent in (14, 19)
    )
    assert len(part.labels) == part.info.train + part.info.test == 6000
    assert (np.array(part.info.parents)[part.subclass] == part.labels).all()
    rockets = [data.images[data.subclass == data.info.subclasses.index("rocket")] for data in (whole, part)]
    assert len(rockets[0]) == 600 and bool((rockets[0] == rockets[1]).all())


def test_cifar_names_the_folder_above_its_own(tmp_path):
    own = tmp_path / "cifar-10-batches-py"
    own.mkdir()
    with pytest.raises(UserError, match=rf"the folder that holds it\.\nTry: dataset\.root={tmp_path}$"):
        dataset("cifar10", f"dataset.root={own}").check()


@pytest.mark.slow
def test_cifar_refuses_classes_that_are_not_there(cifar):
    """A wrong name is answered with the nearest one, and one class alone is refused."""
    with pytest.raises(UserError, match="Did you mean 'vehicles_2'"):
        dataset(
            "cifar100", f"dataset.root={cifar}", "dataset.labels=superclass", "dataset.classes=[vehicles2,people]"
        ).info()
    with pytest.raises(UserError, match=r"rocket is part of vehicles_2\.\nThe classes are: aquatic_mammals"):
        dataset(
            "cifar100", f"dataset.root={cifar}", "dataset.labels=superclass", "dataset.classes=[rocket,people]"
        ).info()
    with pytest.raises(UserError, match="at least two"):
        dataset("cifar10", f"dataset.root={cifar}", "dataset.classes=[cat]").info()


@pytest.mark.slow
def test_damaged_cifar_file_is_named(cifar, tmp_path):
    import shutil

    shutil.copytree(cifar / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    with (tmp_path / "cifar-10-batches-py" / "data_batch_3").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(UserError, match="data_batch_3 is damaged"):
        dataset("cifar10", f"dataset.root={tmp_path}").check()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(UserError, match="lacks data_batch_3"):
        dataset("cifar10", f"dataset.root={tmp_path}").check()


def test_no_cifar_and_no_network_says_what_to_do(tmp_path, monkeypatch):
    import torchvision.datasets.cifar as module

    def offline(*_words, **_names):
        raise URLError("no route to host")

    monkeypatch.setattr(module, "download_and_extract_archive", offline)
    with pytest.raises(UserError, match="no network") as error:
        dataset("cifar10", f"dataset.root={tmp_path}", "dataset.download=true").check()
    assert "dataset=fashion" in str(error.value)


def test_a_given_root_is_never_filled_unasked(tmp_path):
    with pytest.raises(UserError, match=r"dataset.download=true"):
        dataset("cifar100", f"dataset.root={tmp_path}").check()
    assert not list(tmp_path.iterdir())
