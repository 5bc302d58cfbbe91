"""What is known of the vendors, as data: where they listen, how they take a key, what they offer.

`base_url` follows the vendor's own SDK; the paths carry what that leaves out. An operation without a
path is not offered. `source` is the page the row was read from, in autumn 2026. A new
OpenAI-compatible vendor is one row here, and `type: openai-compatible` serves those that have none.

A provider that speaks several dialects lists the one first that it is asked in by default; a client's own
dialect goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from sidecar.model.topology import AuthScheme, Dialect, Framing, Operation, Params, Quirk, TransportName

__all__ = ["PRESETS", "Preset"]

_CHAT = {Operation.CHAT: "/chat/completions"}
_LIST = {Operation.MODELS: "/models"}
_CHAT_AND_LIST: Mapping[Operation, str] = MappingProxyType({**_CHAT, **_LIST})
_LEGACY = {Operation.COMPLETIONS: "/completions"}
_VECTORS = {Operation.EMBEDDINGS: "/embeddings"}
_RESPONSES = {Operation.RESPONSES: "/responses"}
_MESSAGES = {Operation.MESSAGES: "/messages"}
_GEMINI = "/v1beta/models/{model}:"
_CHAT_FIRST = (Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES)
_CHAT_FIRST_OF_THREE = (*_CHAT_FIRST, Dialect.ANTHROPIC_MESSAGES)
_DEPLOYMENT = "/openai/deployments/{model}"
_DATED = "?api-version={api_version}"
_VERTEX = "/v1/projects/{project}/locations/{location}/publishers"
_ON_VERTEX = {"anthropic_version": b'"vertex-2023-10-16"'}
_BEDROCK = "/model/{model:segment}"
# Any other is refused there, with the request (docs.aws.amazon.com/bedrock/latest/userguide/
# model-parameters-anthropic-claude-messages-request-response.html).
_BEDROCK_BETAS = frozenset(
    {
        "compact-2026-01-12",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "output-128k-2025-02-19",
        "token-efficient-tools-2025-02-19",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    }
)
_CLAUDES = ("claude-3-7", "claude-haiku-4", "claude-opus-4", "claude-sonnet-4")
_BEDROCK_REASONING = (
    *(
        f"{region}anthropic.{model}"
        for region in ("", "us.", "eu.", "apac.", "jp.", "au.", "global.")
        for model in _CLAUDES
    ),
    *(f"{region}deepseek.r1" for region in ("", "us.")),
    "openai.gpt-oss",
    "qwen.qwen3",
)
_OPENAI_QUIRKS = frozenset({Quirk.MAX_COMPLETION_TOKENS, Quirk.REASONING_REFUSES_SAMPLING, Quirk.DEVELOPER_ROLE})


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One vendor or server: what `type` stands for."""

    base_url: str | None = None  # None: the config has to name it
    paths: Mapping[Operation, str] = _CHAT_AND_LIST
    prefixes: tuple[str, ...] = ()  # ends of a base_url that the paths already carry, longest first
    dialects: tuple[Dialect, ...] = (Dialect.OPENAI_CHAT,)
    scheme: AuthScheme = AuthScheme.BEARER
    keys: tuple[str, ...] = ()  # the environment variables that may hold the key
    needs_key: bool = True
    headers: Mapping[str, str] = {}
    drop: tuple[str, ...] = ()  # parameters that the vendor refuses
    model: str | None = None  # what to ask for when only a key is known
    reasoning: tuple[str, ...] = ()  # how the names of models known to reason begin
    quirks: frozenset[Quirk] = frozenset()
    transport: TransportName = TransportName.DIRECT
    framing: Framing = Framing.SSE
    source: str = ""

    # Of clouds, where an account is a place as much as a key (see `clouds`).
    url_keys: tuple[str, ...] = ()  # the environment variables that may hold the address
    home: tuple[str, ...] = ()  # ends of the hosts that the key of `keys` is for, where there are many
    takes: frozenset[str] = frozenset()  # keys of the file that only such a type takes
    needs: frozenset[str] = frozenset()  # those of them without which nothing can be asked
    places: Mapping[str, tuple[str, ...]] = {}  # the environment variables that say them otherwise
    usual: Mapping[str, str] = {}  # what they are when nobody says
    dated: Mapping[Operation, str] = {}  # the paths of an `api_version` that is a date
    families: tuple[tuple[str, Dialect], ...] = ()  # see `Provider.dialects_of`
    bodies: Mapping[Operation, Params] = {}  # what is done to the bodies of some operations beside
    unkeyed: AuthScheme | None = None  # how requests are authorised without a key
    extra: str = ""  # the optional dependency that this needs, by our name
    module: str = ""  # and the module that it brings


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": Preset(
            base_url="https://api.openai.com/v1",
            paths={**_CHAT, **_RESPONSES, **_LEGACY, **_VECTORS, **_LIST},
            dialects=_CHAT_FIRST,
            quirks=_OPENAI_QUIRKS | {Quirk.OPENAI_FIELDS},
            keys=("OPENAI_API_KEY",),
            model="gpt-5.4",
            reasoning=("gpt-5", "o1", "o3", "o4"),
            source="https://platform.openai.com/docs/api-reference",
        ),
        "azure-openai": Preset(
            paths={
                operation: f"/openai/v1{path}"
                for operation, path in {**_CHAT, **_RESPONSES, **_LEGACY, **_VECTORS, **_LIST}.items()
            },
            dated={
                Operation.CHAT: f"{_DEPLOYMENT}/chat/completions{_DATED}",
                Operation.COMPLETIONS: f"{_DEPLOYMENT}/completions{_DATED}",
                Operation.EMBEDDINGS: f"{_DEPLOYMENT}/embeddings{_DATED}",
                Operation.MODELS: f"/openai/models{_DATED}",
            },
            prefixes=("/openai/v1", "/openai"),
            dialects=_CHAT_FIRST,
            quirks=_OPENAI_QUIRKS,  # where there is no Responses but chat alone, the API is older than those fields
            scheme=AuthScheme.API_KEY,
            keys=("AZURE_OPENAI_API_KEY",),
            url_keys=("AZURE_OPENAI_ENDPOINT",),
            home=(".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"),
            takes=frozenset({"api_version", "auth"}),
            extra="azure",
            module="azure.identity",
            reasoning=("gpt-5", "o1", "o3", "o4"),  # a deployment has any name, most often its model's
            source="https://learn.microsoft.com/azure/foundry/openai/latest",
        ),
        "anthropic": Preset(
            base_url="https://api.anthropic.com",
            paths={
                Operation.MESSAGES: "/v1/messages",
                Operation.COUNT_TOKENS: "/v1/messages/count_tokens",
                Operation.MODELS: "/v1/models",
            },
            prefixes=("/v1",),
            dialects=(Dialect.ANTHROPIC_MESSAGES,),
            scheme=AuthScheme.X_API_KEY,
            headers={"anthropic-version": "2023-06-01"},
            keys=("ANTHROPIC_API_KEY",),
            model="claude-sonnet-4-6",
            reasoning=("claude-opus-4", "claude-sonnet-4", "claude-haiku-4", "claude-3-7"),
            source="https://docs.anthropic.com/en/api/messages",
        ),
        "gemini": Preset(
            base_url="https://generativelanguage.googleapis.com",
            paths={
                Operation.GENERATE: f"{_GEMINI}generateContent",
                Operation.STREAM_GENERATE: f"{_GEMINI}streamGenerateContent?alt=sse",
                Operation.GEMINI_COUNT_TOKENS: f"{_GEMINI}countTokens",
                Operation.GEMINI_EMBEDDINGS: f"{_GEMINI}batchEmbedContents",
                Operation.MODELS: "/v1beta/models",
            },
            prefixes=("/v1beta/openai", "/v1beta"),
            dialects=(Dialect.GEMINI_GENERATE,),
            scheme=AuthScheme.X_GOOG_API_KEY,
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            model="gemini-flash-latest",
            reasoning=("gemini-2.5", "gemini-3", "gemini-pro-latest", "gemini-flash-latest"),
            source="https://ai.google.dev/api/generate-content",
        ),
        "vertex": Preset(
            base_url="https://{google}",
            paths={
                Operation.GENERATE: f"{_VERTEX}/google/models/{{model}}:generateContent",
                Operation.STREAM_GENERATE: f"{_VERTEX}/google/models/{{model}}:streamGenerateContent?alt=sse",
                Operation.MESSAGES: f"{_VERTEX}/anthropic/models/{{model}}:rawPredict",
                Operation.STREAM_MESSAGES: f"{_VERTEX}/anthropic/models/{{model}}:streamRawPredict",
                Operation.COUNT_TOKENS: f"{_VERTEX}/anthropic/models/count-tokens:rawPredict",
            },
            prefixes=("/v1",),
            dialects=(Dialect.GEMINI_GENERATE, Dialect.ANTHROPIC_MESSAGES),
            families=(("claude-", Dialect.ANTHROPIC_MESSAGES),),
            bodies={
                Operation.MESSAGES: Params(set=_ON_VERTEX, drop=frozenset({"model"})),
                Operation.COUNT_TOKENS: Params(set=_ON_VERTEX),
            },
            unkeyed=AuthScheme.GOOGLE_OAUTH,
            extra="vertex",
            module="google.auth",
            takes=frozenset({"project", "location", "credentials"}),
            needs=frozenset({"project"}),
            places={
                "project": ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID"),
                "location": ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION"),
            },
            usual={"location": "global"},
            model="gemini-3-flash-preview",
            reasoning=("gemini-2.5", "gemini-3", "claude-opus-4", "claude-sonnet-4", "claude-haiku-4", "claude-3-7"),
            source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
        ),
        "bedrock": Preset(
            base_url="https://bedrock-runtime.{location}.amazonaws.com",
            paths={
                Operation.CONVERSE: f"{_BEDROCK}/converse",
                Operation.STREAM_CONVERSE: f"{_BEDROCK}/converse-stream",
                Operation.MESSAGES: f"{_BEDROCK}/invoke",
                Operation.STREAM_MESSAGES: f"{_BEDROCK}/invoke-with-response-stream",
            },  # the list is under another address
            dialects=(Dialect.BEDROCK_CONVERSE, Dialect.ANTHROPIC_MESSAGES),
            families=(("anthropic.", Dialect.ANTHROPIC_MESSAGES),),
            bodies={
                Operation.MESSAGES: Params(
                    set={"anthropic_version": b'"bedrock-2023-05-31"'},
                    drop=frozenset({"model", "stream"}),
                    betas=_BEDROCK_BETAS,
                )
            },
            framing=Framing.AWS,
            keys=("AWS_BEARER_TOKEN_BEDROCK",),
            home=(".amazonaws.com", ".api.aws"),
            unkeyed=AuthScheme.AWS_SIGV4,
            extra="bedrock",
            module="botocore",
            takes=frozenset({"location", "profile"}),
            places={"location": ("AWS_REGION", "AWS_DEFAULT_REGION")},
            model="global.anthropic.claude-sonnet-4-6",
            reasoning=_BEDROCK_REASONING,
            source="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
        ),
        "openrouter": Preset(
            base_url="https://openrouter.ai/api/v1",
            paths={**_CHAT, **_RESPONSES, **_MESSAGES, **_LEGACY, **_LIST},
            dialects=_CHAT_FIRST_OF_THREE,
            quirks=frozenset({Quirk.CACHE_CONTROL, Quirk.REASONING_OBJECT}),
            keys=("OPENROUTER_API_KEY",),
            model="openrouter/auto",
            reasoning=("openai/gpt-5", "openai/o1", "openai/o3", "openai/o4", "deepseek/deepseek-r1"),
            source="https://openrouter.ai/docs/api-reference/overview",
        ),
        "deepseek": Preset(
            base_url="https://api.deepseek.com",
            paths={**_CHAT_AND_LIST, Operation.MESSAGES: "/anthropic/v1/messages"},
            dialects=(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES),
            quirks=frozenset({Quirk.MAX_TOKENS}),
            keys=("DEEPSEEK_API_KEY",),
            model="deepseek-v4-flash",
            reasoning=("deepseek-v4", "deepseek-reasoner"),
            source="https://api-docs.deepseek.com/",
        ),
        "mistral": Preset(
            base_url="https://api.mistral.ai/v1",
            paths={**_CHAT, **_VECTORS, **_LIST},
            keys=("MISTRAL_API_KEY",),
            drop=("stream_options",),  # refused with 422; usage is on the last chunk anyway
            quirks=frozenset({Quirk.MAX_TOKENS, Quirk.NO_STREAM_OPTIONS}),
            model="mistral-large-latest",
            reasoning=("magistral",),
            source="https://docs.mistral.ai/api/",
        ),
        "groq": Preset(
            base_url="https://api.groq.com/openai/v1",
            paths={**_CHAT_AND_LIST, **_RESPONSES},
            dialects=_CHAT_FIRST,
            keys=("GROQ_API_KEY",),
            model="openai/gpt-oss-120b",
            reasoning=("openai/gpt-oss", "qwen/qwen3", "deepseek-r1"),
            source="https://console.groq.com/docs/openai",
        ),
        "xai": Preset(
            base_url="https://api.x.ai/v1",
            paths={**_CHAT_AND_LIST, **_RESPONSES},
            dialects=_CHAT_FIRST,
            keys=("XAI_API_KEY",),
            model="grok-4",
            reasoning=("grok-4", "grok-3-mini"),
            source="https://docs.x.ai/docs/api-reference",
        ),
        "together": Preset(
            base_url="https://api.together.xyz/v1",
            paths={**_CHAT, **_LEGACY, **_VECTORS, **_LIST},
            keys=("TOGETHER_API_KEY",),
            model="openai/gpt-oss-120b",
            reasoning=("deepseek-ai/DeepSeek-R1", "openai/gpt-oss"),
            source="https://docs.together.ai/docs/openai-api-compatibility",
        ),
        "fireworks": Preset(
            base_url="https://api.fireworks.ai/inference/v1",
            paths={**_CHAT, **_LEGACY, **_VECTORS, **_LIST},
            keys=("FIREWORKS_API_KEY",),
            model="accounts/fireworks/models/gpt-oss-120b",
            reasoning=("accounts/fireworks/models/deepseek-r1", "accounts/fireworks/models/gpt-oss"),
            source="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
        ),
        "cerebras": Preset(
            base_url="https://api.cerebras.ai/v1",
            keys=("CEREBRAS_API_KEY",),
            model="gpt-oss-120b",
            reasoning=("gpt-oss", "qwen-3", "zai-glm"),
            source="https://inference-docs.cerebras.ai/resources/openai",
        ),
        "perplexity": Preset(
            base_url="https://api.perplexity.ai",
            paths=_CHAT,  # no list under this address
            keys=("PERPLEXITY_API_KEY",),
            model="sonar-pro",
            reasoning=("sonar-reasoning", "sonar-deep-research"),
            source="https://docs.perplexity.ai/",
        ),
        "cohere": Preset(
            base_url="https://api.cohere.ai/compatibility/v1",
            paths={**_CHAT, **_VECTORS},
            keys=("COHERE_API_KEY", "CO_API_KEY"),
            drop=("stream_options",),  # refused
            quirks=frozenset({Quirk.MAX_TOKENS, Quirk.NO_STREAM_OPTIONS}),
            model="command-a-03-2025",
            source="https://docs.cohere.com/docs/compatibility-api",
        ),
        "nvidia": Preset(
            base_url="https://integrate.api.nvidia.com/v1",
            keys=("NVIDIA_API_KEY",),
            model="openai/gpt-oss-120b",
            reasoning=("deepseek-ai/deepseek-r1", "openai/gpt-oss"),
            source="https://docs.api.nvidia.com/nim/reference/llm-apis",
        ),
        "huggingface": Preset(
            base_url="https://router.huggingface.co/v1",
            keys=("HF_TOKEN", "HUGGINGFACE_API_KEY"),
            model="openai/gpt-oss-120b",
            reasoning=("deepseek-ai/DeepSeek-R1", "openai/gpt-oss"),
            source="https://huggingface.co/docs/inference-providers",
        ),
        "github-models": Preset(
            base_url="https://models.github.ai/inference",
            paths=_CHAT,  # the catalogue is under another address
            keys=("GITHUB_TOKEN",),
            model="openai/gpt-4.1",
            reasoning=("openai/gpt-5", "openai/o1", "openai/o3", "openai/o4"),
            source="https://docs.github.com/en/github-models/quickstart",
        ),
        "moonshot": Preset(
            base_url="https://api.moonshot.ai/v1",
            keys=("MOONSHOT_API_KEY",),
            model="kimi-k2.6",
            reasoning=("kimi-k2", "kimi-thinking"),
            source="https://platform.moonshot.ai/docs/api",
        ),
        "zai": Preset(
            base_url="https://api.z.ai/api/paas/v4",
            paths=_CHAT,  # no list is documented
            keys=("ZAI_API_KEY",),
            model="glm-4.7",
            reasoning=("glm-4.5", "glm-4.6", "glm-4.7", "glm-5"),
            source="https://docs.z.ai/guides/develop/http/introduction",
        ),
        "dashscope": Preset(
            base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            paths={**_CHAT, **_VECTORS},  # the list is under another path of the host
            keys=("DASHSCOPE_API_KEY",),
            model="qwen-plus",
            reasoning=("qwq", "qwen3-max-thinking"),
            source="https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        ),
        "minimax": Preset(
            base_url="https://api.minimax.io/v1",
            keys=("MINIMAX_API_KEY",),
            model="MiniMax-M2.5",
            reasoning=("MiniMax-M",),
            source="https://platform.minimax.io/docs/api-reference/text-openai-api",
        ),
        "sambanova": Preset(
            base_url="https://api.sambanova.ai/v1",
            keys=("SAMBANOVA_API_KEY",),
            model="gpt-oss-120b",
            reasoning=("DeepSeek-R1", "gpt-oss"),
            source="https://docs.sambanova.ai/cloud/docs",
        ),
        "ollama": Preset(
            base_url="http://127.0.0.1:11434",
            paths={
                Operation.CHAT: "/v1/chat/completions",
                Operation.RESPONSES: "/v1/responses",
                Operation.MESSAGES: "/v1/messages",
                Operation.COMPLETIONS: "/v1/completions",
                Operation.EMBEDDINGS: "/v1/embeddings",
                Operation.MODELS: "/api/tags",
            },
            prefixes=("/v1",),
            dialects=_CHAT_FIRST_OF_THREE,
            keys=("OLLAMA_API_KEY",),
            needs_key=False,
            reasoning=("deepseek-r1", "gpt-oss", "qwen3", "qwq"),
            source="https://github.com/ollama/ollama/blob/main/docs/openai.md",
        ),
        "vllm": Preset(
            base_url="http://127.0.0.1:8000/v1",
            paths={**_CHAT, **_RESPONSES, **_MESSAGES, **_LEGACY, **_VECTORS, **_LIST},
            dialects=_CHAT_FIRST_OF_THREE,
            keys=("VLLM_API_KEY",),
            needs_key=False,
            source="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        ),
        "llama-cpp": Preset(
            base_url="http://127.0.0.1:8080/v1",
            paths={**_CHAT, **_MESSAGES, **_LEGACY, **_VECTORS, **_LIST},
            dialects=(Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES),
            keys=("LLAMA_API_KEY",),
            needs_key=False,
            source="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        ),
        "lm-studio": Preset(
            base_url="http://127.0.0.1:1234/v1",
            paths={**_CHAT, **_RESPONSES, **_MESSAGES, **_LEGACY, **_VECTORS, **_LIST},
            dialects=_CHAT_FIRST_OF_THREE,
            keys=("LM_API_TOKEN",),
            needs_key=False,
            source="https://lmstudio.ai/docs/app/api/endpoints/openai",
        ),
        "litellm": Preset(
            base_url="http://127.0.0.1:4000/v1",
            paths={**_CHAT, **_LEGACY, **_VECTORS, **_LIST},
            keys=("LITELLM_API_KEY",),
            needs_key=False,
            source="https://docs.litellm.ai/docs/proxy/user_keys",
        ),
        "openai-compatible": Preset(
            paths={**_CHAT, **_LEGACY, **_VECTORS, **_LIST},
            needs_key=False,
        ),
        "embedded": Preset(
            base_url="embedded:",
            paths={**_CHAT, **_LEGACY, **_VECTORS, **_LIST},
            scheme=AuthScheme.NONE,
            needs_key=False,
            model="ok",
            transport=TransportName.EMBEDDED,
        ),
    }
)
