"""Recipes: documented dataclasses read from TOML, changed by dotted overrides, written back resolved."""
