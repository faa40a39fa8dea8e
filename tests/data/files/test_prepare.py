from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.files import prepare as preparing
from bench.data.files.decode import decode_image
from bench.data.files.folders import Listing, list_class_folders
from bench.data.files.prepare import Prepared, chunk_rows, find_prepared, load_prepared, prepare, prepared_folder
from bench.data.sources.verify import broken_chunks
from bench.errors import DataError
from tests.data.trees import class_folders, write_image

SIZE = 8


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    return list_class_folders(class_folders(tmp_path / "tree", ("ant", "bee"), each=7))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "_CHUNK_IMAGES", 2)


def done_in(listing: Listing, root: Path, *, workers: int = 1, skip_broken: bool = False) -> tuple[Prepared, int]:
    """Prepare, and also return how many images were reported as done."""
    told: list[int] = []
    found = prepare(listing, SIZE, root, workers=workers, skip_broken=skip_broken, progress=told.append)
    return found, sum(told)


def pixels_of(prepared: Prepared) -> np.ndarray:
    return np.asarray(prepared.mapped.pixels)


def test_a_prepared_tree_holds_every_image_in_the_listings_order(listing: Listing, tmp_path: Path):
    prepared, told = done_in(listing, tmp_path)
    assert told == 14
    for row, name in enumerate(listing.files):
        assert (pixels_of(prepared)[row] == decode_image(listing.folder / name, SIZE)).all()
    assert isinstance(prepared.mapped.pixels, np.memmap)
    assert prepared.rows.tolist() == list(range(14))


def test_another_resize_or_limit_is_another_prepared_tree(listing: Listing, tmp_path: Path):
    whole, cut = (prepare(listing, SIZE, tmp_path, workers=1, resize=resize) for resize in (None, 10))
    assert whole.folder != cut.folder
    assert (pixels_of(cut)[3] == decode_image(listing.folder / listing.files[3], SIZE, 10)).all()
    assert (pixels_of(cut) != pixels_of(whole)).any()
    assert find_prepared(listing, SIZE, tmp_path, 10) is not None
    assert find_prepared(listing, SIZE, tmp_path, megapixels=65) is None
    assert "shorter side resampled to 10" in json.loads((cut.folder / "manifest.json").read_text())["method"]


