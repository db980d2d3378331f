// Hostile requests through the view and the writer of predictions, under sanitizers; see test_core_sanitizers.py.
//
// Standard input: the plans of requests and of predictions, then requests as hexadecimal text. What is written of a
// request that was taken must be a prediction that the join's view takes, with the same id and features. Each value
// is counted once.
#include <cstdio>

#include "counts.hpp"
#include "fuzzing.hpp"
#include "requests.hpp"

int main(int, char** arguments) {
  Requests requests;
  Views views;
  requests.scanner = read_plan();
  views.predictions = read_plan();
  requests.entity_key = requests.parents = KEPT;
  requests.bounds.resize(requests.scanner.kinds.size());
  requests.bounds[0].open = false;
  requests.bounds[0].low = 0;
  std::vector<std::vector<uint8_t>> records;
  for (std::string line; std::cin >> line;) records.push_back(octets_of(line));
  size_t taken = 0, rejected = 0;
  const std::string head("\4lr\2\4", 5), topic("\0\0", 2);
  const long rounds = std::atol(arguments[1]);
  for (long round = 0; round < rounds; ++round) {
    const std::vector<uint8_t>& whole = records[below(records.size())];
    const std::vector<uint8_t> data = below(4) ? damaged(whole) : whole;
    const auto block = block_of(data);
    RequestView view;
    if (!requests.view(block.get(), data.size(), 10, view)) {
      ++rejected;
      continue;
    }
    ++taken;
    for (const Value& value : view.row) {
      NumberCounts numbers;
      LevelCounts levels;
      numbers.low = -1;
      for (int times = 0; times < 3; ++times) {
        numbers.add(value);
        levels.add(value);
      }
      if (numbers.missing + (numbers.order.empty() ? 0 : numbers.times(numbers.order[0])) != 3) return 5;
      if (levels.missing + (levels.times.empty() ? 0 : levels.times[0]) != 3) return 6;
      const double edge = numbers.order.empty() ? 0 : edge_of(numbers.order[0]);
      if (bin_of(edge) != (numbers.order.empty() ? 0 : numbers.order[0])) return 7;
    }
    Writer writer;
    writer.raw("P123456789");
    std::vector<Answered> scores(1 + below(3));
    for (Answered& each : scores) each = {head, 0.25};
    prediction(writer, requests, view, scores, true, {topic, 0, round}, 1.0, round);
    const std::vector<uint8_t> made(writer.out.begin(), writer.out.end());
    const auto written = block_of(made);
    PredictionView read;
    if (!views.prediction(written.get(), made.size(), 10, read)) return 1;
    if (read.id != view.id || read.ts != view.ts || read.scores != scores.size() || read.p != 0.25) return 2;
    for (size_t n = 0; n < view.row.size(); ++n) {
      const Value &one = view.row[n], &two = views.features()[n];
      if (one.kind != two.kind || one.number != two.number || one.whole != two.whole) return 3;
      if (std::string_view(one.text, one.size) != std::string_view(two.text, two.size)) return 4;
    }
  }
  std::printf("%zu %zu\n", taken, rejected);
}
