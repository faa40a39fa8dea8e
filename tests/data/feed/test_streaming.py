from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.feed.streaming import Ahead, StreamedPixels, fits, lay_on
from bench.data.feed.update import Update, build_update
from bench.data.images import ImageRows, ImageSet, MappedPixels
from bench.data.stages.splits import Split
from bench.records.store import read_evals
from bench.scenario import Scenario
from bench.strategies.selection import OldShare, Uniform
from bench.strategies.strategy import Entrant
from bench.training.batching import BatchOrder
from bench.training.provenance import describe_run
from bench.training.spec import TrialSpec
from bench.training.trial import Finished, Trial

CPU = torch.device("cpu")


def mapped(pixels: np.ndarray, folder: Path, cuts: int = 2) -> ImageRows:
    """Write an array as `cuts` files, and return it as rows of them, with a broken row in each file left out."""
    folder.mkdir()
    arrays, part, row = [], [], []
    for number, piece in enumerate(np.array_split(pixels, cuts)):
        np.save(folder / f"{number}.npy", np.concatenate([np.zeros_like(piece[:1]), piece]))
        arrays.append(MappedPixels(np.load(folder / f"{number}.npy", mmap_mode="r"), f"digest {number}"))
        part.append(np.full(len(piece), number))
        row.append(1 + np.arange(len(piece)))
    return ImageRows(arrays, np.concatenate(part), np.concatenate(row))


@pytest.fixture
def on_disk(digits: ImageSet, tmp_path: Path) -> ImageSet:
    x_train, x_test = (
        mapped(np.asarray(digits.x_train), tmp_path / "a"),
        mapped(np.asarray(digits.x_test), tmp_path / "b"),
    )
    names, source = digits.class_names, digits.source
    return ImageSet(x_train, digits.y_train, x_test, digits.y_test, names, source)


def test_rows_of_files_are_the_array(digits: ImageSet, on_disk: ImageSet):
    order = np.random.default_rng(0).permutation(len(digits.x_train))
    assert (on_disk.x_train[order] == digits.x_train[order]).all()
    assert (on_disk.x_train[:7] == digits.x_train[:7]).all()
    assert on_disk.x_train.shape == digits.x_train.shape
    assert on_disk.image_shape == digits.image_shape
    assert torch.equal(lay_on(CPU, on_disk.x_train, order), torch.from_numpy(np.asarray(digits.x_train)[order]))


def test_on_a_cpu_files_are_streamed_and_arrays_are_not(digits: ImageSet, on_disk: ImageSet):
    assert fits(digits.x_train, 1 << 60, "auto", CPU)
    assert not fits(on_disk.x_train, 1, "auto", CPU)
    assert fits(on_disk.x_train, 1 << 60, "resident", CPU)
    assert not fits(digits.x_train, 1, "streamed", CPU)


def test_on_a_gpu_half_of_its_memory_is_the_limit(digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    cuda = torch.device("cuda", 0)
    assert fits(digits.x_train, 2000, "auto", cuda)
    assert not fits(digits.x_train, 2001, "auto", cuda)


def test_batches_gathered_ahead_come_in_order_whole_and_the_last_one_short(digits: ImageSet, on_disk: ImageSet):
    order = np.random.default_rng(0).permutation(100)
    batches = [order[start : start + 16] for start in range(0, 100, 16)]
    ahead = Ahead(on_disk.x_train, batches, CPU)
    for batch in batches:
        assert (ahead.next(batch).numpy() == digits.x_train[batch]).all()
    ahead.close()


def test_requesting_a_batch_out_of_order_is_a_bug(on_disk: ImageSet):
    ahead = Ahead(on_disk.x_train, [np.array([1, 2]), np.array([3, 4])], CPU)
    with pytest.raises(AssertionError, match="requested batch is not the one"):
        ahead.next(np.array([3, 4]))
    ahead.close()


def test_the_thread_stops_when_closed_early_and_passes_its_failure_on(on_disk: ImageSet):
    ahead = Ahead(on_disk.x_train, [np.array([number]) for number in range(50)], CPU)
    ahead.next()
    ahead.close()
    assert not ahead._thread.is_alive()
    with pytest.raises(IndexError):
        Ahead(on_disk.x_train, [np.array([10**9])], CPU).next()


def streamed(scenario: Scenario, images: ImageSet, split: Split, number: int = 1) -> Update:
    update = build_update(scenario, images, split, number, CPU)
    assert isinstance(update.train._pixels, StreamedPixels)
    return update


@pytest.mark.parametrize("crop", [{}, {"crop_padding": 0, "crop_scale": 0.3, "flip": True}])
def test_streamed_batches_are_the_resident_ones_bit_for_bit(short, digits, on_disk, split, crop):
    scenario = short.model_copy(update={"training": short.training.model_copy(update=crop)})
    updates = build_update(scenario, digits, split, 1, CPU), streamed(scenario, on_disk, split)
    orders = [BatchOrder(update.train, update.pool, OldShare(0.5), 64, 3) for update in updates]
    for _ in range(25):  # some way into the third epoch
        resident, file = (order.next() for order in orders)
        assert all(torch.equal(a, b) for a, b in zip(resident, file, strict=True))
    again = BatchOrder(updates[1].train, updates[1].pool, OldShare(0.5), 64, 3)
    again.seek(orders[0].epoch, orders[0].position)
    assert torch.equal(again.next()[0], orders[0].next()[0])


def test_streamed_held_out_images_are_the_resident_ones(short, digits, on_disk, split):
    for kind in ("validation", "test"):
        resident, file = (
            getattr(update, kind).batches(100)
            for update in (build_update(short, digits, split, 1, CPU), streamed(short, on_disk, split))
        )
        for mine, other in zip(resident, file, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_a_streamed_trial_learns_what_a_resident_one_does(
    short: Scenario, digits: ImageSet, on_disk: ImageSet, split: Split, scratch: Entrant, tmp_path: Path
):
    def run(update: Update, name: str, observer=None) -> Finished:
        provenance = describe_run(short, digits.source, split.hash(), CPU, False, "eager", "test")
        spec = TrialSpec(short, scratch, 1, 0)
        return Trial(spec, update, None, provenance, tmp_path / name, tmp_path / f"{name}.pt", CPU, observer).run()

    class Killed(BaseException):
        pass

    class KillAt24:
        def began(self, total_steps: int, done_steps: int) -> None:
            pass

        def evaluated(self, row) -> None:
            if row.step == 24:  # inside the second epoch
                raise Killed

    resident = run(build_update(short, digits, split, 1, CPU), "resident")
    with pytest.raises(Killed):
        run(streamed(short, on_disk, split), "cut", KillAt24())
    resumed = run(streamed(short, on_disk, split), "cut")
    assert resumed.record.summary.sittings == 2
    assert [done.record.provenance.images for done in (resident, resumed)] == ["resident", "streamed"]
    assert resumed.record.summary.weights_sha256 == resident.record.summary.weights_sha256
    accuracies = [[row.test_accuracy for row in read_evals(tmp_path / name)] for name in ("resident", "cut")]
    assert accuracies[0] == accuracies[1]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_pinned_buffers_give_the_resident_batches(short, digits, on_disk, split):
    cuda = torch.device("cuda", 0)
    orders = []
    for images, residence in ((digits, "resident"), (on_disk, "streamed")):
        update = build_update(short, images, split, 1, cuda, residence=residence)
        orders.append(BatchOrder(update.train, update.pool, Uniform(), 64, 3))
    for _ in range(40):
        assert all(torch.equal(a, b) for a, b in zip(orders[0].next(), orders[1].next(), strict=True))