def test_a_second_call_decodes_nothing(listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, _ = done_in(listing, tmp_path)
    monkeypatch.setattr(preparing, "decode_chunk", None)
    again, told = done_in(listing, tmp_path)
    assert told == 0
    assert again.mapped.digest == first.mapped.digest


@pytest.mark.usefixtures("small_chunks")
def test_several_processes_write_what_one_writes(listing: Listing, tmp_path: Path):
    one, _ = done_in(listing, tmp_path / "one")
    two, _ = done_in(listing, tmp_path / "two", workers=2)
    assert (pixels_of(one) == pixels_of(two)).all()
    assert one.mapped.digest == two.mapped.digest


_KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from bench.data.files import prepare as preparing
from bench.data.files.folders import list_class_folders
preparing._CHUNK_IMAGES = 2
left = int(sys.argv[3])
def advance(images):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
preparing.prepare(list_class_folders(Path(sys.argv[1])), 8, Path(sys.argv[2]), workers=1, progress=advance)
"""


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("chunks", [1, 3, 6])
def test_a_killed_preparation_resumes_where_it_stopped(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int
):
    whole, _ = done_in(listing, tmp_path / "whole")
    root = tmp_path / "cut"
    command = [sys.executable, "-c", _KILLED_AFTER, str(listing.folder), str(root), str(chunks)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert find_prepared(listing, SIZE, root) is None
    decoded = []
    plain = preparing.decode_chunk
    monkeypatch.setattr(preparing, "decode_chunk", lambda chunk: decoded.append(chunk.number) or plain(chunk))
    prepared, told = done_in(listing, root)
    assert decoded == list(range(chunks, 7))
    assert told == 14
    assert prepared.mapped.digest == whole.mapped.digest


@pytest.mark.usefixtures("small_chunks")
def test_a_kill_before_or_within_a_journal_line_loses_one_chunk(listing: Listing, tmp_path: Path):
    whole, _ = done_in(listing, tmp_path)
    folder = prepared_folder(listing, SIZE, tmp_path)
    (folder / "manifest.json").unlink()
    lines = (folder / "done.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "done.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    pixels[6:] = 0  # the third chunk's line is complete, the fourth's is torn, and later pixels were never written
    pixels.flush()
    prepared, _ = done_in(listing, tmp_path)
    assert prepared.mapped.digest == whole.mapped.digest
    assert not broken_chunks(prepared)


def test_a_worker_exits_with_its_parent(tmp_path: Path):
    class_folders(tmp_path / "tree", ("ant",), each=60)
    code = _KILLED_AFTER.replace("workers=1", "workers=2")
    guarded = tmp_path / "run.py"
    guarded.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines()))
    command = [sys.executable, str(guarded), str(tmp_path / "tree"), str(tmp_path), "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # The workers hold the other end of stderr: it closes when the last of them exits.
    victim = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL


def test_the_centre_square_is_taken_and_an_image_of_the_size_keeps_its_pixels(tmp_path: Path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (decode_image(tmp_path / "wide.png", 8) == 200).all()
    resized = Image.fromarray(wide).resize((12, 4), Image.Resampling.BILINEAR)
    assert (decode_image(tmp_path / "wide.png", 4) == np.asarray(resized)[:, 4:8]).all()
    exact = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    Image.fromarray(exact).save(tmp_path / "exact.png")
    assert (decode_image(tmp_path / "exact.png", 8) == exact).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_of_eight_bits_becomes_rgb(tmp_path: Path, mode: str):
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png", 8).shape == (8, 8, 3)


def test_a_large_jpeg_is_decoded_to_about_what_pillow_gives_at_full_size(tmp_path: Path):
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(ramp, (300, 1))] * 3, axis=-1)).save(tmp_path / "a.jpg", quality=95)
    found = decode_image(tmp_path / "a.jpg", 32).astype(int)
    with Image.open(tmp_path / "a.jpg") as full:
        expected = np.asarray(full.crop((50, 0, 350, 300)).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert abs(found - expected).max() <= 3


def spoil(tree: Path) -> None:
    """Add an image of 0 bytes, a text file named like an image, a truncated image and an image of too many pixels."""
    (tree / "ant" / "empty.jpg").write_bytes(b"")
    (tree / "ant" / "text.jpg").write_text("This is not an image.")
    write_image(tree / "bee" / "cut.jpg", 0, (40, 40))
    whole = (tree / "bee" / "cut.jpg").read_bytes()
    (tree / "bee" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("1", (8001, 8000)).save(tree / "bee" / "huge.png")


def test_broken_images_are_refused_by_name(tmp_path: Path):
    tree = class_folders(tmp_path / "tree", ("ant", "bee"))
    spoil(tree)
    listing = list_class_folders(tree)
    with pytest.raises(DataError) as caught:
        done_in(listing, tmp_path)
    line = str(caught.value)
    assert "4 of 14 images broken (ant/empty.jpg: 0 bytes; ant/text.jpg: not an image; bee/cut.jpg: " in line
    assert "bee/huge.png: 8,001 x 8,000 pixels, expected at most 64 megapixels" in line
    assert line.endswith("skip them: bench data prepare --skip-broken.")
    assert find_prepared(listing, SIZE, tmp_path) is None


def test_broken_images_are_skipped_when_asked_without_decoding_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tree = class_folders(tmp_path / "tree", ("ant", "bee"))
    spoil(tree)
    listing = list_class_folders(tree)
    with pytest.raises(DataError):
        done_in(listing, tmp_path)
    monkeypatch.setattr(preparing, "decode_chunk", None)
    prepared, _ = done_in(listing, tmp_path, skip_broken=True)
    assert set(prepared.skipped) == {"ant/empty.jpg", "ant/text.jpg", "bee/cut.jpg", "bee/huge.png"}
    assert len(prepared.rows) == 10
    manifest = json.loads((prepared.folder / "manifest.json").read_text())
    assert manifest["skipped"]["ant/empty.jpg"] == "0 bytes"


def test_a_class_of_only_broken_images_is_refused_even_when_skipping(tmp_path: Path):
    tree = class_folders(tmp_path / "tree", ("ant",))
    (tree / "bee").mkdir()
    (tree / "bee" / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="every image of class 'bee' is broken"):
        done_in(list_class_folders(tree), tmp_path, skip_broken=True)


def test_pixels_that_changed_on_the_disk_are_found(listing: Listing, tmp_path: Path):
    prepared, _ = done_in(listing, tmp_path)
    pixels = np.load(prepared.folder / "images.npy", mmap_mode="r+")
    pixels[3, 0, 0, 0] ^= 1
    pixels.flush()
    assert broken_chunks(prepared) == ["images 0..13"]


def same_times(path: Path, state: os.stat_result) -> None:
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_folders_with_equal_names_sizes_and_times_do_not_share_pixels(tmp_path: Path):
    for place, name in enumerate(("one", "two")):
        for number in range(2):
            path = tmp_path / name / "ant" / f"{number}.bmp"  # of equal size whatever the pixels are
            write_image(path, 10 * place + number)
            os.utime(path, ns=(10**18, 10**18))
    one, two = (done_in(list_class_folders(tmp_path / name), tmp_path)[0] for name in ("one", "two"))
    assert one.folder != two.folder
    assert (pixels_of(one) != pixels_of(two)).any()


def test_a_file_changed_in_place_with_its_time_kept_is_decoded_again(tmp_path: Path):
    path = tmp_path / "tree" / "ant" / "0.bmp"
    write_image(path, 0)
    state = path.stat()
    before, _ = done_in(list_class_folders(tmp_path / "tree"), tmp_path)
    first = pixels_of(before).copy()
    time.sleep(0.05)  # a file system counts its times in ticks of a few milliseconds
    write_image(path, 1)
    same_times(path, state)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    after, _ = done_in(list_class_folders(tmp_path / "tree"), tmp_path)
    assert (pixels_of(after) != first).any()


def test_verifying_reads_the_files_again(listing: Listing, tmp_path: Path):
    prepared, _ = done_in(listing, tmp_path)
    assert prepared.changed_files() == []
    write_image(listing.folder / "bee" / "3.png", 99)
    (listing.folder / "ant" / "1.png").unlink()
    assert prepared.changed_files() == ["ant/1.png", "bee/3.png"]


def test_the_same_tree_through_a_link_is_prepared_once(listing: Listing, tmp_path: Path):
    (tmp_path / "link").symlink_to(listing.folder)
    assert list_class_folders(tmp_path / "link").digest == listing.digest


def test_the_digests_are_those_of_the_files_and_pixels(listing: Listing, tmp_path: Path):
    prepared, _ = done_in(listing, tmp_path)
    lines = (prepared.folder / "files.txt").read_text().splitlines()
    digest, key, name = lines[3].split(" ", 2)
    assert name == listing.files[3]
    assert digest == hashlib.blake2b((listing.folder / name).read_bytes(), digest_size=16).hexdigest()
    assert prepared.keys()[3] == key.encode()
    (prepared.folder / "files.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"files\.txt: 13 lines, expected 14\. Remove its folder"):
        prepared.keys()


def test_an_array_that_lost_its_end_is_refused_and_made_anew(listing: Listing, tmp_path: Path):
    prepared, _ = done_in(listing, tmp_path)
    before = prepared.mapped.digest
    os.truncate(prepared.folder / "images.npy", 200)
    with pytest.raises(DataError, match=r"images\.npy: not an array of uint8 \(14, 8, 8, 3\).*Run bench data prepare"):
        find_prepared(listing, SIZE, tmp_path)
    assert done_in(listing, tmp_path)[0].mapped.digest == before
    assert load_prepared(listing, SIZE, tmp_path) is not None


def flip_pixel(folder: Path) -> None:
    pixels = np.load(folder / "images.npy", mmap_mode="r+")
    pixels[3, 0, 0, 0] ^= 1
    pixels.flush()
    state = (folder / "images.npy").stat()
    os.utime(
        folder / "images.npy", ns=(state.st_atime_ns, state.st_mtime_ns + 1)
    )  # a clock ticks between two processes


def flip_text(name: str):
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return flip


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("damage", "said", "decoded"),
    [
        (flip_pixel, "images.npy: images 2..3 have changed since they were written", [1]),
        (flip_text("files.txt"), "files.txt: does not have the SHA-256 that it was written with", []),
        (flip_text("manifest.json"), "manifest.json: does not have the SHA-256 that it was written with", []),
        (lambda folder: (folder / "manifest.json").write_bytes(b""), "manifest.json: cannot be read", []),
    ],
    ids=["pixel", "files.txt", "manifest.json", "empty"],
)
def test_what_has_changed_is_refused_named_and_decoded_again(
    damage, said: str, decoded: list[int], listing: Listing, tmp_path: Path, monkeypatch, caplog
):
    prepared, _ = done_in(listing, tmp_path)
    names = ("images.npy", "files.txt", "manifest.json")
    before = [(prepared.folder / name).read_bytes() for name in names]
    damage(prepared.folder)
    with pytest.raises(
        DataError, match=f"{re.escape(said)}.* Run bench data prepare, which decodes again what it must"
    ):
        load_prepared(listing, SIZE, tmp_path)
    again: list[int] = []
    plain = preparing.decode_chunk
    monkeypatch.setattr(preparing, "decode_chunk", lambda chunk: again.append(chunk.number) or plain(chunk))
    done_in(listing, tmp_path)
    assert again == decoded
    (line,) = caplog.messages
    assert line.startswith(f"bench: {prepared.folder}/")
    assert said in line
    assert [(prepared.folder / name).read_bytes() for name in names] == before


def test_a_tree_prepared_before_there_were_all_digests_is_read(listing: Listing, tmp_path: Path):
    prepared, _ = done_in(listing, tmp_path)
    path = prepared.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(
        json.dumps({key: manifest[key] for key in manifest if key not in ("manifest_sha256", "files_sha256")})
    )
    assert load_prepared(listing, SIZE, tmp_path) is not None


def test_chunks_cover_every_row_once_and_hold_few_large_images():
    assert list(chunk_rows(2500, 64)) == [(0, 1024), (1024, 2048), (2048, 2500)]
    assert next(chunk_rows(10_000, 512))[1] == 21  # 16 MiB


def unsigned(text: str, chunks: int = 1) -> str:
    """A manifest from before they had a checksum of their own."""
    content = json.loads(text)
    del content["manifest_sha256"]
    content["sha256"] *= chunks
    content["digest"] = hashlib.sha256("".join(content["sha256"]).encode()).hexdigest()
    return json.dumps(content)


BROKEN_MANIFESTS = {
    "no JSON": (lambda text: text[:-5], "manifest.json: cannot be read"),
    "too deep": (lambda text: "[" * 100_000, "manifest.json: cannot be read (nested too deeply)"),
    "a missing key": (lambda text: text.replace('"skipped"', '"left"'), "manifest.json: skipped: missing"),
    "another type": (lambda text: text.replace('"skipped": {}', '"skipped": 3'), "manifest.json: skipped: found 3"),
    "a changed digest": (lambda text: text.replace('"sha256": [', '"sha256": ["",'), "not have the SHA-256"),
    "an older one's": (lambda text: unsigned(text).replace('"digest": "', '"digest": "0'), "digest: not that of"),
    "chunks of another tree": (lambda text: unsigned(text, chunks=2), "manifest.json: sha256: 2 chunks"),
}


@pytest.mark.parametrize("what", BROKEN_MANIFESTS)
def test_a_broken_manifest_is_one_line_with_file_and_key(listing: Listing, tmp_path: Path, what: str):
    change, said = BROKEN_MANIFESTS[what]
    path = prepare(listing, SIZE, tmp_path / "data", workers=1).folder / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as found:
        find_prepared(listing, SIZE, tmp_path / "data")
    assert said in str(found.value)
    assert "\n" not in str(found.value)
