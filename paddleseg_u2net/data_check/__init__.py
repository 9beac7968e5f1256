"""Data set checks: survey, statistics, the table of checks, report, repair."""
