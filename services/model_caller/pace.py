"""How many merged calls of one lane are worth having under way at once. Pure.

While a call runs, what comes meanwhile is gathered for the next: who waits pays up to a call's time
for it, and calls get fewer and larger. What is right depends on the provider. One that works calls
off one after another serves the more the fewer they are; one that works them side by side should
not be kept waiting. It shows in the time of a call: if calls take no longer when there are several,
several they may be. TCP Vegas (Brakmo, Peterson 1995) finds its window like this. The time that a
call should take is learned from those that ran alone, as a line over the number of inputs. A lane
begins with one call at a time, and begins anew when calls have long taken longer than the line
says: either they stand in a queue, or the provider has changed.
"""

import msgspec

MOST_CALLS = 512.0

_MEMORY = 0.75
_LEAST_QUEUED = 0.25
_MOST_QUEUED = 0.75
_MEASURED_EVERY = 64
_STEP = 0.5


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The time of a call over its inputs: weighted sums for a least-squares line.

    Attributes:
        count: Calls.
        inputs: Their inputs.
        ms: Their times.
        inputs_squared: Squares of their inputs.
        inputs_ms: Inputs times ms.
    """

    count: float = 0.0
    inputs: float = 0.0
    ms: float = 0.0
    inputs_squared: float = 0.0
    inputs_ms: float = 0.0

    def with_call(self, inputs: int, took_ms: float) -> "Line":
        """Take in a call; older ones fade."""
        return Line(
            count=self.count * _MEMORY + 1.0,
            inputs=self.inputs * _MEMORY + inputs,
            ms=self.ms * _MEMORY + took_ms,
            inputs_squared=self.inputs_squared * _MEMORY + inputs * inputs,
            inputs_ms=self.inputs_ms * _MEMORY + inputs * took_ms,
        )

    def ms_of(self, inputs: int) -> float | None:
        """The time that a call should take, ms; None = nothing is known."""
        if not self.count:
            return None
        mean_inputs, mean_ms = self.inputs / self.count, self.ms / self.count
        spread = self.inputs_squared / self.count - mean_inputs**2
        if spread < 1e-6 * (1.0 + mean_inputs**2):
            return mean_ms
        slope = max(0.0, (self.inputs_ms / self.count - mean_inputs * mean_ms) / spread)
        return max(0.0, mean_ms + slope * (inputs - mean_inputs))


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a lane.

    Attributes:
        calls: Calls that may be under way at once; the whole part counts.
        alone: What calls take that run alone.
        unmeasured: Calls since the last that ran alone.
    """

    calls: float = 1.0
    alone: Line = Line()
    unmeasured: int = 0

    def after_overload(self) -> "Pace":
        """Take in a call that was refused for the load, or not answered in time."""
        return msgspec.structs.replace(self, calls=max(1.0, self.calls / 2))

    def after(
        self, *, took_ms: float, inputs: int, under_way: int, was_alone: bool, is_full: bool
    ) -> "Pace":
        """Take in a call that was answered.

        Args:
            took_ms: Its time.
            inputs: Its inputs.
            under_way: Calls that were under way when it began, with it.
            was_alone: Whether no other ran beside it.
            is_full: Whether others wait for one to end.
        """
        alone = self.alone.with_call(inputs, took_ms) if was_alone else self.alone
        due_ms = alone.ms_of(inputs)
        calls = self.calls
        if due_ms is None or took_ms <= 0:
            return self
        queued = 0.0 if was_alone else under_way * (1.0 - due_ms / took_ms)
        unmeasured = 0 if was_alone else self.unmeasured + 1
        if unmeasured > _MEASURED_EVERY and queued > _LEAST_QUEUED:
            calls = 1.0
        elif queued > _MOST_QUEUED:
            calls = max(1.0, calls - queued / calls)
        elif queued < _LEAST_QUEUED and is_full:
            calls = min(MOST_CALLS, calls + _STEP)
        return Pace(calls=calls, alone=alone, unmeasured=unmeasured)
