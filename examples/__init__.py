"""Real networks on real data, with torch's layers and with fastconv's side by side."""
