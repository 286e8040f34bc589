"""Model configs of runs that were made before a constructor got an option."""

from typing import Any

from llamalab.common.configs import nodes

FEED_FORWARDS = ("SwiGLU", "GEGLU", "ReGLU", "GLU", "Bilinear")
# The options by constructor, with the value that older runs were computed with.
LATER: dict[str, dict[str, Any]] = {
    "llamalab.model.llama.Llama": {"head_dim": None},
    "llamalab.model.attention.Attention": {"bias": False},
    "llamalab.model.attention.SlidingWindowAttention": {"bias": False},
    **{f"llamalab.model.feed_forward.{name}": {"bias": False} for name in FEED_FORWARDS},
    "llamalab.model.position_scaled.YarnRotaryPosition": {
        "attention_factor": None,
        "mscale": None,
        "mscale_all_dim": None,
        "truncate": True,
    },
}


def completed(model: dict[str, Any]) -> dict[str, Any]:
    """The config with the options that it lacks because it is older than they are; changed in place."""
    for _, node in nodes(model):
        for key, value in LATER.get(str(node["_target_"]), {}).items():
            node.setdefault(key, value)
    return model


def as_first_written(model: Any) -> Any:
    """A copy without later options that have no effect: equal for the same computation, whenever it was written."""
    if isinstance(model, list):
        return [as_first_written(value) for value in model]
    if not isinstance(model, dict):
        return model
    later = LATER.get(str(model.get("_target_")), {})
    return {key: as_first_written(value) for key, value in model.items() if key not in later or value != later[key]}
