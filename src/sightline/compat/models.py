"""ST's models over ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sightline.compat.modules import composed_encoder, composed_reranker, named_dtype
from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.types import Embeddings


class SentenceTransformerModelCardData:
    """What a script wants said in the model card; the card here is written from the run."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts


CrossEncoderModelCardData = SentenceTransformerModelCardData


class Model:
    """A model of ours with ST's results; every name that is not here is the model's own.

    Attributes:
        inner: the model.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet, as when it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def save_pretrained(self, path: str | Path, **_: Any) -> None:
        """Writes the model, and checks it."""
        self.inner.save_pretrained(path)

    save = save_pretrained


class SentenceTransformer(Model):
    """An `Encoder` with ST's constructor and results."""

    def __init__(
        self, model_name_or_path: str | Path | None = None, *, modules: Sequence[Any] | None = None,
        model_card_data: Any = None, cache_folder: str | None = None, device: Any = None,
        model_kwargs: Mapping[str, Any] | None = None, tokenizer_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        if modules is not None:
            super().__init__(composed_encoder(modules, device, options))
            return
        if model_name_or_path is None:
            raise ConfigError("a SentenceTransformer needs a model's name, or modules")
        processing = {**(tokenizer_kwargs or {}), **(processor_kwargs or {})}
        kwargs: dict[str, Any] = {"model_kwargs": named_dtype(model_kwargs), "processor_kwargs": processing}
        super().__init__(
            Encoder.from_pretrained(
                model_name_or_path, cache_dir=cache_folder, device=device, **kwargs, **options
            )
        )

    def children(self) -> Iterator[Any]:
        """The modules in order, for the routes of a `Router`."""
        return iter(self.inner.parts)

    def __getitem__(self, place: int) -> Any:
        return self.inner.parts[place]

    def __len__(self) -> int:
        return len(self.inner.parts)

    def encode(self, inputs: Any, **options: Any) -> Any:
        """Vectors as an array; (D,) for a single input, else (N, D)."""
        return _encoded(self.inner.encode, inputs, options)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """`encode` for queries."""
        return _encoded(self.inner.encode_query, inputs, options)

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """`encode` for documents."""
        return _encoded(self.inner.encode_document, inputs, options)

    def similarity(self, first: Any, second: Any) -> Any:
        """Similarity (len(first), len(second)) of arrays or tensors."""
        return self.inner.similarity(torch.as_tensor(first), torch.as_tensor(second))

    def get_embedding_dimension(self) -> int:
        """Components of a vector."""
        return self.inner.truncate_dim or self.inner.embedding_dim

    get_sentence_embedding_dimension = get_embedding_dimension


class CrossEncoder(Model):
    """A `Reranker` with ST's constructor and results."""

    def __init__(
        self, model_name_or_path: str | Path | None = None, *, modules: Sequence[Any] | None = None,
        model_card_data: Any = None, cache_folder: str | None = None, activation_fn: Any = None,
        max_length: int | None = None, model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        processing = dict(processor_kwargs or {}) | ({"model_max_length": max_length} if max_length else {})
        options |= {"activation": activation_fn, "cache_dir": cache_folder}
        if modules is None:
            kwargs: dict[str, Any] = {
                "model_kwargs": named_dtype(model_kwargs),
                "processor_kwargs": processing,
            }
            assert model_name_or_path is not None
            super().__init__(Reranker.from_pretrained(model_name_or_path, **kwargs, **options))
        else:
            super().__init__(composed_reranker(modules, options))

    def predict(
        self, inputs: Any, *, show_progress_bar: bool | None = None, batch_size: int = 0, **options: Any
    ) -> Any:
        """Scores of pairs."""
        return self.inner.predict(inputs, show_progress=show_progress_bar, **options)


def inner_of(model: Any) -> Any:
    """The model of ours inside one of these classes."""
    return model.inner if isinstance(model, Model) else model


def _encoded(encode: Callable[..., Embeddings], inputs: Any, options: dict[str, Any]) -> Any:
    as_tensor = options.pop("convert_to_tensor", False)
    single = isinstance(inputs, (str, bytes, Mapping, Path)) or type(inputs).__module__.startswith("PIL")
    found = encode(
        inputs,
        show_progress=options.pop("show_progress_bar", None),
        normalize=options.pop("normalize_embeddings", False),
        **{
            name: value
            for name, value in options.items()
            if name in ("prompt", "prompt_name", "truncate_dim") and value is not None
        },
    )
    precision = options.get("precision", "float32")
    if precision != "float32":
        found = found.quantize(precision)
    values = found.values if as_tensor else found.numpy()
    return values[0] if single else values
