"""The shape of the file: one Struct for each map, mirroring the YAML key by key.

A field's description is the one text that the editor's schema and the documentation show. A field
that is not in the file is `UNSET`, so that the narrower scope can be laid over the wider one. Field
names are those of the compiled values in `model`; a key is the field's name without its unit, because
in the file the unit stands with the value. `Section.defaults` names the values whose defaults
apply.

Knows no rule that needs more than one key: those are in `load`, `providers` and `routes`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from sidecar.config.listeners import AdminKeys, ListenKeys, MetricsKeys
from sidecar.config.values import (
    P95,
    Amount,
    AtLeastOne,
    Auto,
    Count,
    Duration,
    Maybe,
    Off,
    Percent,
    Positive,
    SecretText,
    Section,
    Share,
    Size,
    Weight,
    doc,
)
from sidecar.model import settings, topology
from sidecar.model.settings import Balance, ClientRetries, HealthMode, OnLoss, Rescue, StreamMode, Wire
from sidecar.model.topology import Dialect, Quirk

__all__ = [
    "AttemptKeys",
    "BreakerKeys",
    "ConfigKeys",
    "HealthKeys",
    "HedgeKeys",
    "LimitKeys",
    "ModelKeys",
    "OptionKeys",
    "ParamKeys",
    "PriceKeys",
    "ProviderKeys",
    "ResilienceKeys",
    "RouteKeys",
    "StreamKeys",
    "TimeoutKeys",
    "TlsKeys",
]

Fallback = Literal["content_policy", "invalid_request"]  # what else stops a request is nobody else's to mend


class AutoKeys(Section, frozen=True):
    """Bounds of a limit that is learnt from a target's own speed."""

    defaults = (settings.AutoLimit,)

    factor: Annotated[Maybe[Amount], doc("The limit is this times the target's average, within min and max.")] = UNSET
    min_s: Annotated[Maybe[Positive], doc("Never less than this.")] = UNSET
    max_s: Annotated[Maybe[Positive], doc("Never more than this.")] = UNSET


class TimeoutKeys(Section, frozen=True):
    """The deadlines of one request."""

    defaults = (settings.Timeouts,)

    connect_s: Annotated[Maybe[Positive], doc("DNS, TCP and TLS together.")] = UNSET
    first_token: Annotated[
        Maybe[Auto | Positive | AutoKeys],
        doc("Streams: from the request sent to the first content. `auto`, a duration, or a map of bounds."),
    ] = UNSET
    answer: Annotated[
        Maybe[Auto | Positive | AutoKeys],
        doc("Not streamed: from the request sent to the whole answer. `auto`, a duration, or a map of bounds."),
    ] = UNSET
    idle_s: Annotated[Maybe[Positive], doc("The longest silence inside a stream.")] = UNSET
    total_s: Annotated[
        Maybe[Positive], doc("The whole request, all attempts included; just below the 600 s of the vendors' SDKs.")
    ] = UNSET


class BudgetKeys(Section, frozen=True):
    """The retry budget: how many same-target retries all requests together may make."""

    defaults = (settings.BudgetSettings,)

    percent: Annotated[Maybe[Percent], doc("Retries allowed, in percent of recent requests.")] = UNSET
    ttl_s: Annotated[Maybe[Positive], doc("What `recent` means.")] = UNSET
    min_per_s: Annotated[Maybe[Amount], doc("Retries a second that are always allowed.")] = msgspec.field(
        default=UNSET, name="min_per_second"
    )


class AttemptKeys(Section, frozen=True):
    """How often and how long a request is tried."""

    defaults = (settings.AttemptSettings,)

    max_attempts: Annotated[
        Maybe[Auto | AtLeastOne],
        doc("Attempts for one request over all targets. `auto`: the number of targets, at least 3, at most 6."),
    ] = UNSET
    same_target_retries: Annotated[Maybe[Count], doc("Further tries at a target that failed.")] = UNSET
    max_inline_wait_s: Annotated[
        Maybe[Duration], doc("A Retry-After up to this is waited for; a longer one means another target.")
    ] = UNSET
    backoff_base_s: Annotated[
        Maybe[Duration], doc("The wait before a same-target retry is random between 0 and this, doubled each time.")
    ] = UNSET
    backoff_cap_s: Annotated[Maybe[Duration], doc("The longest such wait.")] = UNSET
    min_attempt_time_s: Annotated[
        Maybe[Duration], doc("No further attempt when less than this is left of the deadline.")
    ] = UNSET
    max_elapsed_s: Annotated[
        Maybe[Duration], doc("After this time no target is tried again; others still are, until `timeouts.total`.")
    ] = UNSET
    client_retries: Annotated[
        Maybe[ClientRetries],
        doc("`suppress` tells the client's SDK not to repeat a request for which everything was tried; `allow` not."),
    ] = UNSET


