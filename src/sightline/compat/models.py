"""ST's models over ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

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
        self, model_name_or_path: str | Path, *, model_card_data: Any = None, cache_folder: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None, tokenizer_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        processing = {**(tokenizer_kwargs or {}), **(processor_kwargs or {})}
        kwargs: dict[str, Any] = {"model_kwargs": _named_dtype(model_kwargs), "processor_kwargs": processing}
        super().__init__(
            Encoder.from_pretrained(model_name_or_path, cache_dir=cache_folder, **kwargs, **options)
        )

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


class Transformer:
    """The language model that a `CrossEncoder` is made of, before anything of it is loaded but its processor.

    Its ``processor.chat_template`` may be changed.
    """

    def __init__(
        self, model_name_or_path: str, *, transformer_task: str = "feature-extraction",
        model_kwargs: Mapping[str, Any] | None = None, processor_kwargs: Mapping[str, Any] | None = None,
        processing_kwargs: Mapping[str, Any] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        from transformers import AutoProcessor

        self.name, self.task = model_name_or_path, transformer_task
        self.model_kwargs, self.processor_kwargs = _named_dtype(model_kwargs), dict(processor_kwargs or {})
        self.processor = AutoProcessor.from_pretrained(model_name_or_path, **self.processor_kwargs)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)

    @cached_property
    def model(self) -> Any:
        """transformers' model, to look at its weights."""
        from transformers import AutoModel

        return AutoModel.from_pretrained(self.name, dtype=self.model_kwargs.get("dtype", torch.float32))

    def get_embedding_dimension(self) -> int:
        """Hidden size."""
        return int(self.model.get_input_embeddings().weight.shape[1])


@dataclass(frozen=True)
class LogitScore:
    """The tokens whose log-odds are the score."""

    true_token_id: int
    false_token_id: int | None = None


@dataclass(frozen=True)
class Pooling:
    """Which vector stands for a pair; a `CrossEncoder` made here takes the last token's."""

    embedding_dimension: int
    pooling_mode: str = "lasttoken"


@dataclass(frozen=True)
class Dense:
    """The linear layer that gives the score."""

    in_features: int
    out_features: int
    bias: bool = True
    activation_function: Any = None
    init_weight: Any = None
    module_output_name: str = "scores"


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
                "model_kwargs": _named_dtype(model_kwargs),
                "processor_kwargs": processing,
            }
            assert model_name_or_path is not None
            super().__init__(Reranker.from_pretrained(model_name_or_path, **kwargs, **options))
        else:
            super().__init__(_composed(modules, options))

    def predict(
        self, inputs: Any, *, show_progress_bar: bool | None = None, batch_size: int = 0, **options: Any
    ) -> Any:
        """Scores of pairs."""
        return self.inner.predict(inputs, show_progress=show_progress_bar, **options)


def _composed(modules: Sequence[Any], options: dict[str, Any]) -> Reranker:
    """A reranker out of a `Transformer` and either a `LogitScore` or a `Pooling` and a `Dense`."""
    first, *_, last = modules
    options.pop("num_labels", None)
    # A linear layer is begun with two words; any two, where its weights are given.
    known = [token for token in range(3) if token != first.tokenizer.unk_token_id]
    tokens = [last.true_token_id, last.false_token_id] if isinstance(last, LogitScore) else known[:2]
    yes, no = first.tokenizer.convert_ids_to_tokens(tokens)
    template = first.processor.chat_template
    found = Reranker.from_pretrained(
        first.name,
        head="answer" if isinstance(last, LogitScore) else "pooled",
        answers=(yes, no),
        model_kwargs=first.model_kwargs,
        processor_kwargs=first.processor_kwargs | ({"chat_template": template} if template else {}),
        **options,
    )
    if isinstance(last, Dense) and last.init_weight is not None:
        with torch.no_grad():
            weight = next(found.parts[-1].parameters())
            weight.copy_(torch.as_tensor(last.init_weight).to(weight.device))
    return found


def inner_of(model: Any) -> Any:
    """The model of ours inside one of these classes."""
    return model.inner if isinstance(model, Model) else model


def _named_dtype(model_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(model_kwargs or {})
    if "torch_dtype" in options:  # the older name
        options["dtype"] = options.pop("torch_dtype")
    options.pop("device_map", None)  # placement is ours
    return options


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
