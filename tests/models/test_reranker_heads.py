"""Rerankers out of language models: which logits are computed, pooled heads, pairs of any modality, wrong input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline.errors import InputError, MediaError
from sightline.inputs.pairs import parse_pair
from sightline.models.reranker import Reranker
from sightline.types import MicroBatch
from support.tiny_answers import gemma2_answers, qwen3_answers, qwen3_vl_answers
from support.tiny_rerankers import PAIRS, bert_scores


def load(folder: Path, **options: Any) -> Reranker:
    return Reranker.from_pretrained(folder, device="cpu", **options)


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3_answers(tmp_path_factory.mktemp("answers") / "qwen3")


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen3_vl_answers(tmp_path_factory.mktemp("answers") / "qwen3-vl")


@pytest.fixture
def text(text_folder: Path) -> Reranker:
    return load(text_folder)


@pytest.fixture
def vision(image_folder: Path) -> Reranker:
    return load(image_folder)


def mixed(pictures: list[Image.Image]) -> list[Any]:
    """Pairs of every kind a vision-language model reads."""
    return [
        ("costs of the plant", pictures[0]),
        (pictures[1], "a page"),
        (pictures[2], pictures[3]),
        ({"text": "like this", "image": pictures[0]}, {"image": [pictures[1], pictures[2]], "text": "both"}),
        ("costs of the plant", "a table of operating costs"),
        ("", "a page"),
    ]


def whole_logits(reranker: Reranker, pair: Any) -> torch.Tensor:
    """(V,) logits after the last token, as transformers computes them."""
    features = reranker.preprocessor(parse_pair(pair, modalities=reranker.modalities)).values
    rows = {name: value.unsqueeze(0) if value.ndim == 1 else value for name, value in features.items()}
    normalization = reranker.backbone.processor.normalization
    if "pixel_values" in rows and normalization is not None:
        rows["pixel_values"] = normalization(rows["pixel_values"])
    return reranker.backbone.model(**rows).logits[0, -1]


# The answer


def test_scores_are_the_log_odds_of_the_two_words(
    text: Reranker, vision: Reranker, pictures: list[Image.Image]
) -> None:
    for reranker, pairs in ((text, PAIRS), (vision, mixed(pictures))):
        yes, no = reranker.backbone.answers
        assert [reranker.backbone.processor.tokenizer.decode([one]) for one in (yes, no)] == ["yes", "no"]
        with torch.no_grad():
            logits = [whole_logits(reranker, pair) for pair in pairs]
        wanted = np.array([float(one[yes] - one[no]) for one in logits])
        found = reranker.predict(pairs, activation=nn.Identity())
        assert wanted.std() > 0.1
        assert np.abs(found - wanted).max() <= 1e-5
        assert np.abs(reranker.predict(pairs) - 1 / (1 + np.exp(-wanted))).max() <= 1e-5


def test_no_logits_of_the_vocabulary_are_computed(
    text: Reranker, vision: Reranker, pictures: list[Image.Image]
) -> None:
    asked: list[Any] = []
    for reranker, pairs in ((text, PAIRS), (vision, mixed(pictures))):
        reranker.backbone.model.lm_head.register_forward_hook(lambda *call: asked.append(call))
        reranker.predict(pairs)
        assert asked == []


def test_gradients_are_those_of_all_logits(text: Reranker) -> None:
    pairs = PAIRS[:3]
    features = text.preprocessor.many([parse_pair(pair) for pair in pairs])
    text(text.collate(features, range(3))).sum().backward()
    found = {name: value.grad.clone() for name, value in text.named_parameters()}
    text.zero_grad()
    yes, no = text.backbone.answers
    torch.stack([whole_logits(text, pair)[[yes, no]] for pair in pairs]).diff(dim=1).neg().sum().backward()
    for name, value in text.named_parameters():
        assert value.grad is not None
        limit = 1e-5 * max(1.0, value.grad.abs().max().item())
        assert (found[name] - value.grad).abs().max().item() <= limit, name
    head = found["parts.0.model.lm_head.weight"]
    assert head.abs().sum(1).nonzero().flatten().tolist() == sorted((yes, no))


def test_a_model_that_caps_its_logits_is_run_whole(tmp_path: Path) -> None:
    reranker = load(gemma2_answers(tmp_path / "gemma2"))
    yes, no = reranker.backbone.answers
    with torch.no_grad():
        logits = [whole_logits(reranker, pair) for pair in PAIRS]
    assert max(float(one.abs().max()) for one in logits) > 0.9, "the cap of 1 shows"
    wanted = np.array([float(one[yes] - one[no]) for one in logits])
    assert np.abs(reranker.predict(PAIRS, activation=nn.Identity()) - wanted).max() <= 1e-5
    assert not reranker.packed_groups


def test_padding_and_micro_batches_change_no_score(
    text: Reranker, vision: Reranker, pictures: list[Image.Image]
) -> None:
    for reranker, pairs in ((text, PAIRS), (vision, mixed(pictures))):
        alone = np.concatenate([reranker.predict([pair]) for pair in pairs])
        for budget in (1, 200, 100_000):
            assert np.abs(reranker.predict(pairs, token_budget=budget) - alone).max() <= 1e-5


def test_pairs_are_planned_by_cost(vision: Reranker, pictures: list[Image.Image]) -> None:
    seen: list[MicroBatch] = []
    vision.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    pairs = [(f"query {number}", pictures[number % 4]) for number in range(8)]
    vision.predict(pairs, token_budget=150)
    assert sum(len(batch) for batch in seen) == len(pairs)
    assert len(seen) > 1
    assert all(batch.cost.patches > 0 for batch in seen)


def test_half_precision_keeps_the_digits_of_the_difference(text_folder: Path, text: Reranker) -> None:
    half = load(text_folder, dtype="bfloat16")
    scores = half.predict(PAIRS, activation=nn.Identity())
    assert not torch.tensor(scores).bfloat16().float().equal(torch.tensor(scores))
    assert np.abs(scores - text.predict(PAIRS, activation=nn.Identity())).max() < 0.2


# Pooling and a linear layer


def test_a_pooled_language_model_begins_with_the_scores_of_its_answers(
    text_folder: Path, image_folder: Path, pictures: list[Image.Image]
) -> None:
    for folder, pairs in ((text_folder, PAIRS), (image_folder, mixed(pictures))):
        answer, pooled = load(folder), load(folder, head="pooled")
        assert type(pooled.parts[-1]).__name__ == "Dense"
        assert np.abs(pooled.predict(pairs) - answer.predict(pairs)).max() <= 1e-5


def test_other_words(text_folder: Path) -> None:
    swapped = load(text_folder, answers=("no", "yes"))
    raw = load(text_folder).predict(PAIRS, activation=nn.Identity())
    assert np.abs(swapped.predict(PAIRS, activation=nn.Identity()) + raw).max() <= 1e-5


# Saving


@pytest.mark.parametrize("head", ["answer", "pooled"])
def test_save_and_load(
    head: Any, text_folder: Path, image_folder: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    for folder, pairs in ((text_folder, PAIRS), (image_folder, mixed(pictures))):
        model = load(folder, head=head, prompts={"ask": "Which fits?"}, activation=nn.Tanh())
        wanted = model.predict(pairs, prompt_name="ask")
        model.save_pretrained(tmp_path / folder.name)
        again = load(tmp_path / folder.name)
        assert np.abs(again.predict(pairs, prompt_name="ask") - wanted).max() <= 1e-6
        assert again.modalities == model.modalities
        assert isinstance(again.activation, nn.Tanh)


# Ranking


def test_rank_orders_images_and_gives_them_back(vision: Reranker, pictures: list[Image.Image]) -> None:
    scores = vision.predict([("costs of the plant", picture) for picture in pictures])
    ranked = vision.rank("costs of the plant", pictures, return_documents=True)
    assert [one["corpus_id"] for one in ranked] == np.argsort(-scores, kind="stable").tolist()
    assert all(one["text"] is pictures[one["corpus_id"]] for one in ranked)
    by_image = vision.rank(pictures[0], ["a page of costs", pictures[1]], top_k=1)
    assert len(by_image) == 1


def test_a_single_pair_of_any_kind(vision: Reranker, pictures: list[Image.Image]) -> None:
    for pair in (("costs", pictures[0]), [{"text": "like", "image": pictures[1]}, "a page"]):
        assert vision.predict(pair).shape == (1,)
    assert vision.modalities[:2] == ("text", "image")


# Wrong input


def test_a_modality_that_is_not_read_is_named_with_pair_and_side(
    vision: Reranker, text: Reranker, pictures: list[Image.Image]
) -> None:
    sound = {"array": np.zeros(1600, dtype=np.float32), "sampling_rate": 16_000}
    with pytest.raises(InputError, match=r"pair 1, document: this model reads .*not audio"):
        vision.predict([("a", "b"), ("a", sound)])
    with pytest.raises(InputError, match=r"pair 2, query: this model reads text, not image"):
        text.predict([("a", "b"), ("a", "c"), (pictures[0], "b")])
    unchecked = parse_pair(("a", pictures[0]), source="row 7")
    with pytest.raises(InputError, match=r"row 7, document: the model reads pairs of text, not image"):
        text.preprocessor(unchecked)


def test_images_whose_tokens_a_limit_cuts_off_are_named(
    image_folder: Path, pictures: list[Image.Image]
) -> None:
    short = load(image_folder, processor_kwargs={"model_max_length": 40})
    with pytest.raises(InputError, match=r"pair 1, document: the limit of 40 tokens cuts off .*placeholder"):
        short.predict([("a", "b"), ("costs of the plant " * 9, pictures[0])])
    with pytest.raises(InputError, match=r"pair 0, query and document: the limit"):
        short.predict([(pictures[0], {"text": "a page " * 9, "image": pictures[1]})])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("a", [{"role": "user", "content": "b"}]), "pair 1, document: chat messages cannot be one side"),
        (("a", None), "pair 1, document: the value is missing"),
        ((float("nan"), "a"), "pair 1, query: the value is missing"),
        (({"text": "a", "sound": "b"}, "c"), "pair 1, query: unknown key 'sound'"),
        (("a",), "pair 1: expected a pair .* found a tuple of 1"),
    ],
)
def test_what_is_no_pair_is_named(pair: Any, message: str, vision: Reranker) -> None:
    with pytest.raises(InputError, match=message):
        vision.predict([("a", "b"), pair])


def test_an_image_that_cannot_be_opened_is_named_with_its_side(vision: Reranker, tmp_path: Path) -> None:
    broken = tmp_path / "page.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(MediaError, match=r"pair 1, document"):
        vision.predict([("a", "b"), ("a", broken)])
    with pytest.raises(MediaError, match=r"page\.png"):
        vision.rank("a", [broken])


def test_a_template_that_refuses_a_pair_is_an_input_error(vision: Reranker) -> None:
    processor = vision.backbone.processor.processor
    processor.chat_template = "{{ raise_exception('only users may speak') }}"
    with pytest.raises(InputError, match="only users may speak"):
        vision.predict([("a", "b")])


def test_a_bare_encoder_takes_a_pooled_head_of_several_labels(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    model = load(tiny("bert"), head="pooled", num_labels=2)
    assert model.predict(PAIRS).shape == (len(PAIRS), 2)
    assert isinstance(model.activation, nn.Identity)
    classifier = load(bert_scores(tmp_path / "bert"))
    assert classifier.modalities == ("text",)


def test_media_that_the_template_leaves_out_are_refused(
    image_folder: Path, pictures: list[Image.Image]
) -> None:
    texts_only = load(image_folder, preset="qwen3-reranker")
    assert texts_only.modalities == ("text",)
    assert texts_only.predict([("a", "b")]).shape == (1,)
    with pytest.raises(InputError, match=r"pair 0, document: this model reads text, not image"):
        texts_only.predict([("a", pictures[0])])


def test_a_long_text_behind_an_image_is_cut_and_the_question_closed(
    image_folder: Path, pictures: list[Image.Image]
) -> None:
    """The score is read after the last token, which has to be the template's."""
    short = load(image_folder, processor_kwargs={"model_max_length": 80})
    pairs = [("costs", {"image": pictures[0], "text": "table " * number}) for number in (1, 100, 200)]
    whole, *cut = [short.preprocessor(parse_pair(pair)).values["input_ids"] for pair in pairs]
    tokenizer = short.backbone.processor.tokenizer
    assert tokenizer is not None
    closing = tokenizer("<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    assert len(whole) < 80
    for ids in (whole, *cut):
        assert ids[-len(closing) :].tolist() == closing
    assert all(len(ids) == 80 for ids in cut)
    scores = short.predict(pairs)
    assert scores[1] == scores[2] != scores[0]
