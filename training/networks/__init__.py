"""Deep decoders: from windows and a subject to embeddings. They need the extra ``train``."""
