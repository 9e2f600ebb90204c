"""``millrace route``: why requests go where they go, and learning from how that went."""

import typer

from services.cli.route.explain import explain
from services.cli.route.fit import fit

app = typer.Typer(no_args_is_help=True, help="Explain routes, and refit what decides them.")
app.command("explain")(explain)
app.command("fit")(fit)


@app.callback()
def route() -> None:
    """Explain routes, and refit what decides them."""
