"""`generationConfig` and the hub's fields, both ways: one table for what is a number or a flag, and the format.

Source: ai.google.dev/api/generate-content#v1beta.GenerationConfig (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.dialects.gemini_fields import flag, integer, number, obj, string, strings
from sidecar.dialects.gemini_schema import json_schema, reduced
from sidecar.dialects.gemini_thinking import decode_thinking, encode_thinking
from sidecar.dialects.losses import NOTE, changed, dropped, foreign
from sidecar.model.hub import FormatKind, HubRequest, Loss, OutputFormat, Wire
from sidecar.model.topology import Dialect

__all__ = ["AT", "decode_config", "encode_config"]

AT = "generationConfig"

_OWN = Dialect.GEMINI_GENERATE
_FIELDS: Mapping[str, tuple[str, Callable[[Any, str], Any]]] = MappingProxyType(
    {
        "maxOutputTokens": ("max_tokens", integer),
        "temperature": ("temperature", number),
        "topP": ("top_p", number),
        "topK": ("top_k", integer),
        "stopSequences": ("stop", strings),
        "seed": ("seed", integer),
        "presencePenalty": ("presence_penalty", number),
        "frequencyPenalty": ("frequency_penalty", number),
        "responseLogprobs": ("logprobs", flag),
        "logprobs": ("top_logprobs", integer),
        "candidateCount": ("choices", integer),
    }
)
_FORMAT = frozenset({"responseMimeType", "responseSchema", "responseJsonSchema"})
_JSON = "application/json"
_MAX_STOPS = 5
_INT32 = range(-(2**31), 2**31)


def decode_config(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The hub's fields that a `generationConfig` says, and what waits in the request's extra.

    Raises:
        ValidationError: When a field is not what it must be.
    """
    if value is None or value == {}:
        return {}, {AT: value}
    fields = obj(value, AT)
    said: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, item in fields.items():
        path = f"{AT}.{name}"
        if name == "thinkingConfig":
            said["reasoning"], waiting = decode_thinking(item)
            extra |= waiting
        elif item is None:
            extra[path] = None
        elif name in _FIELDS:
            field, read = _FIELDS[name]
            said[field] = read(item, path)
            if said[field] != item and not isinstance(said[field], tuple):
                extra[NOTE + path] = item
        elif name not in _FORMAT:
            extra[path] = item
    if said.get("stop") == ():
        extra[f"{NOTE}{AT}.stopSequences"] = []
    said["format"], waiting = _decode_format(fields)
    return said, extra | waiting


def _decode_format(fields: Mapping[str, Any]) -> tuple[OutputFormat | None, dict[str, Any]]:
    mime, mime_at = fields.get("responseMimeType"), f"{AT}.responseMimeType"
    if mime is not None:
        string(mime, mime_at)
    whole, google = fields.get("responseJsonSchema"), fields.get("responseSchema")
    if mime not in (None, _JSON, "text/plain"):  # text/x.enum: one bare word of a list
        return None, {f"{AT}.{name}": fields[name] for name in _FORMAT & fields.keys()}
    if whole is None and google is None:
        if mime == _JSON:
            return OutputFormat(FormatKind.JSON), {}
        return (OutputFormat(FormatKind.TEXT), {NOTE + mime_at: mime}) if mime else (None, {})
    extra = {} if mime == _JSON else {NOTE + mime_at: mime}
    if google is not None:
        extra[f"{NOTE}{AT}.responseSchema"] = google
    if whole is None:
        extra[f"{NOTE}{AT}.responseJsonSchema"] = None
        whole = json_schema(obj(google, f"{AT}.responseSchema"))
    return OutputFormat(FormatKind.SCHEMA, schema=obj(whole, f"{AT}.responseJsonSchema")), extra


def encode_config(request: HubRequest, wire: Wire, losses: list[Loss], *, own: bool, whole: bool) -> dict[str, Any]:
    """The `generationConfig` for a target, without what waits in the request's extra.

    Args:
        request: What is asked.
        wire: The target.
        losses: Where what cannot be said is noted.
        own: The request comes from this dialect.
        whole: The model takes JSON Schema as it is.
    """
    config: dict[str, Any] = {}
    for name, (field, _) in _FIELDS.items():
        value = getattr(request, field)
        if value is not None and value != ():
            config[name] = list(value) if isinstance(value, tuple) else value
    if not own:
        _narrow(config, losses)
    if request.format is not None:
        config |= _encode_format(request.format, losses, own=own, whole=whole)
    if request.reasoning is not None:
        thinking = encode_thinking(request.reasoning, wire, losses, own=own)
        if thinking:
            config["thinkingConfig"] = thinking
    return config


def _narrow(config: dict[str, Any], losses: list[Loss]) -> None:
    """Take out what other vendors' numbers may be and Google's may not."""
    stops = config.get("stopSequences", ())
    if len(stops) > _MAX_STOPS:
        config["stopSequences"] = stops[:_MAX_STOPS]
        dropped(losses, f"stop[{_MAX_STOPS}:]", f"Gemini takes at most {_MAX_STOPS} stop sequences")
    if config.get("seed", 0) not in _INT32:
        del config["seed"]
        dropped(losses, "seed", "Gemini's seeds are whole numbers of 32 bits")
    if config.get("temperature", 0) > 2:
        config["temperature"] = 2
        changed(losses, "temperature", "said as 2, Gemini's highest")
    if config.get("candidateCount") == 1:
        del config["candidateCount"]
    if config.get("logprobs") == 0:
        del config["logprobs"]
        if not config.get("responseLogprobs"):
            dropped(losses, "top_logprobs", "Gemini gives none but the tokens' own")


def _encode_format(format_: OutputFormat, losses: list[Loss], *, own: bool, whole: bool) -> dict[str, Any]:
    if not own:
        foreign(losses, format_.extra, "response_format", _OWN)
    if format_.description:  # a name elsewhere is for nobody to read, and a schema here is always kept to
        dropped(losses, "response_format.description", "Gemini takes the schema alone")
    if format_.kind is FormatKind.TEXT:
        return {}
    if format_.schema is None:
        return {"responseMimeType": _JSON}
    if own or whole:
        return {"responseMimeType": _JSON, "responseJsonSchema": format_.schema}
    return {"responseMimeType": _JSON, "responseSchema": reduced(format_.schema, "response_format.schema", losses)}
