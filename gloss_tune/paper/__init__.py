"""The paper's protocol: a study for each data set, encoder and loss, confirmed, tested, beside published numbers."""
