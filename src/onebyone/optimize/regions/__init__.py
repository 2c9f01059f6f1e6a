"""Linear regions: lifted into expressions, searched for the cheapest plan, placed."""
