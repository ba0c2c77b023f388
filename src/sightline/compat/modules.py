"""ST's modules, of which scripts compose models, as descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from sightline.checkpoint.adapters import processor_folder
from sightline.checkpoint.backbones import keyword_groups, processor_arguments, read_config
from sightline.checkpoint.processors import load_processor
from sightline.compat.options import refuse, refuse_unknown
from sightline.errors import ConfigError
from sightline.inputs.processor import part_of
from sightline.models.encoder import Encoder
from sightline.models.loading import locate
from sightline.models.routing import compose
from sightline.modules import heads, pooling
from sightline.modules.base import Module
from sightline.modules.router import RouteKey


class Transformer:
    """What a `CrossEncoder` or a `SentenceTransformer` is made of; nothing of it is loaded yet but its processor.

    Its ``processor.chat_template`` may be changed, for a `CrossEncoder`.

    Args:
        model_name_or_path: folder, or name on the Hub.
        transformer_task: what the model is loaded for; a `CrossEncoder` goes by its other modules.
        model_kwargs, processor_kwargs, config_kwargs: as of `Encoder.from_pretrained`.
        processing_kwargs: of a `CrossEncoder`, ``{"chat_template": {"add_generation_prompt": True}}``.
        max_seq_length: tokens an item is cut at.
        unpad_inputs: changes nothing: texts run without padding wherever the model can.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigError: an argument of ST's that has no equal here.
    """

    def __init__(
        self, model_name_or_path: str, *, transformer_task: str = "feature-extraction",
        model_kwargs: Mapping[str, Any] | None = None, processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        processing_kwargs: Mapping[str, Mapping[str, Any]] | None = None, backend: str = "torch",
        unpad_inputs: bool | None = None, max_seq_length: int | None = None, do_lower_case: bool = False,
        tokenizer_name_or_path: str | None = None, **others: Any,
    ) -> None:  # fmt: skip
        refuse(
            "Transformer",
            backend=(backend != "torch", "export the saved folder with Sentence Transformers"),
            do_lower_case=(do_lower_case, "lower-case the texts"),
            tokenizer_name_or_path=(
                tokenizer_name_or_path not in (None, model_name_or_path), "save the tokenizer with the model",
            ),
        )  # fmt: skip
        refuse_unknown("Transformer", others)
        self.name, self.task = model_name_or_path, transformer_task
        self.model_kwargs, self.processor_kwargs = named_dtype(model_kwargs), dict(processor_kwargs or {})
        self.config_kwargs, self.processing_kwargs = dict(config_kwargs or {}), dict(processing_kwargs or {})
        if max_seq_length is not None:
            self.processor_kwargs["model_max_length"] = max_seq_length
        self.processor = read_processor(model_name_or_path, self.processor_kwargs, self.config_kwargs)
        self.tokenizer = part_of(self.processor, "tokenizer") or self.processor

    @cached_property
    def model(self) -> Any:
        """transformers' model, to look at its weights; of a `CrossEncoder` made of this, that model's own."""
        from transformers import AutoModel

        return AutoModel.from_pretrained(self.name, dtype=self.model_kwargs.get("dtype", torch.float32))

    @cached_property
    def backbone(self) -> Module:
        """Ours, the same one in every route that this stands in."""
        refuse(
            "Transformer",
            processing_kwargs=(
                bool(self.processing_kwargs),
                "they are for a CrossEncoder; save them with the model",
            ),
        )
        found: Encoder = Encoder.from_pretrained(
            self.name, model_kwargs=self.model_kwargs, processor_kwargs=self.processor_kwargs,
            config_kwargs=self.config_kwargs,
        )  # fmt: skip
        backbone = found.parts[0]
        assert isinstance(backbone, Module)
        return backbone

    def get_embedding_dimension(self) -> int:
        """Hidden size."""
        return int(self.model.get_input_embeddings().weight.shape[1])


def read_processor(
    name_or_path: str, processor_kwargs: Mapping[str, Any], config_kwargs: Mapping[str, Any]
) -> Any:
    """transformers' processor of a checkpoint, as our models load it: also where torchvision is not installed."""
    folder, options = locate(
        name_or_path, dtype=None, model_kwargs=None, processor_kwargs=processor_kwargs, config_kwargs=config_kwargs,
        trust_remote_code=False,
    )  # fmt: skip
    kwargs = keyword_groups({}, options)
    kind = read_config(folder, kwargs, options).model_type
    return load_processor(processor_folder(folder, options), kind, **processor_arguments({}, kwargs))


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
        routes = {name: Encoder(built(chain)) for name, chain in self.sub_modules.items()}
        return compose(routes, mappings=self.route_mappings, default=default)


def built(modules: Sequence[Any]) -> list[Module]:
    """Ours of each.

    Raises:
        ConfigError: something that is no part of an encoder.
    """
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


def named_dtype(model_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments for loading a model under the names of today, without those that place it: that is ours."""
    options = dict(model_kwargs or {})
    if "torch_dtype" in options:
        options["dtype"] = options.pop("torch_dtype")
    options.pop("device_map", None)
    return options
