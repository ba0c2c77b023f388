"""The models of ours that a list of ST's modules describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.checkpoint.language_heads import Head
from sightline.compat.modules import Dense, LogitScore, Transformer, built
from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.routing import match_types
from sightline.modules import heads
from sightline.modules.calls import chat_template
from sightline.modules.sequence_scores import SCORES


def composed_encoder(modules: Sequence[Any], device: Any, options: Mapping[str, Any]) -> Encoder:
    """An encoder out of modules.

    Args:
        modules: in order; a `Transformer` or a `Router` first.
        device: where to; by default where the first module is.
        options: of `Encoder`.

    Raises:
        ConfigError: modules that make no encoder.
    """
    encoder = Encoder(built(modules), **options)
    match_types(list(encoder.parts))
    return encoder.to(device or encoder.device)


def composed_reranker(modules: Sequence[Any], options: dict[str, Any]) -> Reranker:
    """A reranker out of a `Transformer` and a `LogitScore`; or a `Pooling` and layers of which the last gives scores;
    or nothing more, where the `Transformer` is for sequence classification.

    Raises:
        ConfigError: modules that make no reranker.
    """
    first, *heads_after = modules
    if not isinstance(first, Transformer):
        raise ConfigError(f"a CrossEncoder starts with a Transformer, not with a {type(first).__name__}")
    activation, labels = options.pop("activation", None), options.pop("num_labels", None)
    last = heads_after[-1] if heads_after else None
    head: Head
    words: tuple[str, str] | None
    if isinstance(last, LogitScore):
        head, words = "answer", _answers(first, last)
    elif isinstance(last, Dense):
        # A head of its own takes the place of the one that is made here, so that any two words do.
        known = [token for token in range(3) if token != first.tokenizer.unk_token_id]
        head, words = "pooled", _words(first, known[:2])
    elif last is None and first.task == "sequence-classification":
        head, words = "classification", None
    else:
        raise ConfigError(
            "a CrossEncoder ends with a LogitScore, or with a Dense that writes scores, or is a Transformer for "
            f"sequence-classification alone; these are {', '.join(type(one).__name__ for one in modules)}"
        )
    template = chat_template(first.processor)
    _check_processing(first.processing_kwargs, asks=template is not None and head != "classification")
    found = Reranker.from_pretrained(
        first.name,
        head=head,
        answers=words,
        num_labels=labels if head == "classification" else None,
        activation=activation if head != "pooled" else None,
        model_kwargs=first.model_kwargs,
        processor_kwargs=first.processor_kwargs | ({"chat_template": template} if template else {}),
        config_kwargs=first.config_kwargs,
        **options,
    )
    if head == "pooled":
        found = _with_head(found, heads_after, activation)
    vars(first)["model"] = found.backbone.model  # so that the weights looked at are held once
    return found


def _with_head(reranker: Reranker, described: Sequence[Any], activation: Any) -> Reranker:
    """The reranker with these layers after its body."""
    layers = [one.to(reranker.device, reranker.dtype) for one in built(described)]
    last = layers[-1]
    if not isinstance(last, heads.Dense) or last.output_name != SCORES:
        raise ConfigError(f'the last Dense of a CrossEncoder has module_output_name="{SCORES}"')
    made = Reranker(
        [reranker.backbone, *layers],
        activation=activation,
        prompts=reranker.prompts,
        default_prompt_name=reranker.default_prompt_name,
    )
    made.name_or_path = reranker.name_or_path
    return made.eval()


def _answers(first: Transformer, score: LogitScore) -> tuple[str, str]:
    if score.false_token_id is None:
        raise ConfigError("LogitScore: false_token_id is needed here: the score is the log-odds of two words")
    return _words(first, [score.true_token_id, score.false_token_id])


def _words(first: Transformer, tokens: Sequence[int]) -> tuple[str, str]:
    yes, no = first.tokenizer.convert_ids_to_tokens(list(tokens))
    return yes, no


def _check_processing(given: Mapping[str, Any], *, asks: bool) -> None:
    """Refuses settings other than those that a `Reranker` has."""
    wanted = {"chat_template": {"add_generation_prompt": True}}
    if given and given != wanted:
        raise ConfigError(
            f"Transformer: processing_kwargs={given!r} has no equal here; a CrossEncoder has {wanted}"
        )
    if asks and not given:
        raise ConfigError(
            "a CrossEncoder of a chat model scores the answer that would come next; give its Transformer "
            f"processing_kwargs={wanted}"
        )
