"""Requests and answers of search, as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

VersionName = Annotated[
    str | None,
    Field(description="A version of the index; by default the open one.", pattern=r"^[0-9A-Za-z]{1,64}$"),
]


class Body(BaseModel):
    """A request: fields that are not known are refused, because a misspelt one would silently do nothing."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Weights(Body):
    """How much each ranking counts in a hybrid search."""

    vector: Annotated[float, Field(ge=0, le=1000)] = 1.0
    text: Annotated[float, Field(ge=0, le=1000)] = 1.0


class Filters(Body):
    """Conditions that a page must meet, all of them; an empty one is none."""

    documents: Annotated[list[str], Field(max_length=1000)] = []
    languages: Annotated[list[str], Field(max_length=100)] = []
    kinds: Annotated[list[str], Field(max_length=100)] = []
    metadata: dict[str, Any] = {}


class SearchRequest(Body):
    """A question: text, an image, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "What did the northern plants cost in 2019?", "top_k": 5, "mode": "hybrid"}
            ]
        },
    )

    query: Annotated[str | None, Field(description="Words; nothing in them is syntax.")] = None
    image: Annotated[str | None, Field(description="A data URI, `data:image/png;base64,...`.")] = None
    top_k: Annotated[int, Field(ge=1, description="Pages to return; the service has a limit.")] = 10
    mode: Annotated[
        Literal["hybrid", "vector", "text"],
        Field(description="By meaning (vector), by words (text), or both, fused by rank."),
    ] = "hybrid"
    weights: Weights | None = None
    filters: Filters | None = None
    rerank: Annotated[
        bool | None,
        Field(description="Let the reranker order the best pages; by default where there is one."),
    ] = None
    rerank_depth: Annotated[int | None, Field(ge=1, description="How many pages it scores.")] = None
    dimensions: Annotated[
        int | None, Field(ge=1, description="Compare only the first so many components; see `GET /v1/index`.")
    ] = None
    version: VersionName = None
    session: Annotated[
        str | None,
        Field(
            pattern="^[A-Za-z0-9_-]{1,64}$",
            description="An opaque name of who asks, kept with feedback: a session has one voice about a page.",
        ),
    ] = None


class SnippetBody(BaseModel):
    """A piece of the page's text; each highlight is [start, end) in characters."""

    text: str
    highlights: list[tuple[int, int]]


class HitBody(BaseModel):
    """One page found."""

    rank: int = Field(description="1 is best.")
    page_id: str
    document: str
    page: int = Field(description="Zero-based.")
    score: float = Field(description="Comparable within one answer only.")
    vector_rank: int | None = Field(
        description="Place in the ranking by meaning; null where it is not in it."
    )
    text_rank: int | None = Field(description="Place in the ranking by words; null where it is not in it.")
    snippet: SnippetBody
    image: str | None = Field(description="Path of the page image on this service.")
    thumbnail: str | None
    width: int = Field(description="Of the page image, in pixels; 0 where there is none.")
    height: int


class SearchAnswer(BaseModel):
    """The pages found, best first."""

    id: str = Field(description="Names this search in feedback.")
    query: str | None
    mode: str
    version: str = Field(description="Of the index; the whole answer is of this one.")
    model: str
    dimensions: int
    reranked: bool
    hits: list[HitBody]
    timings: dict[str, float] = Field(description="Milliseconds by stage, and `total`.")


class DocumentBody(BaseModel):
    """A document of the index."""

    name: str
    pages: int
    first_page: str = Field(description="Page id of its first page.")


class IndexAnswer(BaseModel):
    """What is served."""

    pages: int
    documents: list[DocumentBody]
    dimensions: list[int] = Field(description="Prefixes of the vectors that can be searched, widest first.")
    model: str
    version: str
    versions: list[str] = Field(description="Versions that can be asked for by name, the open one first.")
    reranker: str | None
    query_modalities: list[str]
    languages: list[str]
    kinds: list[str]
    feedback: bool = Field(description="Whether feedback is kept.")


class PageAnswer(BaseModel):
    """One page."""

    page_id: str
    document: str
    page: int = Field(description="Zero-based.")
    width: int = Field(description="Of the image, in pixels; 0 where there is none.")
    height: int
    text: str = Field(description="The text layer, or what was recognised.")
    image: str | None
    thumbnail: str | None
    previous: str | None = Field(description="Page id of the page before in the document.")
    next: str | None


class HeatmapRequest(Body):
    """A question and a page."""

    query: str | None = None
    image: Annotated[str | None, Field(description="A data URI.")] = None
    page_id: Annotated[str, Field(min_length=1, max_length=4096)]
    dimensions: Annotated[int | None, Field(ge=1)] = None
    version: VersionName = None


class HeatmapAnswer(BaseModel):
    """Heat over the page image."""

    method: str = Field(description="token similarity, gradient or occlusion.")
    model: str = Field(description="Whose judgement it shows: encoder or reranker.")
    width: int = Field(description="Columns of the map.")
    height: int = Field(description="Rows of the map.")
    values: str = Field(description="Base64 of height x width bytes, rows first; 0 is cold, 255 hot.")
    milliseconds: float
