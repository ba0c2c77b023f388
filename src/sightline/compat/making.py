"""How one of ST's loss classes becomes one of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sightline.compat.models import inner_of
from sightline.errors import ConfigError
from sightline.losses.base import Loss

# ST's argument -> our argument and how a value is converted; or None and whether a value can be left aside.
Rule = tuple[str | None, Callable[[Any], Any]]


@dataclass(frozen=True)
class Guided:
    """A loss with the model that finds its false negatives; the trainer takes the two apart.

    Attributes:
        loss: the loss.
        guide: the model.
    """

    loss: Loss
    guide: Any


def maker(make: Callable[..., Any], **rules: Rule) -> Callable[..., Any]:
    """A function that is called like ST's class, the model first.

    Args:
        make: makes ours.
        rules: ST's arguments after the model, in its order.
    """

    def called(model: Any, *args: Any, **options: Any) -> Any:
        given = {**dict(zip(rules, args, strict=False)), **options}
        unknown = sorted(set(given) - set(rules))
        if unknown or len(args) > len(rules):
            raise ConfigError(f"{(unknown or ['an argument'])[0]} has no equal here; leave it out")
        found: dict[str, Any] = {}
        for name, value in given.items():
            ours, convert = rules[name]
            if ours is not None:
                found[ours] = convert(value)
            elif not convert(value):
                raise ConfigError(f"{name}={value!r} has no equal here; leave it out")
        inner = found.get("loss")
        if isinstance(inner, Guided):
            return Guided(make(**found | {"loss": inner.loss}), inner.guide)
        return make(**found)

    return called


def without_guides(loss: Any) -> tuple[Any, Any]:
    """The loss, or losses by dataset, as our `Trainer` takes them, and their guide or None.

    Raises:
        ConfigError: several guides.
    """
    if not isinstance(loss, Mapping):
        return (loss.loss, inner_of(loss.guide)) if isinstance(loss, Guided) else (loss, None)
    apart = {name: without_guides(one) for name, one in loss.items()}
    guides = {id(guide): guide for _, guide in apart.values() if guide is not None}
    if len(guides) > 1:
        raise ConfigError(
            f"a run has one guide, and the losses have {len(guides)}; give all of them the same"
        )
    return {name: one for name, (one, _) in apart.items()}, next(iter(guides.values()), None)


def similarity(function: Any) -> str:
    """Ours of a function like ``util.dot_score`` or of a `SimilarityFunction`."""
    if function is None:
        return "cosine"
    name = getattr(function, "value", None) or getattr(function, "__name__", str(function))
    name = str(name).removeprefix("pytorch_").removeprefix("pairwise_")
    return {"cos_sim": "cosine", "dot_score": "dot"}.get(name, name)


def distance(metric: Any) -> str:
    """Ours of a member of one of ST's distances, or of its name."""
    name = getattr(metric, "name", None) or getattr(metric, "__name__", str(metric))
    return str(name).lower().removesuffix("_distance")


def activation(function: Any) -> str:
    """Ours of an activation module; None is the identity."""
    return "identity" if function is None else type(function).__name__.lower()


def same(value: Any) -> Any:
    """The value."""
    return value


# The step and the plan of memory decide these, and logarithms here need no small number added.
UNUSED: Rule = (None, lambda _: True)
IDENTITY: Rule = (None, lambda function: activation(function) == "identity")
ACTIVATION: Rule = ("activation", activation)
SCALE: Rule = ("temperature", lambda scale: 1 / scale)
SIMILARITY: Rule = ("similarity", similarity)
DISTANCE: Rule = ("distance", distance)
LOSS: Rule = ("loss", same)
