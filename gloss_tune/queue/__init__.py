"""The queue of trials: budget, claims, heartbeats, recovery. Knows the storage, not what is searched nor how."""
