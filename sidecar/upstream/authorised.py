"""The seam for requests that no fixed header authorises: each is signed, or shows a token that ends.

Fixed keys do not come by here: they are among an account's headers, made once. Who signs, or where tokens come
from, is `aws`, `entra` and `google`; they get what they sign with from the vendors' own libraries, which wait for
the network where they are called. `Lease` keeps that off the loop and asks once for all who need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from sidecar.upstream.transport import Breach, Reply, Transport, TransportError, UpstreamRequest

__all__ = ["Auth", "AuthorisedTransport", "BearerToken", "Lease", "aside", "unavailable"]

_EARLY_S = 240.0  # of a token

T = TypeVar("T")


class Auth(Protocol):
    """What authorises the requests of one provider."""

    async def authorise(self, request: UpstreamRequest) -> UpstreamRequest:
        """The request with what shows that it may be made.

        Raises:
            TransportError: CREDENTIAL when there is nothing to show, CONNECT when nobody could be asked for it.
        """

    def answered(self, status: int) -> None:
        """The provider answered with this status; what it did not accept is got anew for the next request."""


class AuthorisedTransport:
    """A transport whose requests are authorised one by one.

    Args:
        inner: What carries them; closed with this.
        auth: Of the provider.
    """

    def __init__(self, inner: Transport, auth: Auth) -> None:
        self._inner = inner
        self._auth = auth

    async def send(self, request: UpstreamRequest, *, connect_s: float) -> Reply:
        """See `Transport.send`."""
        try:
            authorised = await self._auth.authorise(request)
        except OSError as error:  # all else the vendors' libraries have classes for
            raise _unreadable(error) from None
        reply = await self._inner.send(authorised, connect_s=connect_s)
        self._auth.answered(reply.status)
        return reply

    async def check(self, *, connect_s: float) -> None:
        """See `Transport.check`."""
        await self._inner.check(connect_s=connect_s)

    async def aclose(self) -> None:
        """See `Transport.aclose`."""
        await self._inner.aclose()


class Lease(Generic[T]):
    """Something that is good for a time; got when it is first needed, and anew before it ends.

    Args:
        get: Gives it, and until when it is good (seconds since 1970; None: for ever). May block.
        early_s: How long before that it is got anew, while the old one still serves.
        now: The time, in seconds since 1970.
    """

    def __init__(
        self, get: Callable[[], tuple[T, float | None]], *, early_s: float, now: Callable[[], float] = time.time
    ) -> None:
        self._get = get
        self._early_s = early_s
        self._now = now
        self._held: tuple[T, float] | None = None
        self._getting: asyncio.Task[T] | None = None

    async def value(self) -> T:
        """What is good now. Whatever `get` raises is raised to all who wait for it."""
        held, left_s = self._held, 0.0
        if held is not None:
            left_s = held[1] - self._now()
            if left_s > self._early_s:
                return held[0]
        if self._getting is None or self._getting.get_loop() is not asyncio.get_running_loop():
            self._getting = asyncio.get_running_loop().create_task(self._renew())
            self._getting.add_done_callback(_looked_at)
        if held is not None and left_s > 0:
            return held[0]
        return await asyncio.shield(self._getting)

    def end(self) -> None:
        """It is not good any more."""
        self._held = None

    async def _renew(self) -> T:
        try:
            value, until = await aside(self._get)
        finally:
            self._getting = None
        self._held = value, float("inf") if until is None else until
        return value


class BearerToken:
    """Shows a token with the requests of one provider; four minutes before its end another one is got.

    Args:
        get: As of a `Lease`.
    """

    def __init__(self, get: Callable[[], tuple[str, float | None]]) -> None:
        self._token = Lease(get, early_s=_EARLY_S)

    async def authorise(self, request: UpstreamRequest) -> UpstreamRequest:
        """See `Auth.authorise`."""
        token = await self._token.value()
        return msgspec.structs.replace(request, headers=[*request.headers, ("Authorization", f"Bearer {token}")])

    def answered(self, status: int) -> None:
        """See `Auth.answered`: 403 is said of the account and its roles, and another token would not help."""
        if status == 401:
            self._token.end()


def _looked_at(task: asyncio.Task[T]) -> None:
    """Nobody may have waited for it."""
    if not task.cancelled():
        task.exception()


async def aside(work: Callable[[], T]) -> T:
    """What the work gives, done in a thread of its own: that holds up no name's lookup, nor the process's end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)  # type: ignore[arg-type]  # there is one if there is no error

    def run() -> None:
        value, failed = None, None
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - told to who waits for it
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name="sidecar-credentials", daemon=True).start()
    return await done


def unavailable(what: str, reason: str) -> TransportError:
    """The error for credentials that nobody gave; a reason holds no secret."""
    return TransportError(Breach.CREDENTIAL, f"{what}: {reason}")


def _unreadable(error: OSError) -> TransportError:
    """The error for a file that the environment names: a token's, a certificate's, a key's."""
    if error.filename is None:
        return unavailable("credentials", type(error).__name__)
    return unavailable(f"{error.filename}", f"the credentials in it cannot be read: {error.strerror}")
