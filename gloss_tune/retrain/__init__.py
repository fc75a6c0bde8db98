"""The final model of a study: trained on all data, measured once on the test documents, written with its card."""
