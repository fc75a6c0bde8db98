"""From data to a model within a given time: search, confirm, retrain, report; chosen openly from what was measured."""
