"""The Alembic environment of this service's database."""
