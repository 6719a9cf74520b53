"""What all methods share of the training loop: a study's `training:`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tradeoff.section import Precision, Section

AT = "at="  # begins the name of a snapshot's folder within its run's, such as at=0.5
Schedule = Literal["constant", "linear", "cosine"]


class Training(Section):
    """The shared training loop; the same for every method."""

    epochs: Annotated[int, Field(ge=1, description="passes over the training examples")]
    batch_size: Annotated[int, Field(ge=1, description="examples of an optimizer step")]
    batch_tokens: Annotated[int, Field(ge=1, description="token budget of a micro-batch; bounds memory only")] = 2048
    graph_tokens: Annotated[
        int, Field(ge=0, description="step up to which a method that measures it first keeps the forward passes")
    ] = 0
    max_length: Annotated[int, Field(ge=8, description="longer examples are dropped and counted, tokens")] = 2048
    schedule: Annotated[Schedule, Field(description="of the learning rate after warm-up")] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps that warm up linearly")] = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, description="AdamW's, towards zero")] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0, description="clip the gradient's norm; .inf never")] = 1.0
    packing: Annotated[bool, Field(description="sequences of a micro-batch in one row, without padding")] = False
    gradient_checkpointing: Annotated[bool, Field(description="less memory for a second forward pass")] = False
    compile: Annotated[bool, Field(description="let torch.compile fuse the layers' operations")] = False
    shard: Annotated[bool, Field(description="split the model over the processes of a run")] = False
    precision: Annotated[Precision, Field(description="of autocast; master weights are always float32")] = "float32"
