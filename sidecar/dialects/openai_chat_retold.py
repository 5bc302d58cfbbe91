"""A request of another dialect, made to hold nothing that chat completions cannot say.

What goes is noted with its place in the request. What the wire's neighbours (every server that calls itself
compatible) refuse is not sent on the chance that this one does not: a refused request is worth less than one
that lacks a detail, and says so. What a provider is known to take beyond that, its quirks tell.

Sources (read 2026-11): platform.openai.com/docs/api-reference/chat/create;
openrouter.ai/docs/use-cases/reasoning-tokens; openrouter.ai/docs/features/prompt-caching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sidecar.dialects.dialect import Untranslatable, check_choices
from sidecar.dialects.efforts import effort_of
from sidecar.dialects.losses import added, changed, dropped, foreign
from sidecar.dialects.openai_chat_parts import AUDIO_FORMATS
from sidecar.dialects.openai_shared import OUR_FILES, SAFETY, detail_of_responses, file_name, of_responses
from sidecar.model.blocks import (
    Block,
    CacheMark,
    Media,
    MediaKind,
    Message,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from sidecar.model.hub import FormatKind, HubRequest, Loss, OutputFormat, Reasoning, Tool, ToolChoice, Wire
from sidecar.model.topology import Dialect, Quirk

__all__ = ["retold"]

_OWN = Dialect.OPENAI_CHAT
_MAX_STOPS = 4
_FORMAT_NAME = "answer"


def retold(request: HubRequest, wire: Wire, losses: list[Loss]) -> HubRequest:
    """The request as it can be said.

    Raises:
        Untranslatable: When it asks for several answers, a result answers no call, or nothing is left of its messages.
    """
    check_choices(request)
    teller = _Teller(request.dialect, wire, losses)
    messages = _turns(
        [
            told
            for number, message in enumerate(request.messages)
            for told in teller.messages(message, f"messages[{number}]")
        ]
    )
    if not messages:
        raise Untranslatable("none of the messages holds anything that openai-chat could say")
    extra = teller.rest(request.extra)
    if request.top_k is not None:
        dropped(losses, "top_k", "openai-chat has no top_k")
    if len(request.stop) > _MAX_STOPS:
        changed(losses, "stop", f"openai-chat takes {_MAX_STOPS} of {len(request.stop)} stop sequences")
    if request.top_logprobs is not None and not request.logprobs:
        added(losses, "logprobs", "openai-chat has top_logprobs only beside logprobs")
    return msgspec.structs.replace(
        request,
        messages=messages,
        tools=teller.tools(request.tools),
        tool_choice=teller.choice(request),
        parallel_tools=request.parallel_tools if request.tools else None,
        format=teller.format(request.format),
        reasoning=teller.reasoning(request.reasoning),
        top_k=None,
        stop=request.stop[:_MAX_STOPS],
        choices=None,
        logprobs=True if request.top_logprobs is not None else request.logprobs,
        metadata=teller.metadata(request),
        store=request.store or None,  # not to store is the default, and the word is OpenAI's own
        service_tier=teller.tier(request.service_tier),
        wants_usage=request.wants_usage and request.stream,
        extra=extra,
    )


def _turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with all calls of a turn in one: their results must follow them at once."""
    turns: list[Message] = []
    calls: set[str] = set()
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ToolUse):
                calls.add(block.id)
            if isinstance(block, ToolResult) and block.id not in calls:
                raise Untranslatable(
                    f"the result of {block.id!r} answers no call in the request; openai-chat knows no earlier one"
                )
        before = turns[-1] if turns else None
        if before is None or not before.role is message.role is Role.ASSISTANT or not _calls(before):
            turns.append(message)
            continue
        blocks = (*before.blocks, *message.blocks)
        turns[-1] = msgspec.structs.replace(before, blocks=blocks, bare=_bare(blocks))
    return tuple(turns)


def _calls(message: Message) -> bool:
    return any(isinstance(block, ToolUse) for block in message.blocks)


