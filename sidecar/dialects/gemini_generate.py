"""Gemini's `generateContent`: the dialect of Google's own API, of Vertex, and of their SDKs.

Where it differs from the others, each in the module that deals with it:

    gemini_fields     names in two spellings; fields that wait in `extra` under their path
    gemini_parts      parts and blocks; signatures; results that are objects
    gemini_media      inline data and files
    gemini_request    conversations, and the calls that results belong to
    gemini_config     generationConfig; `gemini_thinking`, `gemini_tools`, `gemini_schema`
    gemini_answer     stop reasons, tokens, likelihoods
    gemini_response   whole answers
    gemini_stream     streams
    gemini_errors     errors

Beside the dialect stand the paths it is asked by (`gemini_endpoints`), streams as one JSON array
(`gemini_array`) and embeddings (`gemini_embeddings`).

Source: ai.google.dev/api and ai.google.dev/gemini-api/docs; the SDK google-genai 3 (read 2026-11).
"""

from sidecar.dialects.gemini_errors import decode_failure, encode_failure, fault_event
from sidecar.dialects.gemini_request import decode_request, encode_request
from sidecar.dialects.gemini_response import decode_response, encode_response
from sidecar.dialects.gemini_stream import StreamDecoder, StreamEncoder

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
