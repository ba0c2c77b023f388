"""ST's modules, of which scripts compose models, as descriptions; and the models of ours made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.routing import compose, match_types
from sightline.modules import heads, pooling
from sightline.modules.base import Module
from sightline.modules.router import RouteKey


class Transformer:
    """What a `CrossEncoder` or a `SentenceTransformer` is made of; nothing of it is loaded yet but its processor.

    Its ``processor.chat_template`` may be changed, for a `CrossEncoder`.
    """

    def __init__(
        self, model_name_or_path: str, *, transformer_task: str = "feature-extraction",
        model_kwargs: Mapping[str, Any] | None = None, processor_kwargs: Mapping[str, Any] | None = None,
        processing_kwargs: Mapping[str, Any] | None = None, max_seq_length: int | None = None, **_: Any,
    ) -> None:  # fmt: skip
        from transformers import AutoProcessor

        self.name, self.task = model_name_or_path, transformer_task
        self.model_kwargs, self.processor_kwargs = named_dtype(model_kwargs), dict(processor_kwargs or {})
        if max_seq_length is not None:
            self.processor_kwargs["model_max_length"] = max_seq_length
        self.processor = AutoProcessor.from_pretrained(model_name_or_path, **self.processor_kwargs)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)

    @cached_property
    def model(self) -> Any:
        """transformers' model, to look at its weights."""
        from transformers import AutoModel

        return AutoModel.from_pretrained(self.name, dtype=self.model_kwargs.get("dtype", torch.float32))

    @cached_property
    def backbone(self) -> Module:
        """Ours, the same one in every route that this stands in."""
        found: Encoder = Encoder.from_pretrained(
            self.name, model_kwargs=self.model_kwargs, processor_kwargs=self.processor_kwargs
        )
        backbone = found.parts[0]
        assert isinstance(backbone, Module)
        return backbone

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
    """Which vector stands for an item; for the pair of a `CrossEncoder` it is the last token's."""

    embedding_dimension: int
    pooling_mode: str | Sequence[str] = "mean"
    include_prompt: bool = True

    def build(self) -> Module:
        """Ours."""
        mode = self.pooling_mode
        return pooling.Pooling(
            self.embedding_dimension,
            mode if isinstance(mode, str) else tuple(mode),
            include_prompt=self.include_prompt,
        )


@dataclass(frozen=True)
class Dense:
    """A linear layer; in a `CrossEncoder` the one that gives the score."""

    in_features: int
    out_features: int
    bias: bool = True
    activation_function: Any = field(default_factory=nn.Tanh)
    init_weight: Any = None
    init_bias: Any = None
    module_input_name: str = heads.POOLED
    module_output_name: str | None = None
    use_residual: bool = False

    def build(self) -> Module:
        """Ours."""
        made = heads.Dense(
            self.in_features,
            self.out_features,
            bias=self.bias,
            activation=self.activation_function or nn.Identity(),
            input_name=self.module_input_name,
            output_name=self.module_output_name,
            residual=self.use_residual,
        )
        with torch.no_grad():
            if self.init_weight is not None:
                made.linear.weight.copy_(torch.as_tensor(self.init_weight))
            if self.init_bias is not None:
                made.linear.bias.copy_(torch.as_tensor(self.init_bias))
        return made


@dataclass(frozen=True)
class Normalize:
    """Vectors of length 1."""

    module_input_name: str = heads.POOLED
    module_output_name: str | None = None

    def build(self) -> Module:
        """Ours."""
        return heads.Normalize(input_name=self.module_input_name, output_name=self.module_output_name)


@dataclass(frozen=True)
class Router:
    """A chain of modules per role or modality: descriptions like these, or those of a loaded model."""

    sub_modules: Mapping[str, Sequence[Any]]
    default_route: str | None = None
    allow_empty_key: bool = True
    route_mappings: Mapping[RouteKey, str] | None = None

    @classmethod
    def for_query_document(
        cls, query_modules: Sequence[Any], document_modules: Sequence[Any],
        default_route: str | None = "document", allow_empty_key: bool = True,
    ) -> Router:  # fmt: skip
        """A chain for queries, and one for documents."""
        chains = {"query": query_modules, "document": document_modules}
        return cls(chains, default_route=default_route, allow_empty_key=allow_empty_key)

    def build(self) -> Module:
        """Ours."""
        default = self.default_route or (next(iter(self.sub_modules), None) if self.allow_empty_key else None)
        routes = {name: Encoder(_built(chain)) for name, chain in self.sub_modules.items()}
        return compose(routes, mappings=self.route_mappings, default=default)


def composed_encoder(modules: Sequence[Any], device: Any, options: Mapping[str, Any]) -> Encoder:
    """An encoder out of modules.

    Args:
        modules: in order; a `Transformer` or a `Router` first.
        device: where to; by default where the first module is.
        options: of `Encoder`.

    Raises:
        ConfigError: modules that make no encoder.
    """
    encoder = Encoder(_built(modules), **options)
    match_types(list(encoder.parts))
    return encoder.to(device or encoder.device)


def _built(modules: Sequence[Any]) -> list[Module]:
    found: list[Module] = []
    for one in modules:
        if isinstance(one, Module):
            found.append(one)
        elif isinstance(one, Transformer):
            found.append(one.backbone)
        elif isinstance(one, (Pooling, Dense, Normalize, Router)):
            found.append(one.build())
        else:
            raise ConfigError(f"a {type(one).__name__} is no module of an encoder")
    return found


def composed_reranker(modules: Sequence[Any], options: dict[str, Any]) -> Reranker:
    """A reranker out of a `Transformer` and either a `LogitScore` or a `Pooling` and a `Dense`."""
    first, *_, last = modules
    options.pop("num_labels", None)
    _check_reranker(modules)
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


def _check_reranker(modules: Sequence[Any]) -> None:
    for one in modules:
        if isinstance(one, Pooling) and one.pooling_mode != "lasttoken":
            raise ConfigError(f"a CrossEncoder pools the last token here, not {one.pooling_mode!r}")
        if isinstance(one, Dense) and not isinstance(one.activation_function, (nn.Identity, type(None))):
            raise ConfigError(
                "the Dense of a CrossEncoder has no activation here; give activation_function=None"
            )


def named_dtype(model_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    options = dict(model_kwargs or {})
    if "torch_dtype" in options:  # the older name
        options["dtype"] = options.pop("torch_dtype")
    options.pop("device_map", None)  # placement is ours
    return options
