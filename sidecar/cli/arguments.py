"""Every command of `sidecar` as one table: its help, its example, its options, where it lives."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar import __version__

__all__ = ["COMMANDS", "Command", "parse"]

_USAGE = 2

_EXITS = """\
exit codes:
  0   yes, done
  1   the answer is no: not ready, refused, unknown
  2   the command line is wrong
  69  no daemon answers
  78  the config is wrong

`sidecar COMMAND --help` says more. The daemon is found by --socket, $SIDECAR_ADMIN, or in the usual places.
"""


class Command(NamedTuple):  # a dataclass would cost a probe 13 ms of imports
    """One command; its function has its name, with _ for -."""

    name: str
    home: str
    help: str
    example: str
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None
    asks: bool = False  # a daemon
    json: bool = False
    mortal: bool = True  # dies of signals in the usual way, and minds none itself


def _config(parser: argparse.ArgumentParser) -> None:
    what = "a file, or a directory of *.yaml; else $SIDECAR_CONFIG or the usual places"
    parser.set_defaults(config=None)
    parser.add_argument("--config", metavar="PATH", default=argparse.SUPPRESS, help=what)
    parser.add_argument("config", metavar="PATH", nargs="?", default=argparse.SUPPRESS, help="the same as --config")


def _serve(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit 78 when the config is wrong; else a service begins with the last one that was right",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="stop after the story; exit 0 only if every step held")
    parser.add_argument(
        "--port", type=_port, default=4141, metavar="N", help="where to serve (default: 4141, or a free one)"
    )
    parser.add_argument("--keep", metavar="DIR", help="put config and log into DIR, and leave them there")


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="sidecar.yaml", metavar="PATH", help="default: sidecar.yaml")


def _health(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="check every provider now; exit 1 if one is not healthy")


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="what a client would ask for")
    parser.add_argument("--route", metavar="R", help="as if the client had sent x-sidecar-route: R")


def _reload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="give the daemon 90 s instead of 10 s to read the config")


def _reset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="PROVIDER|TARGET", help="openai, or openai/gpt-5.4")


def _weight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="openai/gpt-5.4, or a provider for all of its targets")
    parser.add_argument("weight", type=_number, metavar="W", help="0 or more; 0 drains it")


def _tail(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_number.__name__ = "number"  # argparse says "invalid number value"


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError(text)
    return port


_port.__name__ = "port"

_ASKING, _FILES = "sidecar.cli.asking", "sidecar.cli.files"

COMMANDS = (
    Command(
        "serve",
        "sidecar.cli.serving",
        "run the daemon until SIGTERM",
        "sidecar serve --config sidecar.yaml",
        _serve,
        mortal=False,
    ),
    Command(
        "check",
        _FILES,
        "say what is wrong with a config, or what it does",
        "sidecar check --config sidecar.yaml",
        _config,
        json=True,
    ),
    Command(
        "demo",
        "sidecar.cli.demo",
        "play failover, weights and live edits on providers that need no key",
        "sidecar demo --once",
        _demo,
        mortal=False,
    ),
    Command("init", _FILES, "write a commented config to start from", "sidecar init sidecar.yaml", _init),
    Command(
        "import-env", _FILES, "print the config that the environment stands for", "sidecar import-env > sidecar.yaml"
    ),
    Command("schema", _FILES, "print the JSON Schema of the config, for editors", "sidecar schema > schema.json"),
    Command("status", _ASKING, "what is down, why, and when it is tried next", "sidecar status", asks=True, json=True),
    Command("stats", _ASKING, "requests, failures, latencies, tokens, cost", "sidecar stats", asks=True, json=True),
    Command("health", _ASKING, "exit 0 if the daemon takes requests", "sidecar health", _health, asks=True, json=True),
    Command(
        "explain",
        _ASKING,
        "where a request for a model would go, and why",
        "sidecar explain gpt-5.4",
        _explain,
        asks=True,
        json=True,
    ),
    Command(
        "reload",
        _ASKING,
        "read the config now; exit 78 if it is rejected",
        "sidecar reload --wait",
        _reload,
        asks=True,
        json=True,
    ),
    Command(
        "reset",
        _ASKING,
        "forget the failures of a provider or target",
        "sidecar reset openai",
        _reset,
        asks=True,
        json=True,
    ),
    Command(
        "weight",
        _ASKING,
        "change a weight until its next edit in the file",
        "sidecar weight openai/gpt-5.4 30",
        _weight,
        asks=True,
        json=True,
    ),
    Command("drain", _ASKING, "let requests end, then stop the daemon", "sidecar drain", asks=True, json=True),
    Command("tail", _ASKING, "the latest attempts, one a line", "sidecar tail -f", _tail, asks=True, json=True),
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of one command, with `home` and `function`: what to call with them."""
    # Of a command that is known its own parser is enough: those of all others are 4 % of a daemon's start.
    parser = _parser([command for command in COMMANDS if [command.name] == list(argv[:1])] or COMMANDS)
    args = parser.parse_args(argv)
    if "home" not in args:
        parser.print_help(sys.stderr)
        parser.exit(_USAGE)
    return args


def _parser(known: Sequence[Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sidecar",
        description="A daemon beside your app that makes LLM calls reliable.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sidecar {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in known:
        described = f"{command.help[0].upper()}{command.help[1:]}."
        example = f"example: {command.example}"
        one = commands.add_parser(
            command.name, help=command.help, description=described, epilog=example, allow_abbrev=False
        )
        _add_options(one, command)
    return parser


def _add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    command.options(parser)
    if command.asks:
        parser.add_argument(
            "--socket", metavar="PATH|host:port", help="the daemon's admin socket; else $SIDECAR_ADMIN or the usual"
        )
    if command.json:
        parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(home=command.home, function=command.name.replace("-", "_"), mortal=command.mortal)
