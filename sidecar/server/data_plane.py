"""What an app talks to: completions, embeddings, model lists, and the two questions of a prober.

One dictionary look-up finds the room for a path; there is no router and no middleware on this road.
Every error, ours included, is told in the client's dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import cast
from urllib.parse import unquote

import msgspec
from aiohttp.http import HttpVersion10

from sidecar.manager import LLMManager
from sidecar.manager.passage import Asked
from sidecar.model.errors import LLMError
from sidecar.model.failures import Failure
from sidecar.server import web
from sidecar.server.array_wire import ArrayWire
from sidecar.server.connection import Connection
from sidecar.server.guard import Guard, Refusal
from sidecar.server.intake import (
    BROKEN_CHUNKS,
    BodyTooLarge,
    MalformedBody,
    call_of,
    passed_body,
    read_body,
    request_id_of,
    stalled,
)
from sidecar.server.listings import LISTINGS, listed
from sidecar.server.refusal import Refusals, refused
from sidecar.server.sending import send
from sidecar.server.surfaces import PLACES, Surface, dialect_of, meant, surface
from sidecar.server.wire import ResponseWire, wire_for
from sidecar.upstream.passing import passable, request_headers

__all__ = ["DataPlane"]

_PASSED = "/providers/"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # TRACE would show our key


class DataPlane:
    """The data plane of one listener.

    Args:
        manager: Answers the calls.
        guard: Of the listener.
        refusals: Says no to what is not let in.
    """

    def __init__(self, manager: LLMManager, guard: Guard, refusals: Refusals) -> None:
        self._manager = manager
        self._refusals = refusals
        self.guard = guard  # replaced when the listener's settings change

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        wire = wire_for(request, self._manager.snapshot.settings.wire)
        path, _, query = request.raw_path.partition("?")
        refusal = self.guard.judge(request.method, request.raw_path, request.headers, _peer_uid(request))
        if refusal is not None:
            return await self._turn_away(request, wire, refusal)
        if request.version < HttpVersion10:
            return await self._refuse(request, wire, 400, "speak HTTP/1.1")
        if path.startswith(_PASSED):
            return await self._pass_on(request, wire, path, query)
        asked = surface(path, query)
        if asked is None:
            return await self._read_only(request, wire, path)
        if request.method != "POST":
            return await self._not_posted(request, wire, path)
        if (encoding := request.headers.get("Content-Encoding", "identity")) != "identity":
            message = f"send the body as it is: content-encoding {encoding[:40]!r} is not supported"
            return await self._refuse(request, wire, 415, message, [("accept-encoding", "identity")])
        return await self._call(request, wire, asked)

    async def _call(self, request: web.BaseRequest, wire: ResponseWire, asked: Surface) -> web.StreamResponse:
        headers = request.headers
        limits = self._manager.snapshot.settings.limits
        try:
            body = await read_body(request, limits.max_body_bytes, limits.body_idle_s)
            call = call_of(body, asked, headers, request_id_of(headers), _peer_uid(request))
            answer = self._manager.answer(call)
        except BodyTooLarge:
            message = f"the body is larger than {limits.max_body_bytes} bytes (limits.max_body)"
            return await self._refuse(request, wire, 413, message)
        except TimeoutError:
            return await self._fail(request, wire, stalled(limits.body_idle_s))
        except MalformedBody:
            return await self._fail(request, wire, BROKEN_CHUNKS)
        except LLMError as error:
            return await self._fail(request, wire, error.failure)
        connection = cast(Connection, request.protocol)
        connection.answer_by = monotonic() + answer.total_s
        try:
            return await send(answer, ArrayWire(wire) if asked.as_array else wire)
        finally:
            connection.answer_by = None

    async def _pass_on(self, request: web.BaseRequest, wire: ResponseWire, path: str, query: str) -> web.StreamResponse:
        """Hand a request to a provider as it is, below `/providers/NAME/`."""
        if request.method not in _METHODS:
            message = f"{request.method} is not passed on"
            return await self._refuse(request, wire, 405, message, [("allow", ", ".join(_METHODS))])
        name, _, rest = path.removeprefix(_PASSED).partition("/")
        if not passable(rest):
            return await self._refuse(request, wire, 400, "the path must stay below the provider's own")
        kept = "&".join(pair for pair in query.split("&") if pair and not pair.startswith("key="))
        request_id, client_request_id = request_id_of(request.headers)
        limits = self._manager.snapshot.settings.limits
        try:
            asked = Asked(
                request.method,
                f"/{rest}?{kept}" if kept else f"/{rest}",
                request_headers(request.headers.items()),
                await passed_body(request, limits.body_idle_s),
                request_id=request_id,
                client_request_id=client_request_id,
                peer_uid=_peer_uid(request),
            )
            passage = self._manager.pass_on(unquote(name), asked)
        except TimeoutError:
            return await self._fail(request, wire, stalled(limits.body_idle_s))
        except MalformedBody:
            return await self._fail(request, wire, BROKEN_CHUNKS)
        except LLMError as error:
            return await self._fail(request, wire, error.failure)
        return await send(passage, wire)

    async def _read_only(self, request: web.BaseRequest, wire: ResponseWire, path: str) -> web.StreamResponse:
        """Model lists and health: answers that cost nothing and change nothing."""
        known = path in ("/", "/healthz", "/readyz") or listed(path) is not None
        if not known:
            hint = meant(path)
            message = f"there is nothing at {path[:200]}; {f'{hint} There' if hint else 'there'} is {PLACES}"
            return await self._refuse(request, wire, 404, message)
        if request.method not in ("GET", "HEAD"):
            message = f"{path[:200]} takes GET, not {request.method}"
            return await self._refuse(request, wire, 405, message, [("allow", "GET")])
        if path == "/":  # some tools look whether anybody is there before they ask
            return await _json(request, wire, 200, {"name": "llm-sidecar", "places": PLACES})
        if path == "/healthz":
            return await _json(request, wire, 200, {"status": "ok"})
        if path == "/readyz":
            ready = self._manager.readiness()
            return await _json(request, wire, 200 if ready["ready"] else 503, ready)
        return await self._models(request, wire, path)

    async def _models(self, request: web.BaseRequest, wire: ResponseWire, path: str) -> web.StreamResponse:
        """Routes and targets as the client's SDK lists models; all, or the one that the path names."""
        models, listing = self._manager.models(), LISTINGS[dialect_of(path, request.headers)]
        wanted = listed(path)
        if not wanted:
            return await _json(request, wire, 200, listing.page(models))
        found = next((model for model in models if model["id"] == wanted), None)
        if found is None:
            message = f"there is no model {wanted[:200]!r}; GET {path.partition('/models')[0]}/models lists them"
            return await self._refuse(request, wire, 404, message)
        return await _json(request, wire, 200, listing.model(found))

    async def _turn_away(self, request: web.BaseRequest, wire: ResponseWire, refusal: Refusal) -> web.StreamResponse:
        failure = refused(refusal.status, refusal.message, refusal.code)
        extra = [("www-authenticate", "Bearer")] if refusal.status == 401 else []
        return await self._fail(request, wire, failure, extra)

    async def _not_posted(self, request: web.BaseRequest, wire: ResponseWire, path: str) -> web.StreamResponse:
        """Say that a place takes POST; to who wants a WebSocket there, in the status on which such clients do POST."""
        if request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket":
            message = f"{path} is no WebSocket; send a POST, streamed if you like"
            return await self._refuse(request, wire, 426, message, [("upgrade", "HTTP/1.1"), ("allow", "POST")])
        message = f"{path} takes POST, not {request.method}"
        return await self._refuse(request, wire, 405, message, [("allow", "POST")])

    async def _refuse(
        self,
        request: web.BaseRequest,
        wire: ResponseWire,
        status: int,
        message: str,
        extra: Sequence[tuple[str, str]] = (),
    ) -> web.StreamResponse:
        """Answer a request that is not let in; its body is not read, so the connection ends with it."""
        return await self._fail(request, wire, refused(status, message), extra)

    async def _fail(
        self,
        request: web.BaseRequest,
        wire: ResponseWire,
        failure: Failure,
        extra: Sequence[tuple[str, str]] = (),
    ) -> web.StreamResponse:
        request_id, _ = request_id_of(request.headers)
        path = request.raw_path.partition("?")[0]
        uid = _peer_uid(request)
        dialect = dialect_of(path, request.headers)
        answer = self._refusals.told(
            failure, request_id, method=request.method, path=path, peer_uid=uid, dialect=dialect, extra=extra
        )
        return await wire.whole(*answer)


async def _json(request: web.BaseRequest, wire: ResponseWire, status: int, value: object) -> web.StreamResponse:
    request_id, _ = request_id_of(request.headers)
    headers = [("content-type", "application/json"), ("x-request-id", request_id), ("cache-control", "no-store")]
    return await wire.whole(status, headers, msgspec.json.encode(value))


def _peer_uid(request: web.BaseRequest) -> int | None:
    return cast(Connection, request.protocol).peer_uid
