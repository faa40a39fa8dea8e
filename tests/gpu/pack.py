"""Pack a visit to a GPU machine without network, in pieces that a transfer can hold.

python -m tests.gpu.pack --data-root DIR --set cifar100 --out gpu-visit
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from bench.data.sources.arrays import KEYS, read_npz
from bench.errors import BenchError, DataError
from bench.records.provenance import COPIED_FROM, code_digest, code_state
from tests.gpu import visit

ROOT = Path(__file__).resolve().parents[2]
# Needed by bench and seen missing on a machine with torch and the usual scientific packages; with what these need.
PACKAGES = (
    "fvcore",
    "iopath",
    "yacs",
    "termcolor",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "platformdirs",
    "typing_extensions",
    "portalocker",
    "filelock",
    "tabulate",
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_TREE = ("bench", "scenarios", "baselines", "tests", "pyproject.toml", "README.md")
_COLUMNS, _ROWS = 25, 20  # of a mosaic
_LONGEST_SIDE = 16383  # of a WebP image
_WEBP = {"lossless": True, "method": 6, "quality": 75}  # CIFAR-100: 96 MiB, in 2 min of one core
_MIB = 2**20


class PackError(BenchError):
    """A visit that cannot be packed as asked."""


@dataclass(frozen=True)
class Item:
    """A file of a piece. kind: "tree", "wheel" or "array"."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Pieces:
    """What was packed. folders: in order. items: how many. commit: of the tree."""

    folders: tuple[Path, ...]
    items: int
    commit: str


def pack(
    root: Path, data_root: Path, name: str, out: Path, *, piece_mib: float = 60.0, wheels: str | None = "3.12"
) -> Pieces:
    """Write the pieces of a visit with the commit that `root` is at and a set `name`, and replace those of an earlier one.

    piece_mib: the most that a piece may hold, in MiB. wheels: the Python that packages are for; None: without packages.
    Raises PackError for a tree that is modified, or an item that no piece can hold; DataError for a set that is not there.
    """
    commit, modified, _ = code_state(root)
    if commit is None or modified is not False or not (root / ".git").exists():
        raise PackError(
            f"{root}: the code differs from its commit, or has none, expected a clean checkout: records name the commit. "
            "Commit first."
        )
    path = data_root / f"{name}.npz"
    if not path.is_file():
        raise DataError(
            f"{path}: not found, expected an archive of {', '.join(KEYS)}. Name another --data-root or --set."
        )
    arrays = read_npz(path)
    items, described = [_tree(root, commit)], {}
    for key, array in arrays.items():
        packed, facts = _pack_array(key, array)
        items += packed
        described[key] = facts
    if wheels is not None:
        items += _wheelhouse(wheels)
    about = {"commit": commit, "set": name, "python": wheels, "arrays": described}
    return Pieces(tuple(_write_pieces(items, about, out, piece_mib)), len(items), commit)


def _tree(root: Path, commit: str) -> Item:
    """Return the commit's own tree, with a file that says which commit it is."""
    words = ["git", "-C", str(root), "archive", "--format=tar", commit, *_TREE]
    made = subprocess.run(words, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(made)) as archive:
        archive.extractall(folder, filter="data")
        digest = code_digest(Path(folder))
    said = json.dumps({"commit": commit, "digest": digest}).encode()
    whole = io.BytesIO(made)
    with tarfile.open(fileobj=whole, mode="a") as archive:
        member = tarfile.TarInfo(COPIED_FROM)
        member.size = len(said)
        archive.addfile(member, io.BytesIO(said))
    return Item("tree.tar.gz", "tree", gzip.compress(whole.getvalue(), mtime=0))


def _pack_array(key: str, array: np.ndarray) -> tuple[list[Item], dict[str, Any]]:
    """Return the items that an array is packed into, and what is needed to restore it."""
    facts: dict[str, Any] = {"shape": array.shape, "dtype": str(array.dtype), "sha256": visit.array_sha256(array)}
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3:
        items, each = _mosaics(key, array)
        facts |= {"kind": "webp", "images_per_item": each}
    else:
        plain = io.BytesIO()
        np.save(plain, array, allow_pickle=False)
        items = [Item(f"{key}.npy.xz", "array", lzma.compress(plain.getvalue()))]
        facts |= {"kind": "npy.xz"}
    return items, {**facts, "items": [item.name for item in items]}


def _mosaics(key: str, images: np.ndarray) -> tuple[list[Item], int]:
    """Return RGB images as mosaics in lossless WebP, and how many images one holds."""
    height, width = images.shape[1:3]
    columns, rows = min(_COLUMNS, _LONGEST_SIDE // width), min(_ROWS, _LONGEST_SIDE // height)
    each = columns * rows

    def encode(begin: int) -> Item:
        part = images[begin : begin + each]
        tiles = np.zeros((each, height, width, 3), np.uint8)
        tiles[: len(part)] = part
        mosaic = (
            tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
        )
        written = io.BytesIO()
        Image.fromarray(mosaic).save(written, "WEBP", **_WEBP)
        content, name = written.getvalue(), f"{key}-{begin // each:03d}.webp"
        if not np.array_equal(visit.tiles_of(content, len(part), height, width), part):
            raise PackError(f"{name}: WebP did not keep the images, expected it lossless. Install another Pillow.")
        return Item(name, "array", content)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(encode, range(0, len(images), each))), each


