"""Which token vectors of an item take part in late interaction.

Shape letters: N items, T positions.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from sightline.inputs.roles import EXPANSION, IS_QUERY
from sightline.modules.base import Module

log = logging.getLogger("sightline")


class TokenMask(Module):
    """Turns ``attention_mask`` into the mask of the tokens that are compared.

    Real tokens are, and the expansion tokens of queries. Words of the skiplist (ColBERT: punctuation) are left out
    on the sides named by ``skiplist_tasks``, and where ``keep_only_token_ids`` are given, documents keep those only
    (ColPali: the placeholders of image patches). sentence-transformers' MultiVectorMask.

    Args:
        skiplist_words: texts of single tokens; one the tokenizer does not know is left aside, with a warning.
        skiplist_tasks: "document", "query" or both; an item without a role counts as a document.
        keep_only_token_ids: token ids, or None to keep all.
    """

    kind: ClassVar[str] = "token_mask"

    def __init__(
        self,
        skiplist_words: Sequence[str] = (),
        *,
        skiplist_tasks: Sequence[str] = ("document",),
        keep_only_token_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.skiplist_words = tuple(skiplist_words)
        self.skiplist_tasks = tuple(skiplist_tasks)
        self.keep_only_token_ids = None if keep_only_token_ids is None else tuple(keep_only_token_ids)
        self._skipped: tuple[int, ...] = ()

    def resolve(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Looks the skiplist up; the encoder does it when it is made."""
        found, unknown = [], []
        for word in self.skiplist_words if tokenizer is not None else ():
            number = tokenizer.convert_tokens_to_ids(word) if tokenizer is not None else None
            if not isinstance(number, int):
                unknown.append(word)
            elif tokenizer is not None and number == tokenizer.unk_token_id and word != tokenizer.unk_token:
                # Else every unknown token of a document would be left out.
                unknown.append(word)
            else:
                found.append(number)
        if unknown:
            log.warning(
                "skiplist words that are no token of this model are not skipped: %s", " ".join(unknown)
            )
        self._skipped = tuple(found)

    def facts(self) -> dict[str, Any]:
        keep = self.keep_only_token_ids
        return {
            "skiplist_words": list(self.skiplist_words),
            "skiplist_tasks": list(self.skiplist_tasks),
            "keep_only_token_ids": None if keep is None else list(keep),
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        ids_NT: Tensor | None = features.get("input_ids")
        if ids_NT is None:
            return features
        mask_NT = features["attention_mask"].bool()
        is_query: Tensor | None = features.get(IS_QUERY)
        query_N1 = (
            ids_NT.new_zeros(len(ids_NT), 1, dtype=torch.bool) if is_query is None else is_query[:, None]
        )
        if EXPANSION in features:
            mask_NT = mask_NT | (features[EXPANSION].bool() & query_N1)
        if self._skipped:
            nothing_N1 = torch.zeros_like(query_N1)
            concerned_N1 = (query_N1 if "query" in self.skiplist_tasks else nothing_N1) | (
                ~query_N1 if "document" in self.skiplist_tasks else nothing_N1
            )
            mask_NT = mask_NT & ~(_among(ids_NT, self._skipped) & concerned_N1)
        if self.keep_only_token_ids:
            mask_NT = mask_NT & (query_N1 | _among(ids_NT, self.keep_only_token_ids))
        # A new mask: the micro-batch's own one is needed unchanged when it is embedded again.
        features["attention_mask"] = mask_NT
        return features


def _among(ids_NT: Tensor, wanted: Sequence[int]) -> Tensor:
    return torch.isin(ids_NT, torch.tensor(wanted, device=ids_NT.device))
