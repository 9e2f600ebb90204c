"""Gateway: OpenAI's HTTP API in front of the pipeline."""
