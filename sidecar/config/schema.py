"""The shape of the file: one Struct for each map, mirroring the YAML key by key.

A field's description is the one text that the editor's schema and the documentation show. A field
that is not in the file is `UNSET`, so that the narrower scope can be laid over the wider one. Field
names are those of the compiled values in `model`; a key is the field's name without its unit, because
in the file the unit stands with the value. `Section.defaults` names the values whose defaults
apply.

Knows no rule that needs more than one key: those are in `compile`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sidecar.model import settings, topology
from sidecar.model.secret import Secret
from sidecar.model.settings import Balance, ClientRetries, HealthMode, Wire
from sidecar.model.topology import Dialect

__all__ = [
    "AttemptKeys",
    "BreakerKeys",
    "ConfigKeys",
    "HealthKeys",
    "LimitKeys",
    "ListenKeys",
    "ModelKeys",
    "ParamKeys",
    "PriceKeys",
    "ProviderKeys",
    "ResilienceKeys",
    "RouteKeys",
    "Section",
    "Text",
    "TimeoutKeys",
    "TlsKeys",
]

T = TypeVar("T")
Maybe: TypeAlias = T | UnsetType

_UNITS = ("_s", "_bytes", "_tokens")


def _key(field: str) -> str:
    return next((field.removesuffix(unit) for unit in _UNITS if field.endswith(unit)), field)


def _doc(text: str) -> Meta:
    return Meta(description=text)


def _kind(name: str) -> Meta:
    return Meta(extra={"kind": name})


class Text(msgspec.Struct, frozen=True):
    """A text that may be secret: a key or a header's value."""

    value: Secret
    source: str | None  # the references it came from, such as "${OPENAI_API_KEY}"


Duration = Annotated[float, _kind("duration"), Meta(ge=0)]
Positive = Annotated[float, _kind("duration"), Meta(gt=0)]
Size = Annotated[int, _kind("size"), Meta(gt=0)]
FileMode = Annotated[int, _kind("mode")]
SecretText = Annotated[Text, _kind("text")]
Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Weight = Annotated[float, Meta(ge=0)]
Fallback = Literal["content_policy", "invalid_request"]  # what else stops a request is nobody else's to mend


class Section(msgspec.Struct, frozen=True, kw_only=True, rename=_key, forbid_unknown_fields=True):
    """A map of the file with known keys."""

    defaults: ClassVar[tuple[type[msgspec.Struct], ...]] = ()


class AutoKeys(Section, frozen=True):
    """Bounds of a limit that is learnt from a target's own speed."""

    defaults = (settings.AutoLimit,)

    factor: Annotated[Maybe[Amount], _doc("The limit is this times the target's average, within min and max.")] = UNSET
    min_s: Annotated[Maybe[Positive], _doc("Never less than this.")] = UNSET
    max_s: Annotated[Maybe[Positive], _doc("Never more than this.")] = UNSET


class TimeoutKeys(Section, frozen=True):
    """The deadlines of one request."""

    defaults = (settings.Timeouts,)

    connect_s: Annotated[Maybe[Positive], _doc("DNS, TCP and TLS together.")] = UNSET
    first_token: Annotated[
        Maybe[Literal["auto"] | Positive | AutoKeys],
        _doc("Streams: from the request sent to the first content. `auto`, a duration, or a map of bounds."),
    ] = UNSET
    answer: Annotated[
        Maybe[Literal["auto"] | Positive | AutoKeys],
        _doc("Not streamed: from the request sent to the whole answer. `auto`, a duration, or a map of bounds."),
    ] = UNSET
    idle_s: Annotated[Maybe[Positive], _doc("The longest silence inside a stream.")] = UNSET
    total_s: Annotated[
        Maybe[Positive], _doc("The whole request, all attempts included; just below the 600 s of the vendors' SDKs.")
    ] = UNSET


class BudgetKeys(Section, frozen=True):
    """The retry budget: how many same-target retries all requests together may make."""

    defaults = (settings.BudgetSettings,)

    percent: Annotated[Maybe[Percent], _doc("Retries allowed, in percent of recent requests.")] = UNSET
    ttl_s: Annotated[Maybe[Positive], _doc("What `recent` means.")] = UNSET
    min_per_s: Annotated[Maybe[Amount], _doc("Retries a second that are always allowed.")] = msgspec.field(
        default=UNSET, name="min_per_second"
    )


