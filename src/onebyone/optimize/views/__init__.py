"""In which order of axes values are computed."""
