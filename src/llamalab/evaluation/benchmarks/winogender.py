"""WinoGender: what its sentence identifiers say, and which sentences are gotchas."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamalab.common.errors import UserError
from llamalab.evaluation.benchmarks.files import Row, field, table

if TYPE_CHECKING:
    from datasets import Dataset

PRONOUNS = {"male": ("he", "his", "him"), "female": ("she", "her"), "neutral": ("they", "their", "them")}
# Occupations of the schemas with more women than men, by the figures of the U.S. Bureau of Labor Statistics that
# Rudinger et al. 2018 use (2015 and 2016).
MOSTLY_WOMEN = frozenset(
    re.findall(
        r"\w+",
        """
        accountant administrator appraiser auditor baker bartender broker cashier clerk counselor dietitian dispatcher
        educator examiner hairdresser hygienist instructor librarian nurse nutritionist paralegal pathologist pharmacist
        planner practitioner psychologist receptionist secretary teacher therapist veterinarian
        """,
    )
)


def winogender(test: Path) -> dict[str, list[Row]]:
    """The original all_sentences.tsv: `sentid` (occupation.participant.answer.gender.txt) and `sentence`."""
    rows = [
        {name: field(test, number, row, name) for name in ("sentid", "sentence")}
        for number, row in enumerate(table(test, delimiter="\t"), 1)
    ]
    for number, row in enumerate(rows, 1):
        if not re.fullmatch(r"[^.]+\.[^.]+\.[01]\.(male|female|neutral)\.txt", row["sentid"]):
            raise UserError(f"{test}, row {number}: sentid '{row['sentid']}' has no label; fetch the file again")
    return {"test": rows}


def questions(dataset: "Dataset") -> "Dataset":
    """Adds what is asked: `pronoun`, `options` (occupation, then participant), `label` and the `groups` of Table 13.

    A gotcha is a sentence whose pronoun misleads about the occupation: it refers to the occupation but is not its
    majority's, or refers to the participant but is the majority's of the occupation. (Section 5.3 names the first kind;
    only with the second are there 120 for each pronoun, of which the paper's percentages are multiples.)
    """
    from datasets import Dataset

    return Dataset.from_list([_question(row) for row in dataset])


def _question(row: Row) -> dict[str, Any]:
    occupation, participant, answer, gender, _ = row["sentid"].split(".")
    (pronoun,) = (word for word in re.findall(r"[a-z]+", row["sentence"].lower()) if word in PRONOUNS[gender])
    groups = [gender]
    if gender != "neutral" and ((gender == "female") == (occupation in MOSTLY_WOMEN)) == (answer == "1"):
        groups.append(f"gotcha_{gender}")
    return {
        "sentence": row["sentence"],
        "pronoun": pronoun,
        "options": [f"the {occupation}", participant if participant == "someone" else f"the {participant}"],
        "label": int(answer),
        "groups": groups,
    }
