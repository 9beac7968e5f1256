"""Data set checks: survey, statistics, duplicates, the table of checks, report, repair."""
