"""The vendors' own SDKs with one face, two generations of them: ask, whole or streamed, and go on with the answer.

What the SDK made of the answer is a `Told`; its `turn` is what an app of that SDK hands back in the next request,
thoughts and signatures included, exactly as it got them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai
from google import genai
from google.genai import errors, types

try:
    import httpx2
except ModuleNotFoundError:  # the SDKs' generation before
    import httpx as httpx2

__all__ = ["CLIENTS", "PICTURE", "Client", "Told", "Wishes"]

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_TIMEOUT_S = 20.0
_MAX_TOKENS = 3000
_EFFORT = "medium"
_STRICT = {"strict": True} if openai.__version__.startswith("1.") else {}  # its streams take no other tools
_BUDGET_TOKENS = 2000


@dataclass(frozen=True)
class Wishes:
    """What a request has beside its turns."""

    system: str | None = None
    tools: Mapping[str, Any] = field(default_factory=dict)  # schemas by name
    schema: Mapping[str, Any] | None = None
    thinks: bool = False


@dataclass
class Told:
    """What the SDK gave its app."""

    text: str
    stop: str | None
    tokens: tuple[int, int, int]  # in (cached ones included), of these cached, out
    calls: list[tuple[str, str, Any]]  # (id, name, arguments)
    thought: str
    turn: list[Any]


class Client(Protocol):
    """One SDK; lives as long as its module's daemon. `headers` are those of its last answer."""

    headers: Mapping[str, str]
    stops: tuple[str, str]  # an answer's end, and its calls of tools
    wrong: Mapping[int, type[Exception]]  # what it raises
    broken: type[Exception]  # what it raises when a stream breaks

    def user(self, text: str, picture: str | None = None) -> list[Any]: ...

    def results(self, given: Sequence[tuple[str, str, str]]) -> list[Any]:
        """The turn with the results of tools: (id, name, text) each."""

    async def ask(self, model: str, turns: list[Any], wishes: Wishes, *, stream: bool) -> Told: ...

    async def close(self) -> None: ...


