"""Fits deep decoders and exports them. Fitting needs the extra ``train``; settings and graphs do not."""
