"""What is measured of one prompt: attention flow, truncation, LLaVA-CAM, and a map's score."""
