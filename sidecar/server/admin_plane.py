"""What an operator talks to, on a socket of its own: status, plans, the live feed, and changes by hand.

Not on the hot path, so it is an ordinary aiohttp application. Reading is by GET. A change needs POST or
PUT and the header `X-Sidecar-Request: 1`, which no web page can send without a preflight. The metrics can
have a listener of their own, where nothing else can be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any, cast

import msgspec
from aiohttp import web

from sidecar.config.derive import balanced, with_chain
from sidecar.config.problems import hint
from sidecar.dialects.openai_errors import encode_failure
from sidecar.manager import LLMManager
from sidecar.manager.overrides import Override, OverrideKind
from sidecar.manager.status import explained, routes, status
from sidecar.model.errors import ConfigurationError
from sidecar.routing.health import AdminState
from sidecar.server.connection import Connection
from sidecar.server.guard import Guard, Refusal
from sidecar.server.intake import request_id_of
from sidecar.server.refusal import Refusals, refused

__all__ = ["Daemon", "admin_application", "metrics_application"]

_READING = frozenset({"GET", "HEAD"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Weight(msgspec.Struct, forbid_unknown_fields=True):
    weight: float


class _Balance(msgspec.Struct, forbid_unknown_fields=True):
    balance: str


class _Chain(msgspec.Struct, forbid_unknown_fields=True):
    chain: list[str]


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


def admin_application(daemon: Daemon, guard: Callable[[], Guard]) -> web.Application:
    """The admin plane of one daemon; `guard` gives the guard of the moment."""
    plane = _Plane(daemon)
    return _application(
        daemon.manager,
        guard,
        [
            web.get("/status", plane.status),
            web.get("/stats", plane.stats),
            web.get("/metrics", plane.metrics),
            web.get("/config", plane.config),
            web.get("/routes", plane.routes),
            web.get("/providers", plane.providers),
            web.get("/explain", plane.explain),
            web.get("/attempts", plane.attempts),
            web.post("/reload", plane.reload),
            web.post("/health-check", plane.health_check),
            web.post("/drain", plane.drain),
            web.post("/providers/{provider}/reset", plane.reset_provider),
            web.post("/targets/{target:.+}/{change:reset|ready|drain|maint}", plane.change_target),
            web.put("/targets/{target:.+}/weight", plane.set_weight),
            web.put("/routes/{route:.+}/chain", plane.set_chain),
            web.put("/routes/{route:.+}/balance", plane.set_balance),
        ],
    )


def metrics_application(manager: LLMManager, guard: Callable[[], Guard]) -> web.Application:
    """`GET /metrics` and nothing else."""

    async def metrics(_: web.Request) -> web.Response:
        return _metrics(manager)

    return _application(manager, guard, [web.get("/metrics", metrics)])


def _application(manager: LLMManager, guard: Callable[[], Guard], places: Iterable[web.RouteDef]) -> web.Application:
    application = web.Application(
        middlewares=[_cleaned(manager), _guarded(guard, Refusals(manager)), _told], client_max_size=1024 * 1024
    )
    application.on_response_prepare.append(_anonymous)
    application.router.add_routes(places)
    return application


async def _anonymous(_: web.Request, response: web.StreamResponse) -> None:
    """What software answers is nobody's business."""
    response.headers.pop("Server", None)  # the answer to a bug of ours has none


