"""Everything outside: Kafka clients, the embedded broker, stores, exporters. No Faust."""
