"""A study: what it searches, where it lives, who runs which trial. Optuna is used here and nowhere below."""
