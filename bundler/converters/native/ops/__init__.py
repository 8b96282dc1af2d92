"""Built-in handlers, by family; importing a module registers its handlers."""
