"""What an operator talks to, on a socket of its own: status, plans, the live feed, and changes by hand.

Not on the hot path, so everything goes through aiohttp's own responses. Reading is by GET. A change needs
POST or PUT and the header `X-Sidecar-Request: 1`, which no web page can send without a preflight. The
metrics can have a listener of their own, where nothing else can be asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, cast

import msgspec

from sidecar.config.derive import balanced, with_chain
from sidecar.config.problems import hint
from sidecar.dialects.openai_errors import encode_failure
from sidecar.manager import LLMManager
from sidecar.manager.overrides import Override, OverrideKind
from sidecar.manager.status import explained, routes, status
from sidecar.model.errors import ConfigurationError
from sidecar.routing.health import AdminState
from sidecar.server import web
from sidecar.server.connection import Connection
from sidecar.server.guard import Guard, Refusal
from sidecar.server.intake import BROKEN_CHUNKS, BodyTooLarge, MalformedBody, read_body, request_id_of, stalled
from sidecar.server.places import Handler, Names, Place, found
from sidecar.server.refusal import Refusals, refused
from sidecar.server.wire import PlainWire, WholeResponse

__all__ = ["AdminPlane", "Daemon", "admin_places", "metrics_places"]

_READING = frozenset({"GET", "HEAD"})
_TURN_S = 0.001  # of the loop, for a scrape
_MOST_BYTES = 1024 * 1024  # of a change
_UNSTORED = ("cache-control", "no-store")


class _Weight(msgspec.Struct, forbid_unknown_fields=True):
    weight: float


class _Balance(msgspec.Struct, forbid_unknown_fields=True):
    balance: str


class _Chain(msgspec.Struct, forbid_unknown_fields=True):
    chain: list[str]


class _Refused(Exception):  # noqa: N818 - an answer
    """The answer to a request that is not right; `close` ends the connection, whose body was not read."""

    def __init__(self, status: int, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.close = close


class Daemon:
    """What the plane may ask of the daemon beside the manager; each is a plain function."""

    def __init__(
        self,
        manager: LLMManager,
        *,
        status: Callable[[], dict[str, Any]],
        reload: Callable[[], Awaitable[dict[str, Any]]],
        drain: Callable[[], None],
    ) -> None:
        self.manager = manager
        self.status = status
        self.reload = reload
        self.drain = drain


def admin_places(daemon: Daemon) -> tuple[Place, ...]:
    """All that can be asked of a daemon."""
    plane = _Plane(daemon)
    return (
        _place("GET", "/status", plane.status),
        _place("GET", "/stats", plane.stats),
        _place("GET", "/metrics", plane.metrics),
        _place("GET", "/config", plane.config),
        _place("GET", "/routes", plane.routes),
        _place("GET", "/providers", plane.providers),
        _place("GET", "/explain", plane.explain),
        _place("GET", "/attempts", plane.attempts),
        _place("POST", "/reload", plane.reload),
        _place("POST", "/health-check", plane.health_check),
        _place("POST", "/drain", plane.drain),
        _place("POST", "/providers/(?P<provider>[^/]+)/reset", plane.reset_provider),
        _place("POST", "/targets/(?P<target>.+)/(?P<change>reset|ready|drain|maint)", plane.change_target),
        _place("PUT", "/targets/(?P<target>.+)/weight", plane.set_weight),
        _place("PUT", "/routes/(?P<route>.+)/chain", plane.set_chain),
        _place("PUT", "/routes/(?P<route>.+)/balance", plane.set_balance),
    )


def metrics_places(manager: LLMManager) -> tuple[Place, ...]:
    """`GET /metrics` and nothing else."""

    async def metrics(_: web.BaseRequest, __: Names) -> web.Response:
        return await _metrics(manager)

    return (_place("GET", "/metrics", metrics),)


def _place(method: str, form: str, handler: Handler) -> Place:
    return Place(method, re.compile(form), handler)


class AdminPlane:
    """What is behind one such door.

    Args:
        manager: Whose secrets are kept out of the answers.
        guard: Gives the guard of the moment.
        places: What can be asked there.
    """

    def __init__(self, manager: LLMManager, guard: Callable[[], Guard], places: tuple[Place, ...]) -> None:
        self._manager = manager
        self._guard = guard
        self._places = places
        self._refusals = Refusals(manager)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request.

        Whatever is told, no known secret is in it: a provider may have quoted one in an error, or another's.
        """
        response = await self._guarded(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            text = response.body.decode()
            if (clean := self._manager.log.hidden(text)) is not text:
                response.body = clean.encode()
        return response

    async def _guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.startswith("/"):
            return _error(400, "the request target must be a path")
        # As a GET: what a change must say of itself is the header below.
        refusal = self._guard().judge("GET", request.raw_path, request.headers, _peer_uid(request))
        if refusal is not None:
            return _turned_away(request, refusal, self._refusals)
        if request.method not in _READING and request.headers.get("X-Sidecar-Request") != "1":
            return _error(403, "a change needs the header X-Sidecar-Request: 1")
        path = request.raw_path.partition("?")[0]
        who = found(self._places, request.method, path)
        if isinstance(who, frozenset):
            return _nothing_there(who)
        handler, names = who
        try:
            return await handler(request, names)
        except ConfigurationError as error:
            return _error(404 if request.method in _READING else 422, str(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _error(400, f"the body is not what {path} takes: {error}")
        except _Refused as refused_:
            response = _error(refused_.status, str(refused_))
            if refused_.close:
                response.force_close()
            return response


def _nothing_there(allowed: frozenset[str]) -> web.Response:
    if allowed:
        return _error(405, "Method Not Allowed", allow=",".join(sorted(allowed)))
    return _error(404, "Not Found")


def _error(status_code: int, message: str, *, allow: str | None = None) -> web.Response:
    body, content_type = encode_failure(refused(status_code, message))
    headers = [("content-type", content_type), _UNSTORED, *([("allow", allow)] if allow else [])]
    return WholeResponse(status_code, headers, body)


def _turned_away(request: web.BaseRequest, refusal: Refusal, refusals: Refusals) -> web.Response:
    status_code, headers, body = refusals.told(
        refused(refusal.status, refusal.message, refusal.code),
        request_id_of(request.headers)[0],
        method=request.method,
        path=request.raw_path.partition("?")[0],
        peer_uid=_peer_uid(request),
        extra=[("www-authenticate", "Bearer")] if refusal.status == 401 else [],
    )
    return WholeResponse(status_code, headers, body)


def _peer_uid(request: web.BaseRequest) -> int | None:
    return cast(Connection, request.protocol).peer_uid


async def _metrics(manager: LLMManager) -> web.Response:
    pieces, until = [], monotonic() + _TURN_S
    for piece in manager.metrics.exposition_pieces():
        pieces.append(piece)
        if monotonic() > until:
            await asyncio.sleep(0)
            until = monotonic() + _TURN_S
    return WholeResponse(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], b"".join(pieces))


def _json(value: Any, status_code: int = 200) -> web.Response:
    return WholeResponse(status_code, [("content-type", "application/json"), _UNSTORED], msgspec.json.encode(value))


class _Plane:
    """One handler per place."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._manager = daemon.manager

    async def status(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(self._daemon.status() | status(self._manager))

    async def stats(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(self._manager.get_stats())

    async def metrics(self, _: web.BaseRequest, __: Names) -> web.Response:
        return await _metrics(self._manager)

    async def config(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(msgspec.to_builtins(self._manager.snapshot, enc_hook=_hidden, str_keys=True))

    async def routes(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(routes(self._manager))

    async def providers(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(self._manager.get_provider_status())

    async def explain(self, request: web.BaseRequest, _: Names) -> web.Response:
        model = request.query.get("model")
        if not model:
            return _error(400, "say which model: /explain?model=NAME")
        return _json(explained(self._manager, model, route=request.query.get("route")))

    async def attempts(self, request: web.BaseRequest, _: Names) -> web.StreamResponse:
        """The latest lines, and with `follow=1` those that come, one JSON object a line."""
        wire = PlainWire(request)
        headers = [("content-type", "application/x-ndjson"), _UNSTORED]
        if request.method == "HEAD":
            await wire.begin(200, headers, b"")
            return await wire.end(complete=True)
        subscription = self._manager.log.subscribe()
        try:
            recent = b"".join(self._manager.log.recent())  # in the same step, so that no line comes twice
            await wire.begin(200, headers, recent)
            if request.query.get("follow") == "1":
                async for line in subscription:
                    await wire.write(line)
        except ConnectionError:
            pass  # the reader has left
        finally:
            subscription.close()
        return await wire.end(complete=True)

    async def reload(self, _: web.BaseRequest, __: Names) -> web.Response:
        result = await self._daemon.reload()
        return _json(result, 200 if result["applied"] else 422)

    async def health_check(self, _: web.BaseRequest, __: Names) -> web.Response:
        return _json(await self._manager.health_check_all())

    async def drain(self, _: web.BaseRequest, __: Names) -> web.Response:
        self._daemon.drain()
        return _json({"draining": True}, 202)

    async def reset_provider(self, _: web.BaseRequest, names: Names) -> web.Response:
        name = names["provider"]
        if not await self._manager.reset_provider(name):
            known = ", ".join(sorted(self._manager.snapshot.providers))
            return _error(404, f'unknown provider "{name}"; known: {known}')
        return _json({"provider": name, "reset": True})

    async def change_target(self, _: web.BaseRequest, names: Names) -> web.Response:
        key, change = names["target"], names["change"]
        book = self._manager.book
        known = book.reset_target(key, monotonic()) if change == "reset" else book.set_admin(key, AdminState(change))
        if not known:
            return _error(404, f'unknown target "{key}"; GET /status lists them')
        self._manager.log.event("info", "target.changed", target=key, change=change)
        return _json({"target": key, "change": change})

    async def set_weight(self, request: web.BaseRequest, names: Names) -> web.Response:
        body = msgspec.json.decode(await self._body(request), type=_Weight)
        key = names["target"]
        known = self._targets() | self._manager.snapshot.providers.keys()
        if key not in known:
            return _error(404, f'there is no target or provider "{key}"{hint(key, known)}')
        self._manager.set_weight(key, body.weight)
        return _json({"target": key, "weight": body.weight})

    async def set_chain(self, request: web.BaseRequest, names: Names) -> web.Response:
        chain = tuple(msgspec.json.decode(await self._body(request), type=_Chain).chain)
        route = self._route(names)
        text = f"chain [{', '.join(chain)}]"
        change = Override(OverrideKind.CHAIN, route, text, lambda snapshot: with_chain(snapshot, chain, route=route))
        self._manager.override(change)
        return _json({"route": route, "chain": list(chain)})

    async def set_balance(self, request: web.BaseRequest, names: Names) -> web.Response:
        strategy = msgspec.json.decode(await self._body(request), type=_Balance).balance
        route = self._route(names)
        text = f"balance {strategy}"
        change = Override(OverrideKind.BALANCE, route, text, lambda snapshot: balanced(snapshot, strategy, route=route))
        self._manager.override(change)
        return _json({"route": route, "balance": strategy})

    def _route(self, names: Names) -> str:
        route = names["route"]
        if route not in self._manager.snapshot.routes:
            raise _Refused(404, f"there is no route {route!r}; GET /routes lists them")
        return route

    async def _body(self, request: web.BaseRequest) -> bytes:
        idle_s = self._manager.snapshot.settings.limits.body_idle_s
        try:
            return await read_body(request, _MOST_BYTES, idle_s)
        except BodyTooLarge:
            raise _Refused(413, f"the body is larger than {_MOST_BYTES} bytes", close=True) from None
        except TimeoutError:
            raise _Refused(408, stalled(idle_s).message, close=True) from None
        except MalformedBody:
            raise _Refused(400, BROKEN_CHUNKS.message, close=True) from None

    def _targets(self) -> set[str]:
        return {target.key for route in self._manager.snapshot.routes.values() for target in route.targets}


def _hidden(value: Any) -> Any:
    """What is no JSON: a secret becomes ***, a set a list."""
    return sorted(map(str, value)) if isinstance(value, frozenset | set) else repr(value)
