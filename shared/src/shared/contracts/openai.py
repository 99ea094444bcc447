"""What the orchestrator answers in the words of OpenAI's API: chat completions, embeddings and models.

Requests are passed on to agents with what is not known here; only what decides something is looked at. Lists are read
up to their first mistake: a body has room for half a million, and telling them all would take seconds.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
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


class CalledFunction(OpenAiMessage):
    """A function and its arguments, which are JSON in a text."""

    name: str
    arguments: str


class ToolCall(OpenAiMessage):
    """A call of a tool that the model has asked for."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ContentPart(OpenAiMessage):
    """A part of a message: a text, a picture …"""

    type: str
    text: str | None = None


class ChatMessage(OpenAiMessage):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[ContentPart], Field(max_length=1000, fail_fast=True)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=1000, fail_fast=True)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("needs a content")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool's message needs the tool_call_id that it answers")
        return self


class Function(OpenAiMessage):
    """A function that the model may ask for; `parameters` is a JSON Schema."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(OpenAiMessage):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class ToolName(OpenAiMessage):
    """A tool by its name."""

    name: str


class ChosenTool(OpenAiMessage):
    """The tool that has to be called."""

    type: Literal["function"]
    function: ToolName


class ResponseFormat(OpenAiMessage):
    """The form that the answer shall have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and not isinstance((self.json_schema or {}).get("schema"), dict):
            raise ValueError("json_schema needs a schema")
        return self


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
TokenLimit = Annotated[int, Field(ge=1, le=200_000)]


class ChatRequest(OpenAiMessage):
    """A chat to be completed. What OpenAI's API knows beside these fields is passed on."""

    model: ModelName = Field(description="`auto`, or a model that an agent serves: one of those is chosen")
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000, fail_fast=True)]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = Field(default=None, description="Counts where it is less than the agent's own")
    max_completion_tokens: TokenLimit | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    tools: Annotated[list[Tool], Field(max_length=256)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None


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
        | Annotated[
            list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)
        ]
        | Annotated[list[int], Field(min_length=1, max_length=8192, fail_fast=True)]
        | Annotated[
            list[Annotated[list[int], Field(fail_fast=True)]],
            Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True),
        ]
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
