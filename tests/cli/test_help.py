"""The names, options and defaults of every command: a change to one changes help.txt in the same commit.

To write it again: python -m tests.cli.test_help
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bench.cli.main import main

_GOLDEN = Path(__file__).with_name("help.txt")


def _helps(command: click.Command, path: str, parent: click.Context | None = None) -> Iterator[str]:
    name, settings = path.split()[-1], command.context_settings
    context = click.Context(command, parent, info_name=name, terminal_width=100, max_content_width=100, **settings)
    yield f"$ {path} --help\n{context.get_help()}\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _helps(found, f"{path} {name}", context)


def _text() -> str:
    return "\n".join(_helps(main, "bench"))


def test_every_command_has_the_help_that_is_on_file():
    assert _text() == _GOLDEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    _GOLDEN.write_text(_text(), encoding="utf-8")
