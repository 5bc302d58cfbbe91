"""Where clouds are asked, and with what, as the file and the environment say it."""

from __future__ import annotations

import pytest

from sidecar.config import environment_yaml, from_environment
from sidecar.model.secret import Secret
from sidecar.model.topology import AuthScheme, Dialect, Operation

ACCOUNT = '{"type": "service_account", "private_key": "PRIVATE-KEY", "client_email": "a@b"}'
AWS = {"AWS_ACCESS_KEY_ID": "AKID-1234", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_SESSION_TOKEN": "aws-token"}


def provider(snapshot, keys, **given):
    return snapshot(f"providers: {{p: {{{keys}}}}}", **given).providers["p"]


# -- Azure


def test_an_azure_key_of_the_environment_is_for_azure_and_for_the_endpoint_of_the_environment(snapshot):
    env = {"AZURE_OPENAI_API_KEY": "k-azure", "AZURE_OPENAI_ENDPOINT": "https://gateway.test/"}
    assert provider(snapshot, "type: azure-openai", env=env).auth.key == Secret("k-azure")
    assert provider(snapshot, "type: azure-openai", env=env).base_url == "https://gateway.test"
    home = provider(snapshot, "type: azure-openai, base_url: 'https://r.openai.azure.com/openai/v1'", env=env)
    assert (home.auth.key, home.auth.scheme) == (Secret("k-azure"), AuthScheme.API_KEY)
    for away in ("https://openai.azure.com.evil.test", "https://evil.test"):
        assert provider(snapshot, f"type: azure-openai, base_url: '{away}'", env=env).auth.key is None


def test_the_dated_form_offers_what_it_has(snapshot):
    dated = provider(snapshot, "type: azure-openai, base_url: 'https://r.test', api_version: 2024-10-21")
    assert dated.dialects == (Dialect.OPENAI_CHAT,)
    assert dated.paths[Operation.MODELS] == "/openai/models?api-version=2024-10-21"


def test_an_azure_account_without_an_address_is_told_of_its_variable(problems):
    (told,) = problems("providers: {p: {type: azure-openai, api_key: k}}")
    assert told.endswith("this type has no address of its own; or set $AZURE_OPENAI_ENDPOINT")


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("type: openai, api_version: 2024-10-21", "api_version"),
        ("type: azure-openai, base_url: 'https://r.test', location: x", "location"),
        ("type: bedrock, location: x, project: p", "project"),
    ],
)
def test_keys_of_other_clouds_are_refused(problems, keys, key):
    (told,) = problems(f"providers: {{p: {{{keys}}}}}")
    assert told.endswith(f"providers.p.{key}: this type has no use for it; leave it out")


@pytest.mark.parametrize("place", ["a/b", "..", "a?b", "{model}", "a b"])
def test_a_place_cannot_change_the_path(problems, place):
    (told,) = problems(f"providers: {{p: {{type: vertex, project: '{place}'}}}}")
    assert "providers.p.project: expected letters, digits" in told


# -- Bedrock


def test_bedrock_by_a_key_needs_no_library(snapshot):
    env = {"AWS_BEARER_TOKEN_BEDROCK": "k-bedrock", "AWS_REGION": "us-west-2"}
    made = provider(snapshot, "type: bedrock", env=env)
    assert made.base_url == "https://bedrock-runtime.us-west-2.amazonaws.com"
    assert (made.auth.scheme, made.auth.key) == (AuthScheme.BEARER, Secret("k-bedrock"))
    assert not made.auth.missing


@pytest.mark.parametrize(
    ("keys", "region"),
    [
        ("location: eu-west-1", "eu-west-1"),
        ("base_url: 'https://bedrock-runtime.ap-south-1.amazonaws.com'", "ap-south-1"),
        ("base_url: 'https://bedrock-runtime-fips.us-east-1.amazonaws.com', location: x", "us-east-1"),
        ("base_url: 'https://v.bedrock-runtime.us-east-2.vpce.amazonaws.com'", "us-east-2"),
        ("base_url: 'https://proxy.test', location: us-east-1", "us-east-1"),
    ],
)
def test_the_region_that_is_signed_for(snapshot, keys, region):
    made = provider(snapshot, f"type: bedrock, {keys}")
    assert (made.auth.scheme, made.auth.region) == (AuthScheme.AWS_SIGV4, region)
    assert not made.auth.missing


