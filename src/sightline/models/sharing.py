"""From a model in memory to the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sightline.checkpoint.upload import Repository


class Savable(Protocol):
    """What uploading needs of a model."""

    @property
    def save_pretrained(self) -> Callable[..., None]: ...


def push(
    model: Savable,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
    exist_ok: bool = False,
    create_pr: bool = False,
    card: str | bool = True,
    verify: bool = True,
    **saving: Any,
) -> str:
    """Saves a model into a temporary folder, checks it, and uploads it in one commit.

    Args:
        model: an encoder or a reranker.
        repo_id: ``user/name``; the repository is made if there is none.
        revision: branch to upload to, made if there is none; by default ``main``.
        private: for a new repository.
        token: by default the one of ``hf auth login``.
        commit_message: by default "Upload a model with Sightline".
        exist_ok: whether there may be such a repository already; its model is replaced, other files stay.
        create_pr: open a pull request in place of a commit.
        card: as in ``save_pretrained``: a text takes the place of the card that is there; by default one that
            somebody wrote by hand stays, and False leaves any that is there.
        verify, saving: as in ``save_pretrained``.

    Returns:
        Address of the commit, or of the pull request.

    Raises:
        CheckpointError: the Hub cannot be reached or refuses, or what was saved is not the model in memory.
    """
    # First, because it is quick and says what is wrong with the name or the token.
    repository = Repository(
        repo_id, revision=revision, private=private, token=token, exist_ok=exist_ok, create_pr=create_pr
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "model", card=card, verify=verify, **saving)
        return repository.upload(
            Path(folder) / "model", message=commit_message, replace_card=isinstance(card, str)
        )
