"""A dummy gateway."""

from tests.support.dummies.dummy import run

run("gateway")
