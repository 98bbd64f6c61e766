"""The shared language: what people write, what machines exchange, and the pure rules over both."""