def _cleaned(manager: LLMManager) -> Any:
    """Whatever is told, no known secret is in it: a provider may have quoted one in an error, or another's."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            text = response.body.decode()
            if (clean := manager.log.hidden(text)) is not text:
                response.body = clean.encode()
        return response

    return middleware


def _guarded(guard: Callable[[], Guard], refusals: Refusals) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.raw_path.startswith("/"):
            return _error(400, "the request target must be a path")
        # As a GET: what a change must say of itself is the header below.
        refusal = guard().judge("GET", request.raw_path, request.headers, _peer_uid(request))
        if refusal is not None:
            return _turned_away(request, refusal, refusals)
        if request.method not in _READING and request.headers.get("X-Sidecar-Request") != "1":
            return _error(403, "a change needs the header X-Sidecar-Request: 1")
        return await handler(request)

    return middleware


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as JSON that says what is wrong."""
    try:
        return await handler(request)
    except ConfigurationError as error:
        return _error(404 if request.method in _READING else 422, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _error(400, f"the body is not what {request.path} takes: {error}")
    except web.HTTPException as error:
        return _error(error.status, error.reason, allow=error.headers.get("Allow"))


def _error(status_code: int, message: str, *, allow: str | None = None) -> web.Response:
    body, content_type = encode_failure(refused(status_code, message))
    headers = {"Cache-Control": "no-store", **({"Allow": allow} if allow else {})}
    return web.Response(status=status_code, body=body, content_type=content_type, headers=headers)


def _turned_away(request: web.Request, refusal: Refusal, refusals: Refusals) -> web.Response:
    status_code, headers, body = refusals.told(
        refused(refusal.status, refusal.message, refusal.code),
        request_id_of(request.headers)[0],
        method=request.method,
        path=request.path,
        peer_uid=_peer_uid(request),
        extra=[("www-authenticate", "Bearer")] if refusal.status == 401 else [],
    )
    return web.Response(status=status_code, headers=dict(headers), body=body)


def _peer_uid(request: web.Request) -> int | None:
    return cast(Connection, request.protocol).peer_uid


def _metrics(manager: LLMManager) -> web.Response:
    text = manager.metrics.exposition()
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _json(value: Any, status_code: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        status=status_code, body=msgspec.json.encode(value), content_type="application/json", headers=headers
    )


class _Plane:
    """One handler per place."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._manager = daemon.manager

    async def status(self, _: web.Request) -> web.Response:
        return _json(self._daemon.status() | status(self._manager))

    async def stats(self, _: web.Request) -> web.Response:
        return _json(self._manager.get_stats())

    async def metrics(self, _: web.Request) -> web.Response:
        return _metrics(self._manager)

    async def config(self, _: web.Request) -> web.Response:
        return _json(msgspec.to_builtins(self._manager.snapshot, enc_hook=_hidden, str_keys=True))

    async def routes(self, _: web.Request) -> web.Response:
        return _json(routes(self._manager))

    async def providers(self, _: web.Request) -> web.Response:
        return _json(self._manager.get_provider_status())

    async def explain(self, request: web.Request) -> web.Response:
        model = request.query.get("model")
        if not model:
            raise web.HTTPBadRequest(reason="say which model: /explain?model=NAME")
        return _json(explained(self._manager, model, route=request.query.get("route")))

    async def attempts(self, request: web.Request) -> web.StreamResponse:
        """The latest lines, and with `follow=1` those that come, one JSON object a line."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        subscription = self._manager.log.subscribe()
        try:
            recent = b"".join(self._manager.log.recent())  # in the same step, so that no line comes twice
            await response.prepare(request)
            await response.write(recent)
            if request.query.get("follow") == "1":
                async for line in subscription:
                    await response.write(line)
        except ConnectionError:
            pass  # the reader has left
        finally:
            subscription.close()
        return response

    async def reload(self, _: web.Request) -> web.Response:
        result = await self._daemon.reload()
        return _json(result, 200 if result["applied"] else 422)

    async def health_check(self, _: web.Request) -> web.Response:
        return _json(await self._manager.health_check_all())

    async def drain(self, _: web.Request) -> web.Response:
        self._daemon.drain()
        return _json({"draining": True}, 202)

    async def reset_provider(self, request: web.Request) -> web.Response:
        name = request.match_info["provider"]
        if not await self._manager.reset_provider(name):
            known = ", ".join(sorted(self._manager.snapshot.providers))
            return _error(404, f'unknown provider "{name}"; known: {known}')
        return _json({"provider": name, "reset": True})

    async def change_target(self, request: web.Request) -> web.Response:
        key, change = request.match_info["target"], request.match_info["change"]
        book = self._manager.book
        known = book.reset_target(key, monotonic()) if change == "reset" else book.set_admin(key, AdminState(change))
        if not known:
            return _error(404, f'unknown target "{key}"; GET /status lists them')
        self._manager.log.event("info", "target.changed", target=key, change=change)
        return _json({"target": key, "change": change})

    async def set_weight(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read(), type=_Weight)
        key = request.match_info["target"]
        known = self._targets() | self._manager.snapshot.providers.keys()
        if key not in known:
            return _error(404, f'there is no target or provider "{key}"{hint(key, known)}')
        self._manager.set_weight(key, body.weight)
        return _json({"target": key, "weight": body.weight})

    async def set_chain(self, request: web.Request) -> web.Response:
        names = tuple(msgspec.json.decode(await request.read(), type=_Chain).chain)
        route = self._route(request)
        text = f"chain [{', '.join(names)}]"
        change = Override(OverrideKind.CHAIN, route, text, lambda snapshot: with_chain(snapshot, names, route=route))
        self._manager.override(change)
        return _json({"route": route, "chain": list(names)})

    async def set_balance(self, request: web.Request) -> web.Response:
        strategy = msgspec.json.decode(await request.read(), type=_Balance).balance
        route = self._route(request)
        text = f"balance {strategy}"
        change = Override(OverrideKind.BALANCE, route, text, lambda snapshot: balanced(snapshot, strategy, route=route))
        self._manager.override(change)
        return _json({"route": route, "balance": strategy})

    def _route(self, request: web.Request) -> str:
        route = request.match_info["route"]
        if route not in self._manager.snapshot.routes:
            raise web.HTTPNotFound(reason=f"there is no route {route!r}; GET /routes lists them")
        return route

    def _targets(self) -> set[str]:
        return {target.key for route in self._manager.snapshot.routes.values() for target in route.targets}


def _hidden(value: Any) -> Any:
    """What is no JSON: a secret becomes ***, a set a list."""
    return sorted(map(str, value)) if isinstance(value, frozenset | set) else repr(value)
