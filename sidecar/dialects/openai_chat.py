"""The OpenAI chat completions dialect: its eight functions, each where its matter is.

Requests are in `openai_chat_request` (top level), `openai_chat_messages` and `openai_chat_parts`; what a
request of another dialect cannot say here is decided in `openai_chat_retold`. Whole answers are in
`openai_chat_response`, streams in `openai_chat_stream`, failures in `openai_errors`. Knows no other dialect.

A provider of this dialect whose client speaks it too is never translated: see `relay` and `openai_facts`.
"""

from __future__ import annotations

from sidecar.dialects.openai_chat_request import decode_request, encode_request
from sidecar.dialects.openai_chat_response import decode_response, encode_response
from sidecar.dialects.openai_chat_stream import StreamDecoder, StreamEncoder
from sidecar.dialects.openai_errors import decode_failure, encode_failure, fault_event

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
