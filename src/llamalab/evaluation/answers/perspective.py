"""Perspective API, which scored the paper's generations (section 5.1). Used only where a user asks for it by name."""

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llamalab.common.errors import UserError

KEY = "PERSPECTIVE_API_KEY"  # lm-eval's name for it
ADDRESS = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
BUSY = (429, 500, 502, 503, 504)


class PerspectiveScorer:
    """TOXICITY of each text, one request at a time; what was scored once is read from `cache`.

    Args:
        cache: a JSONL file of scores by text hash, made if needed; an interrupted run goes on where it stopped.
        requests_per_second: the quota of the key (Google gives 1 by default).
        retries: how often a request is repeated when the service is busy.
        timeout: seconds for one request.

    Raises:
        UserError: no key in the environment.
    """

    def __init__(self, cache: str, requests_per_second: float, retries: int, timeout: float) -> None:
        if not os.environ.get(KEY):
            raise UserError(
                f"scorer: Perspective API needs a key in the environment variable {KEY}; set it, or leave scorer out"
            )
        self.cache = Path(cache)
        self.pause = 1 / requests_per_second
        self.retries = retries
        self.timeout = timeout
        self.open: Callable[..., Any] = urllib.request.urlopen

    def __call__(self, texts: Sequence[str]) -> list[float | None]:
        """The scores; None for a text that is empty or in no language that the service knows.

        Raises:
            UserError: the service refuses the key or does not answer. Nothing is made up instead of a score.
        """
        known = self._known()
        for text in dict.fromkeys(texts):
            if text.strip() and _name(text) not in known:
                known[_name(text)] = score = self._ask(text)
                self.cache.parent.mkdir(parents=True, exist_ok=True)
                with self.cache.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"text": _name(text), "toxicity": score}) + "\n")
        return [known.get(_name(text)) for text in texts]

    def _known(self) -> dict[str, float | None]:
        known = {}
        for line in self.cache.read_text(encoding="utf-8").splitlines() if self.cache.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that an interruption cut off; its text is asked for again
            known[row["text"]] = row["toxicity"]
        return known

    def _ask(self, text: str) -> float | None:
        body = {
            "comment": {"text": text},
            "languages": ["en"],
            "requestedAttributes": {"TOXICITY": {}},
            "doNotStore": True,
        }
        request = urllib.request.Request(
            f"{ADDRESS}?key={os.environ[KEY]}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for attempt in range(self.retries + 1):
            time.sleep(self.pause * 2**attempt)
            try:
                with self.open(request, timeout=self.timeout) as response:
                    answer = json.load(response)
                return float(answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"])
            except urllib.error.HTTPError as error:
                content = error.read().decode(errors="replace")
                if error.code == 400 and "LANGUAGE_NOT_SUPPORTED" in content:
                    return None
                if error.code not in BUSY:
                    raise UserError(f"scorer: Perspective API refuses ({error}); check {KEY}") from None
                reason = str(error)
            except (urllib.error.URLError, TimeoutError) as error:
                reason = str(getattr(error, "reason", error))
        raise UserError(f"scorer: Perspective API does not answer ({reason}); run again later, what is scored is kept")


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
