"""What to use in place of the names of Sentence Transformers' that scripts import and Sightline leaves out."""

from __future__ import annotations

_TRAIN = "InfoNCE (MultipleNegativesRankingLoss) trains for retrieval"
_TEXT = (
    "it trains on bare sentences; mine pairs first (mine_hard_negatives) and use MultipleNegativesRankingLoss"
)
_LATE = "sightline.Encoder loads and trains late-interaction models (docs/late-interaction.md)"
_SPARSE = "Sightline has no sparse models; `sightline search --mode hybrid` adds word matching (BM25)"
_OLD = "datasets.Dataset with columns anchor, positive and negatives takes its place"
_JUDGE = "InformationRetrievalEvaluator and CrossEncoderRerankingEvaluator measure retrieval"

INSTEAD = {
    "SoftmaxLoss": _TRAIN,
    "MegaBatchMarginLoss": "MultipleNegativesRankingLoss with a large batch does its work",
    "ContrastiveTensionLoss": _TEXT,
    "ContrastiveTensionLossInBatchNegatives": _TEXT,
    "ContrastiveTensionDataLoader": _TEXT,
    "DenoisingAutoEncoderLoss": _TEXT,
    "InputExample": _OLD,
    "SentencesDataset": _OLD,
    "ParallelSentencesDataset": _OLD,
    "EmbeddingSimilarityEvaluator": _JUDGE,
    "TripletEvaluator": _JUDGE,
    "BinaryClassificationEvaluator": _JUDGE,
    "RerankingEvaluator": _JUDGE,
    "NanoBEIREvaluator": _JUDGE,
    "CrossEncoderNanoBEIREvaluator": _JUDGE,
    "CrossEncoderClassificationEvaluator": _JUDGE,
    "CrossEncoderCorrelationEvaluator": _JUDGE,
    "semantic_search": "sightline.Searcher searches an index; model.similarity compares vectors in memory",
    "export_dynamic_quantized_onnx_model": "`sightline export --onnx --int8` writes one",
    "StaticEmbedding": "Sightline trains transformers; keep Sentence Transformers for this module",
    "WeightedLayerPooling": "a saved model that has one is read, trained and written: SentenceTransformer(folder)",
}


def why_not(name: str) -> str:
    """What an import of a name that is not here says."""
    instead = INSTEAD.get(name)
    if instead is None and name.startswith(("MultiVector", "CachedMultiVector")):
        instead = _LATE
    if instead is None and ("Sparse" in name or "Splade" in name):
        instead = _SPARSE
    if instead is None:
        return f"sightline.compat has no {name}; docs/from-sentence-transformers.md says what takes the place of which"
    return f"sightline.compat has no {name}: {instead} (docs/from-sentence-transformers.md)"
