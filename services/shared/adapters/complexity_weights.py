"""Weights of the classifier: the shipped ones, made by ``scripts/train_router.py``, or a file's."""

from functools import cache
from pathlib import Path

from services.shared.domain.complexity.classifier import Classifier, weights_from_json
from services.shared.domain.configuration import Configuration
from services.shared.domain.errors import InvalidConfiguration

SHIPPED = Path(__file__).with_suffix(".json")


@cache
def shipped_classifier() -> Classifier:
    """The classifier with the shipped weights."""
    return read_classifier(SHIPPED)


def read_classifier(path: Path) -> Classifier:
    """The classifier with the weights of a file.

    Raises:
        InvalidConfiguration: There is no such file, or it is no weights file. Not retriable.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidConfiguration(
            f"The weights file {path} cannot be read: {error.strerror}"
        ) from error
    return Classifier(weights_from_json(content, name=str(path)))


def classifiers_of(configuration: Configuration) -> dict[str, Classifier]:
    """The classifiers that a configuration names, by the name of the file; empty = the shipped one.

    Raises:
        InvalidConfiguration: A file cannot be read, or is no weights file. Not retriable.
    """
    found = {"": shipped_classifier()}
    for alias, model in configuration.models.items():
        name = model.complexity.weights
        if name and name not in found:
            try:
                found[name] = read_classifier(Path(name))
            except InvalidConfiguration as error:
                raise InvalidConfiguration(f"models.{alias}.complexity.weights: {error}") from error
    return found