class PercentageKeys(Section, frozen=True):
    """Opens a breaker by the share of failures."""

    defaults = (settings.FailurePercentage,)

    threshold: Annotated[Maybe[Percent], doc("Failures in the window, in percent, that open the breaker.")] = UNSET
    min_requests: Annotated[Maybe[AtLeastOne], doc("Fewer requests in the window decide nothing.")] = UNSET
    window_s: Annotated[Maybe[Positive], doc("The length of the sliding window.")] = UNSET


class RateLimitKeys(Section, frozen=True):
    """How long a 429 keeps a target away."""

    defaults = (settings.RateLimitSettings,)

    default_s: Annotated[Maybe[Positive], doc("When the provider names no time.")] = UNSET
    max_s: Annotated[Maybe[Positive], doc("The longest time that is believed.")] = UNSET
    jitter: Annotated[Maybe[Share], doc("The time is multiplied by a random number between 1 and 1 + this.")] = UNSET


class OpenKeys(Section, frozen=True):
    """How long a breaker stays open."""

    defaults = (settings.OpenTime,)

    base_s: Annotated[Maybe[Positive], doc("The first time; it doubles with every opening in a row.")] = UNSET
    factor: Annotated[
        Maybe[Amount], doc("The time is capped at this times the duration of the attempt that failed.")
    ] = UNSET
    floor_s: Annotated[Maybe[Positive], doc("The cap is never lower than this.")] = UNSET
    max_s: Annotated[Maybe[Positive], doc("The cap is never higher than this.")] = UNSET


class BreakerKeys(Section, frozen=True):
    """When a target is left alone, and how it comes back."""

    defaults = (settings.BreakerSettings,)

    consecutive_failures: Annotated[Maybe[AtLeastOne], doc("Failures in a row that open the breaker.")] = UNSET
    consecutive_gateway_failures: Annotated[
        Maybe[AtLeastOne], doc("The same for overload, gateway errors, timeouts and unreachable hosts.")
    ] = UNSET
    failure_percentage: Annotated[Maybe[PercentageKeys], doc("Opens the breaker by the share of failures.")] = UNSET
    rate_limit: Annotated[Maybe[RateLimitKeys], doc("How long a 429 keeps a target away.")] = UNSET
    open: Annotated[Maybe[OpenKeys], doc("How long the breaker stays open.")] = UNSET
    fixed_open_s: Annotated[
        Maybe[Positive], doc("How long a refused key, a used-up quota or a missing model keeps a target away.")
    ] = UNSET
    half_open_max_requests: Annotated[Maybe[AtLeastOne], doc("Requests at once that try a half-open target.")] = UNSET
    half_open_successes: Annotated[Maybe[AtLeastOne], doc("Successes that end half-open.")] = UNSET
    slow_start_s: Annotated[Maybe[Duration], doc("A recovered target's weight grows back over this time.")] = UNSET
    slow_start_floor: Annotated[Maybe[Share], doc("The share of its weight a recovered target starts with.")] = UNSET
    decay_s: Annotated[Maybe[Positive], doc("Every such time without a failure forgets one opening.")] = UNSET


class ResilienceKeys(AttemptKeys, frozen=True):
    """How requests are tried and targets are judged, for all routes and providers."""

    budget: Annotated[Maybe[BudgetKeys], doc("The retry budget; all requests share it.")] = UNSET
    breaker: Annotated[Maybe[BreakerKeys], doc("When a target is left alone, and how it comes back.")] = UNSET


class HealthKeys(Section, frozen=True):
    """Active health checks."""

    defaults = (settings.HealthSettings,)

    mode: Annotated[
        Maybe[HealthMode],
        doc(
            "`models` reads the free model list, `tcp` only connects, `completion` pays for one token, `off`. "
            "A provider without a model list is checked by `tcp`."
        ),
    ] = UNSET
    interval_s: Annotated[Maybe[Positive], doc("Between two checks.")] = UNSET
    unhealthy_interval_s: Annotated[Maybe[Positive], doc("The same, from the first check that failed.")] = UNSET
    timeout_s: Annotated[Maybe[Positive], doc("Of one check.")] = UNSET
    fall: Annotated[Maybe[AtLeastOne], doc("Failed checks in a row that make a target unhealthy.")] = UNSET
    rise: Annotated[Maybe[AtLeastOne], doc("Good checks in a row that make it healthy again.")] = UNSET
    jitter: Annotated[Maybe[Share], doc("Intervals vary by this share, so that checks do not march in step.")] = UNSET
    completions_per_day: Annotated[
        Maybe[AtLeastOne], doc("Checks of mode `completion` a day at most; further ones only connect.")
    ] = UNSET


