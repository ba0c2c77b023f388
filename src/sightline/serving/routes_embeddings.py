"""``POST /v1/embeddings`` in OpenAI's schema, and ``GET /v1/models``.

Shape letters: D components, T tokens.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from sightline.errors import InputError
from sightline.models.encoder import Encoder
from sightline.serving.abilities import Abilities
from sightline.serving.embedding_schemas import (
    Content,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Fields,
    ImagePart,
    ImageUrl,
    ModelBody,
    ModelsAnswer,
    TextPart,
    request_schemas,
)
from sightline.serving.engine import Answer
from sightline.serving.errors import ApiError
from sightline.serving.inputs import Reader, check_count, told_to_client
from sightline.serving.service import Served, Service
from sightline.serving.token_ids import decoded
from sightline.types import Item, Part

# Bytes of a body above which it is read on another thread, so that other requests do not wait for it.
_SMALL = 1 << 15
# Vectors above which an answer is written on another thread, for the same reason.
_FEW = 8
_MULTIPART = "multipart/form-data"
_KINDS = (
    "input must be a text, the token ids of one, or a list of inputs: texts, token ids, content parts such as "
    '{"type": "image_url", "image_url": {"url": "data:..."}}, lists of such parts, or {"text": ..., "image": ...}'
)


def router(service: Service) -> APIRouter:
    """Embeddings, and which models there are."""
    routes = APIRouter(prefix="/v1", tags=["models"])
    since = int(time.time())

    @routes.post(
        "/embeddings",
        summary="Embed texts and images",
        response_model=EmbeddingsAnswer,
        openapi_extra={"requestBody": {"required": True, "content": request_schemas()}},
    )
    async def embeddings(request: Request) -> Response:
        """Vectors of texts, images, or both together, as JSON in OpenAI's schema; images also as uploaded parts."""
        served = service.current
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == _MULTIPART:
            limit = service.settings.max_images
            async with request.form(max_files=limit, max_fields=16) as form:
                wanted, uploads = _form_request(form), await _files(form)
            check_count(len(uploads), service.settings, "file")
            items = await service.in_thread(_uploaded, service, served, uploads)
        else:
            body = await request.body()
            if len(body) > _SMALL:
                wanted, items = await service.in_thread(_json_request, service, served, body)
            else:
                wanted, items = _json_request(service, served, body)
        _check(served, wanted)
        role = "query" if wanted.input_type in ("query", "search_query") else "document"
        with told_to_client("input"):
            answer = await served.engine.embedded(items, role, wanted.dimensions)
        if len(answer.rows) > _FEW:
            content = await service.in_thread(_rendered, served, wanted, answer)
        else:
            content = _rendered(served, wanted, answer)
        return Response(content, media_type="application/json")

    @routes.get("/models", summary="The models that are served")
    async def models() -> ModelsAnswer:
        """The encoder and, where there is one, the reranker, as OpenAI lists models."""
        return ModelsAnswer(data=_models(service.current, since))

    @routes.get("/models/{name:path}", summary="One model")
    async def model(name: str) -> ModelBody:
        """Facts of the model with this name."""
        for one in _models(service.current, since):
            if one.id == name:
                return one
        raise unknown_model(name, [one.id for one in _models(service.current, since)])

    return routes


def unknown_model(name: str, known: Sequence[str]) -> ApiError:
    """OpenAI's answer for a model that is not there."""
    return ApiError(
        404,
        f"the model {name[:100]!r} does not exist here; there is {' and '.join(map(repr, known))}",
        code="model_not_found",
        param="model",
    )


def _models(served: Served, since: int) -> list[ModelBody]:
    able, reranker = served.engine.abilities, served.engine.reranker
    found = []
    if able is not None:
        found.append(
            ModelBody(
                id=served.model,
                created=since,
                kind="embedding",
                modalities=list(able.modalities),
                dimensions=able.given_dim,
                max_tokens=able.max_tokens,
            )
        )
    if reranker is not None and served.reranker is not None:
        found.append(
            ModelBody(
                id=served.reranker,
                created=since,
                kind="reranker",
                modalities=list(reranker.modalities),
                dimensions=None,
                max_tokens=reranker.max_tokens,
            )
        )
    return found


def _able(served: Served) -> Abilities:
    """What the service's encoder takes and gives."""
    abilities = served.engine.abilities
    if abilities is None:
        raise ApiError(501, "this service has no embedding model")
    return abilities


def _check(served: Served, wanted: EmbeddingsRequest) -> None:
    """Refuses what this model cannot follow."""
    width = _able(served).dim
    if wanted.model is not None and wanted.model != served.model:
        raise unknown_model(wanted.model, [served.model])
    if wanted.dimensions is not None and wanted.dimensions > width:
        raise ApiError(400, f"the model's vectors have {width} dimensions", param="dimensions")


# From requests to items


def _json_request(service: Service, served: Served, body: bytes) -> tuple[EmbeddingsRequest, list[Item]]:
    try:
        wanted = EmbeddingsRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from error
    return wanted, _items(service, served, wanted)


