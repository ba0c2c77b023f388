from __future__ import annotations

import pytest
import torch

from sightline.errors import ConfigError
from sightline.models.devices import default_device, usable_device


def test_none_is_the_default_device() -> None:
    assert usable_device(None).type == default_device()
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "abc:0"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"device '{device}' cannot be used on this machine .*leave it out"
    ):
        usable_device(device)