class HoldKeys(Section, frozen=True):
    """How long `stream: hold` holds: until one of these is reached."""

    defaults = (settings.HoldSettings,)

    events: Annotated[Maybe[AtLeastOne], doc("Events of content.")] = UNSET
    time_s: Annotated[Maybe[Positive], doc("Time since the first of them.")] = UNSET


class HedgeKeys(Section, frozen=True):
    """Asks a second target of the same pool when the first is late; the first content wins."""

    defaults = (settings.HedgeSettings,)

    after_s: Annotated[
        Maybe[P95 | Positive],
        doc("How late. `p95`: later than 95 % of the target's own first contents; or a duration."),
    ] = UNSET
    max_extra_load: Annotated[Maybe[Percent], doc("Second targets asked, in percent of requests.")] = UNSET


class StreamKeys(Section, frozen=True):
    """How streams are given to the client: at the top level, and for each route."""

    mode: Annotated[
        Maybe[StreamMode],
        doc(
            "When a stream's first bytes go to the client, after which no other target can answer unnoticed: with the "
            "first content (`live`), a little later (`hold`), or with the last (`buffer`)."
        ),
    ] = msgspec.field(default=UNSET, name="stream")
    hold: Annotated[Maybe[HoldKeys], doc("How long `stream: hold` holds.")] = UNSET
    rescue: Annotated[
        Maybe[Rescue],
        doc(
            "When a stream breaks after its first bytes went to the client: `off` ends it with an error event, "
            "`continue` asks another target to go on where it broke."
        ),
    ] = UNSET
    sse_keepalive_s: Annotated[
        Maybe[Off | Positive],
        doc("How often a comment is sent while a stream's first content is waited for; `off`, or a duration."),
    ] = UNSET
    hedge: Annotated[
        Maybe[Off | HedgeKeys],
        doc("Asks a second target of the same pool when the first is late. `off`, or a map."),
    ] = UNSET


class OptionKeys(Section, frozen=True):
    """How fast the embedded provider answers; at once, unless said otherwise."""

    words_per_s: Annotated[Maybe[Annotated[float, Meta(gt=0)]], doc("Words a second.")] = msgspec.field(
        default=UNSET, name="words_per_s"
    )
    first_token_s: Annotated[Maybe[Amount], doc("Seconds before the first word.")] = msgspec.field(
        default=UNSET, name="first_token_s"
    )


class PriceKeys(Section, frozen=True):
    """US dollars for a million tokens."""

    defaults = (topology.Price,)

    input: Annotated[Maybe[Amount], doc("Of input, in US dollars for a million tokens.")] = UNSET
    output: Annotated[Maybe[Amount], doc("Of output, in US dollars for a million tokens.")] = UNSET


class ModelKeys(Section, frozen=True):
    """What is known of a model; what is not given is not known, and nothing is filtered by it."""

    defaults = (topology.ModelFacts,)

    context_tokens: Annotated[Maybe[AtLeastOne], doc("Tokens of input and output that fit.")] = UNSET
    max_output_tokens: Annotated[Maybe[AtLeastOne], doc("Tokens of output at most.")] = UNSET
    tools: Annotated[Maybe[bool], doc("Whether it can call tools.")] = UNSET
    images: Annotated[Maybe[bool], doc("Whether it understands images.")] = UNSET
    reasoning: Annotated[Maybe[bool], doc("Whether it thinks before it answers, and so may be silent for long.")] = (
        UNSET
    )
    price: Annotated[Maybe[PriceKeys], doc("What it costs, for `cost_usd` in the log.")] = UNSET


class ParamKeys(Section, frozen=True):
    """What is done to the top level of a request's body before it is sent."""

    set: Annotated[Maybe[dict[str, Any]], doc("Parameters that are always sent with this value.")] = UNSET
    default: Annotated[Maybe[dict[str, Any]], doc("Parameters that are sent when the client did not.")] = UNSET
    drop: Annotated[Maybe[list[str]], doc("Parameters that are never sent.")] = UNSET


