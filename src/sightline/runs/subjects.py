"""What a run trains: an interface, and which kind of model a recipe means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sightline.config.recipe import Recipe
from sightline.evaluation.rows import Row
from sightline.runs.material import Material

if TYPE_CHECKING:
    from sightline.losses.base import Loss
    from sightline.training.distributed import Ranks
    from sightline.training.trainer import Evaluator


class Subject(Protocol):
    """A model of a run, with its loss and the way it is measured."""

    @property
    def model(self) -> Any:
        """The model itself, trained in place."""
        ...

    @property
    def loss(self) -> Loss:
        """What is minimised."""
        ...

    def rows(self) -> Any:
        """What the `Trainer` is given to train on."""
        ...

    def told(self) -> str:
        """The model in a line."""
        ...

    def inherited(self) -> Mapping[str, Any]:
        """Dotted key -> value of what `[model]`, `[loss]` and `[evaluation]` leave out."""
        ...

    def row(self, view: str, name: str, ranks: Ranks | None = None, *, further: str | None = None) -> Row:
        """The model, as it is now, on the held-out questions; ``name`` is that of the row.

        With the name of a further table, on the questions of that.
        """
        ...

    @property
    def further(self) -> Mapping[str, Material]:
        """What else the model is measured on, by the name of the further table."""
        ...

    def evaluator(self) -> Evaluator:
        """What measures the model during training, on all it is measured on."""
        ...

    def settle(self) -> None:
        """Puts back into the model what measuring it took away."""
        ...

    def saving(self) -> Mapping[str, Any]:
        """Keyword arguments of ``save_pretrained`` that the recipe decides."""
        ...


def subject_of(recipe: Recipe, material: Material, *, seed: int, ranks: Ranks | None = None) -> Subject:
    """Loads the model of `[model]` and makes the loss of `[loss]`.

    Args:
        recipe: the recipe.
        material: what it is trained and measured on.
        seed: of weights that are drawn.
        ranks: who train it together.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: a value that does not fit the model.
        DataError: the model cannot take what it would be shown.
    """
    if recipe.model.kind == "reranker":
        from sightline.runs.rerankers import RerankerSubject

        return RerankerSubject(recipe, material, seed=seed, ranks=ranks)
    from sightline.runs.encoders import EncoderSubject

    return EncoderSubject(recipe, material, seed=seed)
