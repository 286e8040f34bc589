"""`llamalab generate`: text from a checkpoint, written to stdout as it comes."""

import sys

from omegaconf import DictConfig

from llamalab.common.configs import check_type, resolved
from llamalab.common.console import progress_console
from llamalab.common.errors import UserError

KINDS = {
    "checkpoint": str,
    "prompt": str,
    "max_tokens": int,
    "temperature": float,
    "top_p": float,
    "seed": int,
    "accelerator": str,
    "dtype": str,
}


def run(cfg: DictConfig) -> None:
    """Continues `cfg.prompt` by up to `cfg.max_tokens` tokens, or until the model ends the text.

    Raises:
        UserError: a bad value, no usable checkpoint, or a prompt that fills the model's context.
    """
    options = resolved(cfg)
    for key, kind in KINDS.items():
        check_type(key, options[key], kind)
    for key, fits, rule in (
        ("max_tokens", options["max_tokens"] >= 1, "must be at least 1"),
        ("temperature", options["temperature"] >= 0, "must be 0 (greedy) or more"),
        ("top_p", 0 < options["top_p"] <= 1, "must be above 0 and at most 1"),
    ):
        if not fits:
            raise UserError(f"{key}: {options[key]} {rule}")

    from llamalab.evaluation import subject
    from llamalab.evaluation.decoding import Prompt, Sampling, decode

    device, dtype = subject.device_of(options["accelerator"]), subject.dtype_of(options["dtype"])
    found = subject.find(options["checkpoint"])
    model = found.load(device, dtype)
    # an empty prompt has no token at all where the checkpoint starts texts without BOS
    tokens = found.tokenizer.encode(options["prompt"]) or [found.tokenizer.bos_id]
    room = model.max_seq_len - len(tokens)
    if room < 1:
        raise UserError(f"prompt: has {len(tokens)} tokens but the model's context is {model.max_seq_len}; shorten it")
    if room < options["max_tokens"]:
        progress_console.print(f"max_tokens: the model's context of {model.max_seq_len} leaves room for {room}")

    tokenizer = found.tokenizer
    shown = tokenizer.decode(tokens)
    sys.stdout.write(shown)

    def write(new: list[int]) -> bool:
        nonlocal shown
        text = tokenizer.decode([*tokens, *new])
        # An unfinished UTF-8 character decodes to U+FFFD; it is held back until its last byte has come.
        if not text.endswith("\ufffd"):
            sys.stdout.write(text[len(shown) :])
            sys.stdout.flush()
            shown = text
        return new[-1] == tokenizer.eos_id

    sampling = Sampling(float(options["temperature"]), float(options["top_p"]), options["seed"])
    new = decode(model, [Prompt(tokens, min(room, options["max_tokens"]), sampling, write)], device)[0]
    sys.stdout.write(tokenizer.decode([*tokens, *new])[len(shown) :] + "\n")
    sys.stdout.flush()
