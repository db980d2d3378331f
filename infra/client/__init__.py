"""A client for services that ask for scores, report outcomes and read predictions.

It needs the exported contract only, not the task file, and imports no River, Faust or numpy::

    from infra.client.http import HttpClient, AsyncHttpClient       # a worker's address, JSON
    from infra.client.kafka import KafkaClient, AsyncKafkaClient    # topics, JSON or Avro

All four have `score` and `report` with the same arguments.
"""
