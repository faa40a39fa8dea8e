"""Held-out images are not cut from those that a list says the old model was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.data.images import ImageSet
from bench.data.sources.find import load_images, prepare_images
from bench.data.stages.splits import Split, cut
from bench.errors import BenchError, ScenarioError
from bench.scenario import Scenario, parse_scenario
from tests.data.trees import class_folders, own, scenario_of


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """old/ with ten ants and ten bees, new/ with ten cats."""
    class_folders(tmp_path / "old", ("ant", "bee"), each=10)
    class_folders(tmp_path / "new", ("cat",), each=10, first=100)
    return tmp_path


def asked(root: Path, lines: list[str] | None, **data: object) -> Scenario:
    """A scenario with a list of these lines; None: without one."""
    content = own("class-incremental", root, **{"validation_share": 0.25, **data}).model_dump(mode="json")
    content["model"] |= {"checkpoint": "old.pt"}
    if lines is not None:
        (root / "seen.txt").write_text("\n".join(lines), encoding="utf-8")
        content["model"] |= {"trained_on": "seen.txt"}
    return parse_scenario(content, "test").model_copy(update={"root": root})


def split_of(scenario: Scenario, root: Path) -> tuple[ImageSet, Split]:
    prepare_images(scenario, root, workers=1)
    images = load_images(scenario, root, download=False)
    return images, cut(scenario, images)


def held_out(images: ImageSet, split: Split, stage: int = 0) -> set[str]:
    names = [images.names_train[place] for place in split.validation[stage]]
    return {"/".join(Path(name).parts[-2:]) for name in [*names, *(images.names_test[p] for p in split.test[stage])]}


def first(number: int) -> list[str]:
    return [f"{name}/{place}.png" for name in ("ant", "bee") for place in range(number)]


def test_held_out_old_images_are_only_those_that_are_not_listed(folders: Path):
    without = split_of(asked(folders, None), folders)
    assert held_out(*without) & set(first(6))  # else the list would change nothing
    images, split = split_of(asked(folders, first(6)), folders)
    assert held_out(images, split) == {f"{name}/{place}.png" for name in ("ant", "bee") for place in range(6, 10)}
    # As many as without a list: of ten, two tests; of the other eight, two for validation.
    assert [len(part) for part in (split.train[0], split.validation[0], split.test[0])] == [12, 4, 4]
    assert held_out(images, split, 1) == held_out(*without, 1)


def test_lines_may_be_absolute_go_through_links_and_name_files_that_are_not_used(folders: Path):
    (folders / "link").symlink_to(folders / "old")
    (folders / "old" / "ant" / "notes.txt").write_text("-")
    lines = [f"{folders}/link/{line}" if number % 2 else f"./{line}" for number, line in enumerate(first(6))]
    images, split = split_of(asked(folders, [*lines, "", "ant/notes.txt"]), folders)
    assert not held_out(images, split) & set(first(6))


def test_copies_of_a_listed_image_are_not_held_out_either_under_any_name(folders: Path):
    for place in (6, 7, 8):
        shutil.copy(folders / "old" / "ant" / "0.png", folders / "old" / "ant" / f"{place}.png")
    line = refused(asked(folders, first(6)), folders)
    assert (
        "class 'ant': 1 images are left that are not listed in model.trained_on, too few for the 2 to hold out" in line
    )


def test_too_few_that_are_not_listed_are_one_line(folders: Path):
    line = refused(asked(folders, first(7)), folders)  # three left: two for the test
    assert "old: class 'ant': 1 images are left that are not listed in model.trained_on, too few for the 2" in line
    assert (
        "Lower data.validation_share, or name validation images of your own (data.validation, or --validation)" in line
    )
    assert "test" in refused(asked(folders, first(9)), folders)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["ant/0.png", "ant/99.png", "x"], "seen.txt, line 2 (and 1 more lines): names no file of"),
        (["../new/cat/0.png"], "seen.txt, line 1: names no file of"),
        ([], "seen.txt: empty, expected one path a line"),
    ],
)
def test_a_list_that_does_not_fit_is_one_line(folders: Path, lines: list[str], complaint: str):
    assert complaint in refused(asked(folders, lines), folders)


def test_a_list_that_cannot_be_read_is_one_line(folders: Path):
    scenario = asked(folders, ["x"])
    (folders / "seen.txt").write_bytes(b"\xff\xfe\x00")
    assert "seen.txt: cannot be read (UnicodeDecodeError)" in refused(scenario, folders)
    (folders / "seen.txt").unlink()
    assert "seen.txt: cannot be read (FileNotFoundError)" in refused(scenario, folders)


def test_a_held_out_image_of_ones_own_that_is_listed_is_one_line(folders: Path):
    class_folders(folders / "val", ("ant", "bee", "cat"), each=3, first=500)
    shutil.copy(folders / "old" / "bee" / "0.png", folders / "val" / "bee" / "copy.png")
    scenario = asked(folders, first(1), validation="val", validation_share=None)
    line = refused(scenario, folders)
    assert "seen.txt: 1 validation images are among those that the old model was trained on, such as" in line
    assert "val/bee/copy.png" in line


def refused(scenario: Scenario, root: Path) -> str:
    with pytest.raises(BenchError) as caught:
        split_of(scenario, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_list_needs_a_checkpoint_and_a_folder(tmp_path: Path):
    content = own("class-incremental", tmp_path).model_dump(mode="json")
    with pytest.raises(ScenarioError, match="trained_on: found without a checkpoint"):
        parse_scenario({**content, "model": {**content["model"], "trained_on": "a"}}, "test")
    model = {**content["model"], "trained_on": "a", "checkpoint": "b"}
    stages = [{"folder": "a.npz"}, {"folder": "b"}]
    with pytest.raises(ScenarioError, match=r"model\.trained_on: found, but the first stage is an archive"):
        parse_scenario({**content, "model": model, "stages": stages}, "test")
    known = scenario_of("class-incremental", [{"classes": 7}, {"classes": 3}], set="digits").model_dump(mode="json")
    with pytest.raises(ScenarioError, match=r"model\.trained_on: found, but the stages name no folders"):
        parse_scenario({**known, "model": model}, "test")


def test_the_split_without_a_list_is_as_it_was(folders: Path):
    """By hand, from the streams: a fifth of each class's ten images, then a quarter of the other eight."""
    from bench.streams import numpy_stream

    images, split = split_of(asked(folders, None), folders)
    assert images.seen is None
    tests = {f"ant/{place}.png" for place in numpy_stream(0, "test", "old", "ant").permutation(np.arange(10))[:2]}
    assert tests == {name for name in held_out(images, split) if name.startswith("ant")} - {
        "/".join(Path(images.names_train[place]).parts[-2:]) for place in split.validation[0]
    }
