"""A worker: claims trials, runs them, tells their results, and survives signals and lost leases."""
