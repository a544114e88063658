"""A model that answers questions about images: its prompt, its grid, its loading."""