def test_no_region_at_all(problems):
    (told,) = problems("providers: {p: {type: bedrock, base_url: 'https://proxy.test'}}")
    assert told.endswith('missing key "location": the address names no region to sign for')
    (told,) = problems("providers: {p: {type: bedrock}}")
    assert told.endswith("or set $AWS_REGION or $AWS_DEFAULT_REGION")


def test_aws_credentials_of_the_environment_are_taken_unless_a_profile_is_named(snapshot):
    made = snapshot("providers: {p: {type: bedrock, location: us-east-1}}", env=AWS)
    assert made.providers["p"].auth.access == {name: Secret(value) for name, value in AWS.items()}
    assert {Secret(value) for value in AWS.values()} <= made.secrets
    named = provider(snapshot, "type: bedrock, location: us-east-1, profile: work", env=AWS)
    assert (named.auth.access, named.auth.profile) == ({}, "work")


def test_claude_is_asked_in_its_own_dialect_and_the_rest_by_converse(snapshot):
    made = provider(snapshot, "type: bedrock, location: us-east-1")
    assert made.dialects_of("us.anthropic.claude-sonnet-4-6") == (Dialect.ANTHROPIC_MESSAGES,)
    assert made.dialects_of("amazon.nova-pro-v1:0") == (Dialect.BEDROCK_CONVERSE,)
    pinned = provider(snapshot, "type: bedrock, location: us-east-1, dialects: [bedrock-converse]")
    assert pinned.dialects_of("us.anthropic.claude-sonnet-4-6") == (Dialect.BEDROCK_CONVERSE,)


def test_the_files_params_hold_beside_those_that_a_body_needs(snapshot):
    keys = "type: bedrock, location: us-east-1, params: {set: {anthropic_version: x, temperature: 0}, drop: [top_k]}"
    made = provider(snapshot, keys)
    params = made.params_of(Operation.MESSAGES)
    assert params.set == {"anthropic_version": b'"bedrock-2023-05-31"', "temperature": b"0"}
    assert params.drop == {"top_k", "model", "stream"}
    assert made.params_of(Operation.CONVERSE).drop == {"top_k"}


# -- Entra ID

PRINCIPAL = {"AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c-1", "AZURE_CLIENT_SECRET": "principal-secret"}
RESOURCE = "type: azure-openai, base_url: 'https://r.openai.azure.com'"


def test_tokens_take_the_place_of_a_key_where_the_file_says_so(snapshot):
    env = {"AZURE_OPENAI_API_KEY": "k-azure", **PRINCIPAL}
    made = provider(snapshot, f"{RESOURCE}, auth: entra", env=env)
    assert (made.auth.scheme, made.auth.key, made.auth.missing) == (AuthScheme.ENTRA, None, False)
    assert made.auth.access == {name: Secret(value) for name, value in PRINCIPAL.items()}
    assert provider(snapshot, RESOURCE, env=env).auth.scheme is AuthScheme.API_KEY
    half = provider(snapshot, f"{RESOURCE}, auth: entra", env={"AZURE_CLIENT_ID": "c-1"})
    assert half.auth.access == {}


def test_the_principals_secret_is_known_as_one(snapshot):
    made = snapshot(f"providers: {{p: {{{RESOURCE}, auth: entra}}}}", env=PRINCIPAL)
    assert Secret("principal-secret") in made.secrets


def test_tokens_and_a_key_exclude_each_other_and_belong_to_azure(problems):
    (told,) = problems(f"providers: {{p: {{{RESOURCE}, auth: entra, api_key: k}}}}")
    assert "providers.p.auth: there is an api_key as well" in told
    (told,) = problems("providers: {p: {type: openai, api_key: k, auth: entra}}")
    assert "providers.p.auth: this type has no use for it" in told
    (told,) = problems(f"providers: {{p: {{{RESOURCE}, auth: magic}}}}")
    assert "providers.p.auth" in told
    (told,) = problems(f"providers: {{p: {{{RESOURCE}, auth: entra}}}}", extras=False)
    assert told.endswith(": pip install llm-sidecar[azure]")


