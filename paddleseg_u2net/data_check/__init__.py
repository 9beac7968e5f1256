"""What is wrong with a data set: survey, checks, report, repair."""
