"""Small models with known, planted behaviour, shipped with the package."""
