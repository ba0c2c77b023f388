"""An embedding model in a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.errors import ConfigError
from sightline.evaluation.rows import Row
from sightline.evaluation.several import SeveralEvaluators
from sightline.runs import attention, lora
from sightline.runs.further import further_materials
from sightline.runs.losses import build_loss, fits, inherited_options
from sightline.runs.material import Material
from sightline.runs.more import with_losses, with_rows
from sightline.training.seeds import seeded

if TYPE_CHECKING:
    import datasets

    from sightline.models.encoder import Encoder
    from sightline.training.distributed import Ranks
    from sightline.training.trainer import Evaluator


class EncoderSubject:
    """See `Subject`; while the run measures it, the encoder is at its full dimension."""

    def __init__(self, recipe: Recipe, material: Material, *, seed: int) -> None:
        self.recipe, self.material = recipe, material
        self.further = further_materials(recipe)
        with seeded(seed):  # a projection may be new
            self.model = load_encoder(recipe)
        for one in (material, *self.further.values()):
            one.check(self.model)
        lora.add_adapter(recipe, self.model, seed=seed)
        self._first = build_loss(recipe, self.model.similarity_fn_name)
        self.loss = with_losses(recipe, self._first, self.model.similarity_fn_name)
        fits(recipe, self.model, self.loss)
        self._cut = recipe.model.truncate_dim or self.model.truncate_dim
        self._inherited = self._left_out()
        self.model.truncate_dim = None

    def rows(self) -> datasets.Dataset | dict[str, datasets.Dataset]:
        return with_rows(self.recipe, self.material.rows())

    def told(self) -> str:
        model = self.model
        size = f"{model.embedding_dim} dimensions{attention.told(self.recipe)}"
        return f"{model.name_or_path}: {', '.join(model.modalities)}, {size}"

    def inherited(self) -> Mapping[str, Any]:
        return self._inherited

    def row(self, view: str, name: str, ranks: Ranks | None = None, *, further: str | None = None) -> Row:
        material = self.material if further is None else self.further[further]
        evaluator = material.evaluator(view, dims=self.recipe.evaluated_dims)
        return Row(name, view, evaluator.evaluate(self.model, ranks))

    def evaluator(self) -> Evaluator:
        found = []
        for name, material in {"": self.material, **self.further}.items():
            one = material.evaluator(material.views[0], dims=self.recipe.evaluated_dims, show_progress=False)
            one.name = name
            found.append(one)
        return SeveralEvaluators(found) if len(found) > 1 else found[0]

    def settle(self) -> None:
        self.model.truncate_dim = self._cut

    def saving(self) -> Mapping[str, Any]:
        return lora.saving(self.recipe)

    def _left_out(self) -> dict[str, Any]:
        recipe, model = self.recipe, self.model
        values = attention.settled(recipe)
        if recipe.model.dtype is None:
            values["model.dtype"] = str(model.dtype).removeprefix("torch.")
        if recipe.model.prompts is None and model.prompts:
            values["model.prompts"] = dict(model.prompts)
        if recipe.model.truncate_dim is None and model.truncate_dim is not None:
            values["model.truncate_dim"] = model.truncate_dim
        values |= inherited_options(recipe, self._first)
        if not recipe.evaluation.fields and not recipe.data.columns:
            values["evaluation.fields"] = recipe.evaluated_fields
        if not recipe.evaluation.dims and recipe.evaluated_dims:
            values["evaluation.dims"] = recipe.evaluated_dims
        return values


def load_encoder(recipe: Recipe) -> Encoder:
    """The model of `[model]`."""
    from sightline.models.encoder import Encoder

    config = recipe.model
    _check_settings(recipe)
    if config.routes:
        try:
            routes = {
                name: Encoder.from_pretrained(path, **loading(recipe)) for name, path in config.routes.items()
            }
            encoder = Encoder.from_routes(
                routes,
                dim=config.dim,
                fusion=config.fusion,
                prompts=config.prompts,
                default_prompt_name=config.default_prompt_name,
            )
        except ConfigError as error:
            raise ConfigError(f"{recipe.source}: model.routes: {error}") from None
    else:
        encoder = Encoder.from_pretrained(
            config.name,
            default_prompt_name=config.default_prompt_name,
            multi_vector=config.multi_vector,
            **loading(recipe),
        )
    if encoder.multi_vector and config.truncate_dim is not None:
        raise ConfigError(
            f"{recipe.source}: {encoder.name_or_path} gives a vector per token, and a saved model cannot cut those; "
            "remove model.truncate_dim"
        )
    wanted = [*(recipe.evaluated_dims or []), *([config.truncate_dim] if config.truncate_dim else [])]
    too_wide = [dim for dim in wanted if not 1 <= dim <= encoder.embedding_dim]
    if too_wide:
        raise ConfigError(
            f"{recipe.source}: {encoder.name_or_path} has {encoder.embedding_dim} dimensions; dims and truncate_dim "
            f"must lie between 1 and {encoder.embedding_dim}, not {', '.join(map(str, too_wide))}"
        )
    return encoder


def _check_settings(recipe: Recipe) -> None:
    """Refuses what an encoder would pass over without a word."""
    config = recipe.model
    given: dict[str, Any] = {
        "model.head": config.head,
        "model.preset": config.preset,
        "model.answers": config.answers,
        "evaluation.retriever": recipe.evaluation.retriever,
    }
    for name, table in recipe.more.items():
        given[f"more.{name}.negatives"] = table.negatives
        if table.evaluation is not None:
            given[f"more.{name}.evaluation.retriever"] = table.evaluation.retriever
    if recipe.data.columns:  # the negatives of pages are mined
        given["data.negatives"] = recipe.data.negatives
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(
            f'{recipe.source}: {named[0]} is for a reranker; set model.kind = "reranker", or remove it'
        )
    if config.routes and config.multi_vector:
        raise ConfigError(
            f"{recipe.source}: model.multi_vector is for a single model; remove it, or model.routes"
        )
    if config.multi_vector is not True and config.multi_vector < 0:
        raise ConfigError(
            f"{recipe.source}: model.multi_vector must be at least 1, not {config.multi_vector}"
        )


def load_guide(recipe: Recipe) -> Encoder | None:
    """The model of `loss.guide`, on the device of the one that is trained."""
    from sightline.models.encoder import Encoder

    if recipe.loss.guide is None:
        return None
    return Encoder.from_pretrained(recipe.loss.guide, device=recipe.model.device)


def loading(recipe: Recipe) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained`` that `[model]` says."""
    config = recipe.model
    model_kwargs = dict(config.model_kwargs)
    if (kernel := attention.kernel_of(recipe)) is not None:
        model_kwargs["attn_implementation"] = kernel.name
    processor_kwargs = dict(config.processor_kwargs)
    for name in ("min_pixels", "max_pixels"):
        value = getattr(config, name)
        if value is not None:
            processor_kwargs[name] = value
    return {
        "device": config.device,
        "dtype": config.dtype,
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "prompts": config.prompts,
        "model_kwargs": model_kwargs,
        "processor_kwargs": processor_kwargs,
    }
