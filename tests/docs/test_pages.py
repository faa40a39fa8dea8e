"""Every code block in README and docs does what it says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from safetensors.torch import save_file

import bench
from tests.docs.pages import ROOT, run_page

_DOCS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(_DOCS - {"docs/tutorial.md"})]  # which has a test of its own
OWN_DATA = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
# What is too long in Python blocks, and what stands in its place.
SHORTER = {
    "README.md": [("seeds=range(3)", "seeds=range(1)")],
    "docs/python.md": [
        ("seeds=range(2)", "seeds=range(1)"),
        ('"optimized", ["digits-7-3"], seeds=range(5)', '"naive[averaging=TailMean]", [quick], seeds=[0]'),
        ('bench.plan_update(scenario, "updated")', 'bench.plan_update(scenario, "updated", seeds=[0])'),
        ('model="model.pt", architecture="resnet18"', "image_size=8, epochs=4, batch_size=8, learning_rate=0.02"),
    ],
}


def write_what_a_page_takes_for_granted(page: str, here: Path) -> None:
    """Write what a reader is said to have, or to have made by what another page shows."""
    (here / "mine.toml").write_text(OWN_DATA.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    if page == "README.md":
        write_model(here / "updated")
        Image.new("RGB", (40, 30)).save(here / "cat.jpg")
    else:
        bench.new("strategy", "mine")
        with (here / "mine.py").open("a", encoding="utf-8") as file:
            file.write('half = Strategy(title="Half", start=Keep(), schedule=OneCycle(0.1), horizon=0.5)\n')
    if page == "docs/commands.md":
        for name in ("runs", "from-a", "from-b"):
            shutil.copytree(here / "results" / "fashion-mnist-7-3", here / name / "fashion-mnist-7-3")
        rows = [f"{step},{step}e9,0.5,0,elsewhere" for step in (10, 20)]
        (here / "curves.csv").write_text("\n".join(["step,cost,accuracy,seed,strategy", *rows]) + "\n")
    if page == "docs/python.md":
        for shade, folder in enumerate(("2024/dark", "2024/grey", "2025/light")):
            (here / "photos" / folder).mkdir(parents=True)
            for number in range(30):
                pixels = np.full((9, 9, 3), 90 * shade + number, dtype=np.uint8)
                Image.fromarray(pixels).save(here / "photos" / folder / f"{number}.png")


def write_model(folder: Path) -> None:
    """Write a model and its card, as `bench update` leaves them; tests/cli/test_update.py runs the lines on a trained one."""
    folder.mkdir()
    model = torchvision.models.get_model("shufflenet_v2_x0_5", num_classes=3)
    save_file(model.state_dict(), folder / "model.safetensors")
    card = {"architecture": "shufflenet_v2_x0_5", "classes": ["cat", "cow", "dog"], "image_size": 32}
    card |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (folder / "model.json").write_text(json.dumps(card))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_does_what_it_says(page: str, here: Path):
    write_what_a_page_takes_for_granted(page, here)
    run_page(ROOT / page, changes=SHORTER.get(page, ()))


def page_of(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(f"# Title\n\nText\n\n{text}\n\nText\n", encoding="utf-8")
    return page


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("    bench run --strategies naive", "No such option '--strategies'"),
        ("    bench rum", "no such command: rum"),
        ("    bench data prepared", "no such command: data prepared"),
        ("    bench run --strategy optimised", "Did you mean optimized"),
        ("    bench run --scenario glyphs", "not shipped"),
        ("    bench run --set optimized:schedule.warm=0.2", "warm"),
        ("    bench run --seeds first", "expected whole numbers"),
        ("    bench tune --strategy naive --range schedule.peek=0.3:3", "peek"),
        ("    make tests", "make tests"),
        ("    python -m tests.faults --killed 3", "an unknown option"),
        ("    pip install -e '.[tunes]'", "no such extra: tunes"),
        ("    benchmark", "no such program: benchmark"),
        ("```python\n1 / 0\n```", "division by zero"),
        ("```python\n>>> 1 + 1\n3\n```", "Expected"),
        ("```toml\nmodel = { name = \"resnet8\", kind = \"x\" }\n```", "kind"),
        ("```sh\nbench run\n```", "a fence of another kind"),
        ("    bench new model net\n\n```text\nnets.py\n```", "found\nnet.py"),
        ("```text\n$ bench run --no-such\n```", "No such option"),
    ],
)  # fmt: skip
def test_a_block_that_is_wrong_is_found(text: str, complaint: str, here: Path):
    with pytest.raises(Exception, match=re.escape(complaint)):
        run_page(page_of(here, text))
