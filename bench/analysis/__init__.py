"""From records to conclusions: plain functions on numbers and data frames. Reads no files and draws nothing."""
