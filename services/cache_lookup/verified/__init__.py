"""The verified mode: semantic answers only while a stated bound on wrong ones is held."""
