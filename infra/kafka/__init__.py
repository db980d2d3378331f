"""Kafka: the embedded broker, administration, consumers, transactions, the log reader."""
