"""Late interaction equals Sentence Transformers 6.2's MultiVectorEncoder on files of either side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Router
from sentence_transformers.multi_vector_encoder import losses as st_losses
from sentence_transformers.multi_vector_encoder import scoring
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
from torch import Tensor

from sightline.errors import InputError
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.base import Loss
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, MarginMSE
from sightline.models.encoder import Encoder
from sightline.modules.token_pooling import TokenPooling
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from support import tiny_late, tiny_models
from support.tiny_late import DOCUMENTS, QUERIES

FIXED = {"strategy": "fixed", "length": 16}
TEXTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lengths": {"query_length": 9, "document_length": 30},
    "expanded": {"query_expansion": FIXED, "document_length": 30},
    "attending": {"query_expansion": FIXED | {"attend": True}},
    "at least": {"query_expansion": FIXED | {"strategy": "min", "token": "[SEP]"}, "query_length": 20},
}


def near(ours: Sequence[Tensor], theirs: Sequence[Tensor], limit: float = 1e-5) -> None:
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert not one.numel() or (one - other).abs().max() <= limit


def agree(
    ours: Encoder, theirs: Any, queries: Sequence[Any] = QUERIES, documents: Sequence[Any] = DOCUMENTS
) -> None:
    """Same tokens, vectors and scores, asked as queries, as documents and without a role."""
    asked, found = ours.encode_query(queries), ours.encode_document(documents)
    their_asked, their_found = theirs.encode_query(queries), theirs.encode_document(documents)
    near(asked.tokens(), their_asked)
    near(found.tokens(), their_found)
    near(ours.encode(documents).tokens(), theirs.encode(list(documents)))
    # Sums over the tokens of a query: each is off by what its tokens are.
    limit = 1e-5 * max(1, max(len(one) for one in their_asked))
    scores, wanted = ours.similarity(asked, found), theirs.similarity(their_asked, their_found)
    assert (scores - wanted).abs().max() <= limit
    count = min(len(queries), len(documents))
    pairs = theirs.similarity_pairwise(their_asked[:count], their_found[:count])
    assert (ours.similarity_pairwise(asked[:count], found[:count]) - pairs).abs().max() <= limit


def both_ways(folder: Path, theirs: Any, **inputs: Any) -> Encoder:
    """We read what ST saved, ST reads what we saved, and all agree."""
    theirs.save_pretrained(str(folder / "theirs"))
    ours = Encoder.from_pretrained(folder / "theirs", device="cpu")
    agree(ours, theirs, **inputs)
    ours.save_pretrained(folder / "ours")
    agree(ours, MultiVectorEncoder(str(folder / "ours"), device="cpu"), **inputs)
    agree(Encoder.from_pretrained(folder / "ours", device="cpu"), theirs, **inputs)
    return ours


@pytest.mark.parametrize("name", TEXTS)
def test_colbert(name: str, tmp_path: Path) -> None:
    bert = tiny_late.bert_with_markers(tmp_path / "bert")
    ours = both_ways(tmp_path, tiny_late.st_model(bert, **TEXTS[name]))
    assert ours.multi_vector
    assert ours.similarity_fn_name == "maxsim"
    assert ours.embedding_dim == tiny_late.WIDTH


@pytest.mark.parametrize("name", ["plain", "lengths", "expanded"])
def test_decoder_padded_on_the_left(name: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    texts = TEXTS[name] | ({"query_expansion": FIXED | {"attend": True}} if name == "expanded" else {})
    # A text without a token: ST gives no vector, we one of an end token; with a prompt there is none such.
    documents = [text for text in DOCUMENTS if text]
    both_ways(tmp_path, tiny_late.st_model(tiny("qwen3"), mask={}, **texts), documents=documents)


def test_modernbert_with_masks_of_its_own(tmp_path: Path) -> None:
    bare = tiny_late.modernbert(tmp_path / "bare")
    words = {"skiplist_words": [",", ".", "of", "no such token"], "skiplist_tasks": ["query", "document"]}
    both_ways(tmp_path / "words", tiny_late.st_model(bare, mask=words))
    keep = {"keep_only_token_ids": list(range(5, 60))}
    both_ways(tmp_path / "keep", tiny_late.st_model(bare, mask=keep, **TEXTS["expanded"]))


@pytest.mark.parametrize("unit", [True, False])
def test_token_pooling_in_the_model_and_by_the_call(unit: bool, tmp_path: Path) -> None:
    bert = tiny_late.bert_with_markers(tmp_path / "bert")
    pooling = HierarchicalTokenPooling(2.5, num_protected_tokens=2, normalize_embeddings=unit)
    both_ways(tmp_path, tiny_late.st_model(bert, pooling=pooling, **TEXTS["expanded"]))
    plain = tiny_late.st_model(bert)
    plain.save_pretrained(str(tmp_path / "plain"))
    ours = Encoder.from_pretrained(tmp_path / "plain", device="cpu")
    mine = TokenPooling(2.5, protected=2, normalize=unit)
    near(
        ours.encode_document(DOCUMENTS, token_pooling=mine).tokens(),
        plain.encode_document(DOCUMENTS, token_pooling=pooling),
    )
    near(ours.encode_query(QUERIES, token_pooling=mine).tokens(), plain.encode_query(QUERIES))


@pytest.mark.parametrize("attend", [False, True])
def test_pylate(attend: bool, tmp_path: Path) -> None:
    folder = tiny_late.pylate(tmp_path / "pylate", tiny_late.bert_with_markers(tmp_path / "bert"))
    name = folder / "config_sentence_transformers.json"
    name.write_text(name.read_text().replace('tokens": false', f'tokens": {str(attend).lower()}'))
    ours = both_ways(tmp_path, MultiVectorEncoder(str(folder), device="cpu"))
    agree(Encoder.from_pretrained(folder, device="cpu"), MultiVectorEncoder(str(folder), device="cpu"))
    assert ours.prompts == {"query": "[unused0]", "document": "[unused1]"}


@pytest.mark.parametrize(
    "metadata", [None, {"query_maxlen": 12, "doc_maxlen": 20, "attend_to_mask_tokens": True}]
)
def test_stanford(metadata: dict[str, Any] | None, tmp_path: Path) -> None:
    bert = tiny_late.bert_with_markers(tmp_path / "bert")
    folder = tiny_late.stanford(tmp_path / "stanford", bert, metadata=metadata)
    theirs = MultiVectorEncoder(str(folder), device="cpu")
    agree(Encoder.from_pretrained(folder, device="cpu"), theirs)
    both_ways(tmp_path, theirs)


@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_made_of_a_bare_checkpoint_or_of_one_that_pools(
    name: str, tiny: Callable[[str], Path], tiny_encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    ours = Encoder.from_pretrained(tiny(name), device="cpu", multi_vector=True)
    ours.save_pretrained(tmp_path / "ours")
    texts = [text for text in DOCUMENTS if text]
    agree(ours, MultiVectorEncoder(str(tmp_path / "ours"), device="cpu"), queries=texts, documents=texts)
    assert ours.embedding_dim == 128
    tiny_encoder(name).save_pretrained(tmp_path / "pools")
    again = Encoder.from_pretrained(tmp_path / "pools", device="cpu", multi_vector=True)
    again.parts[1].load_state_dict(ours.parts[1].state_dict())  # drawn anew for each
    near(again.encode_query(QUERIES).tokens(), ours.encode_query(QUERIES).tokens())


@pytest.mark.parametrize("make", [tiny_late.colqwen2, tiny_late.colpali])
def test_retrievers_of_transformers(
    make: Callable[[Path], Path], pictures: list[Image.Image], tmp_path: Path
) -> None:
    folder = make(tmp_path / "native")
    theirs = MultiVectorEncoder(str(folder), device="cpu")
    bare = Encoder.from_pretrained(folder, device="cpu")
    assert bare.modalities == ("text", "image")
    agree(bare, theirs, queries=QUERIES, documents=pictures)
    both_ways(tmp_path, theirs, queries=QUERIES, documents=pictures)


def test_a_retriever_of_which_the_images_are_not_read(pictures: list[Image.Image], tmp_path: Path) -> None:
    folder = tiny_late.colmodernvbert(tmp_path / "native")
    ours = Encoder.from_pretrained(folder, device="cpu")
    assert ours.modalities == ("text",)
    texts = [text for text in DOCUMENTS if text]
    agree(ours, MultiVectorEncoder(str(folder), device="cpu"), queries=texts, documents=texts)
    with pytest.raises(InputError, match="image"):
        ours.encode_document(pictures)


def test_routes_with_projections_and_skiplists_of_their_own(tmp_path: Path) -> None:
    routes = [list(tiny_late.st_model(tiny_models.bert(tmp_path / str(seed), seed=seed))) for seed in (0, 3)]
    theirs = MultiVectorEncoder(
        modules=[Router.for_query_document(*routes)], device="cpu", prompts=tiny_late.PROMPTS
    )
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = Encoder.from_pretrained(tmp_path / "theirs", device="cpu")
    ours.save_pretrained(tmp_path / "ours")
    for they_read in (theirs, MultiVectorEncoder(str(tmp_path / "ours"), device="cpu")):
        near(ours.encode_query(QUERIES).tokens(), they_read.encode_query(QUERIES))
        near(ours.encode_document(DOCUMENTS).tokens(), they_read.encode_document(DOCUMENTS))


# Training

ROWS = [
    {
        "anchor": f"How many {thing} were counted, in {1990 + number}?",
        "positive": f"In {1990 + number} the survey counted {number * 37 + 5} {thing} "
        + "in the region. " * (number % 4),
        "negative": f"A note on {thing} without any figures, part {number}.",
        "second": f"Chapter {number}: the history of counting, " + "and back " * number,
    }
    for number, thing in enumerate(["pumps", "valves", "plants", "reports", "tables", "seals"])
]  # fmt: skip
TEACHER = torch.randn(len(ROWS), 3, generator=torch.Generator().manual_seed(4))


def theirs_of(
    model: Any, columns: Sequence[str], loss: torch.nn.Module, labels: Tensor | None
) -> tuple[float, dict[str, Tensor]]:
    model.eval().zero_grad()
    features = []
    for place, column in enumerate(columns):
        role = "document" if place else "query"
        values = [row[column] for row in ROWS]
        features.append(model.preprocess(values, prompt=model.prompts[role], task=role))
    value = loss(features, labels)
    value.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return value.item(), {name.replace("0.auto_model.", "0.model."): grad for name, grad in found.items()}


def ours_of(
    encoder: Encoder, columns: Sequence[str], loss: Loss, labels: Tensor | None, kept: int | None
) -> tuple[float, dict[str, Tensor]]:
    names = [*columns, *([] if labels is None else ["scores"])]
    builder = BatchBuilder(
        encoder.preprocessor,
        encoder.collate,
        choose_columns(names, role_prompts=encoder.prompts),
        encoder.modalities,
        Limits(None if kept is None else 90),
    )
    rows: list[dict[str, Any]] = [{column: row[column] for column in columns} for row in ROWS]
    for row, scores in zip(rows, [] if labels is None else labels.tolist(), strict=False):
        row["scores"] = scores
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    encoder.zero_grad()
    parts = Step(kept).run(encoder.eval(), batch, loss)
    found = {
        name.removeprefix("parts."): p.grad.clone()
        for name, p in encoder.named_parameters()
        if p.grad is not None
    }
    return float(torch.stack(list(parts.values())).sum()), found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Any]:
    folder = tmp_path_factory.mktemp("pair")
    theirs = tiny_late.st_model(tiny_late.bert_with_markers(folder / "bert"), **TEXTS["expanded"])
    theirs.save_pretrained(str(folder / "model"))
    return Encoder.from_pretrained(folder / "model", device="cpu"), theirs


ALL = ("anchor", "positive", "negative", "second")
CASES: dict[str, tuple[Sequence[str], Loss, Callable[[Any], torch.nn.Module], bool]] = {
    "pairs": (
        ALL[:2],
        InfoNCE(temperature=1.0, similarity="maxsim"),
        st_losses.MultiVectorMultipleNegativesRankingLoss,
        False,
    ),
    "hard negatives, mean": (
        ALL,
        InfoNCE(temperature=0.1, similarity="meanmaxsim"),
        lambda model: st_losses.MultiVectorMultipleNegativesRankingLoss(
            model, scale=10.0, similarity_fct=scoring.mean_colbert_scores
        ),
        False,
    ),
    "cached": (
        ALL[:3],
        InfoNCE(temperature=0.5, similarity="maxsim"),
        lambda model: st_losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, scale=2.0, mini_batch_size=2
        ),
        False,
    ),
    "margins": (ALL, MarginMSE(similarity="maxsim"), st_losses.MultiVectorMarginMSELoss, True),
    "kl": (
        ALL,
        DistillKL("maxsim", 0.8),
        lambda model: st_losses.MultiVectorDistillKLDivLoss(model, temperature=0.8),
        True,
    ),
}


@pytest.mark.parametrize("kept", [None, 0, 2])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_their_gradients(case: str, kept: int | None, pair: tuple[Encoder, Any]) -> None:
    columns, loss, make, taught = CASES[case]
    labels = TEACHER if taught else None
    value, wanted = theirs_of(pair[1], columns, make(pair[1]), labels)
    got, found = ours_of(pair[0], columns, loss, labels, kept)
    assert got == pytest.approx(value, abs=1e-5)
    assert len(wanted) > 30
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        # Where gradients exceed 1, float32 leaves a relative limit.
        limit = 1e-5 * max(1.0, gradient.abs().max().item())
        assert (found[name] - gradient).abs().max().item() <= limit, name


def test_evaluation(pair: tuple[Encoder, Any]) -> None:
    ours, theirs = pair
    things = ["pump", "valve", "plant", "report", "table", "seal", "diagram", "region"]
    corpus = {
        f"d{number:03}": f"{things[number % 8]} and {things[number // 8 % 8]}, number {number}"
        for number in range(24)  # of which no two are so alike that rounding would order them
    }
    queries = {f"q{number}": f"the {things[number % 8]} {number}?" for number in range(12)}
    relevant = {
        qid: {docid for docid, text in corpus.items() if things[number % 8] in text} | {"d001"}
        for number, qid in enumerate(queries)
    }
    names = {"ndcg@10": "ndcg@10", "mrr@10": "mrr@10", "map@100": "map@100", "recall@5": "recall@5"}
    found = RetrievalEvaluator(queries, corpus, relevant, metrics=list(names))(ours)
    evaluator = MultiVectorInformationRetrievalEvaluator(queries, corpus, relevant, corpus_chunk_size=10)
    wanted = evaluator(theirs)
    for mine, other in names.items():
        assert found[mine] == pytest.approx(wanted[f"maxsim_{other}"], abs=1e-6)
