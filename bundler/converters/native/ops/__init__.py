"""Handlers by family; importing a module registers its operators."""
