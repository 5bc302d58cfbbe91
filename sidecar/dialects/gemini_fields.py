"""Fields of Gemini's JSON: their names in both spellings, and reading them with a complaint that names the place.

Google's servers take `maxOutputTokens` and `max_output_tokens` alike, and one client in three writes the
latter. What comes is spelt the first way before anything looks at it; only documented names are touched,
and nothing below the fields that hold a client's own JSON (arguments, results, schemas, labels).

A field that has no place in the hub waits in `extra` under its path ("generationConfig.speechConfig"), so
that a loss names it rightly, and is put back by `restored`.

Source: ai.google.dev/api/generate-content and the v1beta discovery document (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from sidecar.dialects.losses import NOTE
from sidecar.model.errors import ValidationError
from sidecar.model.failures import Failure, Kind

__all__ = ["camel", "flag", "integer", "items", "number", "obj", "restored", "string", "strings", "wrong"]

_NAMES = """
adaptationPhrases allowedFunctionNames apiAuth apiKeyConfig apiSpec aspectRatio audioMetadata audioTimestamp
audioTranscription audioTranscriptionConfig authConfig authType autoMode autoTruncate automaticFunctionCalling
blockingConfidence cachedContent candidateCount codeExecution codeExecutionResult computerUse contentLayers
customConfigs dataStore dataStoreSpecs disableAttribution disabledSafetyPolicies displayName documentMetadata
documentOcr dynamicRetrievalConfig dynamicThreshold embedContentConfig enableAffectiveDialog
enableEnhancedCivicAnswers enablePromptInjectionDetection enableWidget endOffset endPage endTime
enterpriseWebSearch exaAiSearch excludeDomains excludedPredefinedFunctions executableCode externalApi
featureSelectionPreference fileData fileSearch fileSearchStoreNames fileUri frequencyPenalty functionCall
functionCallingConfig functionDeclarations functionResponse gcsUri generateContentRequest generationConfig
googleMaps googleSearch googleSearchRetrieval groundingTypes ignoreCallHistory imageConfig imageOutputOptions
imageSearch imageSize includeServerSideToolInvocations includeThoughts inlineData jsonPath languageCode
languageHints latLng maxOutputTokens maxResults maximumRemoteCalls mcpServers mediaProcessing mediaResolution
metadataFilter mimeType modelArmorConfig modelName modelRoutingPreference modelSelectionConfig
multiSpeakerVoiceConfig numberValue outputCompressionQuality outputDimensionality outputMimeType parallelAiSearch
parametersJsonSchema partMetadata partialArgs personGeneration prebuiltVoiceConfig presencePenalty
prominentPeople promptTemplateName ragCorpora ragCorpus ragFileIds ragResources ragRetrievalConfig
replicatedVoiceConfig responseFormat responseJsonSchema responseLogprobs responseMimeType responseModalities
responseSchema responseTemplateName retrievalConfig routingConfig safetySettings sampleRate searchTypes
serviceTier similarityTopK speakerLabel speakerVoiceConfigs speechConfig speechMetadata spreadsheetMetadata
startOffset startPage startTime stopSequences streamFunctionCallArguments streamableHttpTransport stringValue
systemInstruction taskType thinkingBudget thinkingConfig thinkingLevel thoughtSignature timeRangeFilter toolCall
toolConfig toolResponse toolType topK topP translationConfig urlContext vectorDistanceThreshold
vectorSimilarityThreshold vertexAiSearch vertexRagStore videoMetadata voiceConfig voiceName webSearch willContinue
"""
_CAPITAL = re.compile("[A-Z]")
_CAMEL: Mapping[str, str] = MappingProxyType(
    {_CAPITAL.sub(lambda letter: "_" + letter[0].lower(), name): name for name in _NAMES.split()}
)
# What is below these is the client's own.
_FREE = frozenset(
    {
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "labels",
        "partMetadata",
        "headers",
    }
)
_MAX_SHOWN = 60  # characters of a wrong value


def camel(value: Any) -> Any:
    """A copy with every documented name in Google's own spelling; where both are given, that one counts."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    spelt: dict[str, Any] = {}
    for name, item in value.items():
        proper = _CAMEL.get(name, name)
        if proper != name and proper in value:
            continue
        spelt[proper] = item if proper in _FREE else camel(item)
    return spelt


def restored(fields: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with what waited in `extra` at its place again; a note of None takes a field out.

    Args:
        fields: Changed in place.
        extra: By path.
    """
    for path, value in extra.items():
        *holders, leaf = path.removeprefix(NOTE).split(".")
        place = fields
        for holder in holders:
            inner = place.get(holder)
            if not isinstance(inner, dict):
                inner = place[holder] = {}
            place = inner
        if value is None and path.startswith(NOTE):
            place.pop(leaf, None)
        else:
            place[leaf] = value
    return fields


def wrong(path: str, expected: str, found: Any = ...) -> ValidationError:
    """A complaint about one field.

    Args:
        path: Where.
        expected: What it must be: "a string".
        found: What is there; leave it out when it is missing.
    """
    if found is ...:
        words = f"{path} is missing; it must be {expected}"
    else:
        shown = msgspec.json.encode(found).decode()
        words = f"{path} must be {expected}, not {shown[:_MAX_SHOWN]}{'...' if len(shown) > _MAX_SHOWN else ''}"
    return ValidationError(failure=Failure(Kind.INVALID_REQUEST, words, param=path))


def obj(value: Any, path: str) -> Mapping[str, Any]:
    """The value, if it is an object."""
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    return value


def items(value: Any, path: str) -> list[Any]:
    """The items of a list; Google takes one object for a list of one."""
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise wrong(path, "a list", value)
    return value


def string(value: Any, path: str) -> str:
    """The value, if it is a string."""
    if not isinstance(value, str):
        raise wrong(path, "a string", value)
    return value


def strings(value: Any, path: str) -> tuple[str, ...]:
    """The strings of a list."""
    return tuple([string(item, f"{path}[{place}]") for place, item in enumerate(items(value, path))])


def integer(value: Any, path: str) -> int:
    """A whole number, also as 3.0 or "3": protobuf takes them all."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(path, "a whole number", value)
    return value


def number(value: Any, path: str) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(path, "a number", value)
    return value


def flag(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(path, "true or false", value)
    return value
