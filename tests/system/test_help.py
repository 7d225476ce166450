"""What `--help` says, of every command: whole sentences, and a word on every option."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.cli.reference import PAGE, page
from tallystick.common.examples import EXAMPLES, commands

ROOT = Path(__file__).resolve().parents[2]


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


def test_no_seed_is_below_zero():
    """Some of what draws by chance takes no such number, and says so in its own words."""
    seeds = {
        " ".join(path): one.type
        for path in COMMANDS
        for one in find(path).params
        if one.name in ("seed", "first_seed")
    }
    assert len(seeds) > 10
    odd = [name for name, kind in seeds.items() if getattr(kind, "min", None) != 0]
    assert odd == []


LEAVES = [path for path in COMMANDS if not isinstance(find(path), click.Group)]


def _what_is_wrong(line: str, path: tuple[str, ...]) -> str:
    """Of an example, after click has taken it apart: another command, an unknown option, a missing
    or unknown value. Files that it names need not be there."""
    words = shlex.split(line.split(" > ", maxsplit=1)[0], comments=True)
    if tuple(words[: len(path) + 1]) != ("tally", *path):
        return "is of another command"
    command = find(path)
    context = click.Context(command, info_name=path[-1])
    try:
        given, rest, _ = command.make_parser(context).parse_args(words[len(path) + 1 :])
        if rest:
            return f"takes no {rest}"
        for one in command.params:
            value = given.get(one.name)
            said = isinstance(value, str) or (isinstance(value, tuple | list) and bool(value))
            if one.required and not said:
                return f"lacks {one.human_readable_name}"
            if said and not isinstance(one.type, click.Path | click.File):
                one.type_cast_value(context, value)
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_shows_an_example_that_it_would_take(path):
    lines = EXAMPLES.get(" ".join(path), ())
    shown = CliRunner().invoke(tally, [*path, "--help"], terminal_width=80).output
    assert lines and all(line in shown for line in lines)
    assert [wrong for line in commands(lines) if (wrong := _what_is_wrong(line, path))] == []


def test_examples_are_of_commands_that_exist():
    assert set(EXAMPLES) <= {" ".join(path) for path in LEAVES}


def test_a_wrong_example_would_be_found():
    bench, lend = ("bench",), ("station", "desk", "lend")
    assert "another" in _what_is_wrong("tally image build", bench)
    assert "cards" in _what_is_wrong("tally bench cards", bench)
    assert "--untill" in _what_is_wrong("tally station desk lend A --untill 3h", lend)
    assert "lacks" in _what_is_wrong("tally coverage", ("coverage",))


def test_the_reference_of_commands_is_what_the_commands_say():
    committed = (ROOT / PAGE).read_text(encoding="utf-8")
    assert committed == page(), "python -m tallystick.cli.reference, and commit the page"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete_commands_and_options(shell):
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)(tally, {}, "tally", "_TALLY_COMPLETE")
    assert "_TALLY_COMPLETE" in completion.source()
    assert "lend" in [one.value for one in completion.get_completions(["station", "desk"], "le")]
    assert "--until" in [
        one.value for one in completion.get_completions(["station", "desk", "lend"], "--un")
    ]