class AttemptKeys(Section, frozen=True):
    """How often and how long a request is tried."""

    defaults = (settings.AttemptSettings,)

    max_attempts: Annotated[
        Maybe[Literal["auto"] | AtLeastOne],
        _doc("Attempts for one request over all targets. `auto`: the number of targets, at least 3, at most 6."),
    ] = UNSET
    same_target_retries: Annotated[Maybe[Count], _doc("Further tries at a target that failed.")] = UNSET
    max_inline_wait_s: Annotated[
        Maybe[Duration], _doc("A Retry-After up to this is waited for; a longer one means another target.")
    ] = UNSET
    backoff_base_s: Annotated[
        Maybe[Duration], _doc("The wait before a same-target retry is random between 0 and this, doubled each time.")
    ] = UNSET
    backoff_cap_s: Annotated[Maybe[Duration], _doc("The longest such wait.")] = UNSET
    min_attempt_time_s: Annotated[
        Maybe[Duration], _doc("No further attempt when less than this is left of the deadline.")
    ] = UNSET
    max_elapsed_s: Annotated[
        Maybe[Duration], _doc("After this time no target is tried again; others still are, until `timeouts.total`.")
    ] = UNSET
    client_retries: Annotated[
        Maybe[ClientRetries],
        _doc("`suppress` tells the client's SDK not to repeat a request for which everything was tried; `allow` not."),
    ] = UNSET
    budget: Annotated[Maybe[BudgetKeys], _doc("The retry budget.")] = UNSET


class PercentageKeys(Section, frozen=True):
    """Opens a breaker by the share of failures."""

    defaults = (settings.FailurePercentage,)

    threshold: Annotated[Maybe[Percent], _doc("Failures in the window, in percent, that open the breaker.")] = UNSET
    min_requests: Annotated[Maybe[AtLeastOne], _doc("Fewer requests in the window decide nothing.")] = UNSET
    window_s: Annotated[Maybe[Positive], _doc("The length of the sliding window.")] = UNSET


class RateLimitKeys(Section, frozen=True):
    """How long a 429 keeps a target away."""

    defaults = (settings.RateLimitSettings,)

    default_s: Annotated[Maybe[Positive], _doc("When the provider names no time.")] = UNSET
    max_s: Annotated[Maybe[Positive], _doc("The longest time that is believed.")] = UNSET
    jitter: Annotated[Maybe[Share], _doc("The time is multiplied by a random number between 1 and 1 + this.")] = UNSET


class OpenKeys(Section, frozen=True):
    """How long a breaker stays open."""

    defaults = (settings.OpenTime,)

    base_s: Annotated[Maybe[Positive], _doc("The first time; it doubles with every opening in a row.")] = UNSET
    factor: Annotated[
        Maybe[Amount], _doc("The time is capped at this times the duration of the attempt that failed.")
    ] = UNSET
    floor_s: Annotated[Maybe[Positive], _doc("The cap is never lower than this.")] = UNSET
    max_s: Annotated[Maybe[Positive], _doc("The cap is never higher than this.")] = UNSET


class BreakerKeys(Section, frozen=True):
    """When a target is left alone, and how it comes back."""

    defaults = (settings.BreakerSettings,)

    consecutive_failures: Annotated[Maybe[AtLeastOne], _doc("Failures in a row that open the breaker.")] = UNSET
    consecutive_gateway_failures: Annotated[
        Maybe[AtLeastOne], _doc("The same for overload, gateway errors, timeouts and unreachable hosts.")
    ] = UNSET
    failure_percentage: Annotated[Maybe[PercentageKeys], _doc("Opens the breaker by the share of failures.")] = UNSET
    rate_limit: Annotated[Maybe[RateLimitKeys], _doc("How long a 429 keeps a target away.")] = UNSET
    open: Annotated[Maybe[OpenKeys], _doc("How long the breaker stays open.")] = UNSET
    fixed_open_s: Annotated[
        Maybe[Positive], _doc("How long a refused key, a used-up quota or a missing model keeps a target away.")
    ] = UNSET
    half_open_max_requests: Annotated[Maybe[AtLeastOne], _doc("Requests at once that try a half-open target.")] = UNSET
    half_open_successes: Annotated[Maybe[AtLeastOne], _doc("Successes that end half-open.")] = UNSET
    slow_start_s: Annotated[Maybe[Duration], _doc("A recovered target's weight grows back over this time.")] = UNSET
    slow_start_floor: Annotated[Maybe[Share], _doc("The share of its weight a recovered target starts with.")] = UNSET
    decay_s: Annotated[Maybe[Positive], _doc("Every such time without a failure forgets one opening.")] = UNSET


