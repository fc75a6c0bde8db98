"""Is the best really the best? Settings trained again with fresh seeds, compared in pairs, exported."""
