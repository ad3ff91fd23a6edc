"""The platform's contract with a training container, under one base directory."""
