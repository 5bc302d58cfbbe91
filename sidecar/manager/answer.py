"""One request on its way: from the plan over its attempts to the last byte.

`Answer.open` walks the failover engine's commands until something can be sent: a whole answer, a
stream's first content, or the failure that the client is told. The engine decides, the recorder writes
down; this file only acts. `close` is called once by whoever asked, however it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from time import monotonic
from typing import Any

from sidecar.dialects.estimates import ESTIMATES, estimate
from sidecar.dialects.rescue import Continuation, continuation
from sidecar.dialects.table import errors
from sidecar.manager.headers import EVENT_STREAM, ReplyHeaders, reply_headers
from sidecar.manager.pins import pinned_failure
from sidecar.manager.race import Field
from sidecar.manager.recorder import Recorder
from sidecar.manager.rooms import Rooms
from sidecar.model.errors import LLMError
from sidecar.model.failures import POLICY, Failure, Kind, Next
from sidecar.model.records import Outcome, RequestRecord
from sidecar.model.request import Call
from sidecar.model.settings import ClientRetries, Rescue
from sidecar.model.topology import Dialect, Operation, Route
from sidecar.model.ways import COMMENTLESS, endpoint
from sidecar.routing.commands import Answer as Told
from sidecar.routing.commands import Command, Content, Elapsed, End, Event, Keep, Late, Race, Relay, Try, Wait
from sidecar.routing.failover import UnderWay
from sidecar.routing.plan import Choice
from sidecar.upstream.prompt import Come, PromptExchange, Sent

__all__ = ["Answer", "Rooms"]

_NO_ROUTE = Failure(Kind.NO_ROUTE, "no route answers this model")
_MAX_DELIVERED_BYTES = 4 * 1024 * 1024  # of a stream that may have to be rescued; a longer one is not


class Answer:
    """What one request comes to; lives from the request's arrival to its last byte.

    After `open`: `status`, `headers` and `body` can be sent. If `streams`, more comes from `read`.

    Args:
        rooms: Those of the snapshot in force when the request came.
        call: What is asked.
        active: Holds every answer that is not closed yet; this one enters and leaves by itself.
        recorder: Of the request, if it has one already.
    """

    # fmt: off
    __slots__ = (
        "_active", "_call", "_closed", "_command", "_continuation", "_delivered", "_engine", "_exchange", "_field",
        "_pin", "_recorder", "_rooms", "_route", "_stopped", "_try", "_unroutable", "body", "ending", "failure",
        "headers", "status", "streams",
    )
    # fmt: on

    def __init__(self, rooms: Rooms, call: Call, active: set[Any], *, recorder: Recorder | None = None) -> None:
        self._rooms = rooms
        self._call = call
        self._recorder = recorder or Recorder(call, rooms.snapshot.generation, rooms.log, rooms.metrics)
        self._engine: Generator[Command, Event, None] | None = None
        self._command: Command | None = None  # to be acted upon by `open`
        self._exchange: PromptExchange | None = None
        self._try: Try | None = None
        self._route: Route | None = None
        self._unroutable = _NO_ROUTE
        self._pin: str | None = None  # why nobody but the route's only target can be asked
        try:
            self._route = self._resolved()
        except LLMError as error:
            self._unroutable = error.failure
        self._closed = False
        self._stopped: Failure | None = None
        self._delivered: bytearray | None = None  # what was sent, while it may have to be gone on from
        self._continuation: Continuation | None = None
        self._field: Field | None = None
        self._active = active
        active.add(self)
        self.status = 0
        self.headers: ReplyHeaders | Sequence[tuple[str, str]] = ()
        self.body = b""
        self.streams = False
        self.ending = False  # `read_now` has given the last of the stream
        self.failure: Failure | None = None

    @property
    def keepalive_s(self) -> float | None:
        """How often a stream's client wants to hear something while it waits; None: never."""
        if self._route is None or not self._call.stream or self._call.dialect in COMMENTLESS:
            return None
        return self._route.stream.sse_keepalive_s

    @property
    def total_s(self) -> float:
        """How long the request may take, from its arrival to the last byte that its client reads."""
        ours_s = (self._route or self._rooms.snapshot).timeouts.total_s
        return min(ours_s, self._call.limits.total_s or ours_s)

    @property
    def fault(self) -> bytes:
        """The event that tells of the failure in a stream whose head was sent already."""
        if self.failure is None:
            return b""
        return errors(self._call.dialect).fault_event(self.failure, self.attempts)

    @property
    def record(self) -> RequestRecord:
        """What the request's line will say."""
        return self._recorder.request

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt so far, as the client may see it."""
        return self._recorder.told

    @property
    def targets(self) -> int:
        """How many targets the request's route has."""
        return len(self._route.targets) if self._route is not None else 0

    def promise(self) -> None:
        """The head of a stream must be sent before anything is known of its answer."""
        self.status = 200
        self.headers = reply_headers(
            self._call.request_id, EVENT_STREAM, "", generation=self._rooms.snapshot.generation
        )

    async def open(self) -> None:
        """Try targets until there is something to send. When it is cancelled, call `close` as always."""
        command = self._begun() if self._engine is None else self._command
        while command is not None:
            command = await self._act(command)

    def _begun(self) -> Command | None:
        """The engine's first command, if the request has a route."""
        rooms, route = self._rooms, self._route
        if route is None:
            self._tell(self._unroutable)
            return None
        self._recorder.request.route = route.name
        operation = self._call.operation
        if operation in ESTIMATES and not any(endpoint(each.provider, operation, each.model) for each in route.targets):
            self._estimate()
            return None
        self._engine = engine = rooms.engine(route, self._call, monotonic())
        return next(engine)

    def resume(self, command: Try, epoch: int, sent: Sent, come: Come | None, *, began: float, asked: float) -> None:
        """Go on with the first attempt, of this epoch, begun and sent at these moments; `open` then waits for it."""
        assert self._route is not None
        choice = Choice(command.target, command.state, command.selection)
        under_way = UnderWay(choice, epoch, command.breaker)
        self._engine = engine = self._rooms.engine(self._route, self._call, began, under_way)
        self._command = again = next(engine)
        assert type(again) is Try
        self._try = again
        self._exchange = exchange = self._exchange_for(again)
        exchange.adopt(sent, come, began=began, asked=asked)
        if exchange.served:
            self._command = self._send(Content(monotonic(), None, None, again.number))

    # Without waiting: what is ordinary. Of all else these say that `open` or `read` must find out, which go on
    # from here.

    @property
    def due(self) -> float:
        """When whoever listens must go over to waiting, though nothing has come."""
        return self._exchange.due if self._exchange is not None else 0.0

    def launch(self, listener: Callable[[], None]) -> bool | None:
        """As `open`: True when there is something to send, None when it must be waited for with `open`.

        False: the listener will be called; ask `opened` then.
        """
        command = self._command = self._begun()
        if command is None:
            return True
        if type(command) is not Try or command.hedge_after_s is not None:
            return None
        if self._call.peek.stream and self.keepalive_s is not None:
            return None
        if command.skipped:
            self._recorder.skipped(command.skipped)
        self._exchange = exchange = self._exchange_for(command)
        self._try = command
        return False if exchange.launch(listener) else None

    def opened(self) -> bool | None:
        """The same, when something may have come."""
        exchange, command = self._exchange, self._try
        if exchange is None or command is None:
            return None
        started = exchange.started()
        if not started:
            return started
        following = self._judged(exchange, command, exchange.failure)
        if type(following) is Relay:
            self.streams = True
            following = None
        self._command = following
        return True if following is None else None

    def relaunch(self, listener: Callable[[], None]) -> bool:
        """After `open`: have the listener called for the rest of a stream, which `read_now` gives; else `read` it."""
        exchange = self._exchange
        return exchange is not None and exchange.relaunch(listener)

    def read_now(self) -> bytes | None:
        """As `read`; None when nothing has come yet, b"" when `read` must find out. Sets `ending`."""
        exchange = self._exchange
        if exchange is None:
            self.ending = True
            return b""
        data = exchange.read_now()
        self.ending = exchange.ending
        return self._passed(data) if data and self._delivered is not None else data

    def ended_now(self) -> bytes | None:
        """The last bytes of a stream that has come to a good end; None when `read` must find out."""
        exchange = self._exchange
        if exchange is None or not exchange.ended_now():
            return None
        self._advance(None)
        return exchange.body

    async def read(self) -> bytes:
        """The next bytes of a stream; b"" at its end, after which `failure` tells how it ended.

        A broken stream goes on with another target where the route asks for that, or ends with the
        dialect's error event; the caller must then end the response without the mark of a complete one.
        """
        while (exchange := self._exchange) is not None:
            data = await exchange.read()
            if data:
                data = self._passed(data)
            elif exchange.failure is None:
                await exchange.settle()
                self._advance(None)
                return b""
            else:
                data = await self._broken(exchange, exchange.failure)
            if data:
                return data
        return b""

    def fail_internally(self, error: Exception) -> None:
        """A bug of ours: free what is held, and tell the client what it was without its details."""
        context = {"message": f"request {self._call.request_id} failed by a bug", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
        failure = Failure(Kind.INTERNAL, f"the sidecar failed: {type(error).__name__}; its log tells more")
        self._abort(Outcome.FAILED, failure)
        self._tell(failure)

    def stop(self, failure: Failure) -> None:
        """End it now: whoever waits for it is told this failure, as if the provider had failed so."""
        self._stopped = failure
        if self._exchange is not None:
            self._exchange.stop(failure)
        if self._field is not None:
            self._field.stop(failure)

    def client_waited(self, seconds: float) -> None:
        """Account time that was spent waiting for the client to take bytes."""
        self._recorder.client_waited(seconds)
        if self._exchange is not None:
            self._exchange.client_waited(seconds)

    def close(self, *, bytes_out: int = 0, gone: bool = False) -> None:
        """Free what is held and write the request's line. Idempotent.

        Args:
            bytes_out: Body bytes that were sent to the client.
            gone: The client left before the end.
        """
        if self._closed:
            return
        self._closed = True
        self._active.discard(self)
        if self._engine is not None:
            self._engine.close()
        if self._exchange is not None:
            gone = True
            self._abort(Outcome.CANCELLED, Failure(Kind.CLIENT_GONE, "the client left"))
        self._recorder.close(bytes_out=bytes_out, gone=gone)

    def _resolved(self) -> Route:
        call, router = self._call, self._rooms.router
        route = router.strict(call.model) if call.strict else router.resolve(call.model, override=call.route)
        pinned = self._rooms.pins.pinned(call, route) if call.operation is Operation.RESPONSES else None
        if pinned is not None:
            route, self._pin = pinned
        return route

    async def _act(self, command: Command) -> Command | None:
        match command:
            case Try():
                return await self._attempt(command)
            case Wait():
                self._recorder.skipped(command.skipped)
                await asyncio.sleep(command.seconds)
                self._recorder.backed_off(command.seconds)
                return self._send(Elapsed(monotonic()))
            case Told():
                self._recorder.skipped(command.skipped)
                self._tell(command.failure)
                return None
            case Relay():
                self.streams = True
                return None
            case Keep() | Race():
                raise AssertionError(f"{command!r} has its place within a race only")

    async def _attempt(self, command: Try) -> Command | None:
        """Ask one target; the engine's next command, or None when there is an answer to send."""
        exchange = self._exchange
        if exchange is not None:  # it was launched, or at least made
            return self._judged(exchange, command, await exchange.start())
        self._recorder.skipped(command.skipped)
        if self._stopped is not None:
            self._tell(self._stopped)
            return None
        self._try = command
        if command.hedge_after_s is not None:
            return await self._race(command, command.hedge_after_s)
        self._exchange = exchange = self._exchange_for(command)
        return self._judged(exchange, command, await exchange.start())

    def _exchange_for(self, command: Try) -> PromptExchange:
        account = self._rooms.registry.account(command.target.provider)
        route = self._route
        assert route is not None
        return PromptExchange(
            account,
            command.target.model,
            self._call,
            command.limits,
            route.stream,
            on_loss=route.on_loss,
            rescue=self._continuation,
        )

    def _judged(self, exchange: PromptExchange, command: Try, failure: Failure | None) -> Command | None:
        """An attempt has its first content, its whole answer, or a failure: what follows."""
        if failure is not None:
            return self._advance(failure)
        now = monotonic()
        streaming = exchange.streaming
        self._serve(exchange, command, now, streaming=streaming)
        if streaming:
            return self._send(Content(now, exchange.first_token_s or 0.0, exchange.head_s, command.number))
        return self._advance(None)

    async def _race(self, command: Try, hedge_after_s: float) -> Command | None:
        """As `_attempt`, but when it is late, the engine may let another target race with it."""
        self._field = race = Field(self._recorder)
        try:
            race.enter(self._exchange_for(command), command)
            if not await race.decided(hedge_after_s):
                following = self._send(Late(monotonic()))
                if isinstance(following, Race):
                    self._recorder.skipped(following.second.skipped)
                    race.enter(self._exchange_for(following.second), following.second)
            while True:
                exchange, entered, failure = await race.next()
                self._exchange, self._try = exchange, entered
                if failure is None or not race.running:
                    race.close(Outcome.HEDGE_LOST, None)
                    return self._judged(exchange, entered, failure)
                self._advance(failure)  # the other one goes on alone
        finally:
            self._field = None
            race.close(Outcome.CANCELLED, Failure(Kind.CLIENT_GONE, "the client left"))

    def _serve(self, exchange: PromptExchange, command: Try, now: float, *, streaming: bool) -> None:
        """There is something to send: the first time, it makes the response."""
        self._recorder.serves(exchange, command, now)
        exchange.served = True
        self.body, exchange.body = exchange.body, b""  # a stream lives long, its first bytes need not
        if self._continuation is not None:
            return
        self.status = 200
        self.headers = self._recorder.headers(exchange, command)
        if streaming and self._route is not None and self._route.stream.rescue is Rescue.CONTINUE:
            self._delivered = bytearray(self.body)

    def _estimate(self) -> None:
        """Nobody can count: the client gets an estimate that says so."""
        try:
            self.body = estimate(self._call)
        except LLMError as error:
            self._tell(error.failure)
            return
        self.status = 200
        generation = self._rooms.snapshot.generation
        headers = reply_headers(self._call.request_id, "application/json", "", generation=generation)
        self.headers = [*headers, ("x-sidecar-estimate", "true")]
        self._recorder.estimated()

    def _advance(self, failure: Failure | None, *, rescuable: bool = False) -> Command | None:
        """The attempt under way is over: free it, tell the engine, write its line."""
        exchange, command = self._exchange, self._try
        assert exchange is not None
        assert command is not None
        self._exchange = None
        exchange.close()
        now = monotonic()
        head = exchange.status is not None
        following = self._send(
            End(now, now - exchange.began, failure, head=head, number=command.number, rescuable=rescuable)
        )
        outcome = Outcome.OK if failure is None else Outcome.FAILED
        if failure is None and exchange.id is not None and exchange.dialect is Dialect.OPENAI_RESPONSES:
            self._rooms.pins.note(exchange.id, command.target)
        if failure is not None and failure.kind is Kind.TRUNCATED:
            outcome = Outcome.TRUNCATED
        self._recorder.attempted(exchange, command, outcome, failure, now=now)
        return following

    def _abort(self, outcome: Outcome, failure: Failure) -> None:
        """The attempt under way, if there is one, ends here, and the engine is not asked what follows."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None and self._try is not None:
            exchange.close()
            self._recorder.attempted(exchange, self._try, outcome, failure, now=monotonic())

    def _tell(self, failure: Failure) -> None:
        """No target answered: the error that the client gets."""
        if self._pin is not None and self._route is not None and POLICY[failure.kind].next is not Next.STOP:
            failure = pinned_failure(failure, self._route, self._pin)
        self.failure = failure
        self.status = failure.client_status
        self.body, content_type = errors(self._call.dialect).encode_failure(failure, self.attempts)
        suppress = self._route is not None and self._route.attempts.client_retries is ClientRetries.SUPPRESS
        self.headers = reply_headers(
            self._call.request_id,
            content_type,
            self._recorder.line,
            generation=self._rooms.snapshot.generation,
            retry_after_s=failure.retry_after_s,
            no_retry=suppress and bool(self.attempts),
            dialect=self._call.dialect,
        )
        self._recorder.failed(failure, self.status)

    def _send(self, event: Event) -> Command | None:
        assert self._engine is not None
        try:
            return self._engine.send(event)
        except StopIteration:
            return None

    # A stream after its commit.

    def _passed(self, data: bytes) -> bytes:
        """What the client gets; remembered while it may have to be gone on from."""
        if self._delivered is not None:
            self._delivered += data
            if len(self._delivered) > _MAX_DELIVERED_BYTES:
                self._delivered = None
        return data

    async def _broken(self, exchange: PromptExchange, failure: Failure) -> bytes:
        """A committed stream broke: the first bytes of its rescue, or the error event that ends it."""
        going_on = None
        if self._delivered is not None:
            going_on = continuation(self._call, bytes(self._delivered), exchange.usage)
        self._delivered = None
        command = self._advance(failure, rescuable=going_on is not None)
        rescued = isinstance(command, Try) and going_on is not None
        if rescued:
            self._continuation = going_on
        while isinstance(command, Try | Wait):
            command = await self._act(command)
        if rescued and (isinstance(command, Relay) or (command is None and self.failure is None)):
            return self.body
        told = command.failure if isinstance(command, Told) else self.failure or failure
        self.failure = told
        self._recorder.failed(told)
        return self.fault
