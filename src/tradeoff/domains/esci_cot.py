"""Shopping Queries (ESCI) with chain of thought: short reasoning that a model of the study writes, then the label.

The pairs and splits are those of `esci`. The reasoning of the responses is the teacher's own, kept where it ends in the
right label; what the data set gives is that label. A test item for which the teacher found no right response has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tradeoff.domains import Size
from tradeoff.domains._esci import CHOICE, LABELS
from tradeoff.domains._scorers import answer_line
from tradeoff.domains.esci import Esci


@dataclass(frozen=True, kw_only=True)
class EsciCot(Esci):
    """ESCI with reasoning before the label.

    Attributes:
        teacher: Name of the model of the study that writes the responses.
        max_new_tokens: Generation limit, the teacher's too.
    """

    kind = "esci_cot"
    version = "1.2"
    size = Size(train=84_000, test=28_000, prompt=250, response=80)
    teacher: str
    max_new_tokens: Annotated[int, Field(ge=1)] = 256

    _asks = (
        "Reason in at most three sentences. Then end with a last line\n"
        f"Answer: <label>\nwhere <label> is {', '.join(LABELS[:-1])} or {LABELS[-1]}."
    )
    _response = "Answer: {}"

    @property
    def taught_by(self) -> str:
        """See `Domain.taught_by`."""
        return self.teacher

    def _read(self, response: str) -> str | None:
        """The first label on the last `Answer:` line; without such a line, the label if the text names only one.

        Reasoning weighs one label against another, so a text that names several without an answer has decided nothing.
        """
        line = answer_line(response)
        if line is not None:
            return next(iter(CHOICE.named(line)), None)
        named = set(CHOICE.named(response))
        return named.pop() if len(named) == 1 else None
