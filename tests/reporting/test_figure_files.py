"""The files of figures: formats, fonts, bytes, captions."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.reporting.figures import gallery
from bench.reporting.figures.sheet import EVERY_PRINT, NO_PICTURES, Prints, prints_of, read_table
from bench.reporting.figures.words import Facts, caption
from bench.reporting.report import write_report, write_reports
from tests.reporting.made_up import made_up

PICTURES = (".pdf", ".svg", ".png")


def draw_only(monkeypatch: pytest.MonkeyPatch, figures: int) -> None:
    """Let a report have its first figures alone: a file of pixels or of letters takes half a second."""
    sheets = gallery.sheets
    monkeypatch.setattr(gallery, "sheets", lambda *given: islice(sheets(*given), figures))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One report of three strategies with everything measured, by file name."""
    records = made_up(5, ablation=True, joules=True)
    return {path.name: path for path in write_report(records, tmp_path_factory.mktemp("report"))}


def test_every_figure_comes_with_its_table_and_its_caption(written: dict[str, Path]):
    pictures = [path for path in written.values() if path.suffix in PICTURES]
    figures = {path.stem.removesuffix("-column") for path in pictures}
    assert {"accuracy-flops", "accuracy-gpu-joules", "speedup-target", "ablation", "old-new", "energy-time"} < figures
    for name in figures:
        assert f"{name}.csv" in written
        assert f"{name}.caption.txt" in written
        assert {f"{name}.pdf", f"{name}.svg", f"{name}.png", f"{name}-column.pdf"} <= set(written)
    assert len(pictures) == 4 * len(figures)
    assert all(path.is_file() for path in written.values())


def test_printed_figures_embed_their_fonts_as_truetype(written: dict[str, Path]):
    for path in written.values():
        if path.suffix == ".pdf":
            content = path.read_bytes()
            assert b"/FontFile2" in content, path.name
            assert b"/Type3" not in content, path.name
            assert b"/CIDFontType2" in content, path.name


def _media_inches(path: Path) -> float:
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", path.read_bytes())
    assert box is not None
    return float(box.group(1)) / 72


def test_figures_are_as_wide_as_a_page_or_a_column(written: dict[str, Path]):
    assert _media_inches(written["accuracy-flops.pdf"]) == pytest.approx(6.75, abs=0.01)
    assert _media_inches(written["accuracy-flops-column.pdf"]) == pytest.approx(3.3, abs=0.01)
    assert Image.open(written["accuracy-flops.png"]).size[0] == 2025  # 6.75 inches at 300 dpi


