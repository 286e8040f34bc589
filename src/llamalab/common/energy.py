"""Energy and carbon of a run, in the paper's formula (section 6), shared by `train` and `plan`.

    kWh    = device hours x watts per device x PUE / 1000
    tCO2eq = kWh x kg CO2eq per kWh / 1000

Watts come from `conf/device/*.yaml`, PUE and carbon intensity from `conf/energy/*.yaml`.
"""

from dataclasses import dataclass

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Device:
    """One accelerator, or one CPU core.

    Args:
        name: what the tables call it.
        watts: power drawn under load, in W, as the paper counts it (the board's limit, not a measurement).
        memory_gib: memory of one device in GiB; None where it is not fixed (a CPU core).
        peak_flops: dense peak in FLOP/s for each arithmetic, keys `fp32` and `bf16`.
    """

    name: str
    watts: float
    memory_gib: float | None
    peak_flops: dict[str, float]


@dataclass(frozen=True)
class EnergyModel:
    """The constants of the formula above.

    Args:
        pue: power usage effectiveness: energy into the building over energy into the machines.
        kg_per_kwh: carbon intensity of the electricity, in kg CO2eq per kWh.
    """

    pue: float
    kg_per_kwh: float

    def kwh(self, device_hours: float, watts: float) -> float:
        """Energy in kWh of `device_hours` (devices x hours) at `watts` each."""
        return device_hours * watts * self.pue / 1000

    def tco2eq(self, kwh: float) -> float:
        """Emissions in tonnes CO2eq of `kwh`."""
        return kwh * self.kg_per_kwh / 1000

    def record(self, seconds: float, devices: int, watts: float) -> dict[str, float]:
        """The `energy` entry of a run's result.json: the figures and everything they were computed from."""
        hours = seconds / SECONDS_PER_HOUR
        kwh = self.kwh(hours * devices, watts)
        return {
            "kwh": kwh,
            "tco2eq": self.tco2eq(kwh),
            "watts": watts,
            "pue": self.pue,
            "kg_per_kwh": self.kg_per_kwh,
            "hours": hours,
            "devices": devices,
        }
