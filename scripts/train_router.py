"""Fit the shipped weights of the router's classifier; equal data gives an equal file.

    python scripts/train_router.py DATA.jsonl [--out FILE]

A line of DATA is ``{"dataset", "prompt", "weak_correct", "strong_correct"}``: a prompt, and how
good the answers of two models to it were, 0..1. A data set is compared within itself only.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "services/shared/adapters/complexity_weights.json"


def main() -> None:
    """Run the script."""
    sys.path.insert(0, str(ROOT))
    from services.cli.route.training import Example, Recipe, fit, with_reference  # noqa: PLC0415
    from services.cli.route.weights_file import weights_file  # noqa: PLC0415
    from services.shared.domain.complexity.prompt import shortened  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    with arguments.data.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    examples = [
        Example(
            text=shortened(row["prompt"]),
            need=row["strong_correct"] - row["weak_correct"],
            source=row["dataset"],
        )
        for row in rows
    ]
    origin = f"{len(examples)} prompts with the recorded answers of two models each"
    weights = fit(examples, Recipe(), origin=origin)
    content = weights_file(with_reference(weights, [example.text for example in examples]))
    arguments.out.write_bytes(content)
    print(f"{arguments.out}: {len(weights.grams)} n-grams, {len(content)} bytes")


if __name__ == "__main__":
    main()
