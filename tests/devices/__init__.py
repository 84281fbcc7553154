"""Device models: they do what hardware does and assert what its specification asks of drivers."""
