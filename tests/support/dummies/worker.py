"""A dummy worker."""

from tests.support.dummies.dummy import run

run("worker")
