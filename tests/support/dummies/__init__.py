"""Services that only start, answer probes and stop, for tests of the supervisor."""
