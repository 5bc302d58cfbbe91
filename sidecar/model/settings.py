"""Every constant of the product with its default; the config can set each of them.

Times are seconds, sizes bytes. Which file key stands for which field is decided by `config`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from sidecar.model.secret import Secret

__all__ = [
    "DEFAULT_LISTEN",
    "AttemptSettings",
    "AutoLimit",
    "Balance",
    "BreakerSettings",
    "BudgetSettings",
    "ClientRetries",
    "DrainSettings",
    "FailurePercentage",
    "HealthMode",
    "HealthSettings",
    "HedgeSettings",
    "HoldSettings",
    "LimitSettings",
    "ListenAuth",
    "ListenSettings",
    "LogSettings",
    "OnLoss",
    "OpenTime",
    "RateLimitSettings",
    "Rescue",
    "Settings",
    "StreamMode",
    "StreamSettings",
    "Timeouts",
    "Wire",
]


class Balance(StrEnum):
    """How a pool orders its targets."""

    WEIGHTED = "weighted"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    LEAST_BUSY = "least_busy"
    FASTEST = "fastest"


class ClientRetries(StrEnum):
    """Whether a final failure tells the client's SDK not to multiply our attempts by its own."""

    SUPPRESS = "suppress"
    ALLOW = "allow"


class HealthMode(StrEnum):
    """What an active health check does."""

    MODELS = "models"
    TCP = "tcp"
    COMPLETION = "completion"
    OFF = "off"


class Wire(StrEnum):
    """How an answer reaches the client's socket: straight to its transport, or through aiohttp."""

    DIRECT = "direct"
    PLAIN = "plain"


class StreamMode(StrEnum):
    """When the first bytes of a stream go to the client, after which no target can answer unnoticed."""

    LIVE = "live"  # with the first content
    HOLD = "hold"  # a little later: what breaks at once still fails over
    BUFFER = "buffer"  # with the last: all of it, or another target


class Rescue(StrEnum):
    """What is done when a stream breaks after its first bytes went to the client."""

    OFF = "off"  # an error event
    CONTINUE = "continue"  # another target is asked to go on where it broke


class OnLoss(StrEnum):
    """What becomes of a request of which a target's dialect cannot say everything."""

    ALLOW = "allow"  # it is sent, and what was lost is told in a header and the log
    REJECT = "reject"  # the target is passed over


class HoldSettings(msgspec.Struct, frozen=True):
    """How long `stream: hold` holds: until so many events of content have come, or so much time has passed."""

    events: int = 8
    time_s: float = 0.5


class HedgeSettings(msgspec.Struct, frozen=True):
    """Asking a second target of the same pool when the first is late; the first content wins."""

    after_s: float | None = None  # None: the 95th percentile of the target's own first-content times
    max_extra_load: float = 5.0  # percent of requests


class StreamSettings(msgspec.Struct, frozen=True):
    """How streams are given to the client."""

    mode: StreamMode = StreamMode.LIVE
    hold: HoldSettings = HoldSettings()
    rescue: Rescue = Rescue.OFF
    sse_keepalive_s: float | None = None  # comments while waiting for the first content; None: none
    hedge: HedgeSettings | None = None  # None: off


class AutoLimit(msgspec.Struct, frozen=True):
    """A limit learnt from a target's own speed: clamp(factor x its average, min, max), or one fixed time."""

    factor: float = 3.0
    min_s: float = 12.0
    max_s: float = 120.0
    fixed_s: float | None = None


class Timeouts(msgspec.Struct, frozen=True):
    """The deadlines of one request."""

    connect_s: float = 5.0  # DNS + TCP + TLS
    first_token: AutoLimit = AutoLimit()  # streams: request sent -> first content
    answer: AutoLimit = AutoLimit(min_s=120.0, max_s=300.0)  # not streamed: request sent -> whole answer
    idle_s: float = 30.0  # between events
    total_s: float = 590.0  # below the SDKs' 600 s, so that the app gets our typed error


class BudgetSettings(msgspec.Struct, frozen=True):
    """The retry budget: a share of recent requests, never below a floor."""

    percent: float = 20.0
    ttl_s: float = 10.0
    min_per_s: float = 1.0


