"""Our checkpoints as lm-eval sees them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.common.errors import UserError
from llamalab.evaluation.batching import by_length
from llamalab.evaluation.decoding import Prompt, Sampling, decode
from llamalab.evaluation.progress import progress
from llamalab.evaluation.scoring import Window, score
from llamalab.model.llama import Llama

# lm-eval's own default for tasks that do not say how much to generate
NEW_TOKENS = 256


class CheckpointLM(TemplateLM):
    """An lm-eval model over a Llama and its SentencePiece tokenizer.

    One BOS starts every sequence and no other is ever added: a document scored whole has it as the context of its
    first token and is not asked to predict it (lm-eval's HFLM does both for LLaMA tokenizers, its issues #1465 and
    #3333). Where context ends and continuation begins in tokens follows lm-eval: white space between them belongs to
    the continuation, which is what the joint encoding has beyond the context's own. Scores do not depend on how
    requests are batched.

    Args:
        model: on `device`, in evaluation mode.
        tokenizer: the one it was trained with.
        batch_tokens: padded tokens per forward pass.
        device: where the model is.

    Attributes:
        truncated: requests so far that did not fit into the model and lost the beginning of their context.
    """

    def __init__(self, model: Llama, tokenizer: TextTokenizer, batch_tokens: int, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.tokenizer: Any = tokenizer  # lm-eval's base class declares it as None
        self.batch_tokens = batch_tokens
        self._device = device
        self.max_length = model.max_seq_len
        self.truncated = 0

    @property
    def eot_token_id(self) -> int:
        """EOS, which ends a generation."""
        end: int = self.tokenizer.eos_id
        return end

    @property
    def prefix_token_id(self) -> int:
        """BOS, the context of a text's first token."""
        begin: int = self.tokenizer.bos_id
        return begin

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of `string`, after BOS unless `add_special_tokens` is False."""
        ids: list[int] = self.tokenizer.encode(string, bos=add_special_tokens is not False)
        return ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """lm-eval's split of the joint encoding; if the continuation vanished in it, its last token is scored."""
        before, after = super()._encode_pair(context, continuation)
        if not after:
            joint = self.tok_encode(context + continuation)
            before, after = joint[:-1], joint[-1:]
        return before, after

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would give it) of each continuation in its context.

        What is asked more than once (a choice in a neutral context, by several items) is scored once.
        """
        unique = {request.args: request for request in requests}
        found = super().loglikelihood([*unique.values()], disable_tqdm=True)
        scores = dict(zip(unique, found, strict=True))
        return [scores[request.args] for request in requests]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        windows = []
        for _, context, continuation in requests:
            if len(continuation) > self.max_length:
                # Too long even alone: as a document is scored, each token once, with as much before it as fits.
                windows.append(self._rolling(continuation, prefix=context[-1]))
            else:
                tokens = (context + continuation)[-(self.max_length + 1) :]
                windows.append([Window(tokens[:-1], continuation)])
            self.truncated += len(context) + len(continuation) > self.max_length + 1
        return self._scores(windows, "Scoring continuations")

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood in nats of each whole text, in windows of the model's length (lm-eval's disjoint ones)."""
        texts = [self.tok_encode(request.args[0], add_special_tokens=False) for request in requests]
        windows = [self._rolling(tokens, self.prefix_token_id) for tokens in texts]
        return [found for found, _ in self._scores(windows, "Scoring documents")]

    def _rolling(self, tokens: list[int], prefix: int) -> list[Window]:
        windows = []
        for pair in get_rolling_token_windows(tokens, prefix, max_seq_len=self.max_length, context_len=1):
            before, targets = make_disjoint_window(pair)
            windows.append(Window(before + targets[:-1], targets))
        return windows

    def _scores(self, windows: list[list[Window]], description: str) -> list[tuple[float, bool]]:
        """Per request, the sum over its windows."""
        flat = [window for of_request in windows for window in of_request]
        with progress(description, len(flat)) as advance:
            scores = iter(score(self.model, flat, self.batch_tokens, self.device, advance))
        results = []
        for of_request in windows:
            parts = [next(scores) for _ in of_request]
            results.append((sum(part.log_likelihood for part in parts), all(part.greedy for part in parts)))
        return results

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Text after each context up to the first of its stop strings, EOS, or `max_gen_toks` tokens.

        Greedy unless the task asks for a temperature. Repeats of a sampled request differ from each other, but each
        is the same in every run and in every batch.
        """
        seen: dict[str, int] = {}
        prompts, stops = [], []
        for request in requests:
            context, wanted = request.args
            options = dict(normalize_gen_kwargs(wanted, NEW_TOKENS))
            until = [stop for stop in options["until"] if stop]
            if options["max_gen_toks"] >= self.max_length:
                raise UserError(
                    f"max_gen_toks: task '{request.task_name}' asks for {options['max_gen_toks']} new tokens but the "
                    f"model's context is {self.max_length}; use a model with a longer context"
                )
            tokens = self.tok_encode(context)
            kept = tokens[-(self.max_length - options["max_gen_toks"]) :]
            self.truncated += len(kept) < len(tokens)
            key = json.dumps([context, wanted], sort_keys=True)
            seen[key] = seen.get(key, -1) + 1
            digest = hashlib.sha256(f"{seen[key]}:{key}".encode()).digest()
            sampling = Sampling(
                temperature=float(options.get("temperature", 0.0)) if options["do_sample"] else 0.0,
                top_p=float(options.get("top_p", 1.0)),
                seed=int.from_bytes(digest[:7]),
            )
            stop = StopStrings(self.tokenizer, kept[-1], until)
            prompts.append(Prompt(kept, options["max_gen_toks"], sampling, stop.reached))
            stops.append(stop)
        texts = [""] * len(prompts)
        with progress("Generating", len(prompts)) as advance:
            for batch in by_length([len(prompt.tokens) + prompt.limit for prompt in prompts], self.batch_tokens):
                for index, new in zip(batch, decode(self.model, [prompts[i] for i in batch], self.device), strict=True):
                    texts[index] = stops[index].text(new)
                advance(len(batch))
        return texts


class StopStrings:
    """Where a generated text ends.

    Args:
        tokenizer: decodes it.
        before: the prompt's last token; the text is decoded behind it, since SentencePiece drops the space of a
            text's first word.
        until: strings that end the text and are not part of it.
    """

    def __init__(self, tokenizer: TextTokenizer, before: int, until: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.before = before
        self.until = until

    def text(self, new: list[int]) -> str:
        """The text of the new tokens, cut before the first EOS or stop string."""
        if self.tokenizer.eos_id in new:
            new = new[: new.index(self.tokenizer.eos_id)]
        text = decoded(self.tokenizer, self.before, new)
        cuts = [text.index(stop) for stop in self.until if stop in text]
        return text[: min(cuts)] if cuts else text

    def reached(self, new: list[int]) -> bool:
        """Whether EOS or a stop string has come."""
        if new[-1] == self.tokenizer.eos_id:
            return True
        return bool(self.until) and any(stop in decoded(self.tokenizer, self.before, new) for stop in self.until)


def decoded(tokenizer: TextTokenizer, before: int, new: list[int]) -> str:
    """The text that `new` adds behind the token `before`."""
    return tokenizer.decode([before, *new])[len(tokenizer.decode([before])) :]
