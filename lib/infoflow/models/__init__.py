"""A model that answers questions about pictures: its prompt, its grid, its loading."""
