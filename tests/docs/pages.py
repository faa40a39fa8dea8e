"""Runs every code block of a page of the documentation, in order, in a folder of its own.

* ```` ```python ````: executed, all of a page in one namespace. One that begins with `# name.py` is written to that file and run.
* ```` ```toml ````: a scenario, or a part of one, which is put into a whole one.
* indented: commands. Those that only read, or are quick, are run; the others are parsed by the real command, and the strategies,
  scenarios and settings that they name are looked up. Programs and make's targets must be there.
* ```` ```text ````: after a command that was run, what it printed, from the beginning.
"""

from __future__ import annotations

import doctest
import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click
from click.testing import CliRunner
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from sybil.region import Lexeme

from bench.api.named import load_scenario, strategies_for
from bench.api.named import strategy as find_strategy
from bench.api.plans import plan, run
from bench.cli.main import main
from bench.scenario import parse_scenario
from bench.strategies.ranges import ranges_of

ROOT = Path(__file__).resolve().parents[2]
# Fences that are no code of ours: directives, whose content Sphinx checks, and texts.
_OTHER_FENCES = {"text", "{toctree}", "{eval-rst}", "{literalinclude}"}
# Commands that are run, by their first words. The others train, or need image sets or a GPU.
QUICK = (
    "list",
    "new",
    "leaderboard",
    "compare",
    "status",
    "collect",
    "merge",
    "import",
    "data status",
)
_INDENTED = re.compile(r"(?:^    .*\n(?:[ \t]*\n(?=    ))*)+", re.MULTILINE)
_FENCED = re.compile(r"^( *)(`{3,})(\S*)[^\n]*\n.*?^ *\2 *$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)\n")
# Extras that are too large for these tests: such blocks are compiled here, and run by tests of their own.
_IMPORTED_ELSEWHERE = re.compile(r"^(?:import|from) (?:lightning|transformers)\b", re.MULTILINE)

Chosen = Callable[[Sequence[str]], bool]
Result = TypeVar("Result")


def run_page(page: Path, *, quick: Chosen | None = None, changes: Sequence[tuple[str, str]] = ()) -> Document:
    """Run a page's blocks in the current folder, and return it. Fails at the first that does not do what it should.

    quick: which commands are run, all of `bench`; default: those of QUICK. changes: texts of Python blocks, and what stands in
    their place so that they are short; each must be there.
    """
    text = page.read_text(encoding="utf-8")
    for old, _ in changes:
        assert old in text, f"{page}: {old!r} is to be shortened, and is not there"
    blocks = _Blocks(quick or _is_quick, changes)
    document = Sybil(blocks.parsers()).parse(page)
    found = {match[3] for match in _FENCED.finditer(text)}
    assert found <= {"python", "toml"} | _OTHER_FENCES, f"{page}: a fence of another kind: {found}"
    for example in document.examples():
        example.evaluate()
    return document


def _is_quick(words: Sequence[str]) -> bool:
    known = any(list(words[: len(quick.split())]) == quick.split() for quick in QUICK)
    return known and "./mine.toml" not in words  # of which there are no records without training


class _Python(PythonCodeBlockParser):
    """Blocks with prompts are doctests; others are given to `evaluate`."""

    def __init__(self, evaluate: Callable[[Example], None]) -> None:
        super().__init__(doctest_optionflags=doctest.NORMALIZE_WHITESPACE)
        self.codeblock_parser = CodeBlockParser("python", evaluate)


