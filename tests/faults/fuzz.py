"""Mutated inputs: every file and text that bench reads, changed at random, must end in one clear line or in a result.

    python -m tests.faults.fuzz                          # 2,000 mutations of each kind; some minutes
    python -m tests.faults.fuzz --count 200 --seed 7 --only "trial.json" --only npz

A row of its table: the kind, how many mutations were tried, how many ended in a result or in one line (survived), in how many
something was lost (a sound record beside the mutated one, a number that changed unnoticed, a file outside of the given folders,
or more than ten seconds), and how many were tracebacks. Any that is lost or a traceback is printed, with its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from pandas.testing import assert_frame_equal

from bench.catalog import shipped_folder
from bench.cli.main import main as command
from bench.data.files.folders import list_class_folders
from bench.data.files.prepare import find_prepared, prepare, prepared_folder
from bench.data.sources.archives import own_archive_parts
from bench.data.sources.verify import broken_chunks
from bench.errors import BenchError
from bench.execution.listener import Silent
from bench.records.collect import collect, write_collected
from bench.scenario import load_scenario, parse_scenario
from tests.data.trees import class_folders
from tests.faults.commands import made_up

HANG_SECONDS = 10
SIZE = 8
_COMMANDS = (
    0.25  # of the changed records, on which a whole command is run too: it takes ten times as long as reading them
)

# What a value is replaced by: limits, wrong types, wrong texts, and what means something elsewhere.
_ODD = (
    *(
        "-1",
        "0",
        "1",
        "2",
        "1.5",
        "-0.0",
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        "nan",
        "inf",
        "1e308",
        "1e-320",
        "0x10",
        "1_000",
    ),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 400, "9" * 5000, "0x" + "f" * 5000),
    *(
        "true",
        "false",
        "null",
        "None",
        "{}",
        "[]",
        "[[]]",
        "[null]",
        "{'a': 1}",
        '""',
        '"a"',
        '"../../up"',
        '"/"',
        '"..."',
        '"."',
    ),
    *(
        '"' + "a" * 300 + '"',
        '"\\u0000"',
        '"\\ud800"',
        '"\u00e9\u2028\u202e"',
        "[" * 3000,
        "{" * 3000,
        "(" * 300,
        '{"a":' * 3000,
    ),
    *(
        "1979-05-27T07:32:00Z",
        "__import__('os')",
        "9**9**9",
        "lambda: 0",
        "*",
        "a.b.c",
        "=",
        ",",
        "]",
        ")",
        "\n",
        "\r\n",
        "\0",
    ),
)
_TOKEN = re.compile(rb'"[^"\n]*"|-?\d+(?:\.\d+)?(?:e-?\d+)?|\btrue\b|\bfalse\b|\bnull\b')


class HangError(Exception):
    """An input that took too long."""


class LostError(Exception):
    """Something beside the mutated input was affected, or a changed number was believed."""


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return the content with one to three changes: bits, spans, lines, values, or what surrounds it."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(_CHANGES)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    found = bytearray(content or b" ")
    for _ in range(draw.choice((1, 1, 4, 32))):
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    begin = draw.randrange(len(content) + 1)
    return begin, min(len(content), begin + draw.choice((1, 2, 8, 64, 1024)))


def _delete(content: bytes, draw: random.Random) -> bytes:
    begin, end = _span(content, draw)
    return content[:begin] + content[end:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    begin, end = _span(content, draw)
    return content[:end] + content[begin:end] * draw.choice((1, 2, 50)) + content[end:]


def _noise(content: bytes, draw: random.Random) -> bytes:
    begin, end = _span(content, draw)
    return content[:begin] + draw.randbytes(end - begin) + content[draw.choice((begin, end)) :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.choice((0, 1, len(content) - 1, draw.randrange(len(content) + 1)))]


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(3)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        lines.insert(other, lines[one])
    else:
        del lines[one]
    return b"".join(lines)


def _value(content: bytes, draw: random.Random) -> bytes:
    found = list(_TOKEN.finditer(content))
    if not found:
        return content
    place = draw.choice(found)
    odd = draw.choice(_ODD).encode("utf-8", "surrogatepass")
    return content[: place.start()] + odd + content[place.end() :]


def _around(content: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(6)
    if kind == 0:
        return b"\xef\xbb\xbf" + content
    if kind == 1:
        return content.replace(b"\n", b"\r\n")
    if kind == 2:
        return content + draw.randbytes(8)
    if kind == 3:
        return content.decode("latin-1").encode("utf-16")
    if kind == 4:
        return content + content
    return content + b"\n" * 1000


def _structure(content: bytes, draw: random.Random) -> bytes:
    """Change one value of a JSON text, remove its key, or add one; leave what is no JSON as it is."""
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        return _value(content, draw)
    places = list(_places(whole))
    if not places:
        return content
    holder, key = draw.choice(places)
    kind = draw.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder[key]
    else:
        odd = draw.choice(_ODD)
        with contextlib.suppress(ValueError, RecursionError):
            odd = json.loads(odd)
        holder[key] = odd
    try:
        return (json.dumps(whole, indent=1) + "\n").encode()
    except (ValueError, RecursionError):
        return content


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (what holds it, its key or place) of every value inside."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _delete, _repeat, _noise, _cut, _lines, _around),
    *(_value,) * 5,
    *(_structure,) * 5,
)


@dataclass(frozen=True)
class Row:
    """What became of the mutations of one kind of input."""

    kind: str
    points: int
    survived: int
    lost: int
    tracebacks: int


@dataclass(frozen=True)
class Kind:
    """A kind of input. attempt: mutates it and has it read; whatever it raises but a BenchError is a fault."""

    name: str
    attempt: Callable[[random.Random], object]


def _run(*words: object) -> str:
    """Run a command; its own mistakes are one or more lines and an exit code. Return what it printed."""
    found = CliRunner().invoke(command, [str(word) for word in words], prog_name="bench")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    if found.exit_code not in (0, 1, 2) or "Traceback" in found.output:
        raise LostError(f"exit code {found.exit_code}: {found.output[-300:]}")
    if found.exit_code and not found.stderr.strip():
        raise LostError(f"exit code {found.exit_code} without a word")
    return found.output


def _scenarios(folder: Path) -> Iterator[Kind]:
    shipped = (shipped_folder("scenarios") / "cifar100-70-10-10-10.toml").read_bytes()
    own = b"""name = "mine"
