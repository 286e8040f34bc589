"""What sequences share: every sequence can be read off again, and no shared token is there twice without need."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalab.evaluation.prefix_tree import Forest, Group, Tree, common_prefix

sequence = st.lists(st.integers(0, 2), min_size=1, max_size=12)
families = st.lists(st.tuples(sequence, st.integers(1, 3)), min_size=1, max_size=25)


def walk(group: Group, before: list[int]) -> list[tuple[list[int], Group]]:
    """Every group with its whole beginning."""
    assert group.start == len(before)
    beginning = [*before, *group.tokens.tolist()]
    return [(beginning, group)] + [found for inner in group.groups for found in walk(inner, beginning)]


def read_off(tree: Tree, beginning: list[int], scored: list[int]) -> list[int]:
    """A member's sequence: the tokens that its last one sees."""
    last = scored[-1]
    seen = [s for s in range(last + 1) if s <= last < tree.end[s]]
    assert tree.depth[seen].tolist() == list(range(len(beginning), len(beginning) + len(seen)))
    assert seen[-len(scored) :] == scored
    return beginning + tree.tokens[seen].tolist()


@settings(max_examples=40)
@given(families, st.integers(0, 30), st.integers(1, 50), st.integers(1, 40), st.booleans())
def test_every_sequence_can_be_read_off(
    made: list[tuple[list[int], int]], least: int, exchange: int, largest: int, continued: bool
) -> None:
    sequences = [tokens for tokens, _ in made]
    own = [min(count, len(tokens)) for tokens, count in made]
    forest = Forest(sequences, own, [5] * len(made) if continued else None)
    members = []
    for beginning, group in walk(forest.groups(least), []):
        for tree in forest.trees(group, exchange, largest):
            assert len(tree.tokens) <= largest or len(tree.members) == 1
            for index, scored in zip(tree.members, tree.scored, strict=True):
                assert len(scored) == own[index]
                assert read_off(tree, beginning, scored.tolist()) == sequences[index]
                members.append(index)
    assert sorted(members) == list(range(len(sequences)))


def random_tokens(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 1000, count).tolist()


def test_few_shot_examples_are_kept_once_per_task() -> None:
    tasks = [random_tokens(task, 300) for task in range(3)]
    documents = [shots + random_tokens(10 * task + i, 40) for task, shots in enumerate(tasks) for i in range(9, 29)]
    forest = Forest(documents, [1] * len(documents))
    root = forest.groups(least=256)
    assert not root.members
    assert sorted(group.tokens.tolist() for group in root.groups) == sorted(tasks)
    assert all(len(group.members) == 20 for group in root.groups)


def test_choices_share_the_row_of_their_question_and_questions_do_not() -> None:
    questions = [[1, *random_tokens(i, 50)] for i in range(30)]
    sequences = [
        [*question, choice, *random_tokens(100 * i + choice, 7)]
        for i, question in enumerate(questions)
        for choice in range(4)
    ]
    forest = Forest(sequences, [8] * len(sequences))
    root = forest.groups(least=256)
    assert not root.groups
    trees = list(forest.trees(root, exchange=1024, largest=4096))
    assert len(trees) == 30
    assert all(len(tree.tokens) == 51 + 4 * 8 for tree in trees)


def test_samples_of_one_prompt_share_all_but_its_last_token() -> None:
    prompt = random_tokens(0, 60)
    root = Forest([prompt] * 10, [1] * 10, [50] * 10).groups(least=256)
    (group,) = root.groups
    assert group.tokens.tolist() == prompt[:-1]
    assert sorted(group.members) == list(range(10))


def test_what_is_asked_for_is_never_in_a_kept_beginning() -> None:
    text = random_tokens(0, 100)
    root = Forest([text] * 10, [90] * 10).groups(least=0)
    assert all(len(beginning) <= 10 for beginning, _ in walk(root, []))


def test_common_prefix() -> None:
    one, other = np.array([3, 4, 5]), np.array([3, 4])
    assert common_prefix(one, other) == common_prefix(other, one) == 2
    assert common_prefix(one, np.array([4])) == 0
    assert common_prefix(one, one) == 3
