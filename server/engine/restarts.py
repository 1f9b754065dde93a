"""When a runner that died is started again: a rule without clock or process."""

from dataclasses import dataclass, field

import msgspec


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """At once the first time, then after `first_s`, twice that and so on up to `longest_s`.

    One that has served a request, or ran for `proven_s`, has proven itself. After `most`
    crashes in a row without that the model has failed; it is tried again after `longest_s`.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    proven_s: float = 60.0
    most: int = 5


@dataclass(slots=True)
class Crashes:
    """The crashes in a row of one model."""

    policy: RestartPolicy
    count: int = field(default=0, init=False)
    _started_s: float = field(default=0.0, init=False)

    def started(self, now_s: float) -> None:
        """A runner is ready."""
        self._started_s = now_s

    def crashed(self, now_s: float, *, has_served: bool) -> float | None:
        """It died: after how many seconds to start it again, or None for a failed model."""
        if has_served or now_s - self._started_s > self.policy.proven_s:
            self.count = 0
        self.count += 1
        if self.count >= self.policy.most:
            return None
        if self.count == 1:
            return 0.0
        return min(self.policy.longest_s, self.policy.first_s * 2.0 ** (self.count - 2))
