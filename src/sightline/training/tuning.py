"""The part of the Trainer that decides which weights are trained, and how fast."""

from __future__ import annotations

from typing import Any

import transformers
from torch import nn
from torch.optim import Optimizer

from sightline.errors import ConfigError
from sightline.training.arguments import TrainingArguments
from sightline.training.parameters import frozen, rates_of, regroup


class TunedTrainer(transformers.Trainer):
    """transformers' Trainer with learning rates by route or part, and with routes or parts that rest.

    A part of `sightline.training.trainer.Trainer`, in a file of its own; not used by itself.
    """

    args: TrainingArguments

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        args = self.args
        assert isinstance(self.model, nn.Module)
        with frozen(self.model, args.freeze):  # names that mean nothing are found now
            rates = rates_of(self.model, args.learning_rates, args.learning_rate_mapping)
        if rates and self.optimizer is not None:
            raise ConfigError(
                "learning_rates and learning_rate_mapping make groups in the optimizer that the arguments describe; "
                "with an optimizer of your own (optimizers=...), give it the groups yourself"
            )

    def train(self, *arguments: Any, **options: Any) -> Any:
        """transformers' training loop, with what `freeze` names at rest meanwhile."""
        assert isinstance(self.model, nn.Module)
        with frozen(self.model, self.args.freeze):
            return super().train(*arguments, **options)

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """transformers' optimizer, its groups split by learning rate."""
        is_new = self.optimizer is None
        optimizer: Optimizer = super().create_optimizer(model)
        args = self.args
        if is_new:
            inner = self.model if model is None else model
            assert isinstance(inner, nn.Module)
            regroup(optimizer, inner, rates_of(inner, args.learning_rates, args.learning_rate_mapping))
        return optimizer
