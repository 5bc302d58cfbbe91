"""All recorded replies to all clients: `python -m tests.cassettes` prints what comes out right, and what does not."""

from __future__ import annotations

from collections import Counter

from tests.cassettes.crossing import CLIENTS, recordings
from tests.cassettes.judge import judged


def main() -> None:
    told: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for recording in recordings():
        for client in CLIENTS:
            wrong = judged(recording, client)
            told[recording.dialect, client] += 1
            right[recording.dialect, client] += wrong is None
            if wrong is not None:
                print(f"{recording.id} {recording.dialect} -> {client}: {wrong}")
    for pair, count in sorted(told.items()):
        print(f"{pair[0]:20} -> {pair[1]:20} {right[pair]:5} of {count:5} = {right[pair] / count:7.2%}")


if __name__ == "__main__":
    main()
