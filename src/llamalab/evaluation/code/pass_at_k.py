"""pass@k, as Chen et al. (2021) estimate it."""

import math


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The probability that at least one of k programs passes, without bias, from more samples than k.

    1 - C(n - c, k) / C(n, k) with n samples of which c passed (Chen et al. 2021, equation 1). Simply 1 - (1 - c/n)^k
    would be too small.

    Args:
        samples: n, at least k.
        passed: c.
        k: at least 1.
    """
    assert 1 <= k <= samples
    assert 0 <= passed <= samples
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)
