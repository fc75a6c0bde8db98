"""What a study searches: ranges, layers, validation. Knows neither Optuna nor a database."""
