"""A dummy that ignores SIGTERM."""

from tests.support.dummies.dummy import run

run("deaf", is_deaf=True)
