"""Schema registry: serves the schemas of the topics, in the protocol of Confluent's registry.

Consumes: the compacted topic ``_schemas``, from its start; nothing else.
Decides: which schema a subject may take, and under which id.
Emits: to ``_schemas``, in Confluent's own JSON, so that another registry can take over.
Keeps: what the topic says, in memory.
When it fails: no stage of the pipeline notices (they carry the packaged schemas); clients that
    have not seen a schema yet wait. One process at a time: versions are numbered by it.
"""
