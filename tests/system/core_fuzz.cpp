// Hostile records through the scanner into a kernel, under sanitizers; see test_core_sanitizers.py.
//
// Standard input: the number of nodes, each node as form, symbols, count of parts and parts; the node and the field of
// the features; the count of features and their kinds; then records as hexadecimal text, one a line.
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "kernel.hpp"
#include "records.hpp"

using namespace riverloop;

static uint64_t state = 88172645463325252ull;
static uint64_t next() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}
static size_t below(size_t bound) { return bound ? next() % bound : 0; }

static std::vector<uint8_t> damaged(const std::vector<uint8_t>& whole) {
  static const uint8_t tricky[] = {0, 1, 2, 3, 4, 0x7f, 0x80, 0xc0, 0xed, 0xf0, 0xf4, 0xff};
  std::vector<uint8_t> data = whole;
  for (size_t n = below(5); n > 0; --n) {
    const size_t at = below(data.size() + 1), cut = std::min(below(4), data.size() - at);
    data.erase(data.begin() + at, data.begin() + at + cut);
    const size_t run = below(12);
    const uint8_t octet = below(2) ? tricky[below(sizeof tricky)] : static_cast<uint8_t>(next());
    data.insert(data.begin() + at, run < 9 ? below(3) : run, octet);
  }
  return data;
}

static void build(Pipeline& pipeline, const std::vector<Kind>& kinds) {
  pipeline.kinds = kinds;
  const int count = static_cast<int>(kinds.size());
  Step standard, range, encode;
  standard.op = STANDARD;
  range.op = RANGE;
  encode.op = ENCODE;
  encode.encoder = 0;
  int registers = count;
  for (int i = 0; i < count; ++i) {
    pipeline.names.push_back("f" + std::to_string(i));
    if (kinds[i] != REAL) encode.in.push_back(i);
    if (kinds[i] == TEXT) continue;
    for (Step* step : {&standard, &range}) {
      step->in.push_back(i);
      step->out.push_back(registers);
      pipeline.outputs.push_back({false, registers++, 0});
    }
  }
  standard.scales.resize(standard.in.size());
  range.extremes.resize(range.in.size());
  pipeline.steps = {standard, range, encode};
  pipeline.encoders.resize(1);
  for (Output& output : pipeline.outputs) output.column = pipeline.add_static("r" + std::to_string(output.index));
  pipeline.outputs.push_back({true, 0, -1});
  pipeline.glm.rate.a = pipeline.glm.intercept_rate.a = 0.01;
  pipeline.finish_plan(registers);
}

int main(int, char** arguments) {
  Scanner scanner;
  size_t count, size;
  int number;
  std::cin >> count;
  scanner.nodes.resize(count);
  for (Node& node : scanner.nodes) {
    std::cin >> number >> node.symbols >> size;
    node.form = static_cast<Form>(number);
    node.parts.resize(size);
    for (int& part : node.parts) std::cin >> part;
  }
  std::cin >> scanner.features >> scanner.features_field >> count;
  for (size_t i = 0; i < count; ++i) {
    std::cin >> number;
    scanner.kinds.push_back(static_cast<Kind>(number));
  }
  scanner.most_text = 10000;
  std::vector<std::vector<uint8_t>> records;
  for (std::string line; std::cin >> line;) {
    std::vector<uint8_t> record;
    for (size_t i = 0; i + 1 < line.size(); i += 2) record.push_back(std::stoul(line.substr(i, 2), nullptr, 16));
    records.push_back(record);
  }
  Pipeline pipeline;
  build(pipeline, scanner.kinds);
  std::vector<Span> spans;
  std::vector<Value> row(scanner.kinds.size());
  size_t accepted = 0, read = 0, learned = 0;
  const long rounds = std::atol(arguments[1]);
  for (long round = 0; round < rounds; ++round) {
    const std::vector<uint8_t> data = damaged(records[below(records.size())]);
    // A block of exactly its size, so that one byte too many is seen.
    std::unique_ptr<uint8_t[]> block(new uint8_t[data.size()]);
    std::copy(data.begin(), data.end(), block.get());
    if (!scanner.scan(block.get(), data.size(), 10, spans)) continue;
    ++accepted;
    if (scanner.features_field < 0 || !scanner.read(block.get(), spans[scanner.features_field], row.data())) continue;
    ++read;
    double score = 0;
    if (round % 97 == 0) pipeline.mark();
    pipeline.predict(row.data(), score);
    learned += pipeline.learn(row.data(), below(2), score) == DONE;
    if (round % 101 == 0) pipeline.undo();
    if (round % 103 == 0) pipeline.keep();
  }
  std::printf("%zu %zu %zu\n", accepted, read, learned);
}
