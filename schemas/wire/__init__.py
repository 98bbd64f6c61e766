"""What machines exchange: frozen dataclasses and one strict decoder. Standard library only."""
