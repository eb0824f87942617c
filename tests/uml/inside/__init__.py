"""Tests that run in the machine, as the user "user" in a login session: ``tests/uml/test_inside.py`` runs them."""
