"""The commands about config files: check one, write one, print what describes them. No daemon is needed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from sidecar.cli.exits import CONFIG, NO, OK, Failed
from sidecar.cli.shipped import shipped
from sidecar.cli.terminal import complain, count, paint, printable, say, say_json
from sidecar.config import ConfigErrors, chain_text, environment_yaml, from_environment, json_schema
from sidecar.model.errors import ConfigurationError
from sidecar.model.topology import Snapshot
from sidecar.sources.configuration import ConfigurationManager

__all__ = ["check", "import_env", "init", "schema"]


def check(args: argparse.Namespace) -> int:
    """Load a config as the daemon would."""
    try:
        snapshot = ConfigurationManager(args.config).load()
    except ConfigErrors as error:
        return _wrong(
            args, [msgspec.to_builtins(problem) for problem in error.problems], list(map(str, error.problems))
        )
    except ConfigurationError as error:
        return _wrong(args, [{"message": str(error)}], [str(error)])
    if args.json:
        say_json({"ok": True, **_summary(snapshot)})
        return OK
    _say_summary(snapshot)
    return OK


def _wrong(args: argparse.Namespace, problems: list[dict[str, object]], texts: list[str]) -> int:
    if args.json:
        say_json({"ok": False, "problems": problems})
        return CONFIG
    sys.stderr.write("".join(f"{printable(text)}\n" for text in texts))
    complain(f"{count(len(texts), 'problem')}; a daemon would not take this config")
    return CONFIG


def _summary(snapshot: Snapshot) -> dict[str, object]:
    return {
        "source": snapshot.source,
        "listen": [each.address for each in snapshot.settings.listen],
        "providers": list(snapshot.providers),
        "routes": {name: chain_text(route.chain) for name, route in snapshot.routes.items()},
        "warnings": list(snapshot.warnings),
    }


def _say_summary(snapshot: Snapshot) -> None:
    providers, routes = count(len(snapshot.providers), "provider"), count(len(snapshot.routes), "route")
    say(f"{printable(snapshot.source)}: {paint('ok', 'green')}: {providers}, {routes}")
    width = max(map(len, snapshot.routes), default=0)
    for name, route in snapshot.routes.items():
        say(f"  {name:<{width}}  {chain_text(route.chain)}")
    for warning in snapshot.warnings:
        say(f"{paint('warning', 'yellow')}: {printable(warning)}")


def init(args: argparse.Namespace) -> int:
    """Write the commented config, but over nothing."""
    path = Path(args.path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(shipped("sidecar.yaml").read_text("utf-8"))
    except FileExistsError:
        raise Failed(NO, f"{path}: is there already; name another path, or remove it") from None
    except OSError as error:
        raise Failed(NO, f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}; every key is in it, with its default")
    say("Name your providers and routes in it, then:")
    say(f"  sidecar check --config {path}")
    say(f"  sidecar serve --config {path}")
    say(f"For completion in your editor: sidecar schema > {path.with_name('sidecar.schema.json')}")
    return OK


def import_env(_: argparse.Namespace) -> int:
    """Print the file that does what the environment's variables do; it refers to them and holds no value."""
    try:
        text = environment_yaml(os.environ)
        warnings = from_environment(os.environ).warnings
    except ConfigurationError as error:
        raise Failed(CONFIG, str(error)) from error
    say(text.rstrip("\n"))
    for warning in warnings:
        complain(f"warning: {warning}")
    return OK


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema."""
    say_json(json_schema())
    return OK
