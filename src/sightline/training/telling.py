"""The part of the Trainer that tells what it did: in the model card, on the disk and on the Hub, and to the model."""

from __future__ import annotations

import logging
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from sightline.checkpoint.card import CARD, may_write
from sightline.checkpoint.upload import OF_A_RUN, Repository
from sightline.errors import CheckpointError
from sightline.losses.base import Loss
from sightline.models.card import Story
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.saving import own_card
from sightline.training.card import CardFacts, card_of, sketch_of, story_of
from sightline.training.evaluating import Evaluator
from sightline.training.lasting import LastingTrainer

logger = logging.getLogger(__name__)


class TellingTrainer(LastingTrainer):
    """A model's card as training goes on, and uploads.

    Part of `sightline.training.trainer.Trainer`, in a file of its own; not used by itself.
    """

    model: Any
    loss: Loss
    evaluator: Evaluator | None
    _earlier: Story | None = None

    @property
    def output_dir(self) -> Path:
        """Where checkpoints and evaluation results go."""
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)

    def train(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().train(*arguments, **options)
        finally:
            self._leave_story()  # also of a run that failed: its weights are no longer those that were loaded

    train.__doc__ = LastingTrainer.train.__doc__

    # The card

    def card_facts(self) -> CardFacts:
        """What the model card tells, as it stands now."""
        rows = self._rows
        return CardFacts(
            encoder=self.model,
            loss=self.loss,
            args=self.args,
            columns=rows.column_names,
            train_rows=len(rows) - len(self._source.skipped),
            skipped_rows=len(self._source.skipped),
            fingerprint=rows.fingerprint,
            steps=self.state.global_step,
            log_history=self.state.log_history,
            primary_metric=None if self.evaluator is None else self.evaluator.primary_metric,
            earlier=self._earlier,
        )

    def card(self) -> str:
        """The model card as it stands now; before the first step that of the untrained model."""
        model = self.model
        if self.state.global_step == 0 and isinstance(model, (Encoder, Reranker)):
            return own_card(model, sketch_of)
        return card_of(self.card_facts())

    def card_for(self, folder: Path) -> str | bool:
        """The card to save a model with; False where one written by hand stays."""
        ours = isinstance(self.model, (Encoder, Reranker))
        return self.card() if may_write(folder, self.model.brought_card if ours else None) else False

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Writes the card into the output folder."""
        if self.is_world_process_zero() and (card := self.card_for(self.output_dir)):
            (self.output_dir / CARD).write_text(str(card), encoding="utf-8")

    def _leave_story(self) -> None:
        """The model keeps what is known of its training, for the card it is saved with."""
        if self.state.global_step and isinstance(self.model, (Encoder, Reranker)):
            self.model.story = story_of(self.card_facts())

    # The Hub

    def push_to_hub(  # type: ignore[override]
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **_: Any,
    ) -> Any:
        """Saves the model, checks it, and uploads it to ``args.hub_model_id`` in one commit.

        Args:
            commit_message: of the commit.
            blocking: wait for the upload; else a `concurrent.futures.Future` of its result is returned.
            token: by default ``args.hub_token``.
            revision: branch to upload to; by default ``args.hub_revision``, or ``main``.
            private: for a new repository; by default ``args.hub_private_repo``.

        Returns:
            Address of the commit; None on all processes but the first.

        Raises:
            CheckpointError: the Hub cannot be reached or refuses, or what was saved is not the model in memory.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        if self.is_world_process_zero():
            self._finish_current_push()
            shutil.rmtree(self._outgoing, ignore_errors=True)
        self._write_model(self._outgoing, verify=True)
        if not self.is_world_process_zero():
            return None
        upload = self._repository(token, revision).upload_later(self._outgoing, message=commit_message)
        self._push_under_way([upload])
        if not blocking:
            return upload
        try:
            return upload.result()
        finally:
            shutil.rmtree(self._outgoing)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Uploads the model of a checkpoint while training goes on, as ``args.hub_strategy`` says."""
        strategy = self.args.hub_strategy
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        if self.push_in_progress is not None and not self.push_in_progress.is_done():
            if not self.args.hub_always_push:
                return
            self._finish_current_push()
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        whole = strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)
        told = f"Training in progress, step {self.state.global_step}"
        try:
            # The checkpoint itself may be deleted before the upload ends.
            shutil.rmtree(self._outgoing, ignore_errors=True)
            left_out = None if whole else shutil.ignore_patterns(*OF_A_RUN)
            shutil.copytree(checkpoint_folder, self._outgoing, ignore=left_out)
            repository = self._repository(None, None)
        except (CheckpointError, OSError) as error:
            _tell(error)
            return
        uploads: list[Future[Any]] = [repository.upload_later(self._outgoing, message=told)]
        if whole:
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else Path(checkpoint_folder).name
            uploads.append(
                repository.upload_folder_later(self._outgoing, place, message=f"{told}, checkpoint")
            )
        for upload in uploads:
            upload.add_done_callback(_tell_failure)
        self._push_under_way(uploads)

    def _push_under_way(self, uploads: Sequence[Future[Any]]) -> None:
        """Nobody touches what is uploaded before `_finish_current_push` has waited for it."""
        self.push_in_progress = PushInProgress(list(uploads))  # type: ignore[arg-type, assignment]

    @property
    def _outgoing(self) -> Path:
        """What is being uploaded, which nobody may change or delete meanwhile."""
        return self.output_dir / ".outgoing"

    @abstractmethod
    def _write_model(self, folder: Path, *, verify: bool) -> None:
        """Writes the model on all ranks together, checked where that is asked for; the Trainer knows how."""
        ...

    def _repository(self, token: str | None, revision: str | None) -> Repository:
        assert self.hub_model_id is not None
        return Repository(
            self.hub_model_id,
            revision=revision or self.args.hub_revision,
            private=self.args.hub_private_repo,
            token=token or self.args.hub_token,
            exist_ok=True,
        )


def _tell_failure(upload: Future[Any]) -> None:
    if not upload.cancelled() and (error := upload.exception()) is not None:
        _tell(error)


def _tell(error: BaseException) -> None:
    logger.error("A checkpoint was not uploaded, training goes on: %s", error)
