"""Training from a mapped file gives the same bytes as from memory; runs on a folder of photos; no validation part."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from photos import encoded, fill, images, photo

from unlearnbench.assemble import assemble
from unlearnbench.data.mapped import AHEAD, MappedImages
from unlearnbench.errors import UserError
from unlearnbench.machine.bars import Quiet
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.randomness import seeded
from unlearnbench.request.compose import compose
from unlearnbench.runs.finished import find
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training.batches import Batches
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record
from worlds import CPU, RECIPE, TINY


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "photos", 20)
    return tmp_path / "photos"


def trained(dataset):
    data, spec = dataset.load(), TinyCNN(checkpoint=None)
    task = ImageTask(data, dataset, CPU, spec.parts().head, 7)
    with seeded("mapped"):
        model = fit(
            task.prepare(spec.build(data.info)), task, data.train, data.validation, replace(RECIPE, epochs=3),
            seed=0, record=Record(), progress=Quiet(),
        )  # fmt: skip
    return model, task.score(model, data.test), data


def test_training_from_the_map_gives_the_same_bytes_as_from_memory(root, tmp_path):
    memory, scores, whole = trained(images(root, tmp_path / "cache", in_memory=True))
    mapped, scores_mapped, apart = trained(images(root, tmp_path / "cache", in_memory=False))
    assert whole._moved and not apart._moved
    for name, weights in memory.state_dict().items():
        assert weights.numpy().tobytes() == mapped.state_dict()[name].numpy().tobytes(), name
    assert scores.logits.tobytes() == scores_mapped.logits.tobytes()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_batches_from_the_map_are_copied_to_the_gpu_from_pinned_memory(root, tmp_path):
    data = images(root, tmp_path / "cache", in_memory=False).load()
    whole = images(root, tmp_path / "cache", in_memory=True).load()
    device = torch.device("cuda")
    for index in np.split(data.train[:40], 5):
        data.fetch(index, device)
        assert torch.equal(data.batch(index, device), whole.batch(index, device))
    assert data.images.read(data.train[:4]).is_pinned()


def test_every_batch_but_the_first_is_read_in_the_background(root, tmp_path, monkeypatch):
    dataset = images(root, tmp_path / "cache", in_memory=False)
    data = dataset.load()
    task = ImageTask(data, dataset, CPU, "linear", 8)
    waited = []
    plain = MappedImages.batch

    def noting(self, index, device):
        waited.append(index.tobytes() in self._coming)
        return plain(self, index, device)

    monkeypatch.setattr(MappedImages, "batch", noting)
    list(Batches(task, (data.train,), 8, 1, 0).epoch(0))
    assert waited == [False] + [True] * (len(waited) - 1) and len(waited) > 3
    assert not data.images._coming


def test_batches_that_nobody_asks_for_do_not_pile_up(root, tmp_path):
    data = images(root, tmp_path / "cache", in_memory=False).load()
    for number in range(3 * AHEAD):
        data.fetch(np.array([number, number + 1]), torch.device("cpu"))
    assert len(data.images._coming) == AHEAD


def test_large_sets_stay_in_their_file(monkeypatch):
    pixels = np.zeros((10, 1, 8, 8), np.uint8)
    monkeypatch.setattr("unlearnbench.data.mapped._free", lambda device: 4 * pixels.nbytes)
    assert MappedImages(pixels, np.arange(10)).fits(torch.device("cpu"))
    assert MappedImages(pixels, np.arange(10), whole=False).fits(torch.device("cpu")) is False
    monkeypatch.setattr("unlearnbench.data.mapped._free", lambda device: 4 * pixels.nbytes - 1)
    assert not MappedImages(pixels, np.arange(10)).fits(torch.device("cpu"))
    assert MappedImages(pixels, np.arange(9)).fits(torch.device("cpu"))


@pytest.mark.parametrize(("words", "said"), [
    (["train=plateau"], "train.optimizer.schedule=plateau needs validation images"),
    (["++method.optimizer.schedule=plateau"], "method.optimizer.schedule=plateau needs validation images"),
    (["eval.held_out=validation"], r"eval.held_out=validation needs .*\nTry: .* or eval.held_out=test"),
])  # fmt: skip
def test_what_looks_at_the_validation_part_is_refused_without_one(words, said, tmp_path):
    with pytest.raises(UserError, match=said):
        assemble(compose([*TINY, f"outputs={tmp_path}", "dataset.validation=0", *words]).request)


@pytest.mark.parametrize("name", ["fashion", "digits", "synthetic"])
def test_every_image_data_set_may_have_no_validation_part(name):
    info = assemble(compose([f"dataset={name}", "model=tiny_cnn", "dataset.validation=0"]).request).info
    assert info.held_out == 0


@pytest.mark.slow
@pytest.mark.parametrize("forget", ["class", "random"])
def test_a_run_without_validation_part(forget, tmp_path):
    words = [*TINY, f"outputs={tmp_path}", "dataset.validation=0", f"forget={forget}"]
    assert execute(prepare(words)).status == "done"


@pytest.mark.slow
def test_the_command_runs_on_a_folder_and_says_what_it_left_out(root, tmp_path, command):
    (root / "cat" / "bad.jpg").write_bytes(b"no photo")
    words = ["dataset=images", f"dataset.root={root}", "dataset.size=16", "dataset.corrupt=skip", "model=tiny_cnn",
             "train.epochs=2", f"dataset.cache={tmp_path / 'cache'}", f"outputs={tmp_path / 'out'}",
             "save_model=false"]  # fmt: skip
    done = command("run", *words)
    assert done.returncode == 0, done.stderr
    assert "1 file is not a sound image and is left out" in done.stderr and "cat/bad.jpg" in done.stderr
    [folder] = (tmp_path / "out" / "runs").iterdir()
    with (folder / "left_out.csv").open() as file:
        assert list(csv.reader(file)) == [["path", "reason"], ["cat/bad.jpg", "is not an image of a known format"]]
    assert "left out: cat/bad.jpg" in (folder / "run.log").read_text()
    refused = command("run", *words, "dataset.corrupt=refuse")
    assert refused.returncode == 2 and "Try: mend or remove them, or dataset.corrupt=skip" in refused.stderr
    again = command("run", *words)
    assert "done before" in again.stdout + again.stderr
    assert find(prepare(words)) == folder
    (root / "dog" / "new.png").write_bytes(encoded(photo(12345)))
    assert find(prepare(words)) is None