class TlsKeys(Section, frozen=True):
    """Certificates."""

    defaults = (topology.Tls,)

    ca_file: Annotated[Maybe[str], doc("Certificate authorities to trust instead of the system's.")] = UNSET
    cert_file: Annotated[Maybe[str], doc("A client certificate.")] = UNSET
    key_file: Annotated[Maybe[str], doc("The client certificate's key.")] = UNSET


class ProviderKeys(Section, frozen=True):
    """An account at an address."""

    defaults = (topology.Provider,)

    type: Annotated[
        Maybe[str], doc("Whose API it is: one of the known types. Without it the provider's name is the type.")
    ] = UNSET
    base_url: Annotated[
        Maybe[str],
        doc("The address as the vendor's own SDK takes it; https, or http to this machine. Default: the type's."),
    ] = UNSET
    api_key: Annotated[
        Maybe[SecretText],
        doc("The key, best as a reference. Default: the type's environment variable. Empty means no key."),
    ] = UNSET
    auth: Annotated[
        Maybe[Literal["entra"]], doc("Azure: `entra` shows tokens of Microsoft Entra ID in place of a key.")
    ] = UNSET
    dialects: Annotated[Maybe[list[Dialect]], doc("The wire formats to use. Default: all the type speaks.")] = UNSET
    headers: Annotated[Maybe[dict[str, SecretText]], doc("Headers that are sent with every request.")] = UNSET
    params: Annotated[Maybe[ParamKeys], doc("Changes to the request's parameters.")] = UNSET
    model: Annotated[Maybe[str], doc("The model that the provider's bare name means in a chain.")] = UNSET
    models: Annotated[Maybe[dict[str, ModelKeys]], doc("What is known of its models, by name.")] = UNSET
    quirks: Annotated[
        Maybe[list[Quirk]], doc("Where its models differ from their dialect's documentation. Default: the type's.")
    ] = UNSET
    api_version: Annotated[
        Maybe[str], doc("Azure: a date such as `2024-10-21` has the deployment in the path. Default: the newer `v1`.")
    ] = UNSET
    project: Annotated[Maybe[str], doc("Vertex: the Google Cloud project. Default: `$GOOGLE_CLOUD_PROJECT`.")] = UNSET
    location: Annotated[
        Maybe[str], doc("Vertex: the location (default: `global`). Bedrock: the region, if `base_url` names none.")
    ] = UNSET
    credentials: Annotated[
        Maybe[SecretText], doc("Vertex: Google credentials as JSON, best `${file:/path}`. Default: the machine's own.")
    ] = UNSET
    profile: Annotated[
        Maybe[str], doc("Bedrock: the profile in AWS's own files to sign with. Default: AWS's own choice.")
    ] = UNSET
    transport: Annotated[
        Maybe[Literal["direct", "aiohttp"]], doc("What carries the bytes; `aiohttp` for outbound proxies.")
    ] = UNSET
    tls: Annotated[Maybe[TlsKeys], doc("How the provider's certificate is checked.")] = UNSET
    trust_env: Annotated[
        Maybe[bool], doc("Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY apply; needs `transport: aiohttp`.")
    ] = UNSET
    insecure: Annotated[Maybe[bool], doc("Allows plain http to another machine: keys and prompts in clear.")] = UNSET
    max_inflight: Annotated[Maybe[AtLeastOne], doc("Requests at once for each of its targets.")] = UNSET
    breaker: Annotated[Maybe[BreakerKeys], doc("As `resilience.breaker`, for this provider.")] = UNSET
    health: Annotated[Maybe[HealthKeys], doc("As `health`, for this provider.")] = UNSET
    options: Annotated[Maybe[OptionKeys], doc("What only the type `embedded` knows: its speed.")] = UNSET


class RouteKeys(StreamKeys, frozen=True, kw_only=True):
    """What answers a requested model."""

    defaults = (topology.Pool, settings.StreamSettings)

    chain: Annotated[
        list[str | dict[str, Weight]],
        doc(
            "Whom to ask, in order of preference: `provider/model`, or a provider for its default model, "
            "or a map of targets with weights that share the load."
        ),
    ]
    balance: Annotated[Maybe[Balance], doc("How targets that share the load are ordered.")] = UNSET
    sticky: Annotated[
        Maybe[str], doc("A request header; requests with equal values go to the same target of a pool.")
    ] = UNSET
    timeouts: Annotated[Maybe[TimeoutKeys], doc("As `timeouts`, for this route.")] = UNSET
    attempts: Annotated[
        Maybe[AttemptKeys], doc("As the keys of `resilience` without `budget` and `breaker`, for this route.")
    ] = UNSET
    fallback_on: Annotated[Maybe[list[Fallback]], doc("As `fallback_on`, for this route.")] = UNSET
    on_loss: Annotated[Maybe[OnLoss], doc("As `on_loss`, for this route.")] = UNSET


