"""Published constants of the law. They belong to other texts and tokenizers: a comparison, not a prediction."""

from llamalab.analysis.scaling.law import ScalingLaw

# As printed in Hoffmann et al. 2022, equation 10. The exponents carry two digits, which moves the optimum: see below.
HOFFMANN_PRINTED = ScalingLaw(
    E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, source="Hoffmann et al. 2022 (arXiv:2203.15556), equation 10"
)

# The same fit with the digits of the paper's TeX source, as Besiroglu et al. 2024 read them; with the printed ones
# the data term is 13% off at 1e11 tokens.
HOFFMANN = ScalingLaw(
    E=1.6934,
    A=406.4,
    B=410.7,
    alpha=0.3392,
    beta=0.2849,
    source="Hoffmann et al. 2022 (arXiv:2203.15556), digits of its TeX source by Besiroglu et al. 2024",
)

# A new fit to 240 of Hoffmann's runs, read off their figure.
BESIROGLU = ScalingLaw(
    E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658, source="Besiroglu et al. 2024 (arXiv:2404.10102)"
)
# Standard errors that the same paper gives.
BESIROGLU_ERRORS = {"E": 0.03, "A": 124.6, "B": 1293.0, "alpha": 0.02, "beta": 0.02}

# What Sardana et al. compute with: Hoffmann's constants with exponents of three digits.
SARDANA = ScalingLaw(
    E=1.69,
    A=406.4,
    B=410.7,
    alpha=0.336,
    beta=0.283,
    source="Sardana et al. 2024 (arXiv:2401.00448), the defaults of its code",
)