def _refusal(error: ValidationError) -> Exception:
    """What is wrong with a request, as FastAPI reports it; of an input that fits none of the kinds, which there are."""
    problems = error.errors(include_url=False, include_input=False)
    if problems[0]["loc"][:1] == ("input",):
        return ApiError(400, _KINDS, code="invalid_value", param="input")
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in problems])


def _items(service: Service, served: Served, wanted: EmbeddingsRequest) -> list[Item]:
    able, reader = _able(served), Reader(service.settings)
    if (wanted.input is None) == (wanted.messages is None):
        raise ApiError(400, "give input, or messages, and not both", param="input")
    if wanted.messages is not None:
        if "message" not in able.modalities:
            raise ApiError(400, "this model reads no chat messages; give input", param="messages")
        check_count(len(wanted.messages), service.settings, "messages")
        parts = [
            Part(part.modality, part.value, message.role)
            for message in wanted.messages
            for part in _contents(reader, message.content, "messages")
        ]
        return [_supported(able, reader.item(parts, 0, is_message=True), "messages")]
    given: list[Any] = wanted.input if isinstance(wanted.input, list) else [wanted.input]
    if given and isinstance(given[0], int):
        given = [given]
    check_count(len(given), service.settings, "input")
    return [
        _supported(able, reader.item(_parts(reader, able.encoder, one), number), "input")
        for number, one in enumerate(given)
    ]


def _parts(reader: Reader, encoder: Encoder, one: Any) -> list[Part]:
    """The parts of one input."""
    if isinstance(one, str):
        return [reader.text(one, "input")]
    if isinstance(one, Fields):
        found = [] if one.text is None else [reader.text(one.text, "input")]
        return found if one.image is None else [*found, reader.image(one.image, "input")]
    if isinstance(one, Content):
        return _contents(reader, one.content, "input")
    if isinstance(one, (TextPart, ImagePart)):
        return _contents(reader, [one], "input")
    if one and isinstance(one[0], int):
        try:
            return [reader.text(decoded(encoder, one), "input")]
        except InputError as error:
            raise ApiError(400, str(error), param="input") from error
    return _contents(reader, one, "input")


def _contents(reader: Reader, content: str | Sequence[TextPart | ImagePart], param: str) -> list[Part]:
    if isinstance(content, str):
        return [reader.text(content, param)]
    parts = []
    for part in content:
        if isinstance(part, TextPart):
            parts.append(reader.text(part.text, param))
        else:
            place = part.image_url
            parts.append(reader.image(place.url if isinstance(place, ImageUrl) else place, param))
    return parts


def _supported(able: Abilities, item: Item, param: str) -> Item:
    if not item.parts:
        raise ApiError(400, f"{item.source} is empty", param=param)
    if not able.supports(item.modalities):
        kinds = " and ".join(sorted(item.modalities))
        together = " together" if len(item.modalities) > 1 else ""
        raise ApiError(
            400,
            f"{item.source} is {kinds}; this model reads {', '.join(able.modalities)}, not {kinds}{together}",
            param=param,
        )
    return item


async def _files(form: FormData) -> list[bytes]:
    files = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in ("file", "files", "file[]"):
                raise ApiError(400, f"images come as parts named file, not {name[:100]!r}", param="file")
            files.append(await value.read())
    return files


def _form_request(form: FormData) -> EmbeddingsRequest:
    """The fields beside the files; forms carry everything as text."""
    fields: Mapping[str, Any] = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if "input" in fields or "messages" in fields:
        raise ApiError(
            400, "in a multipart request the files are the input; send texts as JSON", param="input"
        )
    try:
        return EmbeddingsRequest.model_validate_strings(fields)
    except ValidationError as error:
        raise _refusal(error) from error


def _uploaded(service: Service, served: Served, files: Sequence[bytes]) -> list[Item]:
    able, reader = _able(served), Reader(service.settings, "file")
    return [
        _supported(able, reader.item([reader.upload(content, "file")], number), "file")
        for number, content in enumerate(files)
    ]


# From rows to an answer


def _rendered(served: Served, wanted: EmbeddingsRequest, answer: Answer) -> bytes:
    able = _able(served)
    cut = wanted.dimensions is not None and wanted.dimensions < able.dim
    rows = [_unit(row) for row in answer.rows] if cut and able.unit_length else answer.rows
    data = [
        {"object": "embedding", "index": number, "embedding": _encoded(row, wanted.encoding_format)}
        for number, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens}
    found = {"object": "list", "data": data, "model": served.model, "usage": usage}
    return json.dumps(found, separators=(",", ":"), allow_nan=False).encode()


def _unit(row: np.ndarray) -> np.ndarray:
    """A prefix (D,) or (T, D) at unit length, as OpenAI gives it: clients compare such vectors by dot product."""
    lengths = np.linalg.norm(row, axis=-1, keepdims=True)
    unit: np.ndarray = row / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _encoded(row: np.ndarray, encoding: str) -> Any:
    # Base64 has no shape, so token vectors come as numbers in any case; clients that asked for base64 take them.
    if encoding == "base64" and row.ndim == 1:
        return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode("ascii")
    return row.tolist()
