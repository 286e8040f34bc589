"""Which hardware a run uses: its name, its peak, its power."""

import hydra.utils
import torch
from omegaconf import OmegaConf

from llamalab.common.configs import repository_folder
from llamalab.common.energy import Device
from llamalab.common.errors import UserError


def detect(accelerator: str) -> Device:
    """The `conf/device` record of this machine's GPU (by the model in its name) or CPU core."""
    records = {}
    for path in sorted((repository_folder("conf") / "device").glob("*.yaml")):
        if path.stem != "auto":
            records[path.stem] = hydra.utils.instantiate(OmegaConf.load(path))
    if accelerator == "cpu" or not torch.cuda.is_available():
        return records["cpu"]
    name = torch.cuda.get_device_name()
    matches = [record for key, record in records.items() if key.split("-")[0].upper() in name.upper()]
    if not matches:
        raise UserError(
            f"device: no file in conf/device matches this GPU ({name}); copy one, fill in its figures and "
            f"choose it with device=<file>, or take the nearest of: {', '.join(records)}"
        )
    return matches[0]
