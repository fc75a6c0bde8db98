"""One worker: claims trials, runs them, tells their results, until the budget is used up."""
