"""Many workers on one machine: started from one preloaded process, watched, replaced, stopped together."""