class _Teller:
    """Tells one request to one target; notes what it leaves out."""

    def __init__(self, dialect: Dialect, wire: Wire, losses: list[Loss]) -> None:
        self._dialect = dialect
        self._wire = wire
        self._losses = losses
        self._marks = Quirk.CACHE_CONTROL in wire.quirks
        self._takes_thoughts = Quirk.REASONING_OBJECT in wire.quirks

    # -- messages

    def messages(self, message: Message, path: str) -> list[Message]:
        """The messages that one comes to: of a user, what a tool showed follows its result."""
        foreign(self._losses, message.extra, path, _OWN)
        role = message.role
        if role is Role.DEVELOPER and Quirk.DEVELOPER_ROLE not in self._wire.quirks:
            role = Role.SYSTEM
        blocks: list[Block] = []
        shown: list[Media] = []
        for number, block in enumerate(message.blocks):
            at = f"{path}.content[{number}]"
            if isinstance(block, ToolResult):
                blocks.append(self._result(block, at, shown))
            elif (told := self._block(block, at, role)) is not None:
                blocks.append(told)
        blocks += shown
        if message.blocks and not blocks:  # nothing that could be said
            return []
        notes = {"~reasoning": True} if self._takes_thoughts else {}
        return [Message(role, tuple(blocks), _bare(blocks), message.name, notes)]

    def _block(self, block: Block, path: str, role: Role) -> Block | None:
        match block:
            case Text():
                return self._text(block, path, role)
            case Media():
                if role is not Role.USER:
                    dropped(self._losses, path, f"openai-chat has no {block.kind.value} in what the {role.value} says")
                    return None
                return self._medium(block, path)
            case ToolUse():
                return self._call(block, path)
            case Thinking():
                return self._thought(block, path)
            case Opaque() | ToolResult():
                dropped(self._losses, path, "openai-chat has no such content")
                return None

    def _text(self, text: Text, path: str, role: Role) -> Text:
        foreign(self._losses, text.extra, path, _OWN)
        if text.signature:
            dropped(self._losses, f"{path}.signature", "openai-chat has no signatures of texts")
        if text.refusal and role is not Role.ASSISTANT:
            changed(self._losses, path, f"openai-chat has no refusal of the {role.value}")
        return Text(text.text, text.refusal and role is Role.ASSISTANT, self._mark(text.cache, path))

    def _call(self, call: ToolUse, path: str) -> ToolUse:
        foreign(self._losses, call.extra, path, _OWN)
        if call.signature:
            dropped(self._losses, f"{path}.signature", "openai-chat has no signatures of calls")
        if call.cache is not None:
            dropped(self._losses, f"{path}.cache_control", "openai-chat has no cache marks on calls")
        return ToolUse(call.id, call.name, call.arguments)

    def _thought(self, thought: Thinking, path: str) -> Thinking | None:
        if not self._takes_thoughts:
            dropped(self._losses, path, "openai-chat takes no thoughts back")
            return None
        foreign(self._losses, thought.extra, path, _OWN)
        return Thinking(thought.text, thought.signature, thought.signer, thought.redacted)

    def _result(self, result: ToolResult, path: str, shown: list[Media]) -> ToolResult:
        foreign(self._losses, result.extra, path, _OWN)
        if result.is_error:
            dropped(self._losses, f"{path}.is_error", "openai-chat does not mark results of tools that failed")
        texts: list[Text] = []
        for number, block in enumerate(result.blocks):
            at = f"{path}.content[{number}]"
            if isinstance(block, Text):
                texts.append(self._text(block, at, Role.USER))
            elif isinstance(block, Opaque):
                dropped(self._losses, at, "openai-chat has no such content")
            elif (medium := self._medium(block, at)) is not None:
                changed(self._losses, at, "openai-chat has only text in results; it follows as a user's message")
                shown.append(medium)
        mark = self._mark(result.cache, path)
        if mark is not None and texts and texts[-1].cache is None:  # marks stand on parts
            texts[-1] = msgspec.structs.replace(texts[-1], cache=mark)
        return ToolResult(result.id, tuple(texts), name=result.name, bare=_bare(texts))

    def _mark(self, cache: CacheMark | None, path: str) -> CacheMark | None:
        if cache is not None and not self._marks:
            dropped(self._losses, f"{path}.cache_control", "openai-chat has no cache marks")
            return None
        return cache

    def _medium(self, media: Media, path: str) -> Media | None:
        reason = self._unsayable(media)
        if reason is not None:
            dropped(self._losses, path, reason)
            return None
        detail, rest = detail_of_responses(media.extra) if self._dialect in OUR_FILES else ({}, media.extra)
        foreign(self._losses, rest, path, _OWN)
        name = media.name
        if media.kind is not MediaKind.DOCUMENT and name:
            dropped(self._losses, f"{path}.name", f"openai-chat has no names of {media.kind.value}s")
            name = None
        if media.kind is MediaKind.DOCUMENT and media.inline and not name:
            name = file_name(media.mime)
            added(self._losses, f"{path}.name", "openai-chat wants a file's name")
        mark = self._mark(media.cache, path)
        return Media(media.kind, media.mime, media.url, media.inline, media.file_id, name, mark, detail)

    def _unsayable(self, media: Media) -> str | None:
        """Why it cannot be said."""
        kind = media.kind
        if kind is MediaKind.VIDEO:
            return "openai-chat has no video"
        if media.file_id and (kind is not MediaKind.DOCUMENT or self._dialect not in OUR_FILES):
            return f"openai-chat has no {kind.value} {media.file_id!r} of another store"
        if media.url and kind is not MediaKind.IMAGE:
            return f"openai-chat has no URLs of {kind.value}"
        if kind is MediaKind.AUDIO and media.mime not in AUDIO_FORMATS:
            return f"openai-chat takes audio as wav or mp3, not {media.mime}"
        return None

    # -- the top level

    def rest(self, extra: Mapping[str, object]) -> dict[str, object]:
        """What of the top level has no place in the hub, and how the rest is to be written."""
        notes: dict[str, object] = {"~reasoning": True} if self._takes_thoughts else {}
        if self._dialect is not Dialect.OPENAI_RESPONSES or Quirk.OPENAI_FIELDS not in self._wire.quirks:
            foreign(self._losses, extra, "", _OWN)
            return notes
        said, rest = of_responses(extra)
        foreign(self._losses, rest, "", _OWN)
        return {**notes, **said, **({SAFETY: True} if SAFETY in extra else {})}

    def tools(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        """The functions; a provider runs its own tools only."""
        told = []
        for number, tool in enumerate(tools):
            path = f"tools[{number}]"
            if tool.builtin is not None:
                dropped(self._losses, path, f"openai-chat has no built-in tool {tool.name}")
                continue
            foreign(self._losses, tool.extra, path, _OWN)
            told.append(msgspec.structs.replace(tool, cache=self._mark(tool.cache, path), extra={}))
        return tuple(told)

    def choice(self, request: HubRequest) -> ToolChoice | None:
        """Which tools to call; meaningless, and refused, without any."""
        choice = request.tool_choice
        if choice is None:
            return None
        foreign(self._losses, choice.extra, "tool_choice", _OWN)
        names = {tool.name for tool in request.tools if tool.builtin is None}
        if not names or not names.issuperset(choice.names):
            dropped(self._losses, "tool_choice", "none of the tools that can be said is chosen")
            return None
        return ToolChoice(choice.mode, choice.names)

    def format(self, format_: OutputFormat | None) -> OutputFormat | None:
        """What the answer must be."""
        if format_ is None or format_.kind is FormatKind.TEXT:
            return None
        foreign(self._losses, format_.extra, "response_format", _OWN)
        name = format_.name
        if format_.kind is FormatKind.SCHEMA and not name:
            added(self._losses, "response_format.name", "openai-chat wants a schema's name")
            name = _FORMAT_NAME
        return msgspec.structs.replace(format_, name=name, extra={})

    def reasoning(self, reasoning: Reasoning | None) -> Reasoning | None:
        """How much to think. A model that is not known to reason may refuse to be told."""
        if reasoning is None:
            return None
        foreign(self._losses, reasoning.extra, "reasoning", _OWN)
        if reasoning.adaptive:
            changed(self._losses, "reasoning.adaptive", "openai-chat leaves it to the model by default")
        if self._takes_thoughts:
            return msgspec.structs.replace(reasoning, adaptive=False, extra={})
        if self._wire.facts.reasoning is not True:
            dropped(self._losses, "reasoning", f"{self._wire.model} is not known to reason")
            return None
        if reasoning.shown or reasoning.summary:
            dropped(self._losses, "reasoning.summary", "openai-chat cannot be asked for thoughts to read")
        return Reasoning(effort=self._effort(reasoning))

    def _effort(self, reasoning: Reasoning) -> str | None:
        if reasoning.enabled is False:
            return "none"
        if reasoning.budget_tokens is not None:
            changed(self._losses, "reasoning.budget_tokens", "openai-chat has efforts, not budgets")
            return reasoning.effort or effort_of(reasoning.budget_tokens)
        if reasoning.enabled and reasoning.effort is None and not reasoning.adaptive:
            changed(self._losses, "reasoning.enabled", "openai-chat leaves it to the model by default")
        return reasoning.effort

    def metadata(self, request: HubRequest) -> Mapping[str, object] | None:
        """Labels, which OpenAI takes with answers that it stores."""
        if request.metadata and not request.store:
            dropped(self._losses, "metadata", "openai-chat takes metadata only with what is stored")
            return None
        return request.metadata

    def tier(self, tier: str | None) -> str | None:
        """Whose tiers have the same names."""
        if tier is not None and self._dialect is not Dialect.OPENAI_RESPONSES:
            dropped(self._losses, "service_tier", f"openai-chat has no {tier!r} of {self._dialect.value}")
            return None
        return tier


def _bare(blocks: Sequence[Block]) -> bool:
    """Whether it can be one text: the form that every server understands."""
    texts = [block for block in blocks if isinstance(block, Text)]
    called = any(isinstance(block, ToolUse) for block in blocks)
    if any(isinstance(block, Media) for block in blocks) or any(text.cache for text in texts):
        return False
    return len([text for text in texts if not text.refusal]) <= 1 or called
