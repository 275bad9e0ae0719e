"""Reports, comparisons and measurements of files."""
