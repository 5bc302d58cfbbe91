"""All recorded replies to all clients: `python -m tests.cassettes` prints what comes out right, and what does not.

Two totals: the conversations as they are filed, where an answer of something else counts as a miss, as do several
answers in one; and every recording as what it is.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Mapping

from tests.cassettes.beside import object_judged, refusal_judged
from tests.cassettes.crossing import CLIENTS
from tests.cassettes.judge import judged
from tests.cassettes.passing import passed_judged
from tests.cassettes.recorded import LABELS, Recording, all_rows, replies

_OWN = {operation: client for client, operation in CLIENTS.items()}
_FILED = [label for label, operation in LABELS.items() if operation in _OWN and not label.startswith("bedrock")]


def main() -> None:
    warnings.filterwarnings("ignore", "Pydantic serializer warnings")
    found = replies()
    passed = asyncio.run(passed_judged([each for each in found if each.operation is None]))
    told, right, filed = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[str]()
    for recording in found:
        wrongs = _wrongs(recording, passed)
        for client, wrong in {**wrongs, "every one of them": next(filter(None, wrongs.values()), None)}.items():
            told[_kind(recording), client] += 1
            right[_kind(recording), client] += wrong is None
            if wrong is not None and client in wrongs:
                print(f"{recording.id} {_kind(recording)} -> {client}: {wrong}")
        own = None if recording.operation is None else _OWN.get(recording.operation)
        filed[recording.label] += recording.as_filed and own is not None and wrongs[own] is None
        if recording.label in _FILED and not recording.as_filed and recording.status == 200:
            print(f"{recording.id} is filed as {recording.label}, but {_truth(recording)}")
    _print_filed(filed)
    _print_found(told, right)


def _wrongs(recording: Recording, passed: Mapping[str, str | None]) -> dict[str, str | None]:
    """What is wrong, by whom it is answered to."""
    if recording.operation is None:
        return {"whoever asked": passed[recording.id]}
    if recording.failed:
        return {"clients of all dialects": refusal_judged(recording)}
    if not recording.talks:
        return {"clients of that form": object_judged(recording)}
    return {client: judged(recording, client) for client in CLIENTS}


def _kind(recording: Recording) -> str:
    if recording.operation is None:
        return "passed on as it is"
    return "error" if recording.failed else str(recording.operation)


def _truth(recording: Recording) -> str:
    if "#" in recording.id:
        return "one of several answers, recorded one after the other"
    return "an error" if recording.failed else f"is: {recording.operation or 'of a service of no dialect of ours'}"


def _print_filed(filed: Mapping[str, int]) -> None:
    print("\nAs they are filed, answered to a client of that dialect:")
    count = Counter(row["dialect"] for row in all_rows() if row["res"]["status"] == 200)
    for label in _FILED:
        _print(label, filed[label], count[label])
    _print("all", sum(filed[label] for label in _FILED), sum(count[label] for label in _FILED))


def _print_found(told: Mapping[tuple[str, str], int], right: Mapping[tuple[str, str], int]) -> None:
    print("\nAs what they are:")
    for pair, number in sorted(told.items()):
        if pair[1] != "every one of them":
            _print(" -> ".join(pair), right[pair], number)
    whole = [pair for pair in told if pair[1] == "every one of them"]
    spoken = [pair for pair in whole if pair[0] != "passed on as it is"]
    _print("all in a dialect of ours", sum(right[pair] for pair in spoken), sum(told[pair] for pair in spoken))
    _print("all", sum(right[pair] for pair in whole), sum(told[pair] for pair in whole))


def _print(name: str, right: int, number: int) -> None:
    print(f"  {name:45} {right:5} of {number:5} = {right / number:7.2%}")


if __name__ == "__main__":
    main()
