"""Charts for the terminal: data that knows nothing of Textual, rasters, and one widget."""
