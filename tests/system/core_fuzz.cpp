// Hostile records through the scanner into a kernel, under sanitizers; see test_core_sanitizers.py.
#include <cstdio>

#include "fuzzing.hpp"
#include "kernel.hpp"

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
  const Scanner scanner = read_plan();
  std::vector<std::vector<uint8_t>> records;
  for (std::string line; std::cin >> line;) records.push_back(octets_of(line));
  Pipeline pipeline;
  build(pipeline, scanner.kinds);
  std::vector<Span> spans;
  std::vector<Value> row(scanner.kinds.size());
  size_t accepted = 0, read = 0, learned = 0;
  const long rounds = std::atol(arguments[1]);
  for (long round = 0; round < rounds; ++round) {
    const std::vector<uint8_t> data = damaged(records[below(records.size())]);
    const auto block = block_of(data);
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
