"""The OpenAI Responses dialect: items in a list, numbered events in a stream.

Knows where the rest is:

`openai_responses_items`    what requests and answers share: thoughts, calls, texts
`openai_responses_reading`  requests, read          `openai_responses_writing`  written
`openai_responses_answer`   answers, read           `openai_responses_events`   written, whole and streamed
`openai_responses_stream`   streams, read           `openai_responses_options`  tools, form, thinking, written
`openai_responses_pins`     what ties a request to a provider
`openai_responses_errors`   errors, read and written

Sources (read 2026-11): platform.openai.com/docs/api-reference/responses and /responses-streaming.
"""

from __future__ import annotations

from sidecar.dialects.openai_responses_answer import decode_response
from sidecar.dialects.openai_responses_errors import decode_failure, encode_failure, fault_event
from sidecar.dialects.openai_responses_events import StreamEncoder, encode_response
from sidecar.dialects.openai_responses_items import MINTED
from sidecar.dialects.openai_responses_pins import pin_id, pinned
from sidecar.dialects.openai_responses_reading import decode_request
from sidecar.dialects.openai_responses_stream import StreamDecoder
from sidecar.dialects.openai_responses_writing import encode_request

__all__ = [
    "MINTED",
    "StreamDecoder",
    "StreamEncoder",
    "decode_failure",
    "decode_request",
    "decode_response",
    "encode_failure",
    "encode_request",
    "encode_response",
    "fault_event",
    "pin_id",
    "pinned",
]
