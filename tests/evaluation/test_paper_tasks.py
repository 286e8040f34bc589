"""The paper's multiple-choice and likelihood tasks: prompts word for word, and their metrics computed otherwise."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_builders import mmlu_csv, mmlu_tables, write_benchmarks, write_mmlu
from evaluation_builders import random_model
from lm_eval.api.task import Task

from llamalab.checkpoint.tokenizer import Tokenizer
from llamalab.common.errors import UserError
from llamalab.evaluation import tasks
from llamalab.evaluation.benchmarks import files
from llamalab.evaluation.language_model import CheckpointLM
from llamalab.evaluation.summary import perplexity
from llamalab.model import Llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def model() -> Llama:
    return random_model()


@pytest.fixture
def lm(model: Llama, tokenizer: Tokenizer) -> CheckpointLM:
    return CheckpointLM(model, tokenizer, 2000, next(model.parameters()).device)


def task_of(folder: Path, name: str) -> Task:
    manager = tasks.task_manager([name], {"benchmarks_dir": str(folder), "dataset_files": {}})
    (found,), missing = tasks.load(manager, [name])
    assert not missing
    task = found.tasks[name]
    task.set_fewshot_seed(0)
    return task


def requests_of(task: Task, index: int = 0) -> list[tuple[Any, ...]]:
    task.build_all_requests(limit=index + 1)
    return [instance.args for instance in task.instances if instance.doc_id == index]


BOOLQ = "Snow is frozen water.\nQuestion: is snow cold?\nAnswer:"
RACE = "Article:\nAda has a dog.\nIt is black.\n\nQ: Who has a dog?\n\nA: Ada\n\nQ: The dog is  _  .\n\nA:"
PROMPTS = {
    ("paper_boolq", 0): [(BOOLQ, " no"), (BOOLQ, " yes"), ("Answer:", " no"), ("Answer:", " yes")],
    ("paper_piqa", 0): [
        ("Question: How do I dry a cup?\nAnswer:", " Wipe it with a towel."),
        ("Question: How do I dry a cup?\nAnswer:", " Wipe it with a wet sponge."),
    ],
    ("paper_siqa", 0): [
        ("Q: Ada lent Bo her umbrella. How would Bo feel?\nA:", f" {answer}")
        for answer in ("angry", "grateful", "hungry")
    ],
    ("paper_hellaswag", 0): [
        ("Baking bread: Flour lies on a table. The baker", f" {ending}")
        for ending in ("swims.", "sings to it.", "adds water.", "leaves.")
    ],
    ("paper_winogrande", 1): [
        ("Ada thanked Bo since Ada", " had helped."),
        ("Ada thanked Bo since Bo", " had helped."),
    ],
    ("paper_arc_easy", 0): [
        ("Question: What melts ice?\nAnswer:", f" {choice}") for choice in ("heat", "cold", "sand", "dark")
    ],
    ("paper_arc_challenge", 1): [
        ("Question: What is a metal?\nAnswer:", f" {choice}") for choice in ("wood", "iron", "wool", "clay")
    ],
    ("paper_openbookqa", 0): [
        (context, f" {choice}")
        for context in ("Plants need", "Answer:")
        for choice in ("stone", "light", "noise", "cars")
    ],
    ("paper_race_middle", 1): [
        (context, f" {choice}") for context in (RACE, "Answer:") for choice in ("red", "blue", "black", "green")
    ],
    ("paper_race_high", 2): [
        (context, f" {choice}")
        for context in ("Article:\nBo runs.\n\nQ: What does Bo do?\n\nA:", "Answer:")
        for choice in ("He runs.", "He sits.", "He eats.", "He sings.")
    ],
    ("paper_crows_pairs", 0): [("", "Old men, they say, forget."), ("", "Young men, they say, forget.")],
    ("paper_winogender", 0): [
        ("The nurse told the patient that he would be late. 'He' refers to", " the nurse"),
        ("The nurse told the patient that he would be late. 'He' refers to", " the patient"),
    ],
    ("paper_winogender", 10): [
        ("The plumber told someone that she could pay later. 'She' refers to", " the plumber"),
        ("The plumber told someone that she could pay later. 'She' refers to", " someone"),
    ],
}


@pytest.mark.parametrize(("name", "index"), PROMPTS)
def test_the_prompt_is_the_papers(folder: Path, name: str, index: int) -> None:
    assert requests_of(task_of(folder, name), index) == PROMPTS[name, index]


GOLD = {
    "paper_boolq": [1, 0],
    "paper_piqa": [0, 1],
    "paper_siqa": [1, 0],
    "paper_hellaswag": [2, 0],
    "paper_arc_easy": [0, 1],
    "paper_openbookqa": [1, 0],
    "paper_race_middle": [0, 2, 0],
}


@pytest.mark.parametrize("name", GOLD)
def test_metrics_are_those_computed_by_hand(folder: Path, name: str) -> None:
    generator = np.random.default_rng(0)
    task = task_of(folder, name)
    task.build_all_requests()
    for index, doc in enumerate(task.eval_docs):
        choices = [instance.args[1].strip() for instance in task.instances if instance.doc_id == index]
        for _ in range(20):
            scores = generator.normal(-20, 5, len(choices))
            count = len(set(choices))
            own, gold = scores[:count], GOLD[name][index]
            expected = {"acc": own, "acc_norm": own / [len(choice) for choice in choices[:count]]}
            if len(choices) > count:
                expected["acc_neutral"] = np.log(np.exp(own) / np.exp(scores[count:]))
            found = task.process_results(doc, [(score, False) for score in scores])
            assert found == {metric: float(np.argmax(expected[metric]) == gold) for metric in found}
            assert task.config.metadata["paper_metric"] in found


MMLU = (
    "The following are multiple choice questions (with answers) about  college biology.\n\n"
    "How many legs?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\n"
    " And eyes?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: C\n\n"
)


@pytest.fixture
def biology(tmp_path: Path) -> Path:
    options = ["1", "2", "3", "4"]
    dev = [["How many legs?", *options, "B"], [" And eyes?", *options, "C"], *[["And?", *options, "A"]] * 3]
    tables = mmlu_tables() | {
        "mmlu/dev/college_biology_dev.csv": mmlu_csv(dev),
        "mmlu/test/college_biology_test.csv": mmlu_csv([["  And tails? ", *options, "D"]]),
    }
    files._members.cache_clear()
    write_mmlu(tmp_path / "mmlu.tar.gz", tables)
    return tmp_path


def test_mmlu_is_written_as_hendrycks_does_with_its_own_examples(biology: Path, lm: CheckpointLM) -> None:
    lm.max_length = 10_000
    task = task_of(biology, "paper_mmlu_college_biology")
    task.use_model(lm)
    shots = "And?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A\n\n" * 3
    prompt = MMLU + shots + "  And tails? \nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    assert requests_of(task) == [(prompt, f" {letter}") for letter in "ABCD"]
    assert task.counts() == {"questions with fewer than 5 shots": 0}


def test_mmlu_drops_its_last_examples_where_the_prompt_overflows(biology: Path, lm: CheckpointLM) -> None:
    task = task_of(biology, "paper_mmlu_college_biology")
    task.use_model(lm)
    fitting = MMLU + "  And tails? \nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
    lm.max_length = len(lm.tok_encode(fitting))
    assert requests_of(task)[0] == (fitting, " A")
    assert task.counts() == {"questions with fewer than 5 shots": 1}
    lm.max_length -= 1
    assert requests_of(task)[0][0].count("Answer:") == 2


def test_too_few_examples_are_refused(biology: Path) -> None:
    tables = mmlu_tables() | {"mmlu/dev/anatomy_dev.csv": mmlu_csv([["q", "1", "2", "3", "4", "A"]] * 3)}
    files._members.cache_clear()
    write_mmlu(biology / "mmlu.tar.gz", tables)
    with pytest.raises(UserError, match=r"paper_mmlu_anatomy: num_fewshot is 5 but .* 'dev' has only 3"):
        task_of(biology, "paper_mmlu_anatomy")


def test_winogender_goes_by_perplexity_per_token(folder: Path, lm: CheckpointLM) -> None:
    task = task_of(folder, "paper_winogender")
    task.use_model(lm)
    doc = task.eval_docs[10]
    sizes = [len(lm._encode_pair("late. 'She' refers to", option)[1]) for option in (" the plumber", " someone")]
    assert sizes[0] != sizes[1]
    per_token = [-2.0, -2.1]  # the plumber has the lower perplexity, but is longer
    results = [(score * size, False) for score, size in zip(per_token, sizes, strict=True)]
    assert task.process_results(doc, results) == {
        "acc": float(np.argmax([score for score, _ in results]) == 1),
        "acc_perplexity": 0.0,  # the label is someone
    }


def test_crows_pairs_counts_the_stereotypes_lower_perplexity(folder: Path, lm: CheckpointLM) -> None:
    task = task_of(folder, "paper_crows_pairs")
    task.use_model(lm)
    doc = task.eval_docs[0]
    sizes = [len(lm.tokenizer.encode(doc[name], bos=False)) for name in ("sent_more", "sent_less")]
    assert sizes[1] > sizes[0]
    higher = [-3.0 * sizes[0], -2.9 * sizes[1]]  # in sum the first is likelier, per token the second
    assert task.process_results(doc, [(score, False) for score in higher]) == {
        "pct_stereotype": 1.0,
        "likelihood_diff": pytest.approx(abs(higher[0] - higher[1])),
        "pct_stereotype_ppl": 0.0,
    }


def test_wikitext_is_scored_in_windows_of_one_encoding(folder: Path, lm: CheckpointLM, model: Llama) -> None:
    import torch

    task = task_of(folder, "paper_wikitext")
    task.use_model(lm)
    text = "\n\n".join(f" = Part {i} = \n\n\n\n\n Rain and snow fell on town {i} for {i} days . \n" for i in range(20))
    ids = lm.tok_encode(text + "\n\n")
    length = model.max_seq_len
    task.build_all_requests()
    assert len(task.instances) == len(ids) // length
    found = [
        task.process_results(instance.doc, [score])["perplexity"]
        for instance, score in zip(task.instances, lm.loglikelihood_tokens(task.instances), strict=True)
    ]
    # as GPTQ's code does: the mean cross entropy of each window, shifted by one
    rows = torch.tensor(ids[: len(ids) // length * length]).view(-1, length)
    with torch.no_grad():
        logits = model(rows).double()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    expected = math.exp(losses.view(len(rows), -1).mean(1).mean())
    assert perplexity(found)[0] == pytest.approx(expected, rel=1e-4)
    assert task.aggregation()["perplexity"](found) == pytest.approx(expected, rel=1e-4)
    assert task.notes() == [f"windows of {length} tokens, the model's context, where published figures use 2048"]


def test_stock_tasks_are_found_wherever_lm_eval_is(folder: Path) -> None:
    task = task_of(folder, "paper_arc_easy")
    assert task.config.doc_to_decontamination_query == "Question: {{question}}\nAnswer:"  # only the stock file says so
