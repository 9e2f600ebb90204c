"""What services share; imports point down: stream, adapters|telemetry, codec|ports, domain."""
