"""Our checkpoints as lm-eval sees them."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from llamalab.checkpoint.text_tokenizer import TextTokenizer
from llamalab.evaluation.budget import fit
from llamalab.evaluation.decoding import Prompt, generate
from llamalab.evaluation.progress import progress
from llamalab.evaluation.ranks import ALONE, Ranks, everywhere
from llamalab.evaluation.request_cache import RequestCache
from llamalab.evaluation.sampling import Sampling
from llamalab.evaluation.scoring import Window, score
from llamalab.evaluation.stopping import StopStrings
from llamalab.model.llama import Llama

# lm-eval's own default for tasks that do not say how much to generate
NEW_TOKENS = 256
# Encoded contexts that are kept; the requests of one document come one after the other.
CONTEXTS = 256


@dataclass(frozen=True)
class Question:
    """What has to be computed: a text that says all that the answer depends on, and one request that asks it."""

    text: str
    request: Instance


@dataclass(frozen=True)
class Answer:
    """The answer to question `index`, whether the beginning of its context was cut off, and its room to generate."""

    index: int
    value: Any
    truncated: bool = False
    shortened: bool = False


class CheckpointLM(TemplateLM):
    """An lm-eval model over a Llama and its tokenizer.

    One BOS starts every sequence and no other is ever added: a document scored whole has it as the context of its
    first token and is not asked to predict it (lm-eval's HFLM does both for LLaMA tokenizers, its issues #1465 and
    #3333). A tokenizer without BOS has EOS as the context of a text's first token, as in HFLM. Where context ends and
    continuation begins in tokens follows lm-eval: white space between them belongs to the continuation, which is what
    the joint encoding has beyond the context's own. Scores do not depend on how requests are batched.

    Args:
        model: on `device`, in evaluation mode.
        tokenizer: the one it was trained with.
        batch_tokens: padded tokens per forward pass.
        device: where the model is.
        cache: where answers are kept and looked up; None keeps none.
        ranks: the processes that share out lm-eval's documents.

    Attributes:
        truncated: requests so far (of this rank) that did not fit into the model and lost the beginning of their
            context.
        shortened: generations so far (of this rank) that had less room than their task asks for.
    """

    def __init__(
        self,
        model: Llama,
        tokenizer: TextTokenizer,
        batch_tokens: int,
        device: torch.device,
        cache: RequestCache | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer: Any = tokenizer  # lm-eval's base class declares it as None
        self.batch_tokens = batch_tokens
        self._device = device
        self._rank, self._world_size = ranks.rank, ranks.world_size
        self.cache = cache
        self.ranks = ranks
        self.max_length = model.max_seq_len
        self.truncated = 0
        self.shortened = 0
        self._encode_context = functools.lru_cache(CONTEXTS)(self.tok_encode)

    @property
    def eot_token_id(self) -> int:
        """EOS, which ends a generation."""
        end: int = self.tokenizer.eos_id
        return end

    @property
    def prefix_token_id(self) -> int:
        """The context of a text's first token."""
        begin: int | None = self.tokenizer.bos_id
        return self.eot_token_id if begin is None else begin

    def all_gather(self, tensor: Tensor) -> Tensor:
        """This rank's count of requests as every rank's: see `ranks.everywhere`."""
        return everywhere(tensor, self.ranks)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """The objects of all ranks on the first one."""
        assert dst == 0
        return self.ranks.gather(obj)

    def barrier(self) -> None:
        """Returns when all ranks have come here."""
        self.ranks.wait()

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """The ids of `string`, after BOS unless `add_special_tokens` is False."""
        ids: list[int] = self.tokenizer.encode(string, bos=add_special_tokens is not False)
        return ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """lm-eval's split of the joint encoding; if the continuation vanished in it, its last token is scored."""
        if not context:
            tokens = self.tok_encode(continuation, add_special_tokens=False)
            begun = tokens[:1] == [self.prefix_token_id]
            return (tokens[:1], tokens[1:]) if begun else ([self.prefix_token_id], tokens)
        before = context.rstrip()
        joint = self.tok_encode(context + continuation)
        known = self._encode_context(before) or [self.prefix_token_id]
        after = joint[len(known) :]
        return (known, after) if after else (joint[:-1], joint[-1:])

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood in nats, whether greedy decoding would give it) of each continuation in its context.

        What is asked more than once (a choice in a neutral context, by several items) is scored once.
        """

        def work(asked: Sequence[Question]) -> Iterator[Answer]:
            pairs = [self._encode_pair(*question.request.args) for question in asked]
            return self._continuations(pairs, "Scoring continuations")

        return [(total, greedy) for total, greedy in self._answered("loglikelihood", requests, work)]

    def loglikelihood_tokens(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """As `loglikelihood`, of all tokens but the first of each request's second argument, a list of ids."""

        def work(asked: Sequence[Question]) -> Iterator[Answer]:
            sequences = [list(question.request.args[1]) for question in asked]
            return self._continuations([(ids[:1], ids[1:]) for ids in sequences], "Scoring windows")

        return [(total, greedy) for total, greedy in self._answered("loglikelihood_tokens", requests, work)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood in nats of each whole text, in windows of the model's length (lm-eval's disjoint ones)."""

        def work(asked: Sequence[Question]) -> Iterator[Answer]:
            texts = [self.tok_encode(question.request.args[0], add_special_tokens=False) for question in asked]
            windows = [self._rolling(tokens, self.prefix_token_id) for tokens in texts]
            for found in self._scores(windows, "Scoring documents"):
                yield Answer(found.index, found.value[0])

        return self._answered("loglikelihood_rolling", requests, work)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Text after each context up to the first of its stop strings, EOS, or `max_gen_toks` tokens.

        Greedy unless the task asks for a temperature. Repeats of a sampled request differ from each other, but each
        is the same in every run, in every batch and on any number of ranks.
        """
        return self._answered("generate_until", requests, self._continued)

    def _answered(
        self, kind: str, requests: Sequence[Instance], work: Callable[[Sequence[Question]], Iterator[Answer]]
    ) -> list[Any]:
        """The answer to each request: from the cache or by `work`, which is given every open question once."""
        places: dict[str, list[int]] = {}
        for place, text in enumerate(questions_of(kind, requests)):
            places.setdefault(text, []).append(place)
        asking = {text: {requests[place].task_name for place in where} for text, where in places.items()}
        known: dict[str, Any] = {}
        if self.cache is not None:
            for text, tasks in asking.items():
                entries = [self.cache.answers.get(self.cache.key(task, text)) for task in tasks]
                for entry in filter(None, entries):
                    known[text] = entry
        still_open = [Question(text, requests[where[0]]) for text, where in places.items() if text not in known]
        for answer in work(still_open) if still_open else ():
            text = still_open[answer.index].text
            known[text] = {"value": answer.value, "truncated": answer.truncated, "shortened": answer.shortened}
            if self.cache is not None:
                self.cache.add(asking[text], text, known[text])
        answers: list[Any] = [None] * len(requests)
        for text, where in places.items():
            self.truncated += known[text]["truncated"] * len(where)
            self.shortened += known[text]["shortened"] * len(where)
            for place in where:
                answers[place] = known[text]["value"]
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        found = {answer.index: answer for answer in self._continuations(pairs, "Scoring continuations")}
        self.truncated += sum(answer.truncated for answer in found.values())
        return [found[index].value for index in range(len(requests))]

    def _continuations(self, pairs: Sequence[tuple[list[int], list[int]]], description: str) -> Iterator[Answer]:
        windows, cut = [], []
        for context, continuation in pairs:
            if len(continuation) > self.max_length:
                # Too long even alone: as a document is scored, each token once, with as much before it as fits.
                windows.append(self._rolling(continuation, prefix=context[-1]))
            elif continuation:
                tokens = (context + continuation)[-(self.max_length + 1) :]
                windows.append([Window(tokens[:-1], continuation)])
            else:
                windows.append([])
            cut.append(len(context) + len(continuation) > self.max_length + 1)
        for found in self._scores(windows, description):
            yield Answer(found.index, found.value, cut[found.index])

    def _rolling(self, tokens: list[int], prefix: int) -> list[Window]:
        windows = []
        for pair in get_rolling_token_windows(tokens, prefix, max_seq_len=self.max_length, context_len=1):
            before, targets = make_disjoint_window(pair)
            windows.append(Window(before + targets[:-1], targets))
        return windows

    def _scores(self, windows: list[list[Window]], description: str) -> Iterator[Answer]:
        """Per request, the sum over its windows."""
        flat = [window for of_request in windows for window in of_request]
        owner = [index for index, of_request in enumerate(windows) for _ in of_request]
        missing = [len(of_request) for of_request in windows]
        total, greedy = [0.0] * len(windows), [True] * len(windows)
        yield from (Answer(index, (0.0, True)) for index, of_request in enumerate(windows) if not of_request)
        with progress(description, sum(len(window.tokens) for window in flat), self.ranks.first) as advance:
            for place, part in score(self.model, flat, self.batch_tokens, self._device):
                index = owner[place]
                total[index] += part.log_likelihood
                greedy[index] &= part.greedy
                missing[index] -= 1
                advance(len(flat[place].tokens))
                if not missing[index]:
                    yield Answer(index, (total[index], greedy[index]))

    def _continued(self, asked: Sequence[Question]) -> Iterator[Answer]:
        prompts, stops, cut = [], [], []
        for question in asked:
            context, wanted = question.request.args
            options = dict(normalize_gen_kwargs(wanted, NEW_TOKENS))
            until = [stop for stop in options["until"] if stop]
            tokens = self._encode_context(context) or [self.prefix_token_id]
            kept, limit = fit(tokens, options["max_gen_toks"], self.max_length)
            cut.append((len(kept) < len(tokens), limit < options["max_gen_toks"]))
            sampling = Sampling(
                temperature=float(options.get("temperature", 0.0)) if options["do_sample"] else 0.0,
                top_p=float(options.get("top_p", 1.0)),
                seed=int.from_bytes(hashlib.sha256(question.text.encode()).digest()[:7]),
            )
            stop = StopStrings(self.tokenizer, kept[-1], until)
            prompts.append(Prompt(kept, limit, sampling, stop.reached))
            stops.append(stop)
        with progress("Generating", len(prompts), self.ranks.first) as advance:
            for index, new in generate(self.model, prompts, self.batch_tokens, self._device):
                advance(1)
                yield Answer(index, stops[index].text(new), *cut[index])


def questions_of(kind: str, requests: Sequence[Instance]) -> list[str]:
    """What each request asks, as text; requests with the same text have the same answer.

    A sampled generation also carries its document and how often it was asked for that before, so that repeats differ
    and ranks agree.
    """
    seen: dict[str, int] = {}
    questions = []
    for request in requests:
        asked = [kind, *request.args]
        if kind == "generate_until" and normalize_gen_kwargs(request.args[1], NEW_TOKENS)["do_sample"]:
            asked.append(request.doc_id)
            so_far = json.dumps(asked, sort_keys=True)
            seen[so_far] = seen.get(so_far, -1) + 1
            asked.append(seen[so_far])
        questions.append(json.dumps(asked, sort_keys=True))
    return questions
