"""Fine-tuning a network for 8 bits: it trains as LiteRT will compute it, taught by its float original."""
