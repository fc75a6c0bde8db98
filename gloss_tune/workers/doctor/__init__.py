"""Does everything that a study depends on work here? One module for each kind of thing that is looked at."""