class LogKeys(Section, frozen=True):
    """Where log lines go and which."""

    defaults = (settings.LogSettings,)

    level: Annotated[Maybe[Literal["debug", "info", "warning", "error"]], doc("The least level written.")] = UNSET
    output: Annotated[Maybe[str], doc("`stderr`, `stdout`, or the path of a file.")] = UNSET
    format: Annotated[Maybe[Literal["json", "console"]], doc("`json` for machines, `console` for eyes.")] = UNSET


class DrainKeys(Section, frozen=True):
    """How the daemon stops."""

    defaults = (settings.DrainSettings,)

    timeout_s: Annotated[Maybe[Duration], doc("How long requests under way may go on after a stop.")] = UNSET
    accept_for_s: Annotated[Maybe[Duration], doc("How long new connections are still accepted after it.")] = UNSET


class LimitKeys(Section, frozen=True):
    """What one client may ask of the daemon."""

    defaults = (settings.LimitSettings,)

    max_body_bytes: Annotated[Maybe[Size], doc("The largest request body.")] = UNSET
    max_header_bytes: Annotated[Maybe[Size], doc("The largest request head.")] = UNSET
    max_connections: Annotated[Maybe[AtLeastOne], doc("Connections at once, over all listeners.")] = UNSET
    header_timeout_s: Annotated[Maybe[Positive], doc("How long a request's head may take.")] = UNSET
    body_idle_s: Annotated[Maybe[Positive], doc("The longest pause while a body is sent.")] = UNSET
    keepalive_s: Annotated[Maybe[Duration], doc("How long an idle connection is kept.")] = UNSET


class ConfigKeys(StreamKeys, frozen=True):
    """The sidecar's config file."""

    defaults = (settings.Settings, settings.StreamSettings, topology.Provider)

    listen: Annotated[
        Maybe[list[str | ListenKeys]],
        doc('Where clients connect: "host:port", "unix:/path", or a map. Default: ["127.0.0.1:4141"].'),
    ] = UNSET
    admin: Annotated[
        Maybe[AdminKeys], doc("Where operators connect. Default: a socket in the user's runtime directory.")
    ] = UNSET
    metrics: Annotated[
        Maybe[MetricsKeys], doc("Where Prometheus connects. Default: nowhere; the admin plane has `/metrics` too.")
    ] = UNSET
    providers: Annotated[Maybe[dict[str, ProviderKeys]], doc("Accounts, by a name of your choice.")] = UNSET
    routes: Annotated[
        Maybe[dict[str, RouteKeys]],
        doc(
            "What answers a requested model, by its name or a pattern with one `*`; "
            "`default` answers what nothing else does."
        ),
    ] = UNSET
    timeouts: Annotated[Maybe[TimeoutKeys], doc("The deadlines of a request; a route can narrow each.")] = UNSET
    resilience: Annotated[
        Maybe[ResilienceKeys],
        doc("How requests are tried (a route narrows it by `attempts`) and targets judged (a provider by `breaker`)."),
    ] = UNSET
    health: Annotated[Maybe[HealthKeys], doc("Active health checks; a provider can narrow each key.")] = UNSET
    max_inflight: Annotated[Maybe[AtLeastOne], doc("Requests at once for each target; more go elsewhere.")] = UNSET
    fallback_on: Annotated[
        Maybe[list[Fallback]],
        doc("Failures that end a request, but shall be tried elsewhere."),
    ] = UNSET
    on_loss: Annotated[
        Maybe[OnLoss],
        doc(
            "Whether a request is sent to a target of another dialect that cannot say all of it: `allow` (the "
            "default) tells what was lost in a header and the log, `reject` passes the target over."
        ),
    ] = UNSET
    log: Annotated[Maybe[LogKeys], doc("Where log lines go and which.")] = UNSET
    drain: Annotated[Maybe[DrainKeys], doc("How the daemon stops.")] = UNSET
    limits: Annotated[Maybe[LimitKeys], doc("What one client may ask of the daemon.")] = UNSET
    wire: Annotated[
        Maybe[Wire], doc("How answers reach a client's socket: `direct` is faster, `plain` goes through aiohttp.")
    ] = UNSET
