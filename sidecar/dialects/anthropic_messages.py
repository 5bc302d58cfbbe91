"""The dialect of Anthropic's Messages API, as client and as provider: `/v1/messages`.

Knows the JSON of its requests, answers, streams and errors, and nothing of any other dialect. Its parts:

    anthropic_request      what a client asks for
    anthropic_asking       what a provider is asked: `anthropic_turns`, `anthropic_thinking`, `anthropic_schema`,
                           `anthropic_media`, by what `anthropic_generations` knows of the model
    anthropic_answer       whole answers, both ways; usage and stop reasons
    anthropic_stream_*     streamed answers, both ways
    anthropic_errors       errors, both ways
    anthropic_blocks       content blocks, as all of these read them
    anthropic_count        beside it: counts of tokens, lists of models

Sources are named where they are used; the types are those of the vendor's OpenAPI document and of its Python
SDK 2.x (read 2026-11).
"""

from __future__ import annotations

from sidecar.dialects.anthropic_answer import decode_response, encode_response
from sidecar.dialects.anthropic_asking import encode_request
from sidecar.dialects.anthropic_errors import decode_failure, encode_failure, fault_event
from sidecar.dialects.anthropic_request import decode_request
from sidecar.dialects.anthropic_stream_reading import StreamDecoder
from sidecar.dialects.anthropic_stream_writing import StreamEncoder

__all__ = [
    "StreamDecoder",
    "StreamEncoder",
    "decode_failure",
    "decode_request",
    "decode_response",
    "encode_failure",
    "encode_request",
    "encode_response",
    "fault_event",
]