class ResilienceKeys(AttemptKeys, frozen=True):
    """How requests are tried and targets are judged, for all routes and providers."""

    breaker: Annotated[Maybe[BreakerKeys], _doc("When a target is left alone, and how it comes back.")] = UNSET


class HealthKeys(Section, frozen=True):
    """Active health checks."""

    defaults = (settings.HealthSettings,)

    mode: Annotated[
        Maybe[HealthMode],
        _doc(
            "`models` reads the free model list, `tcp` only connects, `completion` pays for one token, `off`. "
            "A provider without a model list is checked by `tcp`."
        ),
    ] = UNSET
    interval_s: Annotated[Maybe[Positive], _doc("Between two checks.")] = UNSET
    unhealthy_interval_s: Annotated[Maybe[Positive], _doc("The same, from the first check that failed.")] = UNSET
    timeout_s: Annotated[Maybe[Positive], _doc("Of one check.")] = UNSET
    fall: Annotated[Maybe[AtLeastOne], _doc("Failed checks in a row that make a target unhealthy.")] = UNSET
    rise: Annotated[Maybe[AtLeastOne], _doc("Good checks in a row that make it healthy again.")] = UNSET
    jitter: Annotated[Maybe[Share], _doc("Intervals vary by this share, so that checks do not march in step.")] = UNSET


class PriceKeys(Section, frozen=True):
    """US dollars for a million tokens."""

    defaults = (topology.Price,)

    input: Annotated[Maybe[Amount], _doc("Of input, in US dollars for a million tokens.")] = UNSET
    output: Annotated[Maybe[Amount], _doc("Of output, in US dollars for a million tokens.")] = UNSET


class ModelKeys(Section, frozen=True):
    """What is known of a model; what is not given is not known, and nothing is filtered by it."""

    defaults = (topology.ModelFacts,)

    context_tokens: Annotated[Maybe[AtLeastOne], _doc("Tokens of input and output that fit.")] = UNSET
    max_output_tokens: Annotated[Maybe[AtLeastOne], _doc("Tokens of output at most.")] = UNSET
    tools: Annotated[Maybe[bool], _doc("Whether it can call tools.")] = UNSET
    images: Annotated[Maybe[bool], _doc("Whether it understands images.")] = UNSET
    reasoning: Annotated[Maybe[bool], _doc("Whether it thinks before it answers, and so may be silent for long.")] = (
        UNSET
    )
    price: Annotated[Maybe[PriceKeys], _doc("What it costs, for `cost_usd` in the log.")] = UNSET


class ParamKeys(Section, frozen=True):
    """What is done to the top level of a request's body before it is sent."""

    set: Annotated[Maybe[dict[str, Any]], _doc("Parameters that are always sent with this value.")] = UNSET
    default: Annotated[Maybe[dict[str, Any]], _doc("Parameters that are sent when the client did not.")] = UNSET
    drop: Annotated[Maybe[list[str]], _doc("Parameters that are never sent.")] = UNSET


class TlsKeys(Section, frozen=True):
    """Certificates."""

    defaults = (topology.Tls,)

    ca_file: Annotated[Maybe[str], _doc("Certificate authorities to trust instead of the system's.")] = UNSET
    cert_file: Annotated[Maybe[str], _doc("A client certificate.")] = UNSET
    key_file: Annotated[Maybe[str], _doc("The client certificate's key.")] = UNSET


