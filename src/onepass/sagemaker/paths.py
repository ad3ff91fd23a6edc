"""Where the platform puts things and looks for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_BASE = Path("/opt/ml")


@dataclass(frozen=True)
class Paths:
    """Every path of the contract.

    Parameters
    ----------
    base : Path
        ``/opt/ml`` in a container; any directory of the same layout elsewhere.
    """

    base: Path = DEFAULT_BASE

    @property
    def hyperparameters(self) -> Path:
        """String to string, as the job was asked for."""
        return self.base / "input/config/hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """What each channel is."""
        return self.base / "input/config/inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """Which hosts take part."""
        return self.base / "input/config/resourceconfig.json"

    @property
    def data(self) -> Path:
        """Holds one directory for each channel."""
        return self.base / "input/data"

    @property
    def model(self) -> Path:
        """What is packed as ``model.tar.gz`` and served."""
        return self.base / "model"

    @property
    def models(self) -> Path:
        """Under which the models of a multi-model endpoint lie."""
        return self.base / "models"

    @property
    def output(self) -> Path:
        """Holds the failure file and the archive of the model."""
        return self.base / "output"

    @property
    def checkpoints(self) -> Path:
        """Is there when checkpoints are wanted: kept in step with S3, and there again later."""
        return self.base / "checkpoints"

    @property
    def output_data(self) -> Path:
        """What is packed as ``output.tar.gz``, beside the model."""
        return self.output / "data"

    @property
    def failure(self) -> Path:
        """Why the job failed; its first 1,024 characters become the failure reason."""
        return self.output / "failure"
