"""Who can be asked, and in which order: providers, targets, pools, routes, and the snapshot of them all.

Everything here is immutable; a change of the config makes a new `Snapshot`. What moves (health,
breakers, balancing counters) is kept by key elsewhere, so that it survives the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from sidecar.model.secret import Secret
from sidecar.model.settings import (
    AttemptSettings,
    Balance,
    BreakerSettings,
    HealthSettings,
    OnLoss,
    Settings,
    StreamSettings,
    Timeouts,
)

__all__ = [
    "Auth",
    "AuthScheme",
    "ClientDialect",
    "Dialect",
    "Framing",
    "Member",
    "ModelFacts",
    "Operation",
    "Params",
    "Pool",
    "Price",
    "Provider",
    "Quirk",
    "Route",
    "Snapshot",
    "Target",
    "Tls",
    "TransportName",
]


class Dialect(StrEnum):
    """A wire format."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    OPENAI_CHAT = "openai-chat"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC_MESSAGES = "anthropic-messages"
    GEMINI_GENERATE = "gemini-generate"
    BEDROCK_CONVERSE = "bedrock-converse"  # providers only: no client asks us in it


ClientDialect = Literal[
    Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI_GENERATE
]
"""A wire format that clients speak to us."""


class Operation(StrEnum):
    """What a client asks for; a provider has a path for each that it offers."""

    __hash__ = str.__hash__  # a key of tables on the hot path, where the hash of Enum would cost a call

    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"
    GENERATE = "generate"
    CONVERSE = "converse"  # Bedrock's
    # Paths only: where a streamed MESSAGES, GENERATE or CONVERSE goes, if not to the same path.
    STREAM_MESSAGES = "stream_messages"
    STREAM_GENERATE = "stream_generate"
    STREAM_CONVERSE = "stream_converse"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    COUNT_TOKENS = "count_tokens"  # Anthropic's
    GEMINI_COUNT_TOKENS = "gemini_count_tokens"
    GEMINI_EMBEDDINGS = "gemini_embeddings"
    MODELS = "models"  # the free list that health checks read


class Quirk(StrEnum):
    """Where a provider, or a kind of its models, differs from its dialect's documentation."""

    MAX_COMPLETION_TOKENS = "max_completion_tokens"  # wants that name; elsewhere `max_tokens` is understood by all
    MAX_TOKENS = "max_tokens"  # knows no other name
    REASONING_REFUSES_SAMPLING = "reasoning_refuses_sampling"  # models that reason take no temperature, top_p, ...
    DEVELOPER_ROLE = "developer_role"  # knows it; elsewhere it is `system`
    NO_STREAM_OPTIONS = "no_stream_options"  # refuses them; usage comes anyway
    CACHE_CONTROL = "cache_control"  # an OpenAI chat that takes Anthropic's cache marks (OpenRouter)
    OPENAI_FIELDS = "openai_fields"  # an OpenAI chat that takes what few but OpenAI know: `verbosity` and others
    REASONING_OBJECT = "reasoning_object"  # `reasoning: {...}` and `reasoning_details` (OpenRouter)
    NO_PREFILL = "no_prefill"  # refuses a conversation that ends with the assistant


class AuthScheme(StrEnum):
    """How a key is shown to a provider."""

    NONE = "none"
    BEARER = "bearer"  # Authorization: Bearer KEY
    X_API_KEY = "x-api-key"  # Anthropic
    API_KEY = "api-key"  # Azure
    X_GOOG_API_KEY = "x-goog-api-key"  # Gemini
    AWS_SIGV4 = "aws-sigv4"  # no key is shown: every request is signed
    GOOGLE_OAUTH = "google-oauth"  # a bearer token that is got for an hour at a time
    ENTRA = "entra"  # the same of Microsoft's


class TransportName(StrEnum):
    """Which implementation carries the bytes."""

    DIRECT = "direct"  # our own HTTP/1.1 connection
    AIOHTTP = "aiohttp"  # aiohttp's client
    EMBEDDED = "embedded"  # in this process


class Framing(StrEnum):
    """How the events of a streamed answer are told apart."""

    SSE = "sse"
    AWS = "aws"  # application/vnd.amazon.eventstream, binary


class Auth(msgspec.Struct, frozen=True):
    """A provider's credential and how it is shown."""

    scheme: AuthScheme = AuthScheme.NONE
    key: Secret | None = None
    source: str | None = None  # where the key should come from, for messages: "${OPENAI_API_KEY}"
    access: Mapping[str, Secret] = {}  # what a scheme needs instead of a key, by the names of its vendor
    profile: str | None = None  # of AWS's own config files
    region: str | None = None  # that AWS's signatures name

    @property
    def missing(self) -> bool:
        """Whether requests cannot be made, because there is no key to show."""
        return self.key is None and self.scheme not in _KEYLESS


_KEYLESS = frozenset({AuthScheme.NONE, AuthScheme.AWS_SIGV4, AuthScheme.GOOGLE_OAUTH, AuthScheme.ENTRA})


