"""Items and parts that stand in requests and in answers alike: thoughts, calls, texts, likelihoods.

What the wire says for its own sake (ids, states, a type that could be left out) is in `extra` as a note.

A signature of another dialect is written with its signer's name before it (`gemini-generate:...`), in the
field that a client hands back untouched; OpenAI's own hold no colon. An item of thoughts that were not
thought by this dialect has an id that begins with `MINTED`.

Source: platform.openai.com/docs/api-reference/responses (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sidecar.dialects.loose import objects, text
from sidecar.dialects.losses import NOTE
from sidecar.model.blocks import Logprob, Text, Thinking, ToolUse
from sidecar.model.topology import Dialect

__all__ = [
    "DIALECT",
    "MINTED",
    "call_item",
    "given_back",
    "logprobs_of",
    "logprobs_written",
    "minted",
    "noted",
    "output_part",
    "signature_of",
    "signed_by",
    "thinking_item",
    "thinking_of",
    "tool_use_of",
]

DIALECT = Dialect.OPENAI_RESPONSES
MINTED = "rs_sidecar_"
"""How the ids of thoughts begin that came from another dialect: none of OpenAI's servers knows them."""

_NOTED = ("id", "status", "type")
_SIGNERS: Mapping[str, Dialect] = MappingProxyType({dialect.value: dialect for dialect in Dialect})
_PARAGRAPH = "\n\n"  # between the parts of a summary


# -- notes


def noted(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields, with notes in place of those that only the wire needs, and of these."""
    return {NOTE + name if name in _NOTED or name in names else name: value for name, value in fields.items()}


def given_back(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as they were written."""
    return {name.removeprefix(NOTE): value for name, value in extra.items()}


# -- thoughts


def thinking_of(item: Mapping[str, Any]) -> Thinking:
    """What a reasoning item is: its summary, or the thoughts themselves where they are told."""
    extra = dict(item)
    for name in ("type", "summary"):
        extra.pop(name, None)
    summary, content = item.get("summary"), item.get("content")
    said = _texts(summary) or _texts(content)
    told = _PARAGRAPH.join(said)
    if summary != _summary(told) and not (summary == [] and content):
        extra["summary"] = summary
    written = item.get("encrypted_content")
    signature, signer = signature_of(written)
    if signature is not None:
        del extra["encrypted_content"]
    return Thinking(
        told, signature, signer, redacted=not told and signature is not None, extra=noted(extra, "summary", "content")
    )


def signature_of(written: Any) -> tuple[str | None, Dialect]:
    """What an item has for encrypted content, and who signed it."""
    if not isinstance(written, str) or not written:
        return None, DIALECT
    name, colon, signature = written.partition(":")
    signer = _SIGNERS.get(name) if colon else None
    return (signature, signer) if signer else (written, DIALECT)


def thinking_item(block: Thinking, *, own: bool) -> dict[str, Any]:
    """A reasoning item.

    Args:
        block: What was thought.
        own: What `extra` holds is of this dialect.
    """
    item: dict[str, Any] = {"type": "reasoning", "summary": _summary(block.text)}
    if own and objects(block.extra.get(f"{NOTE}content")) and f"{NOTE}summary" not in block.extra:
        item["summary"] = []
    if block.signature:
        item["encrypted_content"] = signed_by(block) + block.signature
    return {**item, **given_back(block.extra)} if own else item


def signed_by(block: Thinking) -> str:
    """What stands before a signature of another dialect."""
    return "" if block.signer in (None, DIALECT) else f"{block.signer}:"


def minted(block: Thinking) -> bool:
    """Whether it was thought in another dialect."""
    return block.signer not in (None, DIALECT) or text(block.extra.get(f"{NOTE}id")).startswith(MINTED)


def _texts(parts: Any) -> list[str]:
    return [said for part in objects(parts) if (said := text(part.get("text")))]


def _summary(told: str) -> list[dict[str, str]]:
    return [{"type": "summary_text", "text": told}] if told else []


# -- calls


def tool_use_of(item: Mapping[str, Any]) -> ToolUse | None:
    """The call that a function_call item is; None when it is none."""
    extra = dict(item)
    extra.pop("type", None)
    call_id, name, arguments = extra.pop("call_id", None), extra.pop("name", None), extra.pop("arguments", "")
    if not isinstance(call_id, str) or not isinstance(name, str) or not isinstance(arguments, str):
        return None
    return ToolUse(call_id, name, arguments or "{}", extra=noted(extra))


def call_item(block: ToolUse, *, own: bool) -> dict[str, Any]:
    """A function_call item.

    Args:
        block: The call.
        own: What `extra` holds is of this dialect.
    """
    item = {"type": "function_call", "call_id": block.id, "name": block.name, "arguments": block.arguments}
    return {**item, **given_back(block.extra)} if own else item


# -- texts that a model wrote


def output_part(block: Text, *, own: bool, logprobs: bool) -> dict[str, Any]:
    """A part of an assistant's message.

    Args:
        block: The text.
        own: What `extra` holds is of this dialect.
        logprobs: The list of likelihoods stands there even when it is empty.
    """
    if block.refusal:
        part: dict[str, Any] = {"type": "refusal", "refusal": block.text}
    else:
        part = {"type": "output_text", "text": block.text, "annotations": []}
        if block.logprobs or logprobs:
            part["logprobs"] = logprobs_written(block.logprobs)
    return {**part, **given_back(block.extra)} if own else part


def logprobs_of(value: Any, *, top: bool = True) -> tuple[Logprob, ...]:
    """Likelihoods, of those entries that are as they should be; those of alternatives have no alternatives."""
    return tuple(
        Logprob(
            entry["token"],
            float(entry["logprob"]),
            _bytes(entry.get("bytes")),
            logprobs_of(entry.get("top_logprobs"), top=False) if top else (),
        )
        for entry in objects(value)
        if isinstance(entry.get("token"), str) and _is_number(entry.get("logprob"))
    )


def logprobs_written(logprobs: Sequence[Logprob], *, top: bool = True) -> list[dict[str, Any]]:
    """Likelihoods as they are written; those of alternatives have no alternatives of their own."""
    return [
        {
            "token": each.token,
            "bytes": list(each.bytes or ()),
            "logprob": each.logprob,
            **({"top_logprobs": logprobs_written(each.top, top=False)} if top else {}),
        }
        for each in logprobs
    ]


def _bytes(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    return tuple(value) if all(type(each) is int and 0 <= each < 256 for each in value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
