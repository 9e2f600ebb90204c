"""``millrace produce``: requests from a file into the pipeline, by Kafka alone."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of

_OPERATIONS = {"chat": "messages", "text_completion": "prompt", "embeddings": "input"}


def produce(  # noqa: PLR0913  one argument an option
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help="JSON (one body or a list) or JSONL; '-' = standard input.")
    ] = "-",
    *,
    priority: Annotated[
        int,
        typer.Option(help="0 = somebody waits, 1 = near real time, 2 = background.", min=0, max=2),
    ] = 1,
    feature: Annotated[str, typer.Option(help="Name of what the requests are for.")] = "",
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Publish OpenAI-shaped bodies as InferenceRequested records; print their request ids."""
    import uuid  # noqa: PLC0415

    from services.shared.codec.records import encode_record  # noqa: PLC0415
    from services.shared.domain.events import InferenceRequested  # noqa: PLC0415
    from services.shared.domain.topics import REQUEST_TOPICS  # noqa: PLC0415
    from services.shared.stream.bulk import BulkWriter  # noqa: PLC0415

    invocation = invocation_of(context)
    requests = list(_requests(file, invocation.path(Path(file))))  # all or none of them
    writer = BulkWriter(bootstrap_of(invocation, bootstrap=bootstrap, data=data))
    failures: list[str] = []
    written = 0
    for number, (operation, body) in enumerate(requests, 1):
        request_id = f"cli-{uuid.uuid4().hex}"

        def acknowledged(error: str, request_id: str = request_id, number: int = number) -> None:
            if error:
                failures.append(f"request {number}: {error}")
            else:
                typer.echo(request_id)

        record = InferenceRequested(
            request_id=request_id, operation=operation, body=body, feature=feature
        )
        writer.write(
            REQUEST_TOPICS[priority],
            key=request_id.encode(),
            value=encode_record(record),
            headers=[("millrace-request-id", request_id.encode())],
            on_acknowledged=acknowledged,
        )
        written = number
    missing = writer.flush()
    for failure in failures:
        invocation.errors.print(failure, style="red", markup=False)
    if missing or failures:
        raise CommandError(f"{missing + len(failures)} of {written} requests were not recorded.")
    invocation.errors.print(
        f"{written} published to {REQUEST_TOPICS[priority]}; "
        "'millrace tail inference-results' shows the answers."
    )


def _requests(file: str, path: Path) -> Iterator[tuple[str, bytes]]:
    """Operation and body of each request.

    Raises:
        CommandError: One is no request; names its line or number.
    """
    import msgspec  # noqa: PLC0415

    from services.shared.domain.no_json import NO_JSON  # noqa: PLC0415

    text = sys.stdin.buffer.read() if file == "-" else _read(path)
    try:
        document = msgspec.json.decode(text)
    except NO_JSON:
        lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        for number, line in lines:
            try:
                yield _request(msgspec.json.decode(line), f"line {number}")
            except NO_JSON as error:
                raise CommandError(
                    f"line {number} is not JSON: {error}. Nothing was published."
                ) from error
        return
    for number, body in enumerate(document if isinstance(document, list) else [document], 1):
        yield _request(body, f"request {number}")


def _request(body: Any, place: str) -> tuple[str, bytes]:
    import msgspec  # noqa: PLC0415

    if isinstance(body, dict) and isinstance(body.get("body"), dict):
        body = body["body"]  # a line of OpenAI's batch format
    for operation, field in _OPERATIONS.items():
        if isinstance(body, dict) and field in body:
            return operation, msgspec.json.encode(body)
    wanted = ", ".join(f"'{field}'" for field in _OPERATIONS.values())
    raise CommandError(f"{place} is no request: it has none of {wanted}. Nothing was published.")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
