"""``millrace doctor``: whether the stack can run here, and what to do where it cannot."""

import typer

from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of


def doctor(context: typer.Context, *, data: DataOption = DEFAULT_DATA) -> None:
    """Check this machine and the running stack; say what is wrong and what to do about it."""
    from services.cli.local_stack.findings import Level  # noqa: PLC0415  keeps --help quick
    from services.cli.local_stack.health import examine  # noqa: PLC0415

    invocation = invocation_of(context)
    console = invocation.console
    findings = examine(
        data=invocation.path(data), folder=invocation.folder, environ=invocation.environ
    )
    styles = {Level.GOOD: "green", Level.NOTE: "yellow", Level.BAD: "bold red"}
    for finding in findings:
        level = f"{finding.level.value:<4}"
        console.print(f"[{styles[finding.level]}]{level}[/] {finding.subject:<14}", end=" ")
        console.print(finding.text, soft_wrap=True, markup=False, highlight=False)
        if finding.remedy:
            console.print(f"{'':<20}-> {finding.remedy}", soft_wrap=True, markup=False)
    bad = sum(finding.level is Level.BAD for finding in findings)
    if bad:
        console.print(f"{bad} of {len(findings)} checks failed.")
        raise typer.Exit(1)
    console.print("All is well.")
