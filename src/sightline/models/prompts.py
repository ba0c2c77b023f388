"""Which prompt stands in front of an input."""

from __future__ import annotations

from collections.abc import Mapping

from sightline.errors import ConfigError

# Which prompt a role takes, in ST's order.
ROLE_PROMPTS: Mapping[str, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


def check_default(prompts: Mapping[str, str], name: str | None) -> None:
    """Refuses a default prompt that is not among the prompts.

    Raises:
        ConfigError: naming those there are.
    """
    if name is not None and name not in prompts:
        raise ConfigError(f"default_prompt_name {name!r} is not among the prompts {list(prompts)}")


def choose_prompt(
    prompts: Mapping[str, str],
    role: str | None,
    default: str | None,
    prompt: str | None,
    prompt_name: str | None,
) -> str | None:
    """The prompt text that applies: the one given, the one named, the role's, or the default one.

    Args:
        prompts: the model's, by name.
        role: ``query`` or ``document``.
        default: name of the one used otherwise.
        prompt: the text itself.
        prompt_name: one of the model's.

    Raises:
        ConfigError: no prompt of that name.
    """
    if prompt is not None:
        return prompt
    if prompt_name is not None:
        if prompt_name not in prompts:
            raise ConfigError(f"no prompt named {prompt_name!r}; the model has {list(prompts) or 'none'}")
        return prompts[prompt_name]
    for name in ROLE_PROMPTS.get(role or "", ()):
        if name in prompts:
            return prompts[name]
    return prompts.get(default or "")
