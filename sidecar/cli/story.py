"""What the demo plays, step by step; each step says what it does and checks that it came about.

A step is held to what an app can see (status, headers, text) and to what the log says of it. It raises
`Missed` with what was expected.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from sidecar.cli.feed import told
from sidecar.cli.stage import Answer, Missed, Stage
from sidecar.cli.terminal import cut, paint, say, span

__all__ = ["STEPS", "Step"]

_ORDER, _SWAPPED, _BROKEN = (
    "chain: [alpha/ok, beta/ok]",
    "chain: [beta/ok, alpha/ok]",
    "chain: [betta/ok, alpha/ok]",
)
_REQUESTS, _ALPHAS = 20, 14  # smooth weighted round robin: 70/30 is exact over every ten
_SOON_S = 3.0  # an edit takes about 0.2 s
_PAUSE_S = 0.01
_TEXT_CHARS = 60


class Step(NamedTuple):
    """One scene."""

    title: str
    play: Callable[[Stage], None]


def _answers(stage: Stage) -> None:
    """Alpha answers."""
    _show_request("default", stage)
    answer = _expect(stage.ask("default"), "alpha/ok")
    _line(f"{_who(answer)} in {span(answer.duration_s)}: {cut(answer.text, _TEXT_CHARS)}")


def _fails_over(stage: Stage) -> None:
    """Alpha fails, beta answers, and the log tells both."""
    _show_request("fragile", stage)
    answer = _expect(stage.ask("fragile"), "beta/ok")
    _line(f"{_who(answer)} in {span(answer.duration_s)}; the app saw no error. The log says why, a line for each try:")
    # The line of the request follows those of its attempts.
    stage.happens(lambda: bool(stage.events("request", request_id=answer.request_id)), _SOON_S)
    lines = stage.events("attempt", request_id=answer.request_id)
    for line in lines:
        _line(f"  {told(line)}")
    tries = [(record["target"], record["outcome"]) for record in map(json.loads, lines)]
    if tries != [("alpha/down", "failed"), ("beta/ok", "ok")]:
        raise Missed(f"the log should tell of a failed try of alpha/down and a good one of beta/ok, not {tries}")


def _shares(stage: Stage) -> None:
    """70/30."""
    _line(f"{_REQUESTS} requests for model {paint('split', 'bold')}, whose chain is {_chain(stage, 'split')}")
    counts = Counter(_expect(stage.ask("split"), None).target for _ in range(_REQUESTS))
    for target, number in sorted(counts.items()):
        _line(f"{paint(target, 'bold'):<9} {'#' * number} {number}")
    if counts != {"alpha/ok": _ALPHAS, "beta/ok": _REQUESTS - _ALPHAS}:
        raise Missed(f"of {_REQUESTS} requests alpha should have answered {_ALPHAS}, but it was {dict(counts)}")


def _reroutes(stage: Stage) -> None:
    """An edit of the file; the next request goes elsewhere."""
    before = stage.status()
    began = _edit(stage, _ORDER, _SWAPPED)
    asked = 0
    while True:
        answer = _expect(stage.ask("default"), None)
        asked += 1
        took_s = monotonic() - began
        if answer.target == "beta/ok":
            break
        if took_s > _SOON_S or not stage.rests(_PAUSE_S):
            raise Missed(f"beta should have answered within {_SOON_S:g} s of the edit")
    _line(
        f"{_who(answer)} {paint(f'{took_s * 1000:.0f} ms', 'bold')} after the save; "
        f"all {asked} requests sent meanwhile were answered"
    )
    after = stage.status()
    if after["pid"] != before["pid"] or after["generation"] != before["generation"] + 1:
        raise Missed("the same process should serve the next generation")
    _line(f"the same process (pid {after['pid']}), generation {before['generation']} -> {after['generation']}")


def _refuses(stage: Stage) -> None:
    """A bad edit changes nothing and says where it is wrong."""
    generation = stage.status()["generation"]
    _edit(stage, _SWAPPED, _BROKEN)
    problems: list[str] = []

    def rejected() -> bool:
        _expect(stage.ask("default"), "beta/ok")
        problems[:] = stage.status()["rejected"]
        return bool(problems)

    if not stage.happens(rejected, _SOON_S):
        raise Missed("the edit should have been rejected")
    for problem in problems:
        _line(paint(problem.replace(f"{stage.config.parent}/", ""), "red"))
    if not all(problem.startswith(f"{stage.config}:") for problem in problems):
        raise Missed("the message should name the file and the line")
    if not stage.happens(lambda: bool(stage.events("config.rejected")), _SOON_S):
        raise Missed("the log should tell of the rejected edit")
    answer = _expect(stage.ask("default"), "beta/ok")
    if answer.generation != generation:
        raise Missed(f"generation {generation} should go on")
    _line(f"{_who(answer)}: generation {generation} goes on, no request has failed")


def _restores(stage: Stage) -> None:
    """Back to the beginning."""
    _edit(stage, _BROKEN, _ORDER)

    def restored() -> bool:
        return _expect(stage.ask("default"), None).target == "alpha/ok" and stage.status()["last_reload_successful"]

    if not stage.happens(restored, _SOON_S):
        raise Missed("alpha should answer again, and the config be accepted")
    _line(f"{_who(_expect(stage.ask('default'), 'alpha/ok'))}, generation {stage.status()['generation']}")


STEPS = (
    Step("A request", _answers),
    Step("A provider fails, the next one answers", _fails_over),
    Step("Two providers share the load, 70 to 30", _shares),
    Step("The file is edited: requests go elsewhere, nothing restarts", _reroutes),
    Step("A bad edit is refused, and everything goes on", _refuses),
    Step("The file is restored", _restores),
)


def _edit(stage: Stage, old: str, new: str) -> float:
    """Replace a line of the config as an editor would; gives the moment of the save."""
    text = stage.config.read_text("utf-8")
    if old not in text:
        raise Missed(f"{stage.config} should hold `{old}`")
    _line(f"{stage.config.name}, routes.default:")
    _line(paint(f"  - {old}", "red"))
    _line(paint(f"  + {new}", "green"))
    stage.config.write_text(text.replace(old, new, 1), "utf-8")
    return monotonic()


def _expect(answer: Answer, target: str | None) -> Answer:
    """The answer, if it is good and, where it matters, from this target."""
    if answer.status != 200 or not answer.text:
        raise Missed(f"the request should have been answered, but got {answer.status}: {answer.text}")
    if target is not None and answer.target != target:
        raise Missed(f"{target} should have answered, but it was {answer.target} ({answer.attempts})")
    return answer


def _show_request(model: str, stage: Stage) -> None:
    _line(f"POST {stage.url}/chat/completions with model {paint(model, 'bold')}, whose chain is {_chain(stage, model)}")


def _chain(stage: Stage, route: str) -> str:
    return str(stage.status()["routes"][route]["chain"])


def _who(answer: Answer) -> str:
    return f"{paint(str(answer.status), 'green')} from {paint(answer.target, 'bold')}"


def _line(text: str) -> None:
    say(f"   {text}")
