"""No field of a request disappears without a loss, whatever the dialect that it goes to."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from sidecar.dialects.body import peek
from sidecar.dialects.dialect import Untranslatable
from sidecar.dialects.forms import form_of
from sidecar.model.request import Call
from sidecar.model.topology import Params
from sidecar.model.ways import CLIENT_DIALECT_OF
from tests.cassettes.crossing import CLIENTS
from tests.strict.fields import BASE, FIELDS, UNTRIED
from tests.strict.judging import SPECS, TARGETS

# Neither said nor lost, for it changes nothing there.
_ALWAYS_STRICT = "there a schema is always kept to"
SILENT: dict[tuple[str, str, str], str] = {
    ("openai-chat", "response_format.json_schema.strict", "anthropic-messages"): _ALWAYS_STRICT,
    ("openai-chat", "response_format.json_schema.strict", "gemini-generate"): _ALWAYS_STRICT,
    ("openai-responses", "text.format.strict", "anthropic-messages"): _ALWAYS_STRICT,
    ("openai-responses", "text.format.strict", "gemini-generate"): _ALWAYS_STRICT,
}
CASES = [
    (dialect, path, target)
    for dialect, fields in FIELDS.items()
    for path in fields
    for target in CLIENTS
    if target != dialect
]


def told(dialect: str, body: dict[str, Any], target: str) -> tuple[Any, list[str]] | str:
    """The body for the target and the losses; or why there is none, which is loud as well."""
    operation = CLIENTS[dialect]
    glance = peek(json.dumps(body).encode(), operation, model="m", stream=False)
    call = Call(operation, CLIENT_DIALECT_OF[operation], glance, "r")
    try:
        form = form_of(call, CLIENTS[target], TARGETS[target], Params())
    except Untranslatable as error:
        return str(error)
    return json.loads(form.body), [str(loss) for loss in form.losses]


def having(body: dict[str, Any], path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body with and without the field; what is on the way to it stays."""
    within = copy.deepcopy(body)
    place: Any = within
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    fields = FIELDS[next(dialect for dialect, base in BASE.items() if base is body)]
    for depth, step in enumerate(way):
        if isinstance(step, str) and step not in place:
            place[step] = copy.deepcopy(fields.get(".".join(map(str, way[: depth + 1])), {}))
        place = place[step]
    without = copy.deepcopy(within)
    place[last] = value
    return within, _lacking(without, [*way, last])


def _lacking(body: dict[str, Any], way: list[Any]) -> dict[str, Any]:
    place: Any = body
    for step in way[:-1]:
        place = place[step]
    place.pop(way[-1], None)
    return body


@pytest.mark.parametrize(("dialect", "path", "target"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_field_is_said_or_lost_aloud(dialect: str, path: str, target: str) -> None:
    within, without = having(BASE[dialect], path, FIELDS[dialect][path])
    silent = told(dialect, within, target) == told(dialect, without, target)
    assert silent == ((dialect, path, target) in SILENT)


_PLACES = {
    "openai-chat": ("openai.transformed.yml", "/chat/completions"),
    "openai-responses": ("openai.transformed.yml", "/responses"),
    "anthropic-messages": ("anthropic.json", "/v1/messages"),
    "gemini-generate": ("gemini.json", "/v1beta/models/{model}:generateContent"),
}


@pytest.mark.skipif(not SPECS.is_dir(), reason="the vendors' OpenAPI documents are not beside this checkout")
def test_every_documented_parameter_is_tried() -> None:
    for dialect, (spec, path) in _PLACES.items():
        text = (SPECS / spec).read_text()
        document = json.loads(text) if spec.endswith(".json") else yaml.load(text, yaml.CSafeLoader)
        asked = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        documented = set(_properties(document, asked))
        if dialect == "gemini-generate":
            config = _properties(document, {"$ref": "#/components/schemas/GenerationConfig"})
            documented |= {f"generationConfig.{name}" for name in config}
        assert documented <= FIELDS[dialect].keys() | UNTRIED[dialect].keys(), dialect


def _properties(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The names that an object of the schema may have."""
    if "$ref" in schema:
        return _properties(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    found = dict(schema.get("properties", {}))
    for name in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(name, ()):
            found |= _properties(document, part)
    return found
