"""Requests and answers of ``/v1/rerank`` and ``/v2/rerank``, as JSON: Cohere's and Jina's."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sightline.serving.embedding_schemas import Fields, ImagePart, Text, TextPart
from sightline.serving.schemas import Body


class DocumentFields(BaseModel):
    """A document as an object: text, image, or fields of its own that `rank_fields` names."""

    model_config = ConfigDict(extra="allow")

    text: Text | None = None
    image: Text | None = Field(None, description="A data URI.")


class RerankRequest(Body):
    """A query, and documents to be put in the order of their fit to it."""

    query: Text | Fields | TextPart | ImagePart
    documents: list[Text | TextPart | ImagePart | DocumentFields] = Field(
        description='Texts, or objects such as `{"text": ...}` and `{"image": data URI}`.'
    )
    model: Annotated[
        str | None, Field(description="A name of `GET /v1/models`; by default the service's.", max_length=512)
    ] = None
    top_n: Annotated[int | None, Field(ge=1, description="How many to return; by default all.")] = None
    return_documents: bool | None = Field(None, description="Put the documents into the answer.")
    rank_fields: Annotated[
        list[str] | None, Field(description="Fields of documents given as objects; by default `text`.")
    ] = None
    max_chunks_per_doc: None = Field(None, description="Not supported: documents are not split.")
    max_tokens_per_doc: None = Field(
        None, description="Not supported: pairs are cut at the model's own limit."
    )
    relevant_spans: None = Field(None, description="Not supported.")
    priority: int | None = Field(None, description="Taken for Cohere's sake, without effect.")
    user: str | None = Field(None, description="Taken for Jina's sake, without effect.")


class RerankResult(BaseModel):
    """One document."""

    index: int = Field(description="Its place among the documents of the request.")
    relevance_score: float = Field(description="From 0 to 1; a higher score is a better fit.")
    document: dict[str, Any] | None = None


class RerankUsage(BaseModel):
    """What the model read."""

    prompt_tokens: int
    total_tokens: int


class RerankAnswer(BaseModel):
    """The documents, best first; those of equal score in the request's order."""

    id: str
    model: str
    results: list[RerankResult]
    meta: dict[str, Any] = Field(description="Cohere's facts: version, units, tokens.")
    usage: RerankUsage
