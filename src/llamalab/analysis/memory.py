"""Memory of one device in training, from the model's shapes; docs/plan.md explains the formula."""

from dataclasses import dataclass

from torch import nn

from llamalab.model.llama import Llama

GIB = 2**30
# Per token and block: the inputs of two norms (the residual stream) and their outputs.
RESIDUAL_TENSORS = 4
# Logits of one chunk of tokens and their gradient, both in float32, exist at one time.
LOGIT_COPIES = 2


@dataclass(frozen=True)
class Precision:
    """Bytes an element, by what it is for; `peak` names the arithmetic in a device's peak_flops."""

    peak: str
    weights: int
    gradients: int
    moments: int
    compute: int


@dataclass(frozen=True)
class Sharding:
    """Whether weights, gradients and moments are shared out, and how many whole blocks are present at one time."""

    sharded: bool
    gathered_blocks: int | None


@dataclass(frozen=True)
class Shapes:
    """What the formula needs to know of a model.

    Args:
        parameters: all of them.
        block_parameters: of the largest block.
        block_matrices: of them, those in matrices.
        n_layers: number of blocks.
        dim: width of the residual stream.
        vocab_size: rows of the output head.
        chunk_tokens: tokens whose logits exist at one time.
    """

    parameters: int
    block_parameters: int
    block_matrices: int
    n_layers: int
    dim: int
    vocab_size: int
    chunk_tokens: int


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    loss: float
    activations: float
    activations_checkpointed: float

    @property
    def total(self) -> float:
        """All of it, keeping every activation."""
        return self.total_checkpointed - self.activations_checkpointed + self.activations

    @property
    def total_checkpointed(self) -> float:
        """All of it, keeping only the input of each block and recomputing the rest."""
        fixed = self.weights + self.gradients + self.optimizer + self.gathered + self.loss
        return fixed + self.activations_checkpointed


def shapes_of(model: Llama) -> Shapes:
    """Reads the shapes off a model, which may be on the meta device."""

    def count(block: nn.Module, least_dimensions: int) -> int:
        return sum(p.numel() for p in block.parameters() if p.ndim >= least_dimensions)

    largest = max(model.layers, key=lambda block: count(block, 0))
    return Shapes(
        parameters=model.parameter_counts()["total"],
        block_parameters=count(largest, 0),
        block_matrices=count(largest, 2),
        n_layers=len(model.layers),
        dim=model.dim,
        vocab_size=model.vocab_size,
        chunk_tokens=model.cross_entropy.chunk_tokens,
    )


def memory(shapes: Shapes, precision: Precision, sharding: Sharding, devices: int, tokens: int) -> Memory:
    """Bytes on one device.

    Args:
        shapes: of the model.
        precision: bytes an element.
        sharding: what is shared out over the devices.
        devices: how many there are.
        tokens: tokens of one forward pass on one device (sequences x their length).
    """
    share = shapes.parameters / (devices if sharding.sharded else 1)
    gathered = shapes.parameters
    if sharding.gathered_blocks is not None:
        gathered = min(gathered, sharding.gathered_blocks * shapes.block_parameters)
    # An unshared weight is its own compute copy unless it has to be cast.
    copied = sharding.sharded or precision.weights != precision.compute
    # Gradients of one block are whole before they are shared out.
    whole_gradients = shapes.block_parameters * precision.compute if sharding.sharded else 0
    # Every matrix of a block joins the residual stream to one inner activation, which backward needs.
    per_block = shapes.block_matrices / shapes.dim + RESIDUAL_TENSORS * shapes.dim
    outside = 3 * shapes.dim  # the embedded tokens, and the final norm's output and its gradient
    chunk = min(tokens, shapes.chunk_tokens)
    head_gradient = shapes.vocab_size * shapes.dim * 4
    return Memory(
        weights=share * precision.weights,
        gradients=share * precision.gradients,
        optimizer=2 * share * precision.moments,
        gathered=gathered * precision.compute * copied + whole_gradients,
        loss=LOGIT_COPIES * chunk * shapes.vocab_size * 4 + head_gradient,
        activations=tokens * (shapes.n_layers * per_block + outside) * precision.compute,
        activations_checkpointed=tokens * (shapes.n_layers * shapes.dim + per_block + outside) * precision.compute,
    )
