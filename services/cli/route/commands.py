"""``millrace route``: how requests are routed."""

import typer

from services.cli.route.explain import explain

app = typer.Typer(no_args_is_help=True, help="How requests are routed.")
app.command("explain")(explain)


@app.callback()
def route() -> None:
    """How requests are routed."""
