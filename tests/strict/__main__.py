"""All recorded requests in every other dialect: `python -m tests.strict` prints what the documents accept."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from tests.strict.judging import MISSING, judged, requests


def main() -> None:
    if MISSING:
        sys.exit(MISSING)
    asked = requests()
    for each in asked:
        if each.bound is not None:
            print(f"{each.id} {each.dialect} is never translated: {each.bound}")
    verdicts = asyncio.run(judged(asked))
    count = Counter((each.dialect, each.target) for each in verdicts)
    good = Counter((each.dialect, each.target) for each in verdicts if each.wrong is None)
    for each in verdicts:
        if each.wrong is not None:
            print(f"{each.id} {each.dialect} -> {each.target}: {each.wrong}")
    for pair, number in sorted(count.items()):
        print(f"{pair[0]:20} -> {pair[1]:20} {good[pair]:5} of {number:5} = {good[pair] / number:7.2%}")
    total, accepted = sum(count.values()), sum(good.values())
    print(f"{'all':44} {accepted:5} of {total:5} = {accepted / total:7.2%}")


if __name__ == "__main__":
    main()