class Tls(msgspec.Struct, frozen=True):
    """How a provider's certificate is checked."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    contents: str = ""  # stands for what the files hold, so that a renewed certificate is another value


class Price(msgspec.Struct, frozen=True):
    """US dollars for a million tokens."""

    input: float = 0.0
    output: float = 0.0


class ModelFacts(msgspec.Struct, frozen=True):
    """What is known of a model; None is "not known", and nothing is filtered by it."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    reasoning: bool | None = None
    price: Price | None = None


class Params(msgspec.Struct, frozen=True):
    """What is done to the top level of a request's body before it is sent; values are JSON texts."""

    set: Mapping[str, bytes] = {}  # always
    default: Mapping[str, bytes] = {}  # when the client did not say
    drop: frozenset[str] = frozenset()
    betas: frozenset[str] | None = None  # of Anthropic's beta features those that are said in the body; None: a header


class Provider(msgspec.Struct, frozen=True):
    """An account at an address."""

    name: str
    type: str
    base_url: str  # without a trailing slash
    dialects: tuple[Dialect, ...]
    paths: Mapping[Operation, str]  # relative to base_url; an operation that is missing is not offered
    auth: Auth = Auth()
    headers: Mapping[str, str | Secret] = {}
    params: Params = Params()
    bodies: Mapping[Operation, Params] = {}  # in place of `params`, where an operation's body has more to it
    families: tuple[tuple[str, Dialect], ...] = ()  # see `dialects_of`
    model: str | None = None  # what the provider's bare name means
    models: Mapping[str, ModelFacts] = {}
    reasoning: tuple[str, ...] = ()  # how the names of models begin that are known to reason
    quirks: frozenset[Quirk] = frozenset()
    tls: Tls = Tls()
    transport: TransportName = TransportName.DIRECT
    framing: Framing = Framing.SSE
    trust_env: bool = False
    insecure: bool = False  # plain http to a host that is not loopback
    max_inflight: int = 2048  # per target
    breaker: BreakerSettings = BreakerSettings()
    health: HealthSettings = HealthSettings()
    options: Mapping[str, Any] = {}  # what only this type knows, e.g. the embedded provider's speed

    def dialects_of(self, model: str) -> tuple[Dialect, ...]:
        """The dialects in which one of its models can be asked.

        A family is a mark that names of models hold, and the dialect that these, and no others, are asked in. A
        model whose family's dialect the provider is not to use is asked as the rest is.
        """
        if not self.families:
            return self.dialects
        own = tuple(dialect for mark, dialect in self.families if mark in model and dialect in self.dialects)
        reserved = {dialect for _, dialect in self.families}
        return own or tuple(dialect for dialect in self.dialects if dialect not in reserved)

    def params_of(self, operation: Operation) -> Params:
        """What is done to the top level of a body that goes by this operation."""
        return self.bodies.get(operation, self.params)

    def facts(self, model: str) -> ModelFacts:
        """What is known of one of its models."""
        known = self.models.get(model)
        if known is not None:
            return known
        return _REASONS if model.startswith(self.reasoning) else _NO_FACTS


_NO_FACTS = ModelFacts()
_REASONS = ModelFacts(reasoning=True)


class Target(msgspec.Struct, frozen=True):
    """One model at one provider: what is weighted, tried, healthy or not.

    In a route whose name is a pattern, `model` may hold one `*` until a request fills it in.
    """

    provider: Provider
    model: str

    @property
    def key(self) -> str:
        """`provider/model`: the name of its state."""
        return f"{self.provider.name}/{self.model}"


class Member(msgspec.Struct, frozen=True):
    """A target's place in a pool."""

    target: Target
    weight: float = 1.0  # 0 drains: never picked first, still a last resort


class Pool(msgspec.Struct, frozen=True):
    """Targets that stand in for each other."""

    key: str  # names its balancing counters: "fast[0]"
    members: tuple[Member, ...]
    balance: Balance = Balance.WEIGHTED
    sticky: str | None = None  # a request header whose value keeps a client at one target


class Route(msgspec.Struct, frozen=True):
    """A name or pattern of requested models, and the chain of pools that answers it."""

    name: str
    chain: tuple[Pool, ...]
    timeouts: Timeouts = Timeouts()
    attempts: AttemptSettings = AttemptSettings()
    stream: StreamSettings = StreamSettings()
    on_loss: OnLoss = OnLoss.ALLOW
    fallback_on: frozenset[str] = frozenset()  # kinds that stop elsewhere and fall back here
    strict: bool = False  # a `provider/model` asked for by name: that target only
    minted: bool = False  # holds a target that only a client's text named

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every target of the chain, in order."""
        return tuple(member.target for pool in self.chain for member in pool.members)


class Snapshot(msgspec.Struct, frozen=True):
    """Everything compiled from one config, numbered by its generation."""

    generation: int
    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]  # as written, patterns included
    settings: Settings
    timeouts: Timeouts = Timeouts()  # the top level's, for strict names
    attempts: AttemptSettings = AttemptSettings()
    stream: StreamSettings = StreamSettings()
    on_loss: OnLoss = OnLoss.ALLOW
    source: str = ""  # where it came from, for people: a path, "environment", "embedded"
    digest: str = ""  # SHA-256 of the texts it was compiled from
    warnings: tuple[str, ...] = ()
    secrets: frozenset[Secret] = frozenset()  # every secret it holds, for redaction
    files: tuple[str, ...] = ()  # every file it was made from, keys included, for the watcher
