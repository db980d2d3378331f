// Sends requests of a task, reads their predictions, and reports an outcome for each.
//
// Arguments: BOOTSTRAP CONTRACTS COUNT json|avro, where CONTRACTS is the folder of `riverloop schemas export`.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  Consumer,
  FetchIsolationLevels,
  ListOffsetTimestamps,
  MessagesStreamModes,
  Producer,
  compatibilityPartitioner
} from '@platformatic/kafka'
import avsc from 'avsc'

const HEADER = 10 // C3 01 and the fingerprint of the schema
const TIMEOUT_S = 60
const BATCH = 200
const [bootstrap, folder, count, encoding] = process.argv.slice(2)
const contract = JSON.parse(file('contract.json'))
const types = new Map()

function file (...names) {
  return readFileSync(join(folder, ...names))
}

function typeOf (data) {
  const fingerprint = data.subarray(2, HEADER).toString('hex')
  if (!types.has(fingerprint)) {
    // If it is missing, the features have changed: export the contracts again, into the same folder.
    const schema = JSON.parse(file('avro', 'by-fingerprint', `${fingerprint}.avsc`))
    types.set(fingerprint, avsc.Type.forSchema(schema))
  }
  return types.get(fingerprint)
}

function decode (data) {
  return data[0] === 0xc3 ? typeOf(data).fromBuffer(data.subarray(HEADER)) : JSON.parse(data)
}

// A record of the contract's example, with an id and a time of its own.
function record (kind, id) {
  const example = file('examples', encoding === 'avro' ? `${kind}.avro.bin` : `${kind}.json`)
  const fields = Object.assign(decode(example), { request_id: id, ts: Date.now() })
  if (encoding !== 'avro') return Buffer.from(JSON.stringify(fields))
  return Buffer.concat([example.subarray(0, HEADER), typeOf(example).toBuffer(fields)])
}

const run = `node-${randomUUID()}`
const brokers = { bootstrapBrokers: bootstrap.split(',') }
const producer = new Producer({
  ...brokers,
  clientId: run,
  // Not the default one, which uses all 32 bits of the hash and agrees with Java only where the number of
  // partitions is a power of two.
  partitioner: compatibilityPartitioner
})
const consumer = new Consumer({
  ...brokers,
  clientId: run,
  groupId: run, // of its own: every instance of a service sees all predictions
  isolationLevel: FetchIsolationLevels.READ_COMMITTED
})

function send (topic, kind, ids) {
  const messages = ids.map(id => ({
    topic: `${contract.task}.${topic}`, key: Buffer.from(id), value: record(kind, id)
  }))
  return producer.send({ messages })
}

const predictions = `${contract.task}.predictions`
// From where the topic ends now, before anything is sent.
const ends = await consumer.listOffsets({ topics: [predictions], timestamp: ListOffsetTimestamps.LATEST })
const stream = await consumer.consume({
  topics: [predictions],
  mode: MessagesStreamModes.MANUAL,
  offsets: ends.get(predictions).map((offset, partition) => ({ topic: predictions, partition, offset })),
  autocommit: false
})

const ids = Array.from({ length: Number(count) }, (_, number) => `${run}-${number}`)
const waiting = new Set(ids)
const late = setTimeout(() => stream.destroy(), TIMEOUT_S * 1000)
for (let at = 0; at < ids.length; at += BATCH) await send('requests', 'request', ids.slice(at, at + BATCH))

const reports = []
for await (const { key, value } of stream) {
  const id = key.toString()
  if (!waiting.delete(id)) continue // another service's, or a second one
  const [served] = decode(value).scores
  console.log(id, served.score, served.label)
  reports.push(send('outcomes', 'outcome', [id]))
  if (waiting.size === 0) break
}
clearTimeout(late)
await Promise.all(reports)
await consumer.close(true)
await producer.close()
if (waiting.size > 0) {
  console.error(`${waiting.size} requests have no prediction after ${TIMEOUT_S} s`)
  process.exitCode = 1
}
