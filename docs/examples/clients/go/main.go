// Sends requests of a task, reads their predictions, and reports an outcome for each.
//
// Arguments: BOOTSTRAP CONTRACTS COUNT json|avro, where CONTRACTS is the folder of `riverloop schemas export`.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	header  = 10 // C3 01 and the fingerprint of the schema
	timeout = 60 * time.Second
)

type contract struct {
	Task    string `json:"task"`
	folder  string
	avro    bool
	schemas map[string]*avro.Schema
}

func main() {
	log.SetFlags(0)
	count, err := strconv.Atoi(os.Args[3])
	check(err)
	c := contract{folder: os.Args[2], avro: os.Args[4] == "avro", schemas: map[string]*avro.Schema{}}
	check(json.Unmarshal(c.file("contract.json"), &c))
	if waiting := c.run(os.Args[1], count); waiting > 0 {
		log.Fatalf("%d requests have no prediction after %s", waiting, timeout)
	}
}

func (c *contract) run(bootstrap string, count int) int {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		// The default partitioner is the right one: murmur2 of the key.
		// Without a group: every instance of a service sees all predictions. A minute earlier, since the
		// broker's clock may differ; predictions of others are ignored.
		kgo.ConsumeTopics(c.Task+".predictions"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().Add(-time.Minute).UnixMilli())),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	check(err)
	defer client.Close()

	run, waiting := fmt.Sprintf("go-%d", time.Now().UnixNano()), map[string]bool{}
	send := func(topic, id string, value []byte) {
		client.Produce(ctx, &kgo.Record{Topic: c.Task + topic, Key: []byte(id), Value: value}, func(_ *kgo.Record, err error) {
			check(err) // Kafka did not acknowledge it
		})
	}
	for number := range count {
		id := fmt.Sprintf("%s-%d", run, number)
		waiting[id] = true
		send(".requests", id, c.record("request", id))
	}
	for len(waiting) > 0 && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(_ string, _ int32, err error) {
			if ctx.Err() == nil {
				check(err)
			}
		})
		fetches.EachRecord(func(message *kgo.Record) {
			id := string(message.Key)
			if !waiting[id] {
				return // another service's, or a second one
			}
			delete(waiting, id)
			served := c.decode(message.Value)["scores"].([]any)[0].(map[string]any)
			fmt.Println(id, served["score"], served["label"])
			send(".outcomes", id, c.record("outcome", id))
		})
	}
	check(client.Flush(context.Background()))
	return len(waiting)
}

// record makes a record of the contract's example, with an id and a time of its own.
func (c *contract) record(kind, id string) []byte {
	name := kind + ".json"
	if c.avro {
		name = kind + ".avro.bin"
	}
	example := c.file(filepath.Join("examples", name))
	fields := c.decode(example)
	fields["request_id"], fields["ts"] = id, time.Now().UnixMilli()
	if !c.avro {
		data, err := json.Marshal(fields)
		check(err)
		return data
	}
	data, err := c.schema(example).AppendSingleObject(nil, fields)
	check(err)
	return data
}

func (c *contract) decode(data []byte) map[string]any {
	fields := map[string]any{}
	if data[0] != 0xC3 {
		check(json.Unmarshal(data, &fields))
		return fields
	}
	_, err := c.schema(data).DecodeSingleObject(data, &fields)
	check(err)
	return fields
}

func (c *contract) schema(data []byte) *avro.Schema {
	fingerprint := hex.EncodeToString(data[2:header])
	schema, known := c.schemas[fingerprint]
	if !known {
		// If it is missing, the features have changed: export the contracts again, into the same folder.
		var err error
		schema, err = avro.Parse(string(c.file(filepath.Join("avro", "by-fingerprint", fingerprint+".avsc"))))
		check(err)
		c.schemas[fingerprint] = schema
	}
	return schema
}

func (c *contract) file(name string) []byte {
	data, err := os.ReadFile(filepath.Join(c.folder, name))
	check(err)
	return data
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
