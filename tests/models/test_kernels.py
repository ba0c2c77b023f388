"""Which attention kernel is taken out of several."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sightline.errors import ConfigError
from sightline.models import kernels
from sightline.models.kernels import first_usable

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BEST = ("flash_attention_3", "flash_attention_2", "sdpa")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``installed("flash_attention_2")``: the packages of these kernels are here, and no others."""

    def pretend(*names: str) -> None:
        packages = {
            name: (lambda here=name in names: here, package)
            for name, (_, package) in kernels.PACKAGES.items()
        }
        monkeypatch.setattr(kernels, "PACKAGES", packages)
        monkeypatch.setattr(kernels, "is_kernels_available", lambda: "kernels" in names)

    return pretend


def test_the_first_that_can_run_is_taken(installed: Callable[..., None]) -> None:
    installed("flash_attention_2")
    found = first_usable(BEST, GPU)
    assert found.name == "flash_attention_2"
    assert (
        found.told()
        == "flash_attention_2 attention (flash_attention_3: the package flash-attn-3 is not installed)"
    )
    installed("kernels")  # transformers fetches what is missing
    assert first_usable(BEST, GPU).passed_over == {}
    installed()
    assert first_usable(BEST, GPU).name == "sdpa"


def test_a_cpu_has_no_flash_attention(installed: Callable[..., None]) -> None:
    installed("flash_attention_2", "flash_attention_3", "kernels")
    found = first_usable(BEST, CPU)
    assert found.name == "sdpa"
    assert set(found.passed_over.values()) == {"does not run on 'cpu'"}


def test_kernels_that_come_with_torch_are_taken_as_they_are() -> None:
    for name in ("eager", "sdpa", "kernels-community/flash-attn2"):
        assert first_usable([name, "eager"], CPU) == kernels.Kernel(name)


def test_without_another_that_runs_the_reasons_are_told(installed: Callable[..., None]) -> None:
    installed("flash_attention_2")
    words = (
        r"no attention kernel can run here \(flash_attention_3: the package flash-attn-3 is not installed\)"
    )
    with pytest.raises(ConfigError, match=words):
        first_usable(["flash_attention_3"], GPU)
    with pytest.raises(ConfigError, match="no attention kernel is named"):
        first_usable([], GPU)
