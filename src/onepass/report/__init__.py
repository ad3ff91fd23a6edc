"""What a person sees of a model: pictures, and a page."""
