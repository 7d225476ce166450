"""`python -m tallystick.cli.reference`: docs/reference/commands.md, made from the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from tallystick.cli import COMMANDS, tally
from tallystick.common.errors import ExitCode
from tallystick.common.examples import EXAMPLES

PAGE = Path("docs/reference/commands.md")

_HEAD = """\
# Commands

Made from the commands by `make docs`; do not edit. `tally COMMAND --help` says the same.

## For all commands

- Where there is `--json`, it prints one JSON value, for programs. An error is JSON then, too.
- Colours and progress bars appear on a terminal only.
- Keys and passphrases come from a file, a prompt or an environment variable.

### Shell completion

Put a line into your shell's start-up file. The tab key then completes commands and options.

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_TALLY_COMPLETE=bash_source tally)"` |
| zsh | `~/.zshrc` | `eval "$(_TALLY_COMPLETE=zsh_source tally)"` |
| fish | `~/.config/fish/completions/tally.fish` | what `_TALLY_COMPLETE=fish_source tally` prints |

### Exit codes

Scripts may depend on these numbers.

| code | name | meaning |
|---|---|---|
"""


def page() -> str:
    """The text of docs/reference/commands.md."""
    codes = "".join(f"| {code.value} | {code.name} | {code.meaning} |\n" for code in ExitCode)
    context = click.Context(tally, info_name="tally")
    parts = [_HEAD + codes]
    for name, (_, _, line) in COMMANDS.items():
        command = tally.get_command(context, name)
        assert command is not None
        group = [f"## tally {name}", line] if isinstance(command, click.Group) else []
        parts += [*group, *_sections(command, name, context)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _sections(command: click.Command, path: str, above: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=above)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _sections(below, f"{path} {name}", context)
        return
    yield f"{'###' if ' ' in path else '##'} tally {path}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\ntally {path} {usage}\n```"
    yield cleandoc(command.help or "").replace("\b", "")
    rows = [record for one in command.params if (record := one.get_help_record(context))]
    yield "| option | |\n|---|---|\n" + "\n".join(
        f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows
    )
    yield "```text\n" + "\n".join(EXAMPLES[path]) + "\n```"


def _cell(text: str) -> str:
    """One line, with bars that do not end the cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
