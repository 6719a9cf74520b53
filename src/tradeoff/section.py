"""A closed, typed part of a study, and how its mistakes are told."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tradeoff.errors import shown

Precision = Literal["float32", "bfloat16"]
MOST_SEED = 2**31 - 1  # what numpy and the tables hold
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


def fail(message: str) -> PydanticCustomError:
    """An error whose message is told as it is."""
    return PydanticCustomError("study", "{message}", {"message": message})


def nearest(word: object, choices: list[str]) -> str:
    """A remedy for a word that is none of the choices."""
    match = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else f"choose from {', '.join(choices)}"


def plain(message: str) -> str:
    """Pydantic's message in this project's words."""
    message = message.replace("Input should be", "should be").replace("Field required", "is missing; add it")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", message)
    message = re.sub("Tuple should have at least 1 item.*", "should be a list of at least one", message)
    return re.sub("a valid (list|array)", "a list", message).replace("a valid string", "text in quotes")


class Section(BaseModel):
    """A closed, typed part of a study."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    raise fail(f"unknown key {shown(key)}; {nearest(key, list(cls.model_fields))}")
        return value
