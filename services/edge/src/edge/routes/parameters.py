"""Parameters of a query string: a route takes those it declares and no other, so that none is ignored in silence."""

from collections.abc import Iterable
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import Match, Route

from edge.http.request import Request
from shared.errors import FieldError, InvalidFields


def require_no_query(request: Request) -> None:
    """Raises InvalidFields for any parameter."""
    if request.scope["query_string"]:
        raise InvalidFields("This route takes no parameters.", errors=(FieldError("query", "leave it out"),))


def require_known_parameters(routes: Iterable[Route], request: Request) -> None:
    """Raises InvalidFields for a parameter that the one of these routes that serves the request does not declare.

    A route that declares a whole model of them has it refuse the others.
    """
    if not request.scope["query_string"]:
        return
    scope = {**request.scope, "method": request.method}
    route = next((each for each in routes if each.matches(scope)[0] is Match.FULL), None)
    if route is None:
        return
    declared = route.dependant.query_params if isinstance(route, APIRoute) else []
    if not declared:
        require_no_query(request)
    if not any(_is_model(field.field_info.annotation) for field in declared):
        _require_among({field.alias for field in declared}, request)


def _is_model(declared: object) -> bool:
    return isinstance(declared, type) and issubclass(declared, BaseModel)


def _require_among(known: set[str], request: Request) -> None:
    given = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    errors = tuple(FieldError(name, "is not known here") for name, _ in given if name not in known)
    if errors:
        raise InvalidFields("A parameter is not known.", errors=errors)
