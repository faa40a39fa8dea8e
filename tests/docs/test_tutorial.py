"""The tutorial, in a short form: the same commands on a scenario that trains for one epoch."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.demonstrations.tutorial import PAGE, follow
from tests.docs.pages import run_page


def test_it_leads_from_an_empty_folder_to_a_row_of_ones_own(here: Path):
    ran: list[str] = []

    def quick(words):
        ran.append(words[0])
        return words[0] in ("new", "run", "compare")

    page = here / "tutorial.md"
    text = PAGE.read_text(encoding="utf-8").replace("bench run ", "bench run --seeds 0 ")
    # What was printed in the long form is of other trainings; without it, only that commands succeed is checked.
    page.write_text(re.sub(r"```text\n.*?```", "", text, flags=re.DOTALL), encoding="utf-8")
    run_page(page, quick=quick, changes=[("range(3)", "range(1)")])
    assert ran == ["new", "check-strategy", "run", "check-strategy", "run", "compare", "leaderboard", "report"]
    for name in ("mine", "focus", "open-adamw", "open-adamw-scratch"):
        records = list((here / "runs" / "glyphs-32-15" / name).glob("*/seed-*/trial.json"))
        assert [json.loads(record.read_text())["status"] for record in sorted(records)] == ["finished"]


def test_the_transcript_is_made_by_running_each_command_and_writing_each_file(tmp_path: Path):
    text = "Text\n\n    bench a\n    bench 'b c' # d\n\n```text\nold\n```\n\n```python\n# f.py\nx = 1\n```\n\n    bench e\n\nEnd"
    ran = []

    def run(words: list[str]) -> str:
        ran.append(words)
        return f"did {words[1]}\n"

    made = follow(text, tmp_path, run)
    assert ran == [["bench", "a"], ["bench", "b c"], ["bench", "e"]]
    assert made == text.replace("old", "did a\ndid b c")
    assert (tmp_path / "f.py").read_text() == "# f.py\nx = 1\n"


def test_the_page_shows_what_was_printed():
    shown = re.findall(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(shown) == 6
    assert shown[0].split() == ["mine.py", "test_strategy_mine.py"]
    assert "broken" not in shown[1]
    for board, rows in (
        (shown[2], ["scratch", "naive", "mine"]),
        (shown[3], ["scratch", "mine", "focus", "naive"]),
        (shown[5], ["scratch", "naive", "mine", "focus", "open-adamw", "open-adamw-scratch"]),
    ):
        assert all(re.search(rf"^ *[\d-]+ +{row}\b.*\d of 3|^ *- +{row}\b", board, re.MULTILINE) for row in rows), board
