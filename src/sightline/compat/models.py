"""ST's models over ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn.functional import softmax

from sightline.compat.composing import composed_encoder, composed_reranker
from sightline.compat.modules import named_dtype
from sightline.compat.options import refuse, refuse_unknown
from sightline.compat.results import encoded, scored
from sightline.errors import ConfigError
from sightline.inputs.processor import ItemProcessor
from sightline.models.devices import usable_device
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker

_EXPORT = "export the saved folder with Sentence Transformers"


class SentenceTransformerModelCardData:
    """What a script wants said in the model card; the card here is written from the run."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts


CrossEncoderModelCardData = SentenceTransformerModelCardData


class Model(ABC):
    """A model of ours with ST's results; every name that is not here is the model's own, to read and to set.

    Attributes:
        inner: the model.
    """

    inner: Any

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet, as when it is unpickled
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "inner" or name in _PROPERTIES:
            object.__setattr__(self, name, value)
        else:
            setattr(self.inner, name, value)

    @abstractmethod
    def _limit(self) -> int | None:
        """Tokens an item is cut at."""

    @abstractmethod
    def _processors(self) -> list[ItemProcessor]:
        """What cuts items."""

    def _move(self, device: Any) -> None:
        if device is not None:
            self.inner.to(usable_device(device))

    @property
    def max_seq_length(self) -> int | None:
        """Tokens an item is cut at."""
        return self._limit()

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        for items in self._processors():
            if items.tokenizer is not None:
                items.tokenizer.model_max_length = value
        if self._limit() != value:
            raise ConfigError(
                f"max_seq_length = {value}: the checkpoint sets a limit of {self._limit()} in the arguments of its "
                "processor's calls; change it in sentence_bert_config.json"
            )

    max_length = max_seq_length

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves the model, or changes its numbers' type."""
        self.inner.to(*args, **kwargs)
        return self

    def eval(self) -> Self:
        """For use, not training."""
        self.inner.eval()
        return self

    def train(self, mode: bool = True) -> Self:
        """For training; the trainers do it themselves."""
        self.inner.train(mode)
        return self

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | None = None) -> Any:
        """What the evaluator finds."""
        return evaluator(self, output_path)

    def save_pretrained(
        self, path: str | Path, model_name: str | None = None, create_model_card: bool = True,
        train_datasets: Sequence[str] | None = None, safe_serialization: bool = True,
    ) -> None:  # fmt: skip
        """Writes the model and its card, and checks it; a name and datasets for the card are not used."""
        refuse(
            "save_pretrained",
            safe_serialization=(not safe_serialization, "weights are always written as safetensors"),
        )
        self.inner.save_pretrained(path, card=create_model_card)

    save = save_pretrained

    def push_to_hub(
        self, repo_id: str, token: str | bool | None = None, private: bool | None = None,
        safe_serialization: bool = True, commit_message: str | None = None, local_model_path: str | None = None,
        exist_ok: bool = False, replace_model_card: bool = False, train_datasets: Sequence[str] | None = None,
        revision: str | None = None, create_pr: bool = False,
    ) -> str:  # fmt: skip
        """Saves the model and uploads it; see `sightline.models.sharing.push`."""
        refuse(
            "push_to_hub",
            safe_serialization=(not safe_serialization, "weights are always written as safetensors"),
            local_model_path=(local_model_path is not None, "`hf upload` takes a folder to the Hub as it is"),
            replace_model_card=(replace_model_card, "model.inner.push_to_hub(card=...) takes a text"),
        )
        where: str = self.inner.push_to_hub(
            repo_id, token=token, private=private, commit_message=commit_message, exist_ok=exist_ok,
            revision=revision, create_pr=create_pr,
        )  # fmt: skip
        return where


# What has setters of its own here.
_PROPERTIES = ("max_seq_length", "max_length", "activation_fn")


