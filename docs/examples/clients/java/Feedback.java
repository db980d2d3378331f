import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends requests of a task, reads their predictions, and reports an outcome for each.
 *
 * <p>Arguments: BOOTSTRAP CONTRACTS COUNT json|avro, where CONTRACTS is the folder of `riverloop schemas export`.
 */
public final class Feedback {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int HEADER = 10; // C3 01 and the fingerprint of the schema
    private static final Duration TIMEOUT = Duration.ofSeconds(60);

    private final Path folder;
    private final JsonNode contract;
    private final boolean avro;
    private final Map<String, Schema> schemas = new HashMap<>();

    private Feedback(Path folder, boolean avro) throws IOException {
        this.folder = folder;
        this.avro = avro;
        this.contract = JSON.readTree(folder.resolve("contract.json").toFile());
    }

    public static void main(String[] arguments) throws Exception {
        Feedback feedback = new Feedback(Path.of(arguments[1]), arguments[3].equals("avro"));
        System.exit(feedback.run(arguments[0], Integer.parseInt(arguments[2])) ? 0 : 1);
    }

    private boolean run(String bootstrap, int count) throws IOException {
        String task = contract.get("task").asText();
        String run = "java-" + UUID.randomUUID();
        // The default partitioner is the right one: murmur2 of the key.
        Map<String, Object> producing = Map.of("bootstrap.servers", bootstrap);
        Map<String, Object> consuming = Map.of(
                "bootstrap.servers", bootstrap,
                "isolation.level", contract.get("isolation_level").asText(),
                "enable.auto.commit", false);
        try (var producer = new KafkaProducer<>(producing, new StringSerializer(), new ByteArraySerializer());
                var consumer = new KafkaConsumer<>(consuming, new StringDeserializer(), new ByteArrayDeserializer())) {
            // All partitions from now on, without a group: every instance of a service sees all predictions.
            List<TopicPartition> places = consumer.partitionsFor(task + ".predictions").stream()
                    .map(each -> new TopicPartition(each.topic(), each.partition()))
                    .toList();
            consumer.assign(places);
            consumer.seekToEnd(places);
            places.forEach(consumer::position);

            Set<String> waiting = new HashSet<>();
            for (int number = 0; number < count; number++) {
                String id = run + "-" + number;
                waiting.add(id);
                producer.send(new ProducerRecord<>(task + ".requests", id, record("request", id)), Feedback::sent);
            }
            long ends = System.nanoTime() + TIMEOUT.toNanos();
            while (!waiting.isEmpty() && System.nanoTime() < ends) {
                for (var message : consumer.poll(Duration.ofMillis(200))) {
                    if (!waiting.remove(message.key())) continue; // another service's, or a second one
                    System.out.println(message.key() + " " + answer(message.value()));
                    byte[] outcome = record("outcome", message.key());
                    producer.send(new ProducerRecord<>(task + ".outcomes", message.key(), outcome), Feedback::sent);
                }
            }
            producer.flush();
            if (!waiting.isEmpty()) System.err.println(waiting.size() + " requests have no prediction after " + TIMEOUT);
            return waiting.isEmpty();
        }
    }

    private static void sent(Object place, Exception error) {
        if (error != null) throw new IllegalStateException("Kafka did not acknowledge a record", error);
    }

    /** Makes a record of the contract's example, with an id and a time of its own. */
    private byte[] record(String kind, String id) throws IOException {
        long now = System.currentTimeMillis();
        if (!avro) {
            ObjectNode fields = (ObjectNode) JSON.readTree(example(kind + ".json"));
            return JSON.writeValueAsBytes(fields.put("request_id", id).put("ts", now));
        }
        GenericRecord fields = decode(example(kind + ".avro.bin"));
        fields.put("request_id", id);
        fields.put("ts", now);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(new byte[] {(byte) 0xC3, 0x01});
        out.write(HexFormat.of().parseHex(contract.at("/schemas/" + kind + "/fingerprint").asText()));
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<GenericRecord>(fields.getSchema()).write(fields, encoder);
        encoder.flush();
        return out.toByteArray();
    }

    /** Returns score and label of a prediction; its first score is the answer. */
    private String answer(byte[] data) throws IOException {
        if (data[0] == (byte) 0xC3) {
            GenericRecord served = (GenericRecord) ((List<?>) decode(data).get("scores")).get(0);
            return served.get("score") + " " + served.get("label");
        }
        JsonNode served = JSON.readTree(data).get("scores").get(0);
        return served.get("score") + " " + served.get("label");
    }

    private GenericRecord decode(byte[] data) throws IOException {
        String fingerprint = HexFormat.of().formatHex(Arrays.copyOfRange(data, 2, HEADER));
        Schema schema = schemas.get(fingerprint);
        if (schema == null) {
            // If it is missing, the features have changed: export the contracts again, into the same folder.
            Path file = folder.resolve("avro/by-fingerprint/" + fingerprint + ".avsc");
            schema = new Schema.Parser().parse(file.toFile());
            schemas.put(fingerprint, schema);
        }
        var decoder = DecoderFactory.get().binaryDecoder(data, HEADER, data.length - HEADER, null);
        return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
    }

    private byte[] example(String name) throws IOException {
        return Files.readAllBytes(folder.resolve("examples").resolve(name));
    }
}