# -- Vertex


@pytest.mark.parametrize(
    ("keys", "url", "location"),
    [
        ("", "https://aiplatform.googleapis.com", "global"),
        (", location: europe-west4", "https://europe-west4-aiplatform.googleapis.com", "europe-west4"),
        (", location: eu", "https://aiplatform.eu.rep.googleapis.com", "eu"),
        (", base_url: 'https://proxy.test/v1/', location: eu", "https://proxy.test", "eu"),
    ],
)
def test_where_vertex_is(snapshot, keys, url, location):
    made = provider(snapshot, f"type: vertex, project: my-project{keys}")
    assert made.base_url == url
    begin = f"/v1/projects/my-project/locations/{location}/publishers"
    assert made.paths[Operation.GENERATE] == f"{begin}/google/models/{{model}}:generateContent"
    assert made.paths[Operation.MESSAGES] == f"{begin}/anthropic/models/{{model}}:rawPredict"
    assert (made.auth.scheme, made.auth.missing) == (AuthScheme.GOOGLE_OAUTH, False)


def test_vertex_needs_a_project(problems):
    (told,) = problems("providers: {p: {type: vertex}}")
    assert 'providers.p: missing key "project" or $GOOGLE_CLOUD_PROJECT' in told


def test_google_credentials_are_secret_whole_and_in_part(snapshot):
    keys = "type: vertex, project: x, credentials: '${file:/sa.json}'"
    made = snapshot(f"providers: {{p: {{{keys}}}}}", files={"/sa.json": ACCOUNT})
    assert made.providers["p"].auth.access["credentials"] == Secret(ACCOUNT)
    assert {Secret(ACCOUNT), Secret("PRIVATE-KEY")} <= made.secrets
    env = {"GOOGLE_APPLICATION_CREDENTIALS": "/sa.json", "GOOGLE_CLOUD_PROJECT": "x"}
    named = snapshot("providers: {vertex: {}}", env=env, files={"/sa.json": ACCOUNT}).providers["vertex"]
    assert named.auth.access == made.providers["p"].auth.access


def test_google_credentials_that_are_none(problems):
    (told,) = problems("providers: {p: {type: vertex, project: x, credentials: secret-text}}")
    assert 'expected Google credentials: a JSON object with a "type"' in told
    assert "secret-text" not in told
    env = {"GOOGLE_APPLICATION_CREDENTIALS": "/none.json"}
    (told,) = problems("providers: {p: {type: vertex, project: x}}", env=env)
    assert told.endswith("$GOOGLE_APPLICATION_CREDENTIALS: no such file")


# -- libraries and the environment


@pytest.mark.parametrize(
    ("keys", "extra"), [("type: bedrock, location: x", "bedrock"), ("type: vertex, project: x", "vertex")]
)
def test_a_missing_library_is_told_with_what_to_install(problems, keys, extra):
    (told,) = problems(f"providers: {{p: {{{keys}}}}}", extras=False)
    assert told.endswith(f": pip install llm-sidecar[{extra}]")


def test_clouds_of_the_environment():
    env = {
        "AZURE_OPENAI_API_KEY": "k",
        "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
        "AZURE_OPENAI_MODEL": "d",
        "AWS_BEARER_TOKEN_BEDROCK": "k",
        "AWS_REGION": "us-east-1",
    }
    made = from_environment(env)
    assert made.providers["azure-openai"].base_url == "https://r.openai.azure.com"
    assert made.providers["bedrock"].base_url == "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert 'base_url: "${AZURE_OPENAI_ENDPOINT}"' in environment_yaml(env)
    without = {name: env[name] for name in ("AZURE_OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK")}
    assert set(from_environment(without).providers) == {"embedded"}
