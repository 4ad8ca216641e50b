"""The report as a page, in the terminal, as JSON, tables, sentences and figures."""