class ProviderKeys(Section, frozen=True):
    """An account at an address."""

    defaults = (topology.Provider,)

    type: Annotated[
        Maybe[str], _doc("Whose API it is: one of the known types. Without it the provider's name is the type.")
    ] = UNSET
    base_url: Annotated[
        Maybe[str],
        _doc("The address as the vendor's own SDK takes it; https, or http to this machine. Default: the type's."),
    ] = UNSET
    api_key: Annotated[
        Maybe[SecretText],
        _doc("The key, best as a reference. Default: the type's environment variable. Empty means no key."),
    ] = UNSET
    dialects: Annotated[Maybe[list[Dialect]], _doc("The wire formats to use. Default: all the type speaks.")] = UNSET
    headers: Annotated[Maybe[dict[str, SecretText]], _doc("Headers that are sent with every request.")] = UNSET
    params: Annotated[Maybe[ParamKeys], _doc("Changes to the request's parameters.")] = UNSET
    model: Annotated[Maybe[str], _doc("The model that the provider's bare name means in a chain.")] = UNSET
    models: Annotated[Maybe[dict[str, ModelKeys]], _doc("What is known of its models, by name.")] = UNSET
    transport: Annotated[
        Maybe[Literal["direct", "aiohttp"]], _doc("What carries the bytes; `aiohttp` for outbound proxies.")
    ] = UNSET
    tls: Annotated[Maybe[TlsKeys], _doc("How the provider's certificate is checked.")] = UNSET
    trust_env: Annotated[
        Maybe[bool], _doc("Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY apply; needs `transport: aiohttp`.")
    ] = UNSET
    insecure: Annotated[Maybe[bool], _doc("Allows plain http to another machine: keys and prompts in clear.")] = UNSET
    max_inflight: Annotated[Maybe[AtLeastOne], _doc("Requests at once for each of its targets.")] = UNSET
    breaker: Annotated[Maybe[BreakerKeys], _doc("As `resilience.breaker`, for this provider.")] = UNSET
    health: Annotated[Maybe[HealthKeys], _doc("As `health`, for this provider.")] = UNSET
    options: Annotated[Maybe[dict[str, Any]], _doc("What only the type `embedded` knows.")] = UNSET


class RouteKeys(Section, frozen=True):
    """What answers a requested model."""

    defaults = (topology.Pool,)

    chain: Annotated[
        list[str | dict[str, Weight]],
        _doc(
            "Whom to ask, in order of preference: `provider/model`, or a provider for its default model, "
            "or a map of targets with weights that share the load."
        ),
    ]
    balance: Annotated[Maybe[Balance], _doc("How targets that share the load are ordered.")] = UNSET
    sticky: Annotated[
        Maybe[str], _doc("A request header; requests with equal values go to the same target of a pool.")
    ] = UNSET
    timeouts: Annotated[Maybe[TimeoutKeys], _doc("As `timeouts`, for this route.")] = UNSET
    attempts: Annotated[Maybe[AttemptKeys], _doc("As the keys of `resilience` without `breaker`, for this route.")] = (
        UNSET
    )
    fallback_on: Annotated[Maybe[list[Fallback]], _doc("As `fallback_on`, for this route.")] = UNSET


class ListenKeys(Section, frozen=True):
    """One listener."""

    defaults = (settings.ListenSettings,)

    address: Annotated[str, _doc("`host:port` or `unix:/path`.")]
    mode: Annotated[Maybe[FileMode], _doc("Permissions of a Unix socket, in quotes.")] = UNSET
    group: Annotated[Maybe[str], _doc("The group that owns a Unix socket.")] = UNSET
    allowed_hosts: Annotated[
        Maybe[list[str]], _doc("Host headers that are accepted beside localhost and its addresses.")
    ] = UNSET
    allowed_origins: Annotated[Maybe[list[str]], _doc("Web origins whose requests are accepted.")] = UNSET