class AttemptSettings(msgspec.Struct, frozen=True):
    """How often and how long a request is tried."""

    max_attempts: int | None = None  # None: clamp(number of targets, 3, 6)
    same_target_retries: int = 1
    max_inline_wait_s: float = 2.5
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 8.0
    min_attempt_time_s: float = 2.0
    max_elapsed_s: float = 60.0
    client_retries: ClientRetries = ClientRetries.SUPPRESS
    budget: BudgetSettings = BudgetSettings()


class FailurePercentage(msgspec.Struct, frozen=True):
    """Opens a breaker by the share of failures in a sliding window."""

    threshold: float = 50.0  # percent
    min_requests: int = 10
    window_s: float = 30.0


class RateLimitSettings(msgspec.Struct, frozen=True):
    """How long a 429 keeps a target away."""

    default_s: float = 10.0
    max_s: float = 300.0
    jitter: float = 0.5  # the time is multiplied by rand(1, 1 + jitter)


class OpenTime(msgspec.Struct, frozen=True):
    """How long a breaker stays open: equal_jitter(min(base * 2^(n-1), clamp(factor * failed_s, floor, max)))."""

    base_s: float = 2.0
    factor: float = 25.0
    floor_s: float = 10.0
    max_s: float = 300.0


class BreakerSettings(msgspec.Struct, frozen=True):
    """The constants of the breaker table."""

    consecutive_failures: int = 5
    consecutive_gateway_failures: int = 3
    failure_percentage: FailurePercentage = FailurePercentage()
    rate_limit: RateLimitSettings = RateLimitSettings()
    open: OpenTime = OpenTime()
    fixed_open_s: float = 300.0  # credential, quota, model gone
    half_open_max_requests: int = 1
    half_open_successes: int = 2
    slow_start_s: float = 30.0
    slow_start_floor: float = 0.1  # of the weight
    decay_s: float = 10.0  # each such time with a success and no failure forgets one opening


class HealthSettings(msgspec.Struct, frozen=True):
    """Active health checks."""

    mode: HealthMode = HealthMode.MODELS
    interval_s: float = 30.0
    unhealthy_interval_s: float = 5.0
    timeout_s: float = 5.0
    fall: int = 3
    rise: int = 2
    jitter: float = 0.2
    completions_per_day: int = 100  # of mode `completion`: each costs a token; then only a connection is tried


class ListenAuth(msgspec.Struct, frozen=True):
    """What a client must show."""

    token_file: str = ""
    tokens: tuple[Secret, ...] = ()  # what the file held when the config was loaded; any of them will do


class ListenSettings(msgspec.Struct, frozen=True):
    """One listener: `host:port` or `unix:/path`."""

    address: str
    mode: int = 0o660  # of a Unix socket
    group: str | None = None
    owner: str | None = None
    allow_uids: tuple[int, ...] | None = None  # of a Unix socket: who may ask; None: whoever can connect
    auth: ListenAuth | None = None  # None: nothing has to be shown
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class LogSettings(msgspec.Struct, frozen=True):
    """Where log lines go and which."""

    level: str = "info"
    output: str = "stderr"  # stderr | stdout | a file's path
    format: str = "json"  # json | console


class DrainSettings(msgspec.Struct, frozen=True):
    """How the daemon stops."""

    timeout_s: float = 30.0
    accept_for_s: float = 0.0


class LimitSettings(msgspec.Struct, frozen=True):
    """What one client may ask of the daemon."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    max_connections: int = 20_000
    header_timeout_s: float = 10.0
    body_idle_s: float = 30.0
    keepalive_s: float = 75.0


DEFAULT_LISTEN = (ListenSettings("127.0.0.1:4141"),)  # this very value, where the config does not say


class Settings(msgspec.Struct, frozen=True):
    """What belongs to the daemon rather than to a provider or a route."""

    listen: tuple[ListenSettings, ...] = DEFAULT_LISTEN
    admin: ListenSettings | None = None  # None: the default place, found by `sources`
    metrics: ListenSettings | None = None  # None: on the admin plane only
    log: LogSettings = LogSettings()
    drain: DrainSettings = DrainSettings()
    limits: LimitSettings = LimitSettings()
    wire: Wire = Wire.DIRECT