class _Blocks:
    """How each kind of block is evaluated. printed: what the commands of the last block printed, and where that block ends."""

    def __init__(self, quick: Chosen, changes: Sequence[tuple[str, str]]) -> None:
        self._quick, self._changes = quick, changes
        self._printed: tuple[str | None, int] = None, 0

    def parsers(self) -> list[Callable[[Document], Iterable[Region]]]:
        return [
            _Python(self._python),
            CodeBlockParser("toml", self._toml),
            CodeBlockParser("text", self._text),
            self._commands_of,
        ]

    def _commands_of(self, document: Document) -> Iterable[Region]:
        masked = _FENCED.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), document.text)
        for match in _INDENTED.finditer(masked):
            if masked[: match.start()].endswith("\n\n"):
                yield Region(match.start(), match.end(), match[0], self._shell)

    def _python(self, example: Example) -> None:
        code = example.parsed
        for old, new in self._changes:
            code = code.replace(old, new)
        file = _FILE.match(code)
        if _IMPORTED_ELSEWHERE.search(code):
            compile(code, str(example.path), "exec")
        elif file is None:
            example.parsed = Lexeme(code, example.parsed.offset, example.parsed.line_offset)
            PythonEvaluator()(example)
        else:
            Path(file[1]).write_text(code, encoding="utf-8")
            if "strategy" in runpy.run_path(file[1]):  # of a strategy, one short trial
                run(plan("digits-7-3", [f"./{file[1]}"], seeds=[0], results="trials"))

    def _toml(self, example: Example) -> None:
        """Check that a whole scenario, or one with this part in place of its own, is accepted."""
        part = tomllib.loads(example.parsed)
        if "project" in part:  # a package's own, where only its groups are ours
            groups = part["project"]["entry-points"]
            assert {group.removeprefix("bench.") for group in groups} <= {"strategies", "scenarios", "models"}
            return
        made = parse_scenario(whole_scenario() | part, str(example.path))
        if "name" in part:
            Path(f"{made.name}.toml").write_text(example.parsed, encoding="utf-8")

    def _text(self, example: Example) -> None:
        for number, line in enumerate(example.parsed.splitlines()):
            if line.startswith("$ bench "):
                _at(example, number + 1, line, lambda line: check_command(shlex.split(line)[2:]))
        printed, end = self._printed
        if printed is not None and not example.document.text[end : example.start].strip():
            assert printed.startswith(example.parsed), f"line {example.line}: found\n{printed}"

    def _shell(self, example: Example) -> None:
        printed = []
        for number, line in enumerate(re.sub(r"\\\n\s*", " ", example.parsed).splitlines()):
            printed.append(_at(example, number, line, self._command))
        self._printed = None if None in printed else "".join(map(str, printed)), example.end

    def _command(self, line: str) -> str | None:
        """Run or check one command; return what it printed, or None if it was not run."""
        line, _, output = line.partition(" > ")
        words = [word for word in shlex.split(line, comments=True) if word != "…"]  # what the line above has
        if not words:
            return ""
        if words[0] != "bench":
            _check_program(words)
            return None
        if not self._quick(words[1:]):
            check_command(words[1:])
            return None
        done = CliRunner().invoke(main, words[1:])
        assert done.exit_code == 0, done.output
        if output:
            Path(output.split()[0]).write_text(done.stdout, encoding="utf-8")
        return done.stdout


def _at(example: Example, number: int, line: str, check: Callable[[str], Result]) -> Result:
    """Return what `check` returns for a line of an example; what it raises says where that line is."""
    try:
        return check(line)
    except (Exception, SystemExit) as cause:
        raise AssertionError(f"{example.path}:{example.line + number}: {line.strip()}: {cause}") from cause


def whole_scenario() -> dict[str, Any]:
    """Return the fields of the scenario in docs/own-data.md."""
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    return tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])


def check_command(words: Sequence[str]) -> None:
    """Parse a command of `bench` by its real declaration, and look up what it names. Raises what a user would be told."""
    command: click.Command = main
    context = click.Context(
        main, info_name="bench", **main.context_settings
    )  # whose settings its commands have, and keep
    left = list(words)
    while isinstance(command, click.Group):
        assert "".join(left[:1]) in command.commands, f"no such command: {' '.join(words)}"
        command = command.commands[left.pop(0)]
    given = command.make_context(command.name, left, parent=context).params
    for scenario in [given.get("scenario"), *given.get("scenarios", ())]:
        if scenario is not None:
            load_scenario(scenario)
    if "settings" in given:
        horizons = given["horizons"] if command.name != "frontier" else ()
        strategies_for(given["strategies"], (*given["settings"], *given["grids"]), horizons)
    for name in (*given.get("strategies", ()), given.get("strategy"), given.get("only")):
        if name is not None:
            found = find_strategy(name)
            if "ranges" in given:
                ranges_of(found, given["ranges"])


def _check_program(words: Sequence[str]) -> None:
    """Check what is no command of bench: that make has the target, and that a program is there and knows its options."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words[1:] if "=" not in word)
    elif words[0] == "python" and words[1:3] != ["-m", "pytest"]:
        module = words[2] if words[1] == "-m" else None
        found = find_spec(module) if module else None
        if found is not None and found.submodule_search_locations:
            found = find_spec(f"{module}.__main__")
        path = Path(found.origin or "") if found else ROOT / words[1]
        text = path.read_text(encoding="utf-8") if path.is_file() else Path(words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in words[2:] if word.startswith("--")), f"{path}: an unknown option"
    elif words[0] == "torchrun":
        check_command(words[words.index("bench") + 1 :])
    elif words[0] == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
            assert extra in project["optional-dependencies"], f"no such extra: {extra}"
    else:
        assert words[0] in (".", "mkdir", "cd") or (ROOT / words[0]).is_file(), f"no such program: {words[0]}"