title = "Mine"
kind = "mixed"
stages = [{ folder = "old" }, { folder = "new", layout = "classes", old_share = 0.5 }]

[data]
validation_share = 0.1
test_share = 0.2
image_size = 8

[model]
name = "resnet8"
checkpoint = "old.pt"
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[training]
epochs = 1
batch_size = 8
learning_rate = 0.1
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.0
precision = "fp32"
crop_padding = 1
flip = true

[evaluation]
points = 2
test_every = 1
"""
    target = b"""
[target]
accuracy = 0.9
std = 0.01
seeds = [0, 1, 2, 3, 4]
source = "somewhere"
convergence_steps = [10, 20, 30, 40, 50]
"""

    def read(content: bytes) -> None:
        path = folder / "mine.toml"
        path.write_bytes(content)
        found = load_scenario(path)
        parse_scenario(found.model_dump(mode="json"), "again")
        assert re.fullmatch(r"[\w.-]+", found.name), found.name
        found.hash()

    yield Kind("scenario", lambda draw: read(mutate(draw.choice((shipped, own)), draw)))
    yield Kind("published target", lambda draw: read(own + mutate(target, draw)))


def _records(folder: Path) -> Iterator[Kind]:
    made_up(results := folder / "results")
    sound = collect(results)
    mutated = results / "made-up/naive/1/seed-1"
    others = [["naive", 0], ["scratch", 0], ["scratch", 1]]

    def attempt(name: str, draw: random.Random) -> None:
        path = mutated / name
        whole = path.read_bytes()
        try:
            path.write_bytes(mutate(whole, draw))
            found = collect(results)
            keys = found.trials[["strategy", "seed"]].values.tolist()
            if any(key not in keys for key in others):
                raise LostError(f"sound records are gone: {keys}")
            _same_or_left_out(found, sound)
            if draw.random() < _COMMANDS:
                _run(*draw.choice(commands))
        finally:
            path.write_bytes(whole)
            (results / "records.parquet").unlink(missing_ok=True)

    where = ["--results", results]
    commands: list[list[object]] = [
        ["leaderboard", *where],
        ["leaderboard", "--format", "json", *where],
        ["leaderboard", "--format", "tex", "--currency", "device_seconds", *where],
        ["compare", "naive", "scratch", "--scenario", "made-up", *where],
        ["check", results],
        ["collect", *where],
    ]
    yield Kind("trial.json", lambda draw: attempt("trial.json", draw))
    yield Kind("evals.jsonl", lambda draw: attempt("evals.jsonl", draw))


def _same_or_left_out(found: Any, sound: Any) -> None:
    """Raise LostError where a trial or evaluations that changed are believed."""
    plain = {"scenario": str, "strategy": str}
    for name in ("trials", "evals"):
        one, whole = (getattr(records, name) for records in (found, sound))
        if found.unreadable:
            whole = whole[(whole["strategy"] != "naive") | (whole["seed"] != 1)]
        try:
            assert_frame_equal(
                one.astype(plain).reset_index(drop=True), whole.astype(plain).reset_index(drop=True), check_exact=True
            )
        except AssertionError as cause:
            raise LostError(f"changed {name} were believed") from cause


def _collected(folder: Path) -> Iterator[Kind]:
    made_up(results := folder / "results")
    sound, path = collect(results), write_collected(results).path
    whole = path.read_bytes()

    def attempt(draw: random.Random) -> None:
        path.write_bytes(mutate(whole, draw))
        found = collect(results)
        assert_frame_equal(found.trials, sound.trials)
        assert_frame_equal(found.evals, sound.evals)

    yield Kind("collected file", attempt)


def _images(folder: Path) -> Iterator[Kind]:
    listing = list_class_folders(class_folders(folder / "tree", ("ant", "bee"), each=3))
    ready = prepare(listing, SIZE, folder / "data", workers=1)
    manifest = ready.folder / "manifest.json"
    array, pictures = ready.folder / "images.npy", sorted((folder / "tree").rglob("*.png"))

    def attempt(path: Path, draw: random.Random) -> None:
        whole = path.read_bytes()
        try:
            path.write_bytes(mutate(whole[:4096], draw) + whole[4096:])
            found = find_prepared(listing, SIZE, folder / "data")
            assert found is not None
            broken_chunks(found)
        finally:
            path.write_bytes(whole)

    def decode(draw: random.Random) -> None:
        path, root = draw.choice(pictures), folder / "again"
        whole = path.read_bytes()
        try:
            path.write_bytes(mutate(whole, draw))
            changed = list_class_folders(folder / "tree")
            prepare(changed, SIZE, root, workers=1, skip_broken=draw.random() < 0.5)
            assert prepared_folder(changed, SIZE, root).is_relative_to(root)
        finally:
            path.write_bytes(whole)
            shutil.rmtree(root, ignore_errors=True)

    yield Kind("manifest", lambda draw: attempt(manifest, draw))
    yield Kind("prepared images", lambda draw: attempt(array, draw))
    yield Kind("image", decode)


def _archives(folder: Path) -> Iterator[Kind]:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(256, size=(12, SIZE, SIZE, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(256, size=(6, SIZE, SIZE, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
        "classes": np.array(["ant", "bee", "cow"]),
    }
    members = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        members[name] = buffer.getvalue()
    text = (shipped_folder("scenarios") / "digits-7-3.toml").read_text()
    path, scenario_file = folder / "mine.npz", folder / "mine.toml"
    scenario_file.write_text(text.replace("digits-7-3", "mine"))
    scenario = load_scenario(scenario_file)

    def pack(parts: Mapping[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                archive.writestr(f"{name}.npy", part)
        return buffer.getvalue()

    def attempt(draw: random.Random) -> None:
        if draw.random() < 0.4:
            found = mutate(pack(members), draw)
        else:  # inside, where the archive's own checksums say nothing; mostly the header, where the shape is
            name = draw.choice(list(members))
            part = members[name]
            cut = draw.choice((128, len(part)))
            found = pack(members | {name: mutate(part[:cut], draw) + part[cut:]})
        path.write_bytes(found)
        own_archive_parts(scenario, path, "mine.npz")

    yield Kind("npz", attempt)


def _parameters(folder: Path) -> Iterator[Kind]:
    from bench.api.named import strategies_for
    from bench.strategies.notation import read_setting

    texts = (
        b"schedule.warmup=0.2",
        b"optimized:schedule.peak=1.5",
        b"horizon=0.5",
        b"start=ShrinkAndPerturb(shrink=0.4, perturb=0.1)",
        b"schedule=MultiStep(milestones=(0.3, 0.6), gamma=0.2)",
        b"regularizer=L2Init(strength=0.01)",
        b"freezing=FreezeStages(through=stage1, until=0.5)",
        b"head=Ridge(strength=0.1)",
    )

    strategies_for(["optimized"])  # imports torch, which an alarm must not interrupt

    def attempt(option: str, draw: random.Random) -> None:
        text = mutate(draw.choice(texts), draw)
        if option == "--grid":
            text += b"," + mutate(b"0.1,0.2", draw)
        setting = read_setting(option, text.decode("utf-8", "surrogateescape"))
        for entrant in strategies_for(["optimized"], [setting]):
            if "/" in entrant.name or "\\" in entrant.name or not entrant.name.isprintable():
                raise LostError(f"{entrant.name!r}: no name of a folder")
            entrant.strategy.schedule.factors(20)

    yield Kind("--set", lambda draw: attempt("--set", draw))
    yield Kind("--grid", lambda draw: attempt("--grid", draw))


def _inside(content: bytes, member: str, draw: random.Random) -> bytes:
    """Return an archive with one member mutated, and sound checksums."""
    found = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(found, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, mutate(part, draw) if name.endswith(member) else part)
    return found.getvalue()


def _checkpoints(folder: Path) -> Iterator[Kind]:
    import torch
    import torch._dynamo  # slow, and an alarm must not interrupt it
    from safetensors.torch import save

    from bench.models.build import build_model
    from bench.models.checkpoint import fit_checkpoint

    name, shape = "resnet8-narrow", (3, SIZE, SIZE)
    model = build_model(name, 3, 2, 0, "base", SIZE)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    wrapped = {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
        "args": ["--lr", 0.1],
    }

    def saved(content: object, **form: bool) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer, **form)
        return buffer.getvalue()

    zipped = (saved(weights), saved(wrapped))
    whole = {"pt": (*zipped, saved(wrapped, _use_new_zipfile_serialization=False)), "safetensors": (save(weights),)}

    def attempt(draw: random.Random) -> None:
        kind = draw.choice(("pt", "pt", "pt", "safetensors"))
        inside = kind == "pt" and draw.random() < 0.5
        content = _inside(draw.choice(zipped), "data.pkl", draw) if inside else draw.choice(whole[kind])
        if not inside:  # mostly the front, where names and shapes are
            cut = draw.choice((1024, len(content)))
            content = mutate(content[:cut], draw) + content[cut:]
        path = folder / f"old.{kind}"
        path.write_bytes(content)
        fitted = fit_checkpoint(path, name, shape, 2, 3, 0).weights
        if any(not value.isfinite().all() for value in fitted.values()) or fitted.keys() != weights.keys():
            raise LostError("weights that are not finite, or of another model")

    yield Kind("given checkpoint", attempt)


def _caches(folder: Path) -> Iterator[Kind]:
    from bench.execution.local import LocalRun
    from bench.strategies.strategy import load_strategy
    from bench.training.checkpoint import save_checkpoint, usable_checkpoints, weights_sha256
    from tests.faults.commands import scenario_file

    scenario = load_scenario(scenario_file(folder, points=1, batch=256))
    naive = load_strategy(shipped_folder("baselines") / "naive.py")
    folders = {"data_root": folder, "results": folder / "results", "cache": folder / "cache"}
    run = LocalRun(scenario, [naive], [0], device="cpu", threads=1, **folders)
    run.run(Silent())
    bases = run._bases
    sound = bases.load(0)
    assert sound is not None
    weights, speeds = sound.weights, sound.learning_speed
    assert speeds is not None

    whole_sha256 = weights_sha256({**weights, "speed": speeds})

    def same(found: Mapping[str, Any], speed: Any) -> bool:
        return weights_sha256({**found, "speed": speed}) == whole_sha256

    def base_model(draw: random.Random) -> None:
        path = bases.folder(0) / draw.choice(("base.pt", "base.pt", "trial.json"))
        whole = path.read_bytes()
        try:
            path.write_bytes(mutate(whole, draw))
            found = bases.load(0)
            if found is not None and not (same(found.weights, found.learning_speed) and found.cost == sound.cost):
                raise LostError(f"a changed {path.name} was believed")
        finally:
            path.write_bytes(whole)

    mine = folder / "checkpoints" / "trial.pt"
    content = {"weights": weights, "learning_speed": speeds, "cost": 7}
    save_checkpoint(mine, content)
    save_checkpoint(mine, content, keep=True)
    places = (mine, mine.with_name("trial.pt.previous"))
    both = [place.read_bytes() for place in places]

    def checkpoint(draw: random.Random) -> None:
        try:
            places[0].write_bytes(mutate(both[0], draw))
            if draw.random() < 0.5:
                places[1].write_bytes(mutate(both[1], draw))
                known = 0
            else:
                known = 1  # the one before it is whole
            found = list(usable_checkpoints(mine))
            if len(found) < known:
                raise LostError("the checkpoint before it is lost, too")
            for each in found:
                equal = each.keys() == content.keys() and each["cost"] == 7
                if not (equal and same(each["weights"], each["learning_speed"])):
                    raise LostError("a changed checkpoint was believed")
        finally:
            for place, whole in zip(places, both, strict=True):
                place.write_bytes(whole)
            for aside in mine.parent.glob("*.damaged*"):
                aside.unlink()

    yield Kind("base model", base_model)
    yield Kind("checkpoint", checkpoint)


_KINDS = (_scenarios, _records, _collected, _images, _archives, _parameters, _checkpoints, _caches)


def fuzz(count: int, seed: int = 0, only: tuple[str, ...] = (), tell: Callable[[str], object] = print) -> list[Row]:
    """Try `count` mutations of each kind of input, and return a row for each. only: these kinds, () for all.

    tell: is given a few lines on each fault. In the main thread only: a hang is ended by a signal.
    """
    rows = []
    for number, make in enumerate(_KINDS):
        with tempfile.TemporaryDirectory() as outer, contextlib.chdir(outer), _no_warnings():
            given = Path(outer) / "given"
            given.mkdir()
            for kind in make(given):
                if not only or kind.name in only:
                    rows.append(_try(kind, count, f"{seed} {number} {kind.name}", tell))
                    strangers = sorted(path.name for path in Path(outer).iterdir() if path != given)
                    if strangers:
                        tell(f"{kind.name}: wrote outside of its folder: {', '.join(strangers)}")
                        rows[-1] = Row(kind.name, count, rows[-1].survived, rows[-1].lost + 1, rows[-1].tracebacks)
    return rows


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep back what bench logs, a line for each file that it puts aside."""
    logger = logging.getLogger("bench")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _try(kind: Kind, count: int, seed: str, tell: Callable[[str], object]) -> Row:
    survived = lost = tracebacks = 0
    for number in range(count):
        try:
            with _at_most(HANG_SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind.attempt(random.Random(f"{seed} {number}"))
            survived += 1
        except BenchError as cause:
            if "\n" in str(cause).strip() and len(str(cause)) > 2000:
                tell(f"{kind.name}, seed {seed!r}, {number}: a message of {len(str(cause)):,} characters")
                lost += 1
            survived += 1
        except (LostError, HangError) as cause:
            tell(f"{kind.name}, seed {seed!r}, {number}: {type(cause).__name__}: {cause}")
            lost += 1
        except Exception as cause:
            frame = traceback.extract_tb(cause.__traceback__)[-1]
            place = next(
                (each for each in reversed(traceback.extract_tb(cause.__traceback__)) if "/bench/" in each.filename),
                frame,
            )
            tell(
                f"{kind.name}, seed {seed!r}, {number}: {type(cause).__name__}: {str(cause)[:150]} "
                f"({Path(place.filename).name}:{place.lineno})"
            )
            tracebacks += 1
    return Row(kind.name, count, survived, lost, tracebacks)


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def end(number: int, frame: object) -> None:
        raise HangError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def show(rows: list[Row]) -> str:
    """Return rows as a table."""
    lines = [f"{'kind':<20} {'points':>7} {'survived':>9} {'lost':>5} {'tracebacks':>11}"]
    lines += [f"{row.kind:<20} {row.points:>7,} {row.survived:>9,} {row.lost:>5} {row.tracebacks:>11}" for row in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="mutations of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a kind, as in the table")
    asked = parser.parse_args(arguments)
    rows = fuzz(asked.count, asked.seed, tuple(asked.only))
    print(f"seed {asked.seed}, {asked.count:,} mutations of each kind")
    print(show(rows))
    return int(any(row.lost or row.tracebacks for row in rows))


if __name__ == "__main__":
    sys.exit(main())
