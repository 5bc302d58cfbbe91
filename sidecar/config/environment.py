"""The config of those who have no file: the YAML that an environment stands for.

Written as a file would be, with `${NAME}` in place of every value, and loaded as one: so what runs
without a file is exactly what `import-env` prints. A variable is read for its own vendor only: there
is no variable that sets the address of several, because one vendor's key must not reach another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sidecar.config.load import Source, load
from sidecar.config.presets import PRESETS, Preset
from sidecar.config.problems import ConfigErrors, ConfigProblem, hint
from sidecar.config.references import Stamp
from sidecar.model.topology import Snapshot

__all__ = ["environment_yaml", "from_environment"]

_ORDER = ("openai", "anthropic", "gemini", "openrouter", "deepseek", "mistral", "groq", "xai")
_SERVERS = ("ollama",)  # asked last, because they are this machine
_FAMILIES = (("gpt-*", "openai"), ("claude-*", "anthropic"), ("gemini-*", "gemini"))
_NOT_FROM_HERE = ("embedded", "openai-compatible", "github-models", "vertex")  # $GITHUB_TOKEN is set for other reasons


class _Found(msgspec.Struct, frozen=True):
    """What the environment says of one vendor."""

    key: str | None
    url: str | None
    model: str | None  # a reference or a name


class _Environment:
    """The lookup of a config that came from the environment alone."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def env(self, name: str) -> str | None:
        return self._env.get(name)

    def file(self, path: str) -> str:
        raise LookupError(f"{path}: there is no config file that could name it")

    def credential(self, name: str) -> str:
        raise LookupError(f"{name}: there is no config file that could name it")

    def stamp(self, path: str) -> Stamp:
        raise LookupError(f"{path}: there is no config file that could name it")

    def installed(self, module: str) -> bool:  # noqa: ARG002 - see below
        return True  # no account that a variable stands for needs one


def from_environment(env: Mapping[str, str], *, generation: int = 1, ollama_models: Sequence[str] = ()) -> Snapshot:
    """The snapshot that the environment stands for.

    Args:
        env: The variables.
        generation: The snapshot's number.
        ollama_models: What a local Ollama was found to have; it is then asked last.

    Raises:
        ConfigErrors: When a variable cannot be used.
    """
    text, warnings = _written(env, ollama_models)
    snapshot = load([Source("environment", text)], _Environment(env), generation=generation)
    alone = set(snapshot.providers) == {"embedded"}
    return msgspec.structs.replace(
        snapshot,
        source="embedded" if alone else "environment",
        warnings=(*warnings, *snapshot.warnings),
    )


def environment_yaml(env: Mapping[str, str], *, ollama_models: Sequence[str] = ()) -> str:
    """The file that does what these variables do, with references to them and none of their values.

    Raises:
        ConfigErrors: When a variable cannot be used.
    """
    return _written(env, ollama_models)[0]


def _written(env: Mapping[str, str], ollama_models: Sequence[str]) -> tuple[str, list[str]]:
    found = {name: what for name in _names() if (what := _look(name, PRESETS[name], env, ollama_models))}
    if not found:
        return _EMBEDDED, ["no config and no key: answering from the embedded provider"]
    warnings: list[str] = []
    chain = _chain(env, found, warnings)
    lines = ["providers:"]
    for name, what in found.items():
        lines += _provider(name, what)
    lines.append("routes:")
    if chain:
        lines += ["  default:", f"    chain: [{', '.join(chain)}]"]
    for pattern, name in _FAMILIES:
        if name in found:
            lines += [f'  "{pattern}":', f'    chain: ["{name}/{pattern}"]']
    return "\n".join(lines) + "\n", warnings


_EMBEDDED = """providers:
  embedded: {type: embedded, model: ok}
routes:
  default:
    chain: [embedded/ok]
"""


def _names() -> list[str]:
    others = [name for name in PRESETS if name not in (*_ORDER, *_SERVERS, *_NOT_FROM_HERE)]
    keyed = [name for name in others if PRESETS[name].needs_key]
    return [*_ORDER, *keyed, *(name for name in others if not PRESETS[name].needs_key), *_SERVERS]


def _look(name: str, preset: Preset, env: Mapping[str, str], ollama_models: Sequence[str]) -> _Found | None:
    prefix = name.upper().replace("-", "_")
    key = next((variable for variable in preset.keys if env.get(variable)), None)
    url = next((name for name in (f"{prefix}_BASE_URL", *preset.url_keys) if env.get(name)), None)
    model = _set(env, f"{prefix}_MODEL")
    local = list(ollama_models) if name == "ollama" else []
    if preset.needs_key and key is None:
        return None
    if preset.needs_key and url is None and not _has_place(preset, env):
        return None
    if not (key or url or model or local):
        return None
    return _Found(key, url, f"${{{model}}}" if model else (local[0] if local else preset.model))


def _has_place(preset: Preset, env: Mapping[str, str]) -> bool:
    """Whether the type's own address is known: that of a cloud may depend on a variable."""
    if preset.base_url is None:
        return False
    return "{" not in preset.base_url or any(env.get(name) for name in preset.places["location"])


def _set(env: Mapping[str, str], name: str) -> str | None:
    return name if env.get(name) else None


def _provider(name: str, what: _Found) -> list[str]:
    lines = [f"  {name}:", f"    type: {name}"]
    if what.url:
        lines.append(f'    base_url: "${{{what.url}}}"')
    if what.key:
        lines.append(f'    api_key: "${{{what.key}}}"')
    if what.model:
        lines.append(f"    model: {msgspec.json.encode(what.model).decode()}")
    return lines


def _chain(env: Mapping[str, str], found: Mapping[str, _Found], warnings: list[str]) -> list[str]:
    """The default route: LLM_PROVIDER first, then LLM_FALLBACK_CHAIN or the fixed order."""
    first = _asked(env, "LLM_PROVIDER", found, warnings)
    rest = _asked(env, "LLM_FALLBACK_CHAIN", found, warnings)
    wanted = dict.fromkeys([*first, *(rest or found)])
    for name in wanted:
        if found[name].model is None:
            prefix = name.upper().replace("-", "_")
            warnings.append(f"{name} is not in the default route: no model is known; set ${prefix}_MODEL")
    return [name for name in wanted if found[name].model is not None]


def _asked(env: Mapping[str, str], variable: str, found: Mapping[str, _Found], warnings: list[str]) -> list[str]:
    names = [name for part in env.get(variable, "").split(",") if (name := part.strip().lower())]
    known = _names()
    unknown = [name for name in names if name not in known]
    if unknown:
        message = f'unknown provider "{unknown[0]}"{hint(unknown[0], known)}'
        raise ConfigErrors([ConfigProblem("environment", 1, 1, variable, message)])
    for name in names:
        if name not in found:
            wanted = " or ".join(f"${key}" for key in PRESETS[name].keys)
            warnings.append(f"${variable} names {name}, but {wanted} is not set; it is skipped")
    return [name for name in names if name in found]
