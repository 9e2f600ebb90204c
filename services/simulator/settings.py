"""Settings of the simulator."""

import msgspec


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the simulator listens and what it keeps; ``MILLRACE_`` + a field's name sets it.

    Attributes:
        simulator_host: Address to listen on.
        simulator_port: Port of everything that it serves; 0 = any.
        simulator_key: Bearer token that calls must carry; "" = none is asked for.
        simulator_call_log: File to which each call is appended before it is answered; "" = none.
        simulator_call_log_entries: Calls that ``/v1/simulator/calls`` remembers.
        simulator_max_body_bytes: Longest request.
        log_level: debug, info, warning or error.
    """

    simulator_host: str = "127.0.0.1"
    simulator_port: int = 8090
    simulator_key: str = ""
    simulator_call_log: str = ""
    simulator_call_log_entries: int = 20_000
    simulator_max_body_bytes: int = 16_777_216
    log_level: str = "info"
