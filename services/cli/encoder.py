"""``millrace encoder``: the sentence encoder, fetched beforehand."""

import typer

from services.cli.invocation import invocation_of


def encoder(context: typer.Context) -> None:
    """Fetch the sentence encoder and build it, as 'millrace up' does where it is needed."""
    from services.cli.local_stack.prepare import prepare_encoder  # noqa: PLC0415  quick --help
    from services.shared.adapters.minilm.pinned import GRAPH, build_id  # noqa: PLC0415

    invocation = invocation_of(context)
    folder = prepare_encoder(invocation.environ, console=invocation.errors)
    build = build_id("int8" if (folder / GRAPH).is_file() else "fp32")
    invocation.console.print(f"{build} in {folder}", soft_wrap=True, markup=False, highlight=False)
