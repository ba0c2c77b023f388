"""Requests and answers of ``/v1/embeddings`` and ``/v1/models``, as JSON: OpenAI's, with images beside texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from sightline.serving.schemas import Body

Text = Annotated[str, Field(strict=True)]
TokenId = Annotated[int, Field(strict=True, ge=0)]
InputType = Literal["query", "document", "search_query", "search_document", "passage"]


class ImageUrl(Body):
    """Where an image is; only data URIs are read."""

    url: Text = Field(description="A data URI, `data:image/png;base64,...`.")
    detail: str | None = Field(None, description="Taken for OpenAI's sake, without effect.")


class TextPart(Body):
    """A piece of text."""

    type: Literal["text", "input_text"]
    text: Text


class ImagePart(Body):
    """An image, as OpenAI and vLLM write it."""

    type: Literal["image_url", "input_image"]
    image_url: ImageUrl | Text


class Fields(Body):
    """One input as text, image, or both: `{"text": ...}`, `{"image": ...}`."""

    text: Text | None = None
    image: Text | None = Field(None, description="A data URI.")


class Content(Body):
    """One input of several parts, as Cohere writes it."""

    content: list[TextPart | ImagePart]


class Message(Body):
    """A chat message, for models that read such."""

    role: Annotated[str, Field(max_length=64)]
    content: Text | list[TextPart | ImagePart]


One = Text | TextPart | ImagePart | Fields | Content


class EmbeddingsRequest(Body):
    """Texts, images, or both together, to be embedded."""

    input: Text | list[TokenId] | list[One | list[TokenId] | list[TextPart | ImagePart]] | None = Field(
        None,
        description="One text; or a list of inputs, each a text, the ids of a text's tokens, a content part, a list of "
        'parts that are one input, or `{"text": ..., "image": ...}`.',
    )
    messages: list[Message] | None = Field(
        None, description="In place of `input`: one input, as chat messages (as vLLM takes them)."
    )
    model: Annotated[
        str | None, Field(description="A name of `GET /v1/models`; by default the service's.", max_length=512)
    ] = None
    dimensions: Annotated[
        int | None,
        Field(ge=1, description="Keep the first so many components (Matryoshka), at unit length again."),
    ] = None
    encoding_format: Annotated[
        Literal["float", "base64"],
        Field(
            description="Numbers, or the base64 of little-endian float32 (what OpenAI's client asks for). Vectors per "
            "token come as numbers in either case."
        ),
    ] = "float"
    input_type: Annotated[
        InputType,
        Field(
            description="What the inputs are: questions, or what is searched. Decides which of the model's prompts "
            "stands in front of them. OpenAI's schema has no such field, so its absence means documents."
        ),
    ] = "document"
    user: Annotated[str | None, Field(description="Taken for OpenAI's sake, without effect.")] = None


class EmbeddingBody(BaseModel):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | list[list[float]] | str = Field(
        description="Numbers, or base64; of a late-interaction model a list of numbers per token."
    )


class EmbeddingUsage(BaseModel):
    """What the model read."""

    prompt_tokens: int = Field(description="Tokens, the model's prompts and marks included.")
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingBody]
    model: str
    usage: EmbeddingUsage


class ModelBody(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time at which the service took it up.")
    owned_by: str = "sightline"
    kind: Literal["embedding", "reranker"]
    modalities: list[str]
    dimensions: int | None = Field(description="Components of a vector; null for a reranker.")
    max_tokens: int | None = Field(description="Tokens an input is cut at; null without a limit.")


class ModelsAnswer(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


def request_schemas() -> dict[str, Any]:
    """The OpenAPI description of a request's body, by content type."""
    whole = EmbeddingsRequest.model_json_schema()
    json_schema: dict[str, Any] = _inlined(whole, whole["$defs"])
    fields = json_schema["properties"]
    plain = {name: fields[name] for name in ("model", "dimensions", "encoding_format", "input_type", "user")}
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "Images, each one input.",
    }
    form = {"type": "object", "properties": {"file": files, **plain}, "required": ["file"]}
    return {"application/json": {"schema": json_schema}, "multipart/form-data": {"schema": form}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema that refers to nothing outside itself, as it has to be inside an OpenAPI document."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in schema.items() if name != "$defs"}
