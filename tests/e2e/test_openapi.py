"""The OpenAPI document says what is there, and its page needs nothing from elsewhere."""

import re

import httpx
import pytest

from edge.routes.documentation import LIMITED
from edge.routes.hot import hot_routes

PROBLEM = "application/problem+json"
DISPATCHING = {"/api/v1/openclaw/dispatch", "/v1/chat/completions", "/v1/embeddings"}


async def test_every_hot_route_is_described(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()

    for method, path in hot_routes(None, None):  # type: ignore[arg-type]  # the routes are asked for, not called
        assert method.lower() in document["paths"][path]


async def test_the_described_answer_of_a_hot_route_is_the_real_one(
    anonymous: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    schemas = (await anonymous.get("/openapi.json")).json()["components"]["schemas"]
    agents = (await operator.get("/api/v1/agents")).json()
    me = (await operator.get("/api/v1/auth/me")).json()
    dispatched = (await operator.post("/api/v1/openclaw/dispatch", json={"message": "x"})).json()

    assert set(agents) == set(schemas["Agents"]["properties"])
    assert set(agents["items"][0]) == set(schemas["Agent"]["properties"])
    assert set(me) == set(schemas["User"]["properties"])
    assert set(dispatched) == set(schemas["Dispatched"]["properties"])


async def test_every_route_that_honours_if_match_documents_it(anonymous: httpx.AsyncClient) -> None:
    paths = (await anonymous.get("/openapi.json")).json()["paths"]

    honouring = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if (parameter["in"], parameter["name"]) == ("header", "If-Match")
        and parameter["description"]
        and not parameter["required"]
    }

    assert honouring == {path for path, operations in paths.items() if "put" in operations}
    assert honouring == {"/api/v1/agents/{agent_id}", "/api/v1/users/{user_id}"}


async def test_every_operation_documents_its_failures(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()

    for path, operations in document["paths"].items():
        for operation in operations.values():
            (media_type, described), *others = operation["responses"]["default"]["content"].items()
            expected = ("application/json", "OpenAiError") if path.startswith("/v1/") else (PROBLEM, "Problem")
            assert (media_type, described["schema"]["$ref"].rpartition("/")[2], others) == (*expected, [])
            assert "422" not in operation["responses"]


async def test_every_route_that_streams_documents_its_events(anonymous: httpx.AsyncClient) -> None:
    document = (await anonymous.get("/openapi.json")).json()

    streaming = {
        path: sorted(operation["responses"]["200"]["content"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    }

    assert streaming == {
        "/api/v1/openclaw/dispatch": ["application/json", "text/event-stream"],
        "/v1/chat/completions": ["application/json", "text/event-stream"],
        "/api/v1/events": ["text/event-stream"],
        "/api/v1/audit/stream": ["text/event-stream"],
    }


async def test_under_v1_only_keys_are_documented(anonymous: httpx.AsyncClient) -> None:
    paths = (await anonymous.get("/openapi.json")).json()["paths"]

    found = [each["security"] for path in paths if path.startswith("/v1/") for each in paths[path].values()]

    assert found == [[{"apiKey": []}]] * 4


async def test_every_route_whose_time_can_be_given_documents_that(anonymous: httpx.AsyncClient) -> None:
    paths = (await anonymous.get("/openapi.json")).json()["paths"]

    limited = {
        path
        for path, operations in paths.items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if (parameter["in"], parameter["name"]) == ("header", "Peanut-Timeout")
    }

    assert limited == DISPATCHING


async def test_every_schema_that_is_referred_to_is_there(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get("/openapi.json")

    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.text))
    assert referred <= set(answer.json()["components"]["schemas"])


async def test_every_route_that_counts_something_documents_its_limits(
    anonymous: httpx.AsyncClient,
) -> None:
    document = (await anonymous.get("/openapi.json")).json()
    shown = {"currentPassword", "totpCode"}
    secrets = {name for name, schema in document["components"]["schemas"].items() if shown & set(_fields(schema))}
    secrets |= {"LogIn", "SetUpTotp"}  # their `password` is looked at; that of a new user is set

    looking = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if secrets & set(re.findall(r"schemas/(\w+)", str(operation.get("requestBody", ""))))
    }

    limited = looking | DISPATCHING
    assert limited == LIMITED & set(document["paths"])
    for path in limited:
        for operation in document["paths"][path].values():
            for response in operation["responses"].values():
                assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"])


def _fields(schema: dict[str, object]) -> list[str]:
    properties = schema.get("properties", {})
    assert isinstance(properties, dict)
    return list(properties)


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"])
async def test_the_page_and_its_assets_are_served_from_here(path: str, anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get(path)

    assert answer.status_code == 200
    if path == "/docs":
        assert re.findall(r'(?:src|href)="(?!/docs/)', answer.text) == []
