"""What people write: pydantic models, strict, closed."""
