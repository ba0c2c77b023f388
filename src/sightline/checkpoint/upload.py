"""From a folder to a repository on the Hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from sightline.checkpoint.card import CARD, is_sealed, named
from sightline.checkpoint.hub import LEFT_OUT
from sightline.checkpoint.write import MODEL_FILES
from sightline.errors import CheckpointError

log = logging.getLogger("sightline")

# The folder of a part, ``1_Pooling``, or of a route's part, ``query_0_Transformer``.
_FOLDER = re.compile(r"(?:.+_)?\d+_[A-Za-z]+")
# What a run leaves beside a model.
OF_A_RUN = (
    "manifest.json",
    "training_args.bin",
    "trainer_state.json",
    "optimizer.*",
    "scheduler.pt",
    "rng_state*",
)


class Repository:
    """A repository for models on the Hub, made if there is none.

    Args:
        name: ``user/name`` or ``organisation/name``; without a slash it goes to the user of the token.
        revision: branch to upload to, made if there is none; by default ``main``.
        private: for a new repository; by default what the account or organisation has chosen.
        token: by default the one of ``hf auth login``.
        exist_ok: whether there may be such a repository already.
        create_pr: open a pull request in place of a commit; there may then be such a repository.

    Raises:
        CheckpointError: the Hub cannot be reached or refuses, with its reason.
    """

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        exist_ok: bool = False,
        create_pr: bool = False,
    ) -> None:
        from huggingface_hub import HfApi

        if create_pr and revision is not None:
            raise CheckpointError(
                f"{name}: a pull request goes to the main branch; give revision or create_pr, not both"
            )
        self.revision, self.create_pr = revision, create_pr
        self._api = HfApi(token=token)
        with _told(name):
            self.name = self._api.create_repo(name, private=private, exist_ok=exist_ok or create_pr).repo_id
            if revision is not None:
                self._api.create_branch(self.name, branch=revision, exist_ok=True)

    def upload(self, folder: str | Path, *, message: str | None = None, replace_card: bool = False) -> str:
        """Puts a saved model in the place of the one in the repository, in one commit; other files there stay.

        Args:
            folder: where it was saved.
            message: of the commit.
            replace_card: write the folder's card over one that somebody wrote or edited by hand; else that stays.

        Returns:
            Address of the commit, or of the pull request.

        Raises:
            CheckpointError: the Hub cannot be reached or refuses, with its reason.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete
        from huggingface_hub.utils import filter_repo_objects

        folder = Path(folder)
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        kept = list(filter_repo_objects(names, ignore_patterns=[*LEFT_OUT, *OF_A_RUN]))
        with _told(self.name):
            there = self._api.list_repo_files(self.name, revision=self.revision)
            # Shards and tokenizers of an older model would be taken for parts of this one.
            stale = [name for name in there if _is_of_a_model(name)]
            if CARD in kept and CARD in there and not replace_card and not is_sealed(self._card()):
                kept.remove(CARD)
                log.info("the card of %s stays: somebody wrote it; card=TEXT replaces it", self.name)
            additions = [CommitOperationAdd(name, self._content(folder / name)) for name in kept]
            deletions = [CommitOperationDelete(name) for name in sorted(set(stale) - set(kept))]
            commit = self._api.create_commit(
                self.name,
                [*deletions, *additions],
                commit_message=message or "Upload a model with Sightline",
                revision=self.revision,
                create_pr=self.create_pr,
            )
        return str(commit.pr_url or commit.commit_url)

    def upload_later(self, folder: str | Path, *, message: str | None = None) -> Future[str]:
        """`upload` in the background, one after the other; the folder has to stay as it is until then."""
        return self._api.run_as_future(self.upload, folder, message=message)

    def upload_folder_later(self, folder: str | Path, place: str, *, message: str) -> Future[None]:
        """`upload_folder` in the background, as `upload_later`."""
        return self._api.run_as_future(self.upload_folder, folder, place, message=message)

    def upload_folder(self, folder: str | Path, place: str, *, message: str) -> None:
        """Puts all files of a folder into the folder ``place`` of the repository, whatever they are.

        Raises:
            CheckpointError: as of `upload`.
        """
        with _told(self.name):
            self._api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                path_in_repo=place,
                commit_message=message,
                revision=self.revision,
            )

    def _content(self, path: Path) -> bytes | Path:
        if path.name != CARD:
            return path
        return named(path.read_text(encoding="utf-8"), self.name).encode()

    def _card(self) -> str:
        """The card that is in the repository."""
        path = self._api.hf_hub_download(self.name, CARD, revision=self.revision)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _is_of_a_model(name: str) -> bool:
    """Whether a file stands where a model's parts stand; ``onnx/config.json`` is somebody's own."""
    *folders, file = name.split("/")
    return all(_FOLDER.fullmatch(folder) for folder in folders) and any(
        fnmatch(file, pattern) for pattern in MODEL_FILES
    )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What huggingface_hub raises, as one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import httpx  # its connection errors are no OSError

    hints = {
        401: "; log in with `hf auth login`, or give a token that may write there",
        403: "; log in with `hf auth login`, or give a token that may write there",
        409: "; exist_ok=True uploads to the repository that is there",
    }
    try:
        yield
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:400] or type(error).__name__
        hint = hints.get(error.response.status_code, "") if isinstance(error, HfHubHTTPError) else ""
        raise CheckpointError(f"{name}: cannot be uploaded to the Hub: {told}{hint}") from error
