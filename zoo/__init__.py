"""How the zoo's models are trained: curriculum, tower, language model, bridge, checks."""
