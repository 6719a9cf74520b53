"""Methods: what is done to a base model so that it learns a domain. One file a method, found by its recipe.

A method is a frozen dataclass whose fields are its hyper-parameters; a study's entry under `methods:` is one of them.
The training loop calls the hooks below and knows no method's name. The defaults are plain supervised fine-tuning (SFT),
so a method overrides only what it changes. To add one, drop `methods/<recipe>.py` with a subclass of `Method` and list
it in a study.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

from tradeoff import plugins
from tradeoff.section import Seed

# A study is read by every Snakemake job, so this package must import without torch: hooks use methods of the tensors.
if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tradeoff.models.delta import Delta

Scope = Literal["token", "micro_batch", "step", "previous_step"]


@dataclass(frozen=True)
class Tokens:
    """Detached statistics of supervised tokens under the current model.

    Attributes:
        nll_T: -log p of each target, nats, float32.
        sequence_T: Number of the sequence that each token belongs to.
        reference: The tokens that statistics over a batch are taken from, as `Method.scope` asks: this object itself
            for "step" and "micro_batch", the step before for "previous_step", None for "token".
    """

    nll_T: Tensor
    sequence_T: Tensor
    reference: Tokens | None = None

    def sequence_nll_S(self) -> Tensor:
        """Mean nll of each sequence, [sequences]."""
        _, index_T = self.sequence_T.unique(return_inverse=True)
        count_S = index_T.bincount().to(self.nll_T.dtype)
        return self.nll_T.new_zeros(len(count_S)).index_add(0, index_T, self.nll_T) / count_S


@dataclass(frozen=True)
class Method:
    """The contract: hooks with the defaults of plain SFT.

    Attributes:
        recipe: The module's name.
        needs: What the loop must fetch for the hooks: "base_nll" (losses of the training set under the base model),
            "base_weights" (the base's parameters).
        frozen_base: It trains adapters beside the base's weights, which costs and stores less.
        seeds: Of its runs, in place of the study's; no hyper-parameter.
    """

    recipe: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    frozen_base: ClassVar[bool] = False
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = field(default=None, kw_only=True)

    @property
    def source(self) -> str | None:
        """Name of the method in the same study whose finished run this one transforms, or None if it trains."""
        return None

    @property
    def scope(self) -> Scope:
        """Which tokens `token_weights` needs to see at once; "step" costs a second forward pass if a step is split."""
        return "token"

    @property
    def learning_rate_factor(self) -> float:
        """Factor on the study's learning rate."""
        return 1.0

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        """Decides what is trained: returns the model whose parameters with `requires_grad` are."""
        return model

    def example_weights(self, base_nll_E: Tensor) -> Tensor | None:
        """One weight per training example from its mean nll under the base model; None means 1."""
        return None

    def token_weights(self, tokens: Tokens) -> Tensor | None:
        """One weight per supervised token, [T] float32; None means 1."""
        return None

    def penalty(self, model: torch.nn.Module, base: dict[str, Tensor]) -> Tensor | None:
        """A scalar added to the loss of an optimizer step; `base` maps parameter names to the base's values."""
        return None

    def difference(self, model: torch.nn.Module, base: dict[str, Tensor]) -> Delta:
        """The trained model minus the base, under the base's names."""
        from tradeoff.models.delta import Delta

        return Delta.between(model, base)

    def finish(self, delta: Delta) -> Delta:
        """What becomes of the trained difference to the base."""
        return delta


def decay(nll: Tensor, tau: Tensor | float) -> Tensor:
    """exp(-nll / tau), and at a tau of 0 its limit: 1 where nll is 0, else 0."""
    return (-nll / tau).exp().where(nll > 0, 1.0)


def names() -> list[str]:
    """All recipes."""
    return plugins.names(sys.modules[__name__])


def recipe(name: str) -> type[Method]:
    """The method class of a recipe.

    Raises:
        KeyError: there is none.
    """
    cls = plugins.find(sys.modules[__name__], name, Method)
    assert cls.recipe == name, f"methods/{name}.py defines the recipe {cls.recipe}"
    return cls


def hyper_parameters(cls: type[Method]) -> list[str]:
    """Names of the fields that decide what a method does."""
    return [known.name for known in fields(cls) if known.name != "seeds"]


def build(spec: dict[str, Any]) -> Method:
    """A method from its validated spec `{"recipe": ..., hyper-parameters}`, in which infinity is "inf"."""
    parameters = dict(spec)
    return TypeAdapter(recipe(parameters.pop("recipe"))).validate_python(parameters)
