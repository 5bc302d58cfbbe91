"""Every command is known, described and callable; what the command line gets wrong is told."""

from importlib import import_module

import pytest

from sidecar.cli import main
from sidecar.cli.arguments import COMMANDS, Command, parse

NAMES = [command.name for command in COMMANDS]
ASKING = [command.name for command in COMMANDS if command.asks]
NEEDED = {"explain": ["m"], "reset": ["p"], "weight": ["p/m", "1"]}


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_lives_where_the_table_says(command: Command) -> None:
    args = parse([command.name, *NEEDED.get(command.name, [])])
    assert callable(getattr(import_module(args.home), args.function))


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_every_command_has_a_line_of_help_and_an_example_that_parses(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    assert f"example: {command.example}" in capsys.readouterr().out
    program, *arguments = command.example.partition(" >")[0].split()
    assert program == "sidecar"
    assert parse(arguments).function == command.name.replace("-", "_")


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert [name for name in NAMES if f"    {name}" not in said] == []
    assert "69  no daemon answers" in said


@pytest.mark.parametrize("name", ASKING)
def test_every_command_that_asks_takes_a_socket_and_json(name: str) -> None:
    args = parse([name, *NEEDED.get(name, []), "--socket", "/s", "--json"])
    assert (args.socket, args.json) == ("/s", True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["explain"],
        ["weight", "a/b"],
        ["weight", "a/b", "heavy"],
        ["weight", "a/b", "nan"],
        ["weight", "a/b", "inf"],
        ["demo", "--port", "0"],
        ["demo", "--port", "65536"],
        ["status", "--js"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: sidecar" in capsys.readouterr().err