class _Watched:
    """Keeps the headers of the last answer."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self.http = httpx2.AsyncClient(event_hooks={"response": [self._came]}, timeout=_TIMEOUT_S)

    async def _came(self, response: httpx2.Response) -> None:
        self.headers = response.headers


class _OpenAi(_Watched):
    wrong: Mapping[int, type[Exception]] = {400: openai.BadRequestError, 429: openai.RateLimitError}
    broken: type[Exception] = openai.APIError

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.sdk = openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0, http_client=self.http)

    async def close(self) -> None:
        await self.sdk.close()


class Chat(_OpenAi):
    stops = ("stop", "tool_calls")

    def user(self, text: str, picture: str | None = None) -> list[Any]:
        if picture is None:
            return [{"role": "user", "content": text}]
        url = {"url": f"data:image/png;base64,{picture}"}
        return [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url", "image_url": url}]}]

    def results(self, given: Sequence[tuple[str, str, str]]) -> list[Any]:
        return [{"role": "tool", "tool_call_id": id_, "content": text} for id_, _, text in given]

    async def ask(self, model: str, turns: list[Any], wishes: Wishes, *, stream: bool) -> Told:
        system = [{"role": "system", "content": wishes.system}] if wishes.system else []
        request: dict[str, Any] = {"model": model, "messages": [*system, *turns], "max_tokens": _MAX_TOKENS}
        if wishes.tools:
            functions = [{"name": name, "parameters": schema, **_STRICT} for name, schema in wishes.tools.items()]
            request["tools"] = [{"type": "function", "function": function} for function in functions]
        if wishes.schema:
            named = {"name": "answer", "schema": wishes.schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        if wishes.thinks:
            request["reasoning_effort"] = _EFFORT
        if not stream:
            answer = await self.sdk.chat.completions.create(**request)
        else:
            async with self.sdk.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream_:
                async for _ in stream_:
                    pass
                answer = await stream_.get_final_completion()
        (choice,) = answer.choices
        message, usage = choice.message, answer.usage
        cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
        turn = message.to_dict()
        turn.pop("parsed", None)
        for call in turn.get("tool_calls") or ():
            call["function"].pop("parsed_arguments", None)
            call.pop("index", None)
        return Told(
            text=message.content or "",
            stop=choice.finish_reason,
            tokens=(usage.prompt_tokens, cached or 0, usage.completion_tokens),
            calls=[
                (call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()
            ],
            thought=(message.model_extra or {}).get("reasoning_content")
            or (message.model_extra or {}).get("reasoning")
            or "",
            turn=[turn],
        )


class Responses(_OpenAi):
    stops = ("completed", "completed")

    def user(self, text: str, picture: str | None = None) -> list[Any]:
        parts: list[Any] = [{"type": "input_text", "text": text}]
        if picture is not None:
            parts.append({"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{picture}"})
        return [{"role": "user", "content": parts}]

    def results(self, given: Sequence[tuple[str, str, str]]) -> list[Any]:
        return [{"type": "function_call_output", "call_id": id_, "output": text} for id_, _, text in given]

    async def ask(self, model: str, turns: list[Any], wishes: Wishes, *, stream: bool) -> Told:
        request: dict[str, Any] = {"model": model, "input": turns, "max_output_tokens": _MAX_TOKENS, "store": False}
        if wishes.system:
            request["instructions"] = wishes.system
        if wishes.tools:
            request["tools"] = [
                {"type": "function", "name": name, "parameters": schema, "strict": False}
                for name, schema in wishes.tools.items()
            ]
        if wishes.schema:
            format_ = {"type": "json_schema", "name": "answer", "schema": wishes.schema, "strict": True}
            request["text"] = {"format": format_}
        if wishes.thinks:
            request["reasoning"] = {"effort": _EFFORT, "summary": "auto"}
            request["include"] = ["reasoning.encrypted_content"]
        if not stream:
            answer = await self.sdk.responses.create(**request)
        else:
            async with self.sdk.responses.stream(**request) as stream_:
                answer = await stream_.get_final_response()
        usage = answer.usage
        calls = [item for item in answer.output if item.type == "function_call"]
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        turn = [item.to_dict() for item in answer.output]
        for item in turn:
            item.pop("parsed_arguments", None)
            for part in item.get("content") or ():
                part.pop("parsed", None)
        return Told(
            text=answer.output_text,
            stop=answer.status,
            tokens=(usage.input_tokens, usage.input_tokens_details.cached_tokens, usage.output_tokens),
            calls=[(call.call_id, call.name, json.loads(call.arguments)) for call in calls],
            thought="".join(thoughts),
            turn=turn,
        )


class Messages(_Watched):
    stops = ("end_turn", "tool_use")
    wrong: Mapping[int, type[Exception]] = {400: anthropic.BadRequestError, 429: anthropic.RateLimitError}
    broken: type[Exception] = anthropic.APIError

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.sdk = anthropic.AsyncAnthropic(base_url=base_url, api_key="unused", max_retries=0, http_client=self.http)

    async def close(self) -> None:
        await self.sdk.close()

    def user(self, text: str, picture: str | None = None) -> list[Any]:
        if picture is None:
            return [{"role": "user", "content": text}]
        source = {"type": "base64", "media_type": "image/png", "data": picture}
        return [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image", "source": source}]}]

    def results(self, given: Sequence[tuple[str, str, str]]) -> list[Any]:
        blocks = [{"type": "tool_result", "tool_use_id": id_, "content": text} for id_, _, text in given]
        return [{"role": "user", "content": blocks}]

    async def ask(self, model: str, turns: list[Any], wishes: Wishes, *, stream: bool) -> Told:
        request: dict[str, Any] = {"model": model, "messages": turns, "max_tokens": _MAX_TOKENS}
        if wishes.system:
            request["system"] = wishes.system
        if wishes.tools:
            request["tools"] = [{"name": name, "input_schema": schema} for name, schema in wishes.tools.items()]
        if wishes.schema:
            request["output_config"] = {"format": {"type": "json_schema", "schema": wishes.schema}}
        if wishes.thinks:
            request["thinking"] = {"type": "enabled", "budget_tokens": _BUDGET_TOKENS}
        if not stream:
            answer = await self.sdk.messages.create(**request)
        else:
            async with self.sdk.messages.stream(**request) as stream_:
                answer = await stream_.get_final_message()
        usage = answer.usage
        cached = usage.cache_read_input_tokens or 0
        calls = [block for block in answer.content if block.type == "tool_use"]
        turn = {"role": "assistant", "content": [block.to_dict() for block in answer.content]}
        for block in turn["content"]:
            block.pop("parsed_output", None)
        return Told(
            text="".join(block.text for block in answer.content if block.type == "text"),
            stop=answer.stop_reason,
            tokens=(usage.input_tokens + cached, cached, usage.output_tokens),
            calls=[(call.id, call.name, call.input) for call in calls],
            thought="".join(block.thinking for block in answer.content if block.type == "thinking"),
            turn=[turn],
        )


class Gemini(_Watched):
    stops = ("STOP", "STOP")
    wrong: Mapping[int, type[Exception]] = {400: errors.ClientError, 429: errors.ClientError}
    broken: type[Exception] = errors.APIError

    def __init__(self, base_url: str) -> None:
        super().__init__()
        options = types.HttpOptions(base_url=base_url, timeout=int(_TIMEOUT_S * 1000), httpx_async_client=self.http)
        self.sdk = genai.Client(api_key="unused", http_options=options)

    async def close(self) -> None:
        await self.sdk.aio.aclose()
        await self.http.aclose()

    def user(self, text: str, picture: str | None = None) -> list[Any]:
        parts = [types.Part(text=text)]
        if picture is not None:
            parts.append(types.Part(inline_data=types.Blob(mime_type="image/png", data=picture)))
        return [types.Content(role="user", parts=parts)]

    def results(self, given: Sequence[tuple[str, str, str]]) -> list[Any]:
        responses = [
            types.FunctionResponse(id=id_ or None, name=name, response={"output": text}) for id_, name, text in given
        ]
        return [types.Content(role="user", parts=[types.Part(function_response=each) for each in responses])]

    async def ask(self, model: str, turns: list[Any], wishes: Wishes, *, stream: bool) -> Told:
        config = types.GenerateContentConfig(
            max_output_tokens=_MAX_TOKENS,
            system_instruction=wishes.system,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        if wishes.tools:
            functions = [
                types.FunctionDeclaration(name=name, parameters_json_schema=schema)
                for name, schema in wishes.tools.items()
            ]
            config.tools = [types.Tool(function_declarations=functions)]
        if wishes.schema:
            config.response_mime_type, config.response_json_schema = "application/json", wishes.schema
        if wishes.thinks:
            config.thinking_config = types.ThinkingConfig(thinking_budget=_BUDGET_TOKENS, include_thoughts=True)
        request = {"model": model, "contents": turns, "config": config}
        if stream:
            chunks = [chunk async for chunk in await self.sdk.aio.models.generate_content_stream(**request)]
        else:
            chunks = [await self.sdk.aio.models.generate_content(**request)]
        usage = next(chunk.usage_metadata for chunk in reversed(chunks) if chunk.usage_metadata)
        said = [chunk.candidates[0] for chunk in chunks if chunk.candidates]
        parts = [part for candidate in said if candidate.content for part in candidate.content.parts or ()]
        calls = [part.function_call for part in parts if part.function_call]
        finish = next((candidate.finish_reason for candidate in reversed(said) if candidate.finish_reason), None)
        return Told(
            text="".join(part.text or "" for part in parts if not part.thought),
            stop=finish.value if finish else None,
            tokens=(
                usage.prompt_token_count or 0,
                usage.cached_content_token_count or 0,
                (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            ),
            calls=[(call.id or "", call.name or "", call.args) for call in calls],
            thought="".join(part.text or "" for part in parts if part.thought),
            turn=[types.Content(role="model", parts=parts)],
        )


CLIENTS: Mapping[str, type[Any]] = {"chat": Chat, "responses": Responses, "messages": Messages, "gemini": Gemini}