def _wheelhouse(python: str) -> list[Item]:
    """Return a wheel of every package, in the version that is installed here."""
    with tempfile.TemporaryDirectory() as folder:
        for package in PACKAGES:
            _fetch_wheel(f"{package}=={version(package)}", python, folder)
        return [Item(path.name, "wheel", path.read_bytes()) for path in sorted(Path(folder).glob("*.whl"))]


def _fetch_wheel(wanted: str, python: str, folder: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    ready = ["download", "--no-deps", "--only-binary=:all:", "--python-version", python, *platforms]
    built = ["wheel", "--no-deps"]  # of pure Python, published as source only
    for way, where in ((ready, "--dest"), (built, "--wheel-dir")):
        done = subprocess.run([*pip, *way, where, folder, wanted], capture_output=True, text=True)
        if not done.returncode:
            return
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise PackError(f"{wanted}: no wheel for Python {python} ({reason}). Go online, or pack with --no-wheels.")


def _write_pieces(items: list[Item], about: Mapping[str, Any], out: Path, piece_mib: float) -> Iterator[Path]:
    """Write every piece, with the manifest of all of them and visit.py. Yields their folders."""
    program = Path(visit.__file__).read_bytes()

    def manifest(piece: int, place: Callable[[Item], int], pieces: int) -> bytes:
        listed = {
            item.name: {
                "piece": place(item),
                "kind": item.kind,
                "bytes": len(item.content),
                "sha256": visit.sha256_of(item.content),
            }
            for item in items
        }
        return json.dumps({**about, "piece": piece, "pieces": pieces, "items": listed}, indent=1).encode()

    extra = len(program) + len(manifest(999, lambda item: 999, 999))  # as many digits as there may be
    pieces = distribute({item.name: len(item.content) for item in items}, int(piece_mib * _MIB) - extra)
    numbers = {name: number for number, names in enumerate(pieces, 1) for name in names}
    contents = {item.name: item.content for item in items}
    for old in out.glob("piece-*"):
        shutil.rmtree(old)
    for number, names in enumerate(pieces, 1):
        folder = out / f"piece-{number}"
        folder.mkdir(parents=True)
        (folder / "visit.py").write_bytes(program)
        (folder / visit.MANIFEST).write_bytes(manifest(number, lambda item: numbers[item.name], len(pieces)))
        for name in names:
            (folder / name).write_bytes(contents[name])
        yield folder


def distribute(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Put items into as few pieces as going by size allows: the largest first, each into the first piece with room for it.

    sizes: by name. most: of a piece, in the same unit. Raises PackError for an item that is larger.
    """
    pieces: list[list[str]] = []
    room: list[int] = []
    for name, size in sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])):
        if size > most:
            raise PackError(
                f"--piece: {name} takes {size / _MIB:.2f} MiB, expected at most {most / _MIB:.2f} beside the manifest. Raise it."
            )
        at = next((number for number, free in enumerate(room) if size <= free), None)
        if at is None:
            pieces.append([])
            room.append(most)
            at = len(room) - 1
        pieces[at].append(name)
        room[at] -= size
    return pieces


def instructions(packed: Pieces) -> str:
    """Return what to carry and what to run there, in order."""
    lines = [f"commit {packed.commit[:10]}, {packed.items} items. Carry one piece at a time, and run there:", ""]
    for folder in packed.folders:
        mib = sum(path.stat().st_size for path in folder.iterdir()) / _MIB
        lines.append(f"  {folder} ({mib:.1f} MiB)")
        lines.append(f"    python3 {folder}/visit.py receive --work /tmp/visit")
    options = "--seconds 540 --scenario cifar100-70-30 --seeds 0-2"
    lines += [
        "",
        "Then, and again to resume:",
        f'    python3 /tmp/visit/visit.py run --work /tmp/visit --out "$OUT" {options}',
        "",
        "results.tgz in $OUT holds the finished trials: tar xzf results.tgz; bench check results",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of .npz sets.")
@click.option("--set", "name", default="cifar100", show_default=True, help="The set to carry.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu-visit"), show_default=True)
@click.option("--piece", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="MiB.")
@click.option("--wheels/--no-wheels", default=True, show_default=True, help="Whether to carry packages.")
@click.option("--python", default="3.12", show_default=True, help="The GPU machine's Python.")
def main(data_root: Path, name: str, out: Path, piece: float, wheels: bool, python: str) -> None:
    """Pack the present commit, packages and a set of images, in pieces that a transfer can hold."""
    try:
        packed = pack(ROOT, data_root, name, out, piece_mib=piece, wheels=python if wheels else None)
    except BenchError as cause:
        click.echo(f"pack: {cause}", err=True)
        sys.exit(cause.exit_code)
    click.echo(instructions(packed))


if __name__ == "__main__":
    main()
