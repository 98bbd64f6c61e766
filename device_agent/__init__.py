"""The device agent: polls signed files, converges, rolls itself back."""
