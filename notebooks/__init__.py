"""Analysis: a tour of the warehouse, and what executes it. Nothing here is needed elsewhere."""
