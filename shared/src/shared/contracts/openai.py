"""What the orchestrator answers in the words of OpenAI's API: chat completions, embeddings and models.

Requests are passed on to agents with what is not known here; only what decides something is looked at.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_snake

from shared.bus import Contract, Kind, Message
from shared.contracts.orchestrator import ModelName

MAX_CHOICES = 16
MAX_INPUTS = 2048


class OpenAiMessage(Message):
    """Fields in snake_case, as OpenAI has them; what is not known here passes."""

    model_config = ConfigDict(alias_generator=to_snake, extra="allow")


class StreamOptions(OpenAiMessage):
    """How a stream ends."""

    include_usage: bool = Field(default=False, description="Whether a last chunk, without choices, tells the tokens")


class ChatMessage(OpenAiMessage):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]


class ChatRequest(OpenAiMessage):
    """A chat to be completed. `tools`, `response_format` and whatever else OpenAI's API knows are passed on."""

    model: ModelName = Field(description="`auto`, or a model that an agent serves: one of those is chosen")
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=200_000)] | None = None


class TokenUsage(OpenAiMessage):
    """Tokens as the agent counted them; zero where it does not say."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(OpenAiMessage):
    """A completed chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: TokenUsage


class EmbeddingsRequest(OpenAiMessage):
    """Texts, or tokens of them, whose embeddings are wanted."""

    model: ModelName
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MAX_INPUTS)]
        | Annotated[list[int], Field(min_length=1, max_length=8192)]
        | Annotated[list[list[int]], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None


class EmbeddingList(OpenAiMessage):
    """A vector for each input; in base64 they are 32-bit floats, little-endian."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]]
    model: str
    usage: dict[str, int]


class Model(OpenAiMessage):
    """A model that at least one agent serves."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(OpenAiMessage):
    """The models that the caller may use, and `auto`."""

    object: Literal["list"] = "list"
    data: list[Model]


class ListModels(Message):
    """All models that the caller may use."""


COMPLETE_CHAT = Contract("orchestrator.chat.complete", ChatRequest, ChatCompletion, Kind.DISPATCH)
STREAM_CHAT = Contract("orchestrator.chat.stream", ChatRequest, ChatCompletion, Kind.STREAM)
CREATE_EMBEDDINGS = Contract("orchestrator.embedding.create", EmbeddingsRequest, EmbeddingList, Kind.DISPATCH)
LIST_MODELS = Contract("orchestrator.model.list", ListModels, ModelList, Kind.READ)