def test_the_same_records_give_the_same_bytes_whatever_a_users_own_settings_are(
    written: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    records = made_up(5, ablation=True, joules=True)
    with mpl.rc_context({"font.size": 30, "text.usetex": True, "axes.facecolor": "red", "font.family": "serif"}):
        paths = write_report(records, tmp_path / "every-figure", Prints(("svg",), ()))
        draw_only(monkeypatch, 2)
        paths += write_report(records, tmp_path / "every-format")
    assert {path.suffix for path in paths} >= {*PICTURES, ".csv", ".txt", ".md"}
    assert {path.name for path in paths} >= {name for name in written if name.endswith((".svg", ".csv"))}
    for path in paths:
        assert path.read_bytes() == written[path.name].read_bytes(), path.name


def test_no_file_contains_a_date(written: dict[str, Path]):
    assert b"<dc:date>" not in written["accuracy-flops.svg"].read_bytes()
    assert b"CreationDate" not in written["accuracy-flops.pdf"].read_bytes()


def test_an_svg_is_self_contained(written: dict[str, Path]):
    text = written["accuracy-flops.svg"].read_text(encoding="utf-8")
    assert "<svg" in text
    assert not re.findall(r'(?:href|src)="https?:', text)


def test_an_svgs_letters_are_text_and_its_places_have_two_decimals(written: dict[str, Path]):
    text = written["accuracy-flops.svg"].read_text(encoding="utf-8")
    assert "font-family: 'DejaVu Sans', Verdana, sans-serif" in text
    assert ">validation accuracy</text>" in text
    places = " ".join(re.findall(r' d="([^"]*)"', text))
    assert len(places) > 1000
    assert not re.search(r"\.\d{3}", places)
    assert len(text) < 60_000


def test_every_caption_says_what_its_numbers_are_based_on(written: dict[str, Path]):
    captions = [path for name, path in written.items() if name.endswith(".caption.txt")]
    assert len(captions) >= 10
    for path in captions:
        text = path.read_text(encoding="utf-8")
        assert "n = 3 each" in text, path.name
        assert "Device: NVIDIA H100 80GB HBM3. Rules version 1. Commit cccccccccc: code as committed." in text
        assert re.search(
            r"Target: validation accuracy 0\.\d{4} ± 0\.\d{4} \(provisional: mean of scratch's 3 seeds\)", text
        )
        assert f"Drawn from: {path.name.removesuffix('.caption.txt')}.csv, leaderboard.csv." in text
        assert re.search("band|bars|Bars|bar|interval|spread", text), path.name


def test_a_caption_says_one_seed_modified_code_and_many_strategies(tmp_path: Path):
    records = made_up(15, seeds=1)
    records.trials["modified"] = True
    write_report(records, tmp_path, NO_PICTURES)
    text = (tmp_path / "accuracy-flops.caption.txt").read_text(encoding="utf-8")
    assert "n = 1 each. One seed has no spread: no band, no interval." in text
    assert "some modified, or of unknown commit" in text
    assert "At most scratch and the 11 best of 14 others are drawn; leaderboard.md lists all." in text


def test_a_commit_in_several_rows_is_named_once(tmp_path: Path):
    records = made_up()
    records.trials["commit"] = ["a" * 40, "b" * 40, "a" * 40] * 3  # of each row's three seeds
    records.trials.loc[:2, "commit"] = "b" * 40
    write_report(records, tmp_path, NO_PICTURES)
    text = (tmp_path / "accuracy-flops.caption.txt").read_text(encoding="utf-8")
    assert "Commit aaaaaaaaaa / bbbbbbbbbb: code as committed." in text


def test_a_caption_says_which_strategies_share_fewer_seeds(tmp_path: Path):
    records = made_up(2)
    lacks = (records.evals["strategy"] == "naive") & (records.evals["seed"] == 2)
    write_report(type(records)(records.trials, records.evals[~lacks]), tmp_path, NO_PICTURES)
    text = (tmp_path / "accuracy-flops.caption.txt").read_text(encoding="utf-8")
    assert "Seeds shared with scratch: scratch at horizon 1 n = 3, naive at horizon 1 n = 2." in text or (
        "Seeds shared with scratch: naive at horizon 1 n = 2, scratch at horizon 1 n = 3." in text
    )


def test_a_caption_says_that_a_target_was_published(tmp_path: Path):
    write_report(made_up(), tmp_path, NO_PICTURES)
    ranking = read_table(tmp_path / "leaderboard.csv").assign(published_source="our run", published_n=5)
    text = caption("accuracy-flops", "", ranking, Facts("1"))
    assert "(published: 5 seeds, our run)" in text
    assert "provisional" not in text


def test_a_published_target_is_in_captions_and_its_seeds_are_in_no_figure(tmp_path: Path):
    records = made_up(5, seeds=8, ablation=True, joules=True)
    target = {"published_accuracy": 0.65, "published_std": 0.01, "published_source": "our run"}
    trials = records.trials.assign(**target, published_seeds="0 1 2 3 4", published_steps=None)
    paths = write_report(type(records)(trials, records.evals), tmp_path, NO_PICTURES)
    captions = [path.read_text(encoding="utf-8") for path in paths if path.name.endswith(".caption.txt")]
    assert all(
        "Target: validation accuracy 0.6500 ± 0.0100 (published: 5 seeds, our run)." in text for text in captions
    )
    tables = {path.stem: read_table(path) for path in paths if path.suffix == ".csv"}
    assert set(tables.pop("seed-crossings")["seed"]) == {5, 6, 7}
    assert {name: set(rows["n"]) for name, rows in tables.items()} == {name: {3} for name in tables}


def test_several_scenarios_have_a_profile_with_its_table_and_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    draw_only(monkeypatch, 1)
    parts = [made_up(name=name, draw=draw, title=name) for draw, name in enumerate(("one", "two"))]
    paths = {path.name: path for path in write_reports(parts, tmp_path, Prints(("png",), ()))}
    profile = paths["performance-profile.csv"]
    assert profile.parent == tmp_path
    assert paths["performance-profile.png"].read_bytes().startswith(b"\x89PNG")
    text = paths["performance-profile.caption.txt"].read_text(encoding="utf-8")
    for words in (
        "2 tables",
        "one (n = 3; provisional target 0.",
        "Device: NVIDIA",
        "Rules version 1",
        "geometric mean",
    ):
        assert words in text


def test_formats_and_widths_are_chosen():
    assert prints_of("pdf,svg,png", "both") == EVERY_PRINT
    assert prints_of("png, png", "page") == Prints(("png",), ())
    assert prints_of("png", "column") == Prints((), ("png",))
    assert prints_of("png", "both") == Prints(("png",), ("png",))


@pytest.mark.parametrize("formats", ["", "gif", "png,PDF"])
def test_unknown_formats_are_refused(formats: str):
    with pytest.raises(BenchError, match=r"--formats .*expected one or more of pdf, svg, png\. Change it\."):
        prints_of(formats, "page")


def test_without_pictures_there_are_only_tables_and_captions(tmp_path: Path):
    assert {path.suffix for path in write_report(made_up(), tmp_path, NO_PICTURES)} == {".csv", ".md", ".txt"}


def test_a_png_is_small_with_a_white_background(written: dict[str, Path]):
    image = Image.open(written["accuracy-flops.png"])
    assert image.mode == "P"
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert written["accuracy-flops.png"].stat().st_size < 120_000


def test_reports_are_drawn_without_torch():
    code = "import sys, bench.reporting.report; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
