"""Vectors: what is one, and can be told in the form that clients want."""

from typing import Any

import pytest

from orchestrator.infrastructure.dialects.embeddings import EmbeddingDialect, OllamaEmbeddings, OpenAiEmbeddings

LARGEST = 3.4028234663852886e38
"""The largest number of 32 bits (IEEE 754)."""


def openais(vector: Any) -> Any:
    return {"data": [{"index": 0, "embedding": vector}]}


def ollamas(vector: Any) -> Any:
    return {"embeddings": [vector]}


DIALECTS = pytest.mark.parametrize(
    ("dialect", "answer"), [(OpenAiEmbeddings(), openais), (OllamaEmbeddings(), ollamas)], ids=["openai", "ollama"]
)


@DIALECTS
def test_a_vector_has_numbers_of_32_bits(dialect: EmbeddingDialect, answer: Any) -> None:
    vector = [LARGEST, -LARGEST, 0, 1e-300]

    assert dialect.embeddings(answer(vector)).vectors == [vector]


@DIALECTS
@pytest.mark.parametrize(
    "vector",
    [None, 7, "no", [], [None], ["1"], [True], [[1.0]], [1e39], [-1e300], [float("inf")], [float("nan")]],
    ids=str,
)
def test_what_is_no_vector_is_no_answer(dialect: EmbeddingDialect, answer: Any, vector: Any) -> None:
    with pytest.raises(ValueError, match=r"no vector|more than 32 bits"):
        dialect.embeddings(answer(vector))
