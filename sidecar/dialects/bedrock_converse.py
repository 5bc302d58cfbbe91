"""The dialect of Amazon Bedrock's Converse and ConverseStream: as a provider's only, for no client asks us in it.

Knows the JSON of its requests, answers, events and errors, and nothing of any other dialect, nor of signatures or
of the binary frames that its events come in. Its parts:

    bedrock_request    what a provider is asked: `bedrock_turns`, by what `bedrock_models` knows of the model
    bedrock_answer     whole answers; usage and stop reasons
    bedrock_stream     streamed answers
    bedrock_errors     errors

Sources: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and API_runtime_ConverseStream.html;
the service's description in botocore (read 2026-11).
"""

from __future__ import annotations

from sidecar.dialects.bedrock_answer import decode_response
from sidecar.dialects.bedrock_errors import decode_failure
from sidecar.dialects.bedrock_request import encode_request
from sidecar.dialects.bedrock_stream import StreamDecoder

__all__ = ["StreamDecoder", "decode_failure", "decode_response", "encode_request"]
