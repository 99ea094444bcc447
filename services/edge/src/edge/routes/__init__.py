"""The routes: hot ones as plain handlers, the others by FastAPI, all described in one OpenAPI document."""
