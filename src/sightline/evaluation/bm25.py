"""BM25 over text, the baseline every retrieval table needs.

Shape letters: P postings (one per distinct term of a document), N documents.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from sightline.errors import DataError

# Scripts written without spaces: Kana, CJK ideographs, and their compatibility forms.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Unicode words and numbers, case-folded; no stemming, no stop words.

    NFKC first, because PDF text layers carry ligatures ("ﬁnance") and full-width forms. Chinese and
    Japanese characters are one token each, since those scripts have no spaces to split at.
    """
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


class BM25:
    """Okapi BM25 with Lucene's idf over an inverted index in NumPy arrays.

        score(q, d) = sum over the terms t of q of  idf(t) * tf / (tf + k1 * (1 - b + b * len(d) / avg_len))
        idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

    A term that stands twice in the query counts twice. The idf is never negative (Robertson & Zaragoza 2009;
    the variant "Lucene (accurate)" of Kamphuis et al. 2020). k1 = 1.2 and b = 0.75 are Lucene's defaults.

    Args:
        documents: document id -> text; empty texts are kept and never found.
        k1: how soon more occurrences of a term stop mattering.
        b: how much long documents are held back, 0 to 1.
        tokenize: text -> terms.

    Raises:
        DataError: no documents.
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        *,
        k1: float = 1.2,
        b: float = 0.75,
        tokenize: Callable[[str], list[str]] = words,
    ) -> None:
        if not documents:
            raise DataError("BM25 needs at least one document")
        self._tokenize = tokenize
        # Ids descending, so that a tie goes to the lower position by the rule of metrics.rank_documents.
        self.ids = sorted(documents, reverse=True)
        self._terms: dict[str, int] = {}
        terms_P, documents_P, counts_P = array("q"), array("q"), array("q")
        lengths_N = np.zeros(len(self.ids))
        for position, docid in enumerate(self.ids):
            counts = Counter(tokenize(documents[docid]))
            lengths_N[position] = counts.total()
            terms_P.extend(self._terms.setdefault(term, len(self._terms)) for term in counts)
            documents_P.extend([position] * len(counts))
            counts_P.extend(counts.values())
        term_of_P = np.frombuffer(terms_P, dtype=np.int64) if terms_P else np.zeros(0, np.int64)
        order_P = np.argsort(term_of_P, kind="stable")
        self._documents_P = np.array(documents_P, dtype=np.int64)[order_P]
        frequencies = np.bincount(term_of_P, minlength=len(self._terms))
        self._starts = np.concatenate([[0], np.cumsum(frequencies)])
        idf = np.log1p((len(self.ids) - frequencies + 0.5) / (frequencies + 0.5))
        tf_P = np.array(counts_P, dtype=np.float64)[order_P]
        norms_N = k1 * (1 - b + b * lengths_N / max(lengths_N.mean(), 1.0))
        self._weights_P = idf[term_of_P[order_P]] * tf_P / (tf_P + norms_N[self._documents_P])

    @property
    def nbytes(self) -> int:
        """What the index takes: its arrays, and the terms in UTF-8."""
        arrays = self._documents_P.nbytes + self._weights_P.nbytes + self._starts.nbytes
        return arrays + sum(len(term.encode()) for term in self._terms)

    def search(self, query: str, k: int = 10) -> list[tuple[str, float]]:
        """The ``k`` best (document id, score), best first; only documents sharing a term with the query."""
        scores_N = self.scores(query)
        found = np.flatnonzero(scores_N)
        best = found[np.argsort(-scores_N[found], kind="stable")][:k]
        return [(self.ids[position], float(scores_N[position])) for position in best]

    def scores(self, query: str) -> np.ndarray:
        """(N,) float32 score of every document, in the order of ``ids``; 0 where no term is shared."""
        scores_N = np.zeros(len(self.ids))
        for term, repeats in Counter(self._tokenize(query)).items():
            number = self._terms.get(term)
            if number is not None:
                postings = slice(self._starts[number], self._starts[number + 1])
                # A document has one posting per term, so plain indexing adds every weight.
                scores_N[self._documents_P[postings]] += repeats * self._weights_P[postings]
        # Single precision, as trec_eval compares scores: equal texts must tie whatever the order of sums.
        return scores_N.astype(np.float32)

    def run(self, queries: Mapping[str, str], k: int = 1000) -> dict[str, dict[str, float]]:
        """`search` for every query: {qid: {docid: score}}."""
        return {qid: dict(self.search(query, k)) for qid, query in queries.items()}


def text_of(value: object) -> str:
    """The text of a corpus value: a str, or the ``"text"`` of a dict of modalities; else empty.

    An image alone has no text: BM25 cannot find such a page, which is what a text search does with it.
    """
    if isinstance(value, Mapping):
        value = value.get("text")
    return value if isinstance(value, str) else ""
