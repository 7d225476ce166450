"""What `--help` says, of every command: whole sentences, and a word on every option."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from tallystick.cli import tally


def every(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every(found, (*path, name))


COMMANDS = list(every(tally))


def find(path: tuple[str, ...]) -> click.Command:
    command: click.Command = tally
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_fits_a_terminal_and_nothing_in_it_is_cut_off(path):
    result = CliRunner().invoke(tally, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0
    _, _, text = result.output.partition("\n\n")  # below the usage, whose dots are click's
    assert "..." not in text
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_explained(path):
    options = [one for one in find(path).params if isinstance(one, click.Option)]
    assert [one.opts[0] for one in options if not one.help] == []
