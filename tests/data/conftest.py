"""Fixtures of the data room's tests."""

import pytest
from corpus_texts import data_config, prose
from omegaconf import OmegaConf

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.data.tokenizer_training import SentencePieceTraining


@pytest.fixture(scope="session")
def trained_tokenizer() -> Tokenizer:
    """A tokenizer with LLaMA's flags over made-up text."""
    options = OmegaConf.to_container(data_config(["scale.vocab_size=512"]).tokenizer, resolve=True)
    assert isinstance(options, dict)
    training = SentencePieceTraining(**{str(key): value for key, value in options.items() if key != "_target_"})
    lines = [line for seed in range(40) for line in prose(seed).split("\n") if line]
    return Tokenizer(training.train(lines + ["    indented code = 1234", "naïve café"] * 20), "trained")