class SentenceTransformer(Model):
    """An `Encoder` with ST's constructor and results."""

    def __init__(
        self, model_name_or_path: str | Path | None = None, *, modules: Sequence[Any] | None = None,
        model_card_data: Any = None, cache_folder: str | None = None, device: Any = None, backend: str = "torch",
        model_kwargs: Mapping[str, Any] | None = None, tokenizer_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        refuse("SentenceTransformer", backend=(backend != "torch", _EXPORT))
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

    def encode(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, batch_size: int = 32,
        show_progress_bar: bool | None = None, output_value: str | None = "sentence_embedding",
        precision: Any = "float32", convert_to_numpy: bool = True, convert_to_tensor: bool = False,
        device: Any = None, normalize_embeddings: bool = False, truncate_dim: int | None = None, pool: Any = None,
        chunk_size: int | None = None, *, role: str | None = None, **others: Any,
    ) -> Any:  # fmt: skip
        """Vectors as an array; (D,) for a single input, else (N, D).

        ``batch_size`` and ``chunk_size`` change nothing: inputs are packed by their tokens and visual patches.

        Raises:
            ConfigError: an option that has no equal here; names it.
        """
        refuse(
            "encode",
            output_value=(output_value != "sentence_embedding", "load a late-interaction model for token vectors"),
            **_one_device(pool, device),
        )  # fmt: skip
        refuse_unknown("encode", others)
        self._move(device)
        found = self.inner.encode(
            inputs, role=role, prompt=prompt, prompt_name=prompt_name, show_progress=show_progress_bar,
            truncate_dim=truncate_dim, normalize=normalize_embeddings,
        )  # fmt: skip
        return encoded(
            inputs,
            found,
            precision=precision or "float32",
            as_tensor=convert_to_tensor,
            as_array=convert_to_numpy,
        )

    def encode_query(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """`encode` for queries."""
        return self.encode(inputs, *args, role="query", **options)

    def encode_document(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """`encode` for documents."""
        return self.encode(inputs, *args, role="document", **options)

    def similarity(self, first: Any, second: Any) -> Any:
        """Similarity (len(first), len(second)) of arrays or tensors."""
        return self.inner.similarity(torch.as_tensor(first), torch.as_tensor(second))

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """Similarity (P,) of arrays or tensors, row by row."""
        return self.inner.similarity_pairwise(torch.as_tensor(first), torch.as_tensor(second))

    def _limit(self) -> int | None:
        found: int | None = self.inner.preprocessor.max_tokens
        return found

    def _processors(self) -> list[ItemProcessor]:
        return [backbone.processor for backbone in self.inner.backbones().values()]

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
        processor_kwargs: Mapping[str, Any] | None = None, backend: str = "torch",
        keep_in_fp32_modules: Sequence[str] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        refuse(
            "CrossEncoder",
            backend=(backend != "torch", _EXPORT),
            keep_in_fp32_modules=(bool(keep_in_fp32_modules), "load all of it in float32 and train with bf16=True"),
        )  # fmt: skip
        processing = dict(processor_kwargs or {}) | ({"model_max_length": max_length} if max_length else {})
        options |= {"activation": activation_fn}
        if modules is not None:
            super().__init__(composed_reranker(modules, options))
            return
        if model_name_or_path is None:
            raise ConfigError("a CrossEncoder needs a model's name, or modules")
        kwargs: dict[str, Any] = {"model_kwargs": named_dtype(model_kwargs), "processor_kwargs": processing}
        super().__init__(
            Reranker.from_pretrained(model_name_or_path, cache_dir=cache_folder, **kwargs, **options)
        )

    @property
    def activation_fn(self) -> Any:
        """What `predict` applies to the scores."""
        return self.inner.activation

    @activation_fn.setter
    def activation_fn(self, value: Any) -> None:
        self.inner.activation = value

    def predict(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, batch_size: int = 32,
        show_progress_bar: bool | None = None, activation_fn: Callable[..., Any] | None = None,
        apply_softmax: bool | None = False, convert_to_numpy: bool = True, convert_to_tensor: bool = False,
        device: Any = None, pool: Any = None, chunk_size: int | None = None, **others: Any,
    ) -> Any:  # fmt: skip
        """Scores of pairs as an array; a number for a single pair.

        ``batch_size`` and ``chunk_size`` change nothing: pairs are packed by their tokens and visual patches.

        Raises:
            ConfigError: an option that has no equal here; names it.
        """
        refuse("predict", **_one_device(pool, device))
        refuse_unknown("predict", others)
        self._move(device)
        activation = activation_fn
        if apply_softmax and self.inner.num_labels > 1:
            before = activation_fn or self.inner.activation
            activation = lambda scores_NL: softmax(before(scores_NL), dim=1)  # noqa: E731
        found = self.inner.predict(
            inputs,
            prompt=prompt,
            prompt_name=prompt_name,
            activation=activation,
            show_progress=show_progress_bar,
        )
        return scored(inputs, found, as_tensor=convert_to_tensor, as_array=convert_to_numpy)

    def _limit(self) -> int | None:
        found: int | None = self.inner.max_tokens
        return found

    def _processors(self) -> list[ItemProcessor]:
        return [self.inner.backbone.processor]

    def rank(
        self, query: Any, documents: Any, top_k: int | None = None, return_documents: bool = False,
        prompt_name: str | None = None, prompt: str | None = None, batch_size: int = 32,
        show_progress_bar: bool | None = None, activation_fn: Callable[..., Any] | None = None, device: Any = None,
        pool: Any = None, chunk_size: int | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """The documents in the order of their fit to a query; see `Reranker.rank`, and `predict` for the options."""
        refuse("rank", **_one_device(pool, device))
        self._move(device)
        found: list[dict[str, Any]] = self.inner.rank(
            query, documents, top_k=top_k, return_documents=return_documents, prompt=prompt,
            prompt_name=prompt_name, activation=activation_fn, show_progress=show_progress_bar,
        )  # fmt: skip
        return found


def inner_of(model: Any) -> Any:
    """The model of ours inside one of these classes."""
    return model.inner if isinstance(model, Model) else model


def _one_device(pool: Any, device: Any) -> dict[str, tuple[bool, str]]:
    several = "start the script with torchrun, or encode parts of the data in processes of your own"
    return {"pool": (pool is not None, several), "device": (isinstance(device, (list, tuple)), several)}
