"""Turn collected results into tables, figures, verdicts and a page. No torch."""