class AdminKeys(Section, frozen=True):
    """The admin plane's own listener."""

    defaults = (settings.ListenSettings,)

    listen: Annotated[str, _doc("`unix:/path`; only its owner may connect unless `mode` says otherwise.")]
    mode: Annotated[
        Maybe[FileMode],
        Meta(description="Permissions of the socket, in quotes.", extra_json_schema={"default": "0600"}),
    ] = UNSET
    group: Annotated[Maybe[str], _doc("The group that owns the socket.")] = UNSET
    allowed_hosts: Annotated[Maybe[list[str]], _doc("As for `listen`.")] = UNSET
    allowed_origins: Annotated[Maybe[list[str]], _doc("As for `listen`.")] = UNSET


class LogKeys(Section, frozen=True):
    """Where log lines go and which."""

    defaults = (settings.LogSettings,)

    level: Annotated[Maybe[Literal["debug", "info", "warning", "error"]], _doc("The least level written.")] = UNSET
    output: Annotated[Maybe[str], _doc("`stderr`, `stdout`, or the path of a file.")] = UNSET
    format: Annotated[Maybe[Literal["json", "console"]], _doc("`json` for machines, `console` for eyes.")] = UNSET


class DrainKeys(Section, frozen=True):
    """How the daemon stops."""

    defaults = (settings.DrainSettings,)

    timeout_s: Annotated[Maybe[Duration], _doc("How long requests under way may go on after a stop.")] = UNSET
    accept_for_s: Annotated[Maybe[Duration], _doc("How long new connections are still accepted after it.")] = UNSET


class LimitKeys(Section, frozen=True):
    """What one client may ask of the daemon."""

    defaults = (settings.LimitSettings,)

    max_body_bytes: Annotated[Maybe[Size], _doc("The largest request body.")] = UNSET
    max_header_bytes: Annotated[Maybe[Size], _doc("The largest request head.")] = UNSET
    max_connections: Annotated[Maybe[AtLeastOne], _doc("Connections at once, over all listeners.")] = UNSET
    header_timeout_s: Annotated[Maybe[Positive], _doc("How long a request's head may take.")] = UNSET
    body_idle_s: Annotated[Maybe[Positive], _doc("The longest pause while a body is sent.")] = UNSET
    keepalive_s: Annotated[Maybe[Duration], _doc("How long an idle connection is kept.")] = UNSET


class ConfigKeys(Section, frozen=True):
    """The sidecar's config file."""

    defaults = (settings.Settings, topology.Provider)

    listen: Annotated[
        Maybe[list[str | ListenKeys]],
        _doc('Where clients connect: "host:port", "unix:/path", or a map. Default: ["127.0.0.1:4141"].'),
    ] = UNSET
    admin: Annotated[
        Maybe[AdminKeys], _doc("Where operators connect. Default: a socket in the user's runtime directory.")
    ] = UNSET
    providers: Annotated[Maybe[dict[str, ProviderKeys]], _doc("Accounts, by a name of your choice.")] = UNSET
    routes: Annotated[
        Maybe[dict[str, RouteKeys]],
        _doc(
            "What answers a requested model, by its name or a pattern with one `*`; "
            "`default` answers what nothing else does."
        ),
    ] = UNSET
    timeouts: Annotated[Maybe[TimeoutKeys], _doc("The deadlines of a request; a route can narrow each.")] = UNSET
    resilience: Annotated[
        Maybe[ResilienceKeys],
        _doc("How requests are tried (a route narrows it by `attempts`) and targets judged (a provider by `breaker`)."),
    ] = UNSET
    health: Annotated[Maybe[HealthKeys], _doc("Active health checks; a provider can narrow each key.")] = UNSET
    max_inflight: Annotated[Maybe[AtLeastOne], _doc("Requests at once for each target; more go elsewhere.")] = UNSET
    fallback_on: Annotated[
        Maybe[list[Fallback]],
        _doc("Failures that end a request, but shall be tried elsewhere."),
    ] = UNSET
    log: Annotated[Maybe[LogKeys], _doc("Where log lines go and which.")] = UNSET
    drain: Annotated[Maybe[DrainKeys], _doc("How the daemon stops.")] = UNSET
    limits: Annotated[Maybe[LimitKeys], _doc("What one client may ask of the daemon.")] = UNSET
    wire: Annotated[
        Maybe[Wire], _doc("How answers reach a client's socket: `direct` is faster, `plain` goes through aiohttp.")
    ] = UNSET
