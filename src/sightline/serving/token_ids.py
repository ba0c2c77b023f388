"""Texts that come as the ids of their tokens."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from sightline.errors import InputError
from sightline.models.encoder import Encoder

_ADVICE = (
    "send the text itself (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False), "
    "or ids of this model's tokenizer"
)


def decoded(encoder: Encoder, ids: Sequence[int]) -> str:
    """The text that ids of the model's tokenizer stand for; marks such as ``[CLS]`` are left out.

    Clients take OpenAI's tokenizer for granted, whose ids mean something else here and would be embedded without a
    word. So the text, tokenized again, has to give the very ids.

    Raises:
        InputError: the model reads no text; the ids are not those of a text in its tokenizer.
    """
    tokenizer = _tokenizer_of(encoder)
    if tokenizer is None:
        raise InputError("this model has no tokenizer, so it reads no token ids")
    return _own(tokenizer).text(ids)


class _Own:
    """A copy of a tokenizer: one cannot be told another limit while someone else uses it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.Lock()

    def text(self, ids: Sequence[int]) -> str:
        tokenizer = self._tokenizer
        if any(number >= len(tokenizer) for number in ids):
            raise InputError(
                f"token ids go up to {len(tokenizer) - 1} here, so these are of another tokenizer; {_ADVICE}"
            )
        marks = set(tokenizer.all_special_ids)
        plain = [number for number in ids if number not in marks]
        with self._lock:
            text = str(tokenizer.decode(plain, clean_up_tokenization_spaces=False))
            again = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        if list(again) != plain:
            raise InputError(f"these token ids are no text in this model's tokenizer; {_ADVICE}")
        return text


@lru_cache(maxsize=2)
def _own(tokenizer: PreTrainedTokenizerBase) -> _Own:
    return _Own(tokenizer)


def _tokenizer_of(encoder: Encoder) -> PreTrainedTokenizerBase | None:
    """The tokenizer of the backbone that reads text, or None."""
    for backbone in encoder.backbones().values():
        tokenizer: PreTrainedTokenizerBase | None = backbone.processor.tokenizer
        if tokenizer is not None:
            return tokenizer
    return None
