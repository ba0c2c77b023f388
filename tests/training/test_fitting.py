"""A model, its loss, its guide, its evaluator and its data that do not go together: told when the Trainer is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from sentence_transformers.sentence_transformer import losses as st
from transformers import BertModel

from sightline.errors import ConfigError, DataError
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.joint import FalseNegatives
from sightline.losses.lambda_loss import RankNet
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.listwise import ListNet
from sightline.losses.pairwise import CoSENT
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.refusing import PAIR, TRIPLE, refused, trainer


@pytest.fixture(scope="module")
def late(tiny: Callable[[str], Path]) -> Encoder:
    return Encoder.from_pretrained(tiny("bert"), device="cpu", multi_vector=True)


# In the constructor


@pytest.mark.parametrize(
    "loss",
    [
        BinaryCrossEntropy(),
        ListNet(),
        Matryoshka(CrossEntropy(), (8,)),
        Sum([InfoNCE(), ScoreMSE()]),
        AdaptiveLayers(InBatchRanking()),
        {"a": InfoNCE(), "b": RankNet()},
    ],
)
def test_a_loss_over_scores_is_refused_for_an_encoder(
    make_encoder: Callable, tmp_path: Path, loss: Any
) -> None:
    rows = {"a": [TRIPLE], "b": [TRIPLE]} if isinstance(loss, dict) else [TRIPLE]
    with pytest.raises(
        ConfigError, match=r"is for the scores of a Reranker, and an Encoder gives vectors: use"
    ):
        trainer(make_encoder(), loss, rows, tmp_path)


@pytest.mark.parametrize("loss", [InfoNCE(), Matryoshka(InfoNCE(), (8,)), Sum([ScoreMSE(), CoSENT()])])
def test_a_loss_over_vectors_is_refused_for_a_reranker(
    rerankers: Callable, tmp_path: Path, loss: Loss
) -> None:
    with pytest.raises(ConfigError, match="is for the vectors of an Encoder, and a Reranker gives scores"):
        trainer(rerankers(1), loss, [TRIPLE], tmp_path)


def test_margin_mse_is_for_both(make_encoder: Callable, rerankers: Callable, tmp_path: Path) -> None:
    for model in (make_encoder(), rerankers(1)):
        trainer(model, MarginMSE(), [TRIPLE | {"score": 0.5}], tmp_path)


@pytest.mark.parametrize(
    ("labels", "loss", "message"),
    [
        (
            3,
            BinaryCrossEntropy(),
            "needs one score per pair, but the model gives 3; load it with num_labels=1",
        ),
        (3, ListNet(), "ListNet needs one score per pair, but the model gives 3"),
        (1, CrossEntropy(), "CrossEntropy needs a score per class, but the model gives one per pair"),
    ],
)
def test_scores_per_pair_are_as_many_as_the_loss_takes(
    rerankers: Callable, tmp_path: Path, labels: int, loss: Loss, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(rerankers(labels), loss, [PAIR | {"label": 1}], tmp_path)


def test_token_vectors_that_are_cut_are_refused(late: Encoder, tmp_path: Path) -> None:
    late.truncate_dim = 8
    try:
        with pytest.raises(ConfigError, match=r"cuts it to 8 components.*set its truncate_dim to None"):
            trainer(late, InfoNCE(), [PAIR], tmp_path)
    finally:
        late.truncate_dim = None
    trainer(late, InfoNCE(), [PAIR], tmp_path)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (CoSENT(), "CoSENT compares one vector per item, and this model gives one per token"),
        (Triplet(), "Triplet compares one vector"),
        (BatchTriplet(), "BatchTriplet compares one vector"),
        (Sum([InfoNCE(), OrthogonalRegularization()]), "OrthogonalRegularization compares one vector"),
        (EmbeddingDistillation(), "EmbeddingDistillation compares one vector"),
        (AdaptiveLayers(InfoNCE()), "AdaptiveLayers compares one vector"),
        (InfoNCE(directions=("query_to_doc", "doc_to_doc")), "in the direction 'query_to_doc' alone"),
        (
            InfoNCE(false_negatives=FalseNegatives(-0.1, by="model")),
            'token vectors take similarity="meanmaxsim"',
        ),
    ],
)
def test_losses_over_single_vectors_are_refused_for_token_vectors(
    late: Encoder, tmp_path: Path, loss: Loss, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(late, loss, [PAIR], tmp_path)


@pytest.mark.parametrize("loss", [InfoNCE(similarity="maxsim"), MarginMSE("meanmaxsim"), DistillKL("maxsim")])
def test_losses_over_token_vectors_are_refused_for_single_ones(
    make_encoder: Callable, tmp_path: Path, loss: Loss
) -> None:
    with pytest.raises(ConfigError, match="compares token vectors, and this model gives one vector per item"):
        trainer(make_encoder(), loss, [TRIPLE], tmp_path)


def test_prefixes_longer_than_the_vectors_are_refused(make_encoder: Callable, tmp_path: Path) -> None:
    for loss in (Matryoshka(InfoNCE(), (32, 16)), AdaptiveLayers(Matryoshka(InfoNCE(), (17,)))):
        with pytest.raises(ConfigError, match=r"Matryoshka cannot cut to .* the model's embeddings have 16"):
            trainer(make_encoder(), loss, [PAIR], tmp_path)
    trainer(make_encoder(), Matryoshka(InfoNCE(), (16, 4)), [PAIR], tmp_path)


def test_what_is_no_model_or_no_loss(
    make_encoder: Callable, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    bare = BertModel.from_pretrained(tiny("bert"))
    for model, word in (
        ("bert-base", "not 'bert-base'"),
        (bare, "not a BertModel"),
        (None, "not a NoneType"),
    ):
        with pytest.raises(
            ConfigError, match=rf"trains an Encoder or a Reranker, {word}; Encoder.from_pretrained"
        ):
            trainer(model, InfoNCE(), [PAIR], tmp_path)
    for loss in (InfoNCE, {"a": InfoNCE}, Sum([InfoNCE]), Matryoshka(InfoNCE, (8,))):  # type: ignore[list-item,arg-type]
        with pytest.raises(
            ConfigError, match=r"the loss is the class InfoNCE; make one of it: InfoNCE\(...\)"
        ):
            trainer(make_encoder(), loss, {"a": [PAIR]} if isinstance(loss, dict) else [PAIR], tmp_path)
    for wrong in ("infonce", st.MultipleNegativesRankingLoss(bare)):
        with pytest.raises(
            ConfigError, match=r"is no loss of Sightline's; docs/from-sentence-transformers\.md"
        ):
            trainer(make_encoder(), wrong, [PAIR], tmp_path)


def test_evaluators_of_the_other_kind(tiny_encoder: Callable, rerankers: Callable, tmp_path: Path) -> None:
    retrieval = RetrievalEvaluator({"q": "a"}, {"d": "b", "e": "c"}, {"q": {"d"}}, dims=[8, 4096])
    reranking = RerankingEvaluator([{"query": "a", "positive": "b", "negative": "c"}])
    args = TrainingArguments(output_dir=str(tmp_path), eval_strategy="epoch")
    for model, loss, evaluator, message in (
        (rerankers(1), InBatchRanking(), retrieval, "a Reranker has none; use RerankingEvaluator"),
        (tiny_encoder("bert"), InfoNCE(), reranking, "an Encoder has none; use RetrievalEvaluator"),
        (
            tiny_encoder("bert"),
            InfoNCE(),
            retrieval,
            r"dims \[8, 4096\] must lie in the model's 32 dimensions",
        ),
        (rerankers(3), CrossEntropy(), reranking, "3 scores per pair, so there is no order to evaluate"),
    ):
        with pytest.raises(ConfigError, match=message):
            Trainer(model, loss, train_dataset=[PAIR], args=args, evaluator=evaluator)


class Broken:
    """A dataset of a person's own with a fault in it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> dict[str, Any]:
        return PAIR | ({} if number < 5 else {"d": {}["page"]})


