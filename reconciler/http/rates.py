"""How often one peer may do something: a token bucket for each, for a bounded number of peers."""

from collections import OrderedDict


class RateLimit:
    """Allows `burst` at once, `per_minute` in the long run. Forgets the peer seen longest ago."""

    def __init__(self, per_minute: int, burst: int, max_peers: int = 10_000) -> None:
        self._rate, self._burst, self._max_peers = per_minute / 60, float(burst), max_peers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, time

    def allow(self, peer: str, now: float) -> bool:
        """Take a token of `peer` at time `now` (seconds, monotonic); return whether it had one."""
        tokens, since = self._buckets.pop(peer, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[peer] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._max_peers:
            self._buckets.popitem(last=False)
        return allowed
