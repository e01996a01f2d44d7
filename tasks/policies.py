"""Keep every task's retry, cache and result policy on one page."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE

from infra.errors import TransientError


def is_transient(_task: Any, _run: Any, state: Any) -> bool:  # noqa: ANN401 - Prefect's own types
    """Say whether a failed task run is worth another try: only TransientError is."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


_SMALL_RESULT: dict[str, Any] = {
    # Identity and reuse are ours (receipts in the store); a second cache could only disagree with it.
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "log_prints": False,
}

NETWORK: dict[str, Any] = _SMALL_RESULT | {
    "retries": 3,
    "retry_delay_seconds": [2, 10, 30],
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
}
"""For tasks that talk to a catalogue or a store."""

PIXELS: dict[str, Any] = NETWORK | {"retries": 2, "retry_delay_seconds": [5, 30]}
"""For tasks that drive pixel work: a retry does only the tiles that are missing."""

CHECK: dict[str, Any] = dict(_SMALL_RESULT)
"""For tasks that only compare: repeating them changes nothing."""