def test_datasets_that_cannot_be_read(make_encoder: Callable, tmp_path: Path) -> None:
    message = refused(make_encoder(), InfoNCE(), Broken(), tmp_path)
    assert message == "row 5 of the training dataset cannot be read: KeyError: 'page'"
    with pytest.raises(DataError, match=r"is a DataFrame, whose rows cannot be had by number; .*from_pandas"):
        trainer(make_encoder(), InfoNCE(), pandas.DataFrame([PAIR] * 8), tmp_path)


def test_guides_that_cannot_guide(
    make_encoder: Callable, late: Encoder, tiny_encoder: Callable, rerankers: Callable, tmp_path: Path
) -> None:
    loss = InfoNCE(false_negatives=FalseNegatives())
    with pytest.raises(
        ConfigError, match="a guide gives one vector per item, and this model gives one per token"
    ):
        trainer(make_encoder(), loss, [PAIR], tmp_path, guide=late)
    with pytest.raises(ConfigError, match="leave it out to train a Reranker"):
        trainer(rerankers(1), InBatchRanking(), [PAIR], tmp_path, guide=tiny_encoder("bert"))
    picture = np.zeros((8, 8, 3), np.uint8)
    rows = [PAIR | {"d": picture}] * 4
    message = refused(make_encoder(), loss, rows, tmp_path, guide=tiny_encoder("bert"))
    assert "row 0, column 'd', for the guide: this model reads text, not image" in message
