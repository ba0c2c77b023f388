"""A lack of memory: recognised whoever tells of it, and what can be given back given back."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

import torch

# What RuntimeErrors say that are a lack of memory: torch's CPU allocator on Linux and Windows, oneDNN (which has no
# word of its own for it), cuBLAS and cuDNN.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a primitive",
    "could not create a memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether something smaller could have gone well: the device or the machine had no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def reason_of(error: BaseException) -> str:
    """The first line of what the allocator said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def recover(reason: str) -> None:
    """Makes this process ready to try something smaller.

    To be called outside of the handler of the error: until that ends, the error holds the frames, and they the
    tensors.

    Args:
        reason: of `reason_of`.
    """
    if "could not create a primitive" in reason and torch.backends.mkldnn.is_available():
        # oneDNN generates code in memory of its own. Once it found none, it fails for good, however small the
        # pieces; torch's own operators do the same more slowly.
        torch.backends.mkldnn.set_flags(False)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        # glibc keeps what is freed for its own next call; others in the process, oneDNN with its generated code,
        # ask the system.
        with contextlib.suppress(AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)
