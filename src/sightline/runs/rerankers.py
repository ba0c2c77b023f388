"""A reranker in a run: trained on pairs, measured on top of a first search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import EvaluationConfig, Recipe
from sightline.config.recipe_more import MoreEvaluationConfig
from sightline.errors import ConfigError
from sightline.evaluation.rows import Row
from sightline.evaluation.several import SeveralEvaluators
from sightline.runs import attention, lora
from sightline.runs.encoders import loading
from sightline.runs.first_search import FIRST_SEARCH, FirstSearch, first_search
from sightline.runs.further import further_materials
from sightline.runs.losses import build_loss, fits, inherited_options
from sightline.runs.material import Material
from sightline.runs.more import FIRST, with_losses, with_rows
from sightline.training.seeds import seeded

if TYPE_CHECKING:
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.models.reranker import Reranker
    from sightline.training.distributed import Ranks


class RerankerSubject:
    """See `Subject`."""

    def __init__(self, recipe: Recipe, material: Material, *, seed: int, ranks: Ranks | None = None) -> None:
        self.recipe, self.material, self._seed, self._ranks = recipe, material, seed, ranks
        _check_settings(recipe)
        self.further = further_materials(recipe)
        with seeded(seed):  # a head may be new
            self.model = load_reranker(recipe)
        for one in (material, *self.further.values()):
            one.check(self.model)
        lora.add_adapter(recipe, self.model, seed=seed)
        self._loss = build_loss(recipe, None)
        self.loss = with_losses(recipe, self._loss, None)
        fits(recipe, self.model, self.loss)
        self._first: dict[str, FirstSearch] = {}

    def rows(self) -> Any:
        rows, negatives = with_rows(self.recipe, self.material.rows()), self.recipe.data.negatives
        if not self.recipe.more:
            return self._pairs(rows, negatives)
        wanted = {FIRST: negatives} | {name: table.negatives for name, table in self.recipe.more.items()}
        return {name: self._pairs(some, wanted[name]) for name, some in rows.items()}

    def _pairs(self, rows: Any, negatives: int | None) -> Any:
        from sightline.training.pair_rows import labelled_pairs

        return rows if negatives is None else labelled_pairs(rows, negatives=negatives, seed=self._seed)

    def told(self) -> str:
        taken = ", ".join(self.model.modalities)
        return f"{self.recipe.model.name}: a reranker of {taken}{attention.told(self.recipe)}"

    def inherited(self) -> Mapping[str, Any]:
        values = attention.settled(self.recipe)
        if self.recipe.model.dtype is None:
            values["model.dtype"] = str(self.model.dtype).removeprefix("torch.")
        if self.recipe.model.prompts is None and self.model.prompts:
            values["model.prompts"] = dict(self.model.prompts)
        return values | inherited_options(self.recipe, self._loss)

    def row(self, view: str, name: str, ranks: Ranks | None = None, *, further: str | None = None) -> Row:
        from sightline.evaluation.reranking import rerank_run
        from sightline.evaluation.results import result_of_run

        material = self.material if further is None else self.further[further]
        asked, depth = material.evaluator(view), self._asked(further).candidates
        first = self._first_search(further)
        run = rerank_run(
            self.model, asked.queries, asked.corpus, first.run, depth=depth, **self._prompt(asked, further)
        )
        facts = {"reranked": depth, FIRST_SEARCH: first.told}
        return Row(
            name, view, result_of_run(asked.queries, run, asked.relevant, corpus=asked.corpus, facts=facts)
        )

    def evaluator(self) -> Any:
        from sightline.evaluation.reranking import RerankingEvaluator

        found = []
        tables: list[tuple[str | None, Material]] = [(None, self.material), *self.further.items()]
        for further, material in tables:
            asked = material.evaluator(material.views[0])
            found.append(
                RerankingEvaluator.of_run(
                    asked.queries, asked.corpus, asked.relevant, self._first_search(further).run,
                    depths=(self._asked(further).candidates,), name=further or "",
                    options=self._prompt(asked, further),
                )
            )  # fmt: skip
        return SeveralEvaluators(found) if len(found) > 1 else found[0]

    def _asked(self, further: str | None) -> EvaluationConfig | MoreEvaluationConfig:
        if further is None:
            return self.recipe.evaluation
        found = self.recipe.more[further].evaluation
        assert found is not None
        return found

    def _first_search(self, further: str | None) -> FirstSearch:
        """The same documents before, during and after training."""
        if (name := further or "") not in self._first:
            asked = self._asked(further)
            self._first[name] = first_search(
                self.material if further is None else self.further[further],
                asked.candidates,
                retriever=asked.retriever,
                device=self.recipe.model.device,
                seed=self._seed,
                ranks=self._ranks,
            )
        return self._first[name]

    @staticmethod
    def _prompt(asked: RetrievalEvaluator, further: str | None) -> dict[str, Any]:
        """The prompt of a further table's pairs, which is the one of its questions."""
        prompt = asked.query_options.get("prompt")
        return {} if further is None or prompt is None else {"prompt": prompt}

    def settle(self) -> None:
        return

    def saving(self) -> Mapping[str, Any]:
        return lora.saving(self.recipe)


def _check_settings(recipe: Recipe) -> None:
    """Refuses what a reranker would pass over without a word."""
    given: dict[str, Any] = {"evaluation.dims": recipe.evaluation.dims or None}
    given["model.truncate_dim"] = recipe.model.truncate_dim
    given["model.multi_vector"] = recipe.model.multi_vector or None
    tables = {"loss": recipe.loss} | {f"more.{name}.loss": more.loss for name, more in recipe.more.items()}
    for name, loss in tables.items():
        if loss is not None:
            given |= {f"{name}.matryoshka": loss.matryoshka, f"{name}.layers": loss.layers}
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(
            f"{recipe.source}: a reranker has no vectors to cut or to take from earlier layers; remove "
            f"{', '.join(named)}"
        )
    if recipe.loss.guide is not None:
        raise ConfigError(f"{recipe.source}: a guide is for embedding models; remove loss.guide")


def load_reranker(recipe: Recipe) -> Reranker:
    """The model of `[model]`, with a new head where it has none."""
    from sightline.models.reranker import Reranker

    return Reranker.from_pretrained(recipe.model.name, **_arguments(recipe), **loading(recipe))


def reranker_shape_of(recipe: Recipe) -> Reranker:
    """The same without its weights, which prepares pairs as it does."""
    from sightline.models.skeleton import reranker_shape

    options = {name: value for name, value in loading(recipe).items() if name != "device"}
    return reranker_shape(recipe.model.name, **_arguments(recipe), **options)


def _arguments(recipe: Recipe) -> dict[str, Any]:
    """What of `[model]` only rerankers have."""
    config = recipe.model
    if config.routes or (recipe.lora is not None and recipe.lora.routes):
        raise ConfigError(f"{recipe.source}: a reranker has no routes; remove model.routes and lora.routes")
    answers = None
    if config.answers is not None:
        if len(config.answers) != 2:
            raise ConfigError(f"{recipe.source}: model.answers are two words, not {config.answers}")
        answers = (config.answers[0], config.answers[1])
    return {
        "head": config.head,
        "preset": config.preset,
        "answers": answers,
        "default_prompt_name": config.default_prompt_name,
    }
