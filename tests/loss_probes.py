"""What clients may say in each dialect: one request for each parameter or feature, to be shown to every encoder.

A probe is merged into its dialect's smallest request, so that what it alone brings about can be seen. The names
are those of the vendors' documentation (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.model.topology import ClientDialect, Dialect

__all__ = ["BASES", "PROBES"]

_Fields = Mapping[str, Any]

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_PDF = "JVBERi0xLjQKJSVFT0YK"
_WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQAAAAA="
_HTTPS = "https://example.com/cat.png"
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ANSWER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


# -- openai-chat


def _chat_user(*parts: _Fields) -> _Fields:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, *parts]}]}


def _chat_turn(**assistant: Any) -> _Fields:
    return {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", **assistant},
            {"role": "user", "content": "On."},
        ]
    }


_CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": _CITY}}
_CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
_CHAT: Mapping[str, _Fields] = {
    "`max_tokens`": {"max_tokens": 200},
    "`max_completion_tokens`": {"max_completion_tokens": 200},
    "`temperature`": {"temperature": 0.5},
    "`temperature` above 1": {"temperature": 1.5},
    "`top_p`": {"top_p": 0.9},
    "`stop`": {"stop": ["END"]},
    "`n` above 1": {"n": 2},
    "`seed`": {"seed": 7},
    "`presence_penalty`, `frequency_penalty`": {"presence_penalty": 0.5, "frequency_penalty": 0.5},
    "`logit_bias`": {"logit_bias": {"50256": -100}},
    "`logprobs`, `top_logprobs`": {"logprobs": True, "top_logprobs": 2},
    "`user`": {"user": "u-17"},
    "`metadata`": {"metadata": {"team": "a"}},
    "`store: true`": {"store": True},
    "`service_tier`": {"service_tier": "flex"},
    "`prompt_cache_key`": {"prompt_cache_key": "k"},
    "`verbosity`": {"verbosity": "low"},
    "`prediction`": {"prediction": {"type": "content", "content": "Hello"}},
    "`modalities`, `audio`": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "`web_search_options`": {"web_search_options": {}},
    "`reasoning_effort`": {"reasoning_effort": "low"},
    "`response_format: json_object`": {"response_format": {"type": "json_object"}},
    "`response_format: json_schema`": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _ANSWER, "strict": True}}
    },
    "`tools`": {"tools": [_CHAT_TOOL]},
    "tool with `strict`": {"tools": [{"type": "function", "function": {**_CHAT_TOOL["function"], "strict": True}}]},
    "custom tool": {"tools": [{"type": "custom", "custom": {"name": "code", "description": "It."}}]},
    "`tool_choice: required`": {"tools": [_CHAT_TOOL], "tool_choice": "required"},
    "`tool_choice` of one function": {
        "tools": [_CHAT_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "`parallel_tool_calls: false`": {"tools": [_CHAT_TOOL], "parallel_tool_calls": False},
    "calls and results": {
        "tools": [_CHAT_TOOL],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [_CHAT_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
        ],
    },
    "system message": {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
    "developer message": {
        "messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    },
    "system message amid the talk": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "On."},
        ]
    },
    "`name` of a message": {"messages": [{"role": "user", "name": "ann", "content": "Hi"}]},
    "image, inline": _chat_user({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}}),
    "image by URL": _chat_user({"type": "image_url", "image_url": {"url": _HTTPS}}),
    "`detail` of an image": _chat_user({"type": "image_url", "image_url": {"url": _HTTPS, "detail": "low"}}),
    "file, inline": _chat_user(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PDF}"}}
    ),
    "file by id": _chat_user({"type": "file", "file": {"file_id": "file-1"}}),
    "audio": _chat_user({"type": "input_audio", "input_audio": {"data": _WAV, "format": "wav"}}),
    "`refusal` in the history": _chat_turn(content=None, refusal="No."),
    "thoughts in the history (`reasoning_content`)": _chat_turn(reasoning_content="Hm."),
}

# -- openai-responses


def _input(*items: _Fields) -> _Fields:
    return {"input": [{"role": "user", "content": "Hi"}, *items]}


def _input_part(part: _Fields) -> _Fields:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Look."}, part]}]}


_RESPONSES_TOOL = {"type": "function", "name": "weather", "description": "It.", "parameters": _CITY, "strict": False}
_CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"}
_RESPONSES: Mapping[str, _Fields] = {
    "`instructions`": {"instructions": "Be kind."},
    "`max_output_tokens`": {"max_output_tokens": 200},
    "`temperature`": {"temperature": 0.5},
    "`top_p`": {"top_p": 0.9},
    "`top_logprobs`": {"top_logprobs": 2, "include": ["message.output_text.logprobs"]},
    "`metadata`": {"metadata": {"team": "a"}},
    "`user`": {"user": "u-17"},
    "`safety_identifier`": {"safety_identifier": "u-17"},
    "`prompt_cache_key`": {"prompt_cache_key": "k"},
    "`service_tier`": {"service_tier": "flex"},
    "`store: true`": {"store": True},
    "`store: false`": {"store": False},
    "`truncation: auto`": {"truncation": "auto"},
    "`max_tool_calls`": {"max_tool_calls": 3},
    "`reasoning.effort`": {"reasoning": {"effort": "low"}},
    "`reasoning.summary`": {"reasoning": {"summary": "auto"}},
    "`text.format: json_object`": {"text": {"format": {"type": "json_object"}}},
    "`text.format: json_schema`": {
        "text": {"format": {"type": "json_schema", "name": "n", "schema": _ANSWER, "strict": True}}
    },
    "`text.verbosity`": {"text": {"verbosity": "low"}},
    "`prompt`": {"prompt": {"id": "pmpt_1"}},
    "`tools`": {"tools": [_RESPONSES_TOOL]},
    "custom tool": {"tools": [{"type": "custom", "name": "code", "description": "It."}]},
    "built-in tool (`web_search`)": {"tools": [{"type": "web_search"}]},
    "`tool_choice: required`": {"tools": [_RESPONSES_TOOL], "tool_choice": "required"},
    "`tool_choice` of one function": {
        "tools": [_RESPONSES_TOOL],
        "tool_choice": {"type": "function", "name": "weather"},
    },
    "`parallel_tool_calls: false`": {"tools": [_RESPONSES_TOOL], "parallel_tool_calls": False},
    "calls and results": {
        **_input(_CALLED, {"type": "function_call_output", "call_id": "call_1", "output": "Sunny"}),
        "tools": [_RESPONSES_TOOL],
    },
    "image, inline": _input_part({"type": "input_image", "image_url": f"data:image/png;base64,{_PNG}"}),
    "image by URL": _input_part({"type": "input_image", "image_url": _HTTPS}),
    "`detail` of an image": _input_part({"type": "input_image", "image_url": _HTTPS, "detail": "low"}),
    "file, inline": _input_part(
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PDF}"}
    ),
    "file by URL": _input_part({"type": "input_file", "file_url": "https://example.com/a.pdf"}),
    "encrypted reasoning in the history": _input(
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "On."},
    ),
    "item of a built-in tool in the history": _input(
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"role": "user", "content": "On."},
    ),
}

# -- anthropic-messages


def _claude_user(*blocks: _Fields) -> _Fields:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, *blocks]}]}


def _claude_turn(*blocks: _Fields) -> _Fields:
    return {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [*blocks]},
            {"role": "user", "content": "On."},
        ]
    }


def _claude_result(**result: Any) -> _Fields:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}
    return {
        "tools": [_CLAUDE_TOOL],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", **result}]},
        ],
    }


_EPHEMERAL = {"type": "ephemeral"}
_CLAUDE_TOOL = {"name": "weather", "description": "It.", "input_schema": _CITY}
_CLAUDE_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PNG}}
_CLAUDE: Mapping[str, _Fields] = {
    "`system`": {"system": "Be kind."},
    "`temperature`": {"temperature": 0.5},
    "`top_p`": {"top_p": 0.9},
    "`top_k`": {"top_k": 40},
    "`stop_sequences`": {"stop_sequences": ["END"]},
    "`metadata.user_id`": {"metadata": {"user_id": "u-17"}},
    "`service_tier`": {"service_tier": "standard_only"},
    "`thinking: enabled` with a budget": {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096},
    "`thinking: adaptive`": {"thinking": {"type": "adaptive"}},
    "`output_config.effort`": {"output_config": {"effort": "low"}},
    "`output_config.format`": {"output_config": {"format": {"type": "json_schema", "schema": _ANSWER}}},
    "`context_management`": {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    "`mcp_servers`": {"mcp_servers": [{"type": "url", "name": "m", "url": "https://example.com/mcp"}]},
    "`container`": {"container": "container_1"},
    "`cache_control` of a block": _claude_user({"type": "text", "text": "Long.", "cache_control": _EPHEMERAL}),
    "`cache_control` of a tool": {"tools": [{**_CLAUDE_TOOL, "cache_control": _EPHEMERAL}]},
    "`tools`": {"tools": [_CLAUDE_TOOL]},
    "tool of the vendor (`web_search`)": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "`tool_choice: any`": {"tools": [_CLAUDE_TOOL], "tool_choice": {"type": "any"}},
    "`tool_choice: tool`": {"tools": [_CLAUDE_TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
    "`disable_parallel_tool_use`": {
        "tools": [_CLAUDE_TOOL],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "calls and results": _claude_result(content="Sunny"),
    "`is_error` of a result": _claude_result(content="No such city", is_error=True),
    "image in a result": _claude_result(content=[_CLAUDE_IMAGE]),
    "image, inline": _claude_user(_CLAUDE_IMAGE),
    "image by URL": _claude_user({"type": "image", "source": {"type": "url", "url": _HTTPS}}),
    "document, inline": _claude_user(
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF}}
    ),
    "document of text": _claude_user(
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Long."}}
    ),
    "`citations` of a document": _claude_user(
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF},
            "citations": {"enabled": True},
        }
    ),
    "thinking with its signature in the history": _claude_turn(
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "text", "text": "Hello"}
    ),
    "`redacted_thinking` in the history": _claude_turn(
        {"type": "redacted_thinking", "data": "cmVk"}, {"type": "text", "text": "Hello"}
    ),
    "prefill": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "{"}]},
}

# -- gemini-generate


def _gemini_user(*parts: _Fields) -> _Fields:
    return {"contents": [{"role": "user", "parts": [{"text": "Look."}, *parts]}]}


def _generation(**config: Any) -> _Fields:
    return {"generationConfig": config}


_FUNCTION = {"functionDeclarations": [{"name": "weather", "description": "It.", "parametersJsonSchema": _CITY}]}
_HARM = {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
_GEMINI: Mapping[str, _Fields] = {
    "`systemInstruction`": {"systemInstruction": {"parts": [{"text": "Be kind."}]}},
    "`maxOutputTokens`": _generation(maxOutputTokens=200),
    "`temperature`": _generation(temperature=0.5),
    "`topP`": _generation(topP=0.9),
    "`topK`": _generation(topK=40),
    "`stopSequences`": _generation(stopSequences=["END"]),
    "`candidateCount` above 1": _generation(candidateCount=2),
    "`seed`": _generation(seed=7),
    "`presencePenalty`, `frequencyPenalty`": _generation(presencePenalty=0.5, frequencyPenalty=0.5),
    "`responseLogprobs`, `logprobs`": _generation(responseLogprobs=True, logprobs=2),
    "`responseMimeType: application/json`": _generation(responseMimeType="application/json"),
    "`responseJsonSchema`": _generation(responseMimeType="application/json", responseJsonSchema=_ANSWER),
    "`responseSchema`": _generation(
        responseMimeType="application/json",
        responseSchema={"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]},
    ),
    "`thinkingConfig.thinkingBudget`": _generation(thinkingConfig={"thinkingBudget": 2048}, maxOutputTokens=8192),
    "`thinkingConfig.thinkingLevel`": _generation(thinkingConfig={"thinkingLevel": "low"}),
    "`thinkingConfig.includeThoughts`": _generation(thinkingConfig={"includeThoughts": True}),
    "`responseModalities`": _generation(responseModalities=["TEXT", "IMAGE"]),
    "`speechConfig`": _generation(speechConfig={"languageCode": "en-US"}),
    "`mediaResolution`": _generation(mediaResolution="MEDIA_RESOLUTION_LOW"),
    "`safetySettings`": {"safetySettings": [_HARM]},
    "`cachedContent`": {"cachedContent": "cachedContents/1"},
    "`labels`": {"labels": {"team": "a"}},
    "functions": {"tools": [_FUNCTION]},
    "tool of the vendor (`googleSearch`)": {"tools": [{"googleSearch": {}}]},
    "`functionCallingConfig: ANY`": {
        "tools": [_FUNCTION],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    },
    "`allowedFunctionNames`": {
        "tools": [_FUNCTION],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    },
    "calls and results": {
        "tools": [_FUNCTION],
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Rome"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"output": "Sunny"}}}]},
        ],
    },
    "`thoughtSignature` in the history": {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello", "thoughtSignature": "c2ln"}]},
            {"role": "user", "parts": [{"text": "On."}]},
        ]
    },
    "image, inline": _gemini_user({"inlineData": {"mimeType": "image/png", "data": _PNG}}),
    "file by URI": _gemini_user({"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}}),
    "audio, inline": _gemini_user({"inlineData": {"mimeType": "audio/wav", "data": _WAV}}),
    "video by URI": _gemini_user({"fileData": {"mimeType": "video/mp4", "fileUri": "https://example.com/a.mp4"}}),
    "`executableCode` in the history": {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "1"}]},
            {"role": "user", "parts": [{"text": "On."}]},
        ]
    },
}

BASES: Mapping[ClientDialect, _Fields] = {
    Dialect.OPENAI_CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    Dialect.OPENAI_RESPONSES: {"input": [{"role": "user", "content": "Hi"}]},
    Dialect.ANTHROPIC_MESSAGES: {"max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.GEMINI_GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
PROBES: Mapping[ClientDialect, Mapping[str, _Fields]] = {
    Dialect.OPENAI_CHAT: _CHAT,
    Dialect.OPENAI_RESPONSES: _RESPONSES,
    Dialect.ANTHROPIC_MESSAGES: _CLAUDE,
    Dialect.GEMINI_GENERATE: _GEMINI,
}
