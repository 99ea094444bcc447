"""Replies of FastAPI's routes: a message as the contract writes it."""

from typing import TypeVar

from fastapi import Response, status

from shared.bus import Message, write

M = TypeVar("M", bound=Message)


def json_reply(message: M, *, status_code: int = 200) -> Response:
    """The message as an answer; written once, by its own model."""
    return Response(write(message), status_code=status_code, media_type="application/json")


def no_content() -> Response:
    """The answer to a change of which there is nothing to tell."""
    return Response(status_code=status.HTTP_204_NO_CONTENT)
