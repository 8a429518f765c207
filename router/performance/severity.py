"""How bad it is, in four steps. Pure."""

from __future__ import annotations

from enum import IntEnum


class Severity(IntEnum):
    """Steps of the ladder; comparable."""

    OK = 0
    WARNING = 1
    """The data drifts, or a drop is suspected: look."""
    CRITICAL = 2
    """Performance fell by more than 5 % of its baseline: retrain."""
    EMERGENCY = 3
    """Performance fell by more than 15 %: roll back."""

    @property
    def word(self) -> str:
        """The name in lower case, as documents and labels have it."""
        return self.name.lower()

    @classmethod
    def named(cls, word: str) -> Severity:
        """Find a step by its word; `KeyError` for any other."""
        return cls[word.upper()]
