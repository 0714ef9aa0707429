"""Two recommenders compared on traffic: replayed from a log, interleaved, or live."""
