"""Qt parts of the panel. The only code that imports qt and ctk."""
