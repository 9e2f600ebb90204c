"""What a request must be to enter the pipeline, whichever way it comes.

The gateway (HTTP) and cache-lookup (records of Kafka producers) admit by this code alone. It
refuses what no provider could serve, what would harm the pipeline, and what OpenAI itself is known
to refuse; all else is the provider's to judge, so parameters that did not exist yesterday pass.
"""
