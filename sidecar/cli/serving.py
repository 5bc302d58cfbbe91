"""The daemon, as a command."""

from __future__ import annotations

import argparse

from sidecar.daemon import run

__all__ = ["serve"]


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    return run(args.config, strict=args.strict)
