"""What every dialect gives: eight functions in one file, behind one protocol; or the half that faces a provider.

A dialect translates between its JSON and the hub and knows no other dialect. JSON is decoded and
encoded by the caller: functions take and give plain values (dicts, lists, str, int, float, bool, None).
What cannot be said is appended to `losses`; nothing is dropped in silence. The fields that came in
`extra` go back only where `request.dialect` (or `response.dialect`) is the encoder's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sidecar.model.events import Event
from sidecar.model.failures import Failure
from sidecar.model.hub import HubRequest, HubResponse, Loss, Wire

__all__ = [
    "Codec",
    "Decoder",
    "Encoder",
    "Errors",
    "ProviderCodec",
    "ProviderErrors",
    "Untranslatable",
    "check_choices",
]


class Untranslatable(Exception):  # noqa: N818 - it becomes a failure of kind LOSSY
    """The dialect has no way at all to ask this, whatever is left out; the message says what and why."""


def check_choices(request: HubRequest) -> None:
    """For an encoder of another dialect than the request's: the hub has room for one answer.

    Raises:
        Untranslatable: When several are asked for.
    """
    if request.choices is not None and request.choices > 1:
        raise Untranslatable(
            f"{request.choices} answers to one request cannot cross dialects; ask for one, or by several requests"
        )


class Decoder(Protocol):
    """Reads one stream of a provider; lives as long as it. Its events keep the grammar for every input."""

    def take(self, name: str | None, value: Mapping[str, Any]) -> Sequence[Event]:
        """The events that one frame of the stream comes to.

        Args:
            name: Of the server-sent event, if it has one.
            value: Its data.
        """

    def end(self, *, marked: bool) -> Sequence[Event]:
        """What is still due when the stream is over: Stop if it was complete, else Fault; nothing after either.

        Args:
            marked: The dialect's mark of the end (`[DONE]`) has come; else the bytes just ended.
        """


class Encoder(Protocol):
    """Writes one stream for a client; lives as long as it."""

    def give(self, events: Sequence[Event]) -> bytes:
        """The events as whole frames. A Stop brings everything that ends a stream; a Fault writes nothing."""


class ProviderErrors(Protocol):
    """Reads a provider's errors; its module is its only instance."""

    def decode_failure(self, status: int, headers: Mapping[str, str], body: bytes, now_utc: float) -> Failure:
        """What a provider's error answer means.

        Args:
            status: The HTTP status; 200 for an error inside of a stream or an answer.
            headers: In lower case.
            body: As it came; of a stream the data of its event.
            now_utc: Seconds since 1970, to read a Retry-After that is a date.
        """


class Errors(ProviderErrors, Protocol):
    """A dialect's errors, both ways; in a module of their own, for most are met where nothing is translated."""

    def encode_failure(self, failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> tuple[bytes, str]:
        """The body and content type of the error that a client gets."""

    def fault_event(self, failure: Failure, attempts: Sequence[Mapping[str, Any]] = ()) -> bytes:
        """The event that ends a broken stream: its SDK raises on it."""


class ProviderCodec(ProviderErrors, Protocol):
    """What is needed to ask a provider in a dialect; its module is its only instance."""

    def encode_request(self, request: HubRequest, wire: Wire, losses: list[Loss]) -> dict[str, Any]:
        """The body for one target.

        Raises:
            Untranslatable: When nothing that is left would be what was asked.
        """

    def decode_response(self, body: Mapping[str, Any]) -> HubResponse | Failure:
        """A provider's whole answer; a failure (MALFORMED, or the error that it tells of) when it is none."""

    def StreamDecoder(self) -> Decoder:  # noqa: N802 - a class in every module
        """A reader of one stream."""


class Codec(ProviderCodec, Errors, Protocol):
    """One dialect, both ways; its module is its only instance."""

    def decode_request(self, fields: Mapping[str, Any], model: str, *, stream: bool) -> HubRequest:
        """What a client asks for.

        Args:
            fields: The body.
            model: As the client named it, wherever its dialect puts it.
            stream: Whether the answer is to be streamed, wherever its dialect says so.

        Raises:
            ValidationError: When a field is not what it must be, with its path in message and `param`:
                unknown roles, results without calls, orphaned or doubled ids, base64 that is none.
        """

    def encode_response(self, response: HubResponse, losses: list[Loss]) -> dict[str, Any]:
        """A whole answer for a client."""

    def StreamEncoder(self, losses: list[Loss], *, wants_usage: bool) -> Encoder:  # noqa: N802 - see above
        """A writer of one stream.

        Args:
            losses: Where it notes what it cannot say.
            wants_usage: The client asked for usage, where its dialect gives it only to those who ask.
        """
