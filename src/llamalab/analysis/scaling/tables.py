"""The tables of a token study: what was fitted, what it predicted, what it says about use."""

from collections.abc import Sequence

from llamalab.analysis.scaling.bootstrap import PARAMETERS, Bootstrap
from llamalab.analysis.scaling.fit import Fit
from llamalab.analysis.scaling.holdout import Holdout
from llamalab.analysis.scaling.inference import COMPUTE, Demand, cheapest, plan
from llamalab.analysis.scaling.law import ScalingLaw
from llamalab.analysis.scaling.published import BESIROGLU, HOFFMANN
from llamalab.common import formats
from llamalab.common.tables import Column, Table

TITLES = {"size_exponent": "beta / (alpha + beta)"}


def parameter_table(fitted: Fit, resampled: Bootstrap) -> Table:
    """The fitted constants with their intervals beside the published ones."""
    caption = (
        f"L(N, D) = E + A / N^alpha + B / D^beta fitted to {len(fitted.runs)} runs ({fitted.left_out} without a loss "
        f"left out), with {100 * resampled.confidence:g}% bootstrap intervals over runs. Residual standard deviation "
        f"{formats.fixed(4)(fitted.residual_sd)} nats/token. {formats.percent(0)(resampled.undetermined)} of the "
        f"{len(resampled.laws)} resamples did not determine the law. The published laws have another text and "
        "tokenizer: exponents may be compared, losses not."
    )
    if fitted.problems:
        caption += f" NOT IDENTIFIED: {'; '.join(fitted.problems)}."
    rows = []
    for name in PARAMETERS:
        low, high = resampled.interval(name)
        published = {"hoffmann": getattr(HOFFMANN, name), "besiroglu": getattr(BESIROGLU, name)}
        rows.append({"parameter": name, "fitted": getattr(fitted.law, name), "low": low, "high": high} | published)
    number = formats.significant(4)
    return Table(
        name="scaling_parameters",
        caption=caption,
        columns=[
            Column("parameter", "parameter", lambda name: TITLES.get(str(name), str(name)), numeric=False),
            Column("fitted", "fitted", number),
            Column("low", "low", number),
            Column("high", "high", number),
            Column("hoffmann", "Hoffmann 2022", number),
            Column("besiroglu", "Besiroglu 2024", number),
        ],
        rows=rows,
    )


def holdout_table(held: Holdout) -> Table:
    """The largest runs beside what the smaller ones predict for them."""
    caption = (
        f"The {len(held.held_out)} runs of the largest budget (6 N D), predicted by a fit to the other "
        f"{len(held.fit.runs)}. Mean error {formats.signed(4)(held.mean_error)}, mean absolute error "
        f"{formats.fixed(4)(held.mean_absolute_error)} nats/token."
    )
    if held.fit.problems:
        caption += f" The smaller runs do not identify the law: {'; '.join(held.fit.problems)}."
    columns = ["arm", "seed", "n", "d", "flops", "loss", "predicted", "error"]
    return Table(
        name="scaling_holdout",
        caption=caption,
        columns=[
            Column("arm", "arm", numeric=False),
            Column("seed", "seed"),
            Column("n", "parameters", formats.compact()),
            Column("d", "tokens", formats.compact()),
            Column("flops", "training FLOP", formats.scientific),
            Column("loss", "loss (nats/token)", formats.fixed(4)),
            Column("predicted", "predicted", formats.fixed(4)),
            Column("error", "predicted minus loss", formats.signed(4)),
        ],
        rows=[dict(zip(columns, values, strict=True)) for values in held.held_out[columns].itertuples(index=False)],
    )


def inference_table(law: ScalingLaw, loss: float, inference_tokens: Sequence[float]) -> Table:
    """The model of the fewest FLOP over training and use, for each number of inference tokens.

    Raises:
        ValueError: a loss at or below the law's E.
    """
    rows = []
    for tokens in inference_tokens:
        demand = Demand(prompt_tokens=0.0, answer_tokens=tokens)
        best = cheapest(law, loss, demand, COMPUTE)
        training_only = plan(*law.optimum_for(loss), demand, COMPUTE)
        rows.append(
            {
                "inference_tokens": tokens,
                "n": best.n,
                "d": best.d,
                "tokens_per_parameter": best.d / best.n,
                "training_flops": best.training,
                "inference_flops": best.inference,
                "total_flops": best.total,
                "size_ratio": best.n / training_only.n,
                "cost_ratio": best.total / training_only.total,
            }
        )
    return Table(
        name="scaling_inference",
        caption=(
            f"The cheapest model of loss {loss:.4g} nats/token over training (6 N D) and inference (2 N a token), by "
            "the number of inference tokens; the last two columns compare it with the model of the least training "
            f"compute at the same loss. Law: {law.source}."
        ),
        columns=[
            Column("inference_tokens", "inference tokens", formats.compact()),
            Column("n", "parameters", formats.compact()),
            Column("d", "training tokens", formats.compact()),
            Column("tokens_per_parameter", "tokens a parameter", formats.significant(3)),
            Column("training_flops", "training FLOP", formats.scientific),
            Column("inference_flops", "inference FLOP", formats.scientific),
            Column("total_flops", "total FLOP", formats.scientific),
            Column("size_ratio", "size, of training-optimal", formats.percent(1)),
            Column("cost_ratio", "cost, of training-optimal", formats.percent(1)),
        ],
        rows=rows,
    )
