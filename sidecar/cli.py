"""The `sidecar` command."""
from __future__ import annotations
import argparse
from collections.abc import Sequence
def main(argv: Sequence[str]) -> int:
    p=argparse.ArgumentParser(); p.add_argument("cmd"); p.add_argument("--config"); a=p.parse_args(argv)
    from sidecar.daemon import run
    return run(a.config)
