"""The bus's way in."""
