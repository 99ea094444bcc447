"""Embeddings, as the servers that have them are asked for some."""

from typing import Any, Protocol

import orjson

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Embeddings, Inputs
from orchestrator.infrastructure.dialects.options import HINTS, cannot, require_off
from orchestrator.infrastructure.dialects.parts import NOT_UNDERSTOOD, count

_LARGEST = (2 - 2**-23) * 2.0**127
"""Of the numbers of 32 bits, as which clients may want them."""


class EmbeddingDialect(Protocol):
    """How vectors are asked for."""

    path: str

    def request(self, agent: Agent, inputs: Inputs) -> bytes:
        """The body; raises UpstreamRefusal for what cannot be asked for."""
        ...

    def embeddings(self, answer: Any) -> Embeddings:
        """The answer's meaning; raises as the reading of completions does."""
        ...


class OpenAiEmbeddings:
    """OpenAI's API, and of the servers that speak it."""

    path = "/embeddings"

    def request(self, agent: Agent, inputs: Inputs) -> bytes:
        """The body of POST /embeddings, always for numbers: base64 is not known everywhere."""
        fields = {"model": agent.model, "input": inputs.inputs, "encoding_format": "float"}
        return orjson.dumps({**inputs.options, **fields})

    def embeddings(self, answer: Any) -> Embeddings:
        """The vectors in the inputs' order."""
        rows = sorted(answer["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(len(rows))):
            raise ValueError("an input has no vector or two")
        usage = answer.get("usage") or {}
        return Embeddings([_vector(row["embedding"]) for row in rows], count(usage.get("prompt_tokens")))


class OllamaEmbeddings:
    """Ollama's own API."""

    path = "/api/embed"

    def request(self, agent: Agent, inputs: Inputs) -> bytes:
        """The body of POST /api/embed."""
        fields: dict[str, object] = {"model": agent.model, "input": texts(inputs, "ollama")}
        for name, value in inputs.options.items():
            if name == "dimensions" and value is not None:
                fields[name] = value
            elif name not in HINTS and name != "dimensions":
                require_off(name, value, "ollama")
        return orjson.dumps(fields)

    def embeddings(self, answer: Any) -> Embeddings:
        """The vectors in the inputs' order."""
        return Embeddings([_vector(vector) for vector in answer["embeddings"]], count(answer.get("prompt_eval_count")))


def embeddings_in(answer: bytes, dialect: EmbeddingDialect, inputs: Inputs) -> Embeddings:
    """A vector for each of the inputs; raises UpstreamFailure for an answer that has others, or makes no sense."""
    try:
        embeddings = dialect.embeddings(orjson.loads(answer))
    except NOT_UNDERSTOOD as error:
        raise UpstreamFailure("its answer is not that of a model that makes embeddings") from error
    if len(embeddings.vectors) != len(inputs.inputs):
        raise UpstreamFailure("its answer has not an embedding for each input")
    return embeddings


def texts(inputs: Inputs, type: str) -> list[str]:
    """The inputs where each is a text; raises UpstreamRefusal for tokens, which mean something to one model only."""
    told = [input for input in inputs.inputs if isinstance(input, str)]
    if len(told) != len(inputs.inputs):
        raise cannot(f"{type} agents embed texts, not tokens; give the texts")
    return told


def _vector(numbers: Any) -> list[float]:
    if not numbers or not isinstance(numbers, list) or not all(type(number) in (float, int) for number in numbers):
        raise ValueError("no vector")
    if not all(-_LARGEST <= number <= _LARGEST for number in numbers):
        raise ValueError("a number of more than 32 bits, or none")
    return numbers
