"""What docs/security.md lists is all there is: routes, logged events, audited actions."""

import ast
from collections.abc import Iterator

import pytest

from edge.routes.app import fastapi_app
from shared.contracts.audit import Action
from tests.asvs.mapping import PROJECT, PROMISES, section


def _logged_events() -> Iterator[str]:
    sources = [*(PROJECT / "services").rglob("src/**/*.py"), *(PROJECT / "shared" / "src").rglob("*.py")]
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                event = node.args[0]
                if ast.unparse(node.func.value) == "_log":
                    assert isinstance(event, ast.Constant), f"{source}: an event's name is plain text"
                    yield str(event.value)


@pytest.mark.asvs("8.1.1")
def test_every_route_says_who_may_use_it() -> None:
    routes = section(PROMISES.read_text(encoding="utf-8"), "Roles and routes")
    app = fastapi_app(None, None, None)  # type: ignore[arg-type]  # it is asked for its document only
    served = {
        f"`{method.upper()} {path.removeprefix('/api/v1')}`"
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }

    assert {route for route in served if route not in routes} == set(), "add them to docs/security.md"


@pytest.mark.asvs("16.1.1")
def test_every_event_and_every_action_stands_in_the_inventory_of_logs() -> None:
    inventory = section(PROMISES.read_text(encoding="utf-8"), "What is logged")

    missing = {name for name in {*_logged_events(), *Action} if f"`{name}`" not in inventory}

    assert missing == set(), "add them to docs/security.md"
