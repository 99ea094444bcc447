"""What is read of requests in OpenAI's words."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.openai import ChatRequest, EmbeddingsRequest, OpenAiMessage

MANY = 900


def chat(**message: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi", **message}] * MANY}


def embeddings(*inputs: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(inputs)}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ChatRequest, chat(content=[1] * MANY)),
        (ChatRequest, chat(content=[{}] * MANY)),
        (ChatRequest, chat(tool_calls=[1] * MANY)),
        (ChatRequest, {"model": "m", "messages": [1] * MANY}),
        (EmbeddingsRequest, embeddings(*[[""] * MANY] * MANY)),
        (EmbeddingsRequest, embeddings(*[""] * MANY, 1)),
    ],
    ids=["parts", "empty parts", "calls", "messages", "lists of texts", "texts"],
)
def test_of_many_mistakes_only_the_first_are_told_as_telling_all_takes_seconds(
    kind: type[OpenAiMessage], body: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)

    assert caught.value.error_count() <= 4
