"""Messages: what crosses the bus, and the one place where bytes become values."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from shared.clock import rfc3339
from shared.errors import FieldError, InvalidFields
from shared.json import require_sound_json


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("needs its offset from UTC, such as Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


Moment = Annotated[
    datetime,
    Field(strict=False),
    AfterValidator(_in_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
]
"""A moment in UTC; RFC 3339 with milliseconds and `Z` in JSON."""

Secret = Annotated[
    SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), return_type=str, when_used="json")
]
"""Hidden in logs and tracebacks; its value only in the JSON that crosses the bus."""


class Message(BaseModel):
    """What crosses the bus. Fields it does not know are ignored, so that an older service can read a newer one."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, strict=True)


class HttpMessage(Message):
    """What also comes over HTTP, from strangers: unknown fields are an error, never ignored silently."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Message):
    """A reply that says only that it is done, or a request that needs no words."""


NOTHING = Nothing()

M = TypeVar("M", bound=Message)


def read(model: type[M], body: bytes) -> M:
    """The message in `body`; raises Malformed or InvalidFields, with the place and a reason for each bad field."""
    if issubclass(model, HttpMessage):
        require_sound_json(body)
    try:
        return model.model_validate_json(body, by_alias=True, by_name=False)  # fields have one name outside
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error


def write(message: Message) -> bytes:
    """The message as JSON in camelCase."""
    return message.model_dump_json(by_alias=True).encode()


def write_request(message: Message) -> bytes:
    """The same without what was left out, so that the reader can tell a null from nothing."""
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()


def invalid_fields(errors: list[Any]) -> InvalidFields:
    """pydantic's findings as ours, without the input, which may be a secret."""
    found = tuple(FieldError(".".join(str(part) for part in error["loc"]), str(error["msg"])) for error in errors[:20])
    return InvalidFields("Some fields are missing, unknown or not as they should be.", errors=found)
