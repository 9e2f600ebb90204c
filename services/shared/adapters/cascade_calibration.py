"""Calibrations of the cascade: the shipped one, made by ``scripts/fit_cascade.py``, or a file's."""

from pathlib import Path

from services.shared.domain.cascade.calibration import Calibration, calibration_of
from services.shared.domain.cascade.signals import KNOWN
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import InvalidConfiguration

SHIPPED = Path(__file__).with_suffix(".json")


def read_calibration(path: Path) -> Calibration:
    """The calibration of a file.

    Raises:
        InvalidConfiguration: There is no such file, or it is none. Not retriable.
    """
    try:
        return calibration_of(path.read_bytes(), known=KNOWN)
    except (OSError, ValueError) as error:
        raise InvalidConfiguration(
            f"{path} is no calibration of the cascade: {error}. "
            "Make one with `millrace route fit --cascade`, or leave `cascade.calibration` out."
        ) from error


def calibrations_of(configuration: Configuration) -> dict[str, Calibration]:
    """The calibrations that aliases name, by file; empty name = the shipped one.

    Raises:
        InvalidConfiguration: A file cannot be read, or is none. Not retriable.
    """
    names = {"", *(model.cascade.calibration for model in configuration.models.values())}
    return {name: read_calibration(Path(name) if name else SHIPPED) for name in names}
