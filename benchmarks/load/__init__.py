"""Load on whole proxies: a load generator and an origin in C, and what starts, measures and reports."""
