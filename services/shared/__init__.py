"""What every service shares; imports point down: stream, adapters and telemetry, codec and ports, domain."""
