"""The statistics of ablation studies: pure functions over seeds' losses, computed by scipy and statsmodels."""

from llamalab.analysis.statistics.comparison import Comparison, Difference, Losses, compare, welch_difference
from llamalab.analysis.statistics.divergence import Divergence, Rate, compare_divergence, divergence_rate
from llamalab.analysis.statistics.equivalence import Equivalence, equivalence
from llamalab.analysis.statistics.multiplicity import holm
from llamalab.analysis.statistics.verdict import ArmVerdict, Declaration, Outcomes, Verdict, judge

__all__ = [
    "ArmVerdict",
    "Comparison",
    "Declaration",
    "Difference",
    "Divergence",
    "Equivalence",
    "Losses",
    "Outcomes",
    "Rate",
    "Verdict",
    "compare",
    "compare_divergence",
    "divergence_rate",
    "equivalence",
    "holm",
    "judge",
    "welch_difference",
]
