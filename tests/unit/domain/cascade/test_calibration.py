"""From signals to a probability."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.adapters.cascade_calibration import calibrations_of
from services.shared.domain.cascade.calibration import (
    Calibration,
    Fit,
    between,
    calibration_file,
    calibration_of,
    logistic,
)
from services.shared.domain.cascade.signals import KNOWN
from services.shared.domain.configuration import Configuration, Model
from services.shared.domain.configuration_routing import Cascade
from services.shared.domain.errors import InvalidConfiguration

EVERYTHING = Fit(intercept=1.0, weights={"hedges": -1.0})


def test_a_fit_without_knots_is_logistic() -> None:
    """Weights, then scale and shift; a signal that it does not know counts nothing."""
    assert EVERYTHING.probability({"hedges": 1.0, "refuses": 9.0}) == 0.5
    shifted = Fit(intercept=1.0, scale=2.0, shift=-2.0)
    assert shifted.probability({}) == 0.5


def test_a_fit_with_knots_reads_between_them() -> None:
    """Level outside."""
    fit = Fit(knots=((-1.0, 0.2), (1.0, 0.8)))
    assert fit.probability({}) == pytest.approx(0.5)
    assert between(fit.knots, -5.0) == 0.2
    assert between(fit.knots, 5.0) == 0.8


@given(st.floats(-1e6, 1e6))
def test_the_logistic_function_never_overflows(logit: float) -> None:
    """It stays between 0 and 1."""
    assert 0.0 <= logistic(logit) <= 1.0
    assert math.isclose(logistic(logit) + logistic(-logit), 1.0)


def test_the_most_particular_fit_applies() -> None:
    """Model and task, then model, then task, then any; by part."""
    fits = [
        Fit(intercept=1),
        Fit(intercept=2, task="math"),
        Fit(intercept=3, model="first/one"),
        Fit(intercept=4, model="first/one", task="math"),
    ]
    calibration = Calibration(fits)
    found = [
        calibration.fit_for(model, task, "whole")
        for model in ("other/one", "first/one")
        for task in ("text", "math")
    ]
    assert [it.intercept for it in found if it is not None] == [1, 2, 3, 4]
    assert calibration.fit_for("first/one", "math", "prefix") is None


def test_a_file_is_read_as_it_was_written() -> None:
    """Numbers, knots and names."""
    fits = [EVERYTHING, Fit(part="prefix", knots=((-1.0, 0.2), (1.0, 0.8)), rows=9, ece=0.1)]
    calibration = calibration_of(calibration_file(fits), known=KNOWN)
    assert [calibration.fit_for("a/b", "text", part) for part in ("whole", "prefix")] == fits


@pytest.mark.parametrize(
    ("fits", "says"),
    [
        ([], "every model"),
        ([{"model": "first/one"}], "every model"),
        ([{"weights": {"luck": 1.0}}], "unknown signal 'luck'"),
        ([{"knots": [[1.0, 0.2], [0.0, 0.4]]}], "ascend"),
        ([{"knots": [[0.0, 0.4], [1.0, 0.2]]}], "ascend"),
        ([{"knots": [[0.0, 1.4]]}], "<= 1"),
        ([{"colour": 1}], "colour"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(fits: list[dict[str, object]], says: str) -> None:
    """In words."""
    data = json.dumps({"format": "millrace-cascade-calibration-1", "fits": fits}).encode()
    with pytest.raises(ValueError, match=says):
        calibration_of(data, known=KNOWN)


def test_another_format_is_refused() -> None:
    """Also one of a later version."""
    with pytest.raises(ValueError, match="format"):
        calibration_of(b'{"format":"millrace-cascade-calibration-2","fits":[]}', known=KNOWN)
    with pytest.raises(ValueError, match="truncated"):
        calibration_of(b"{", known=KNOWN)


def test_the_shipped_calibration_is_one() -> None:
    """It has a fit for whole answers and one for beginnings, and faults count against an answer."""
    shipped = calibrations_of(Configuration())[""]
    whole = shipped.fit_for("any/model", "text", "whole")
    assert whole is not None
    assert shipped.fit_for("any/model", "text", "prefix") is not None
    assert whole.probability({}) > 0.7
    for fault in ("wrong_equations", "refuses", "broken_code", "unfinished", "number_missing"):
        assert whole.probability({fault: 1.0}) < 0.7, fault


def test_a_configured_file_that_is_not_there_stops_the_service() -> None:
    """With its name and a remedy."""
    model = Model(targets=(), cascade=Cascade(calibration="/nowhere/fit.json"))
    with pytest.raises(InvalidConfiguration, match=r"/nowhere/fit\.json"):
        calibrations_of(Configuration(models={"small": model}))
