"""One report: panels, each with an info half and a figure half."""
