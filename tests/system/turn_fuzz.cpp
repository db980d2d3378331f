// Hostile records through the views into the join's table, under sanitizers; see test_core_sanitizers.py.
//
// Standard input: the plans of predictions and of outcomes, then records: `p` or `o`, and hexadecimal text. With each
// batch all that the table would write is written; some batches are dropped, and the table must be as it was.
#include <cstdio>

#include "fuzzing.hpp"
#include "join.hpp"

static std::string state_of(const Table& table) {
  std::string all;
  for (const Due& each : table.due) {
    const Row& row = each.row->second;
    all += each.row->first + ' ' + std::to_string(each.due) + ' ' + std::to_string(row.status) + ' ';
    all += *row.payload + (row.resolution ? std::to_string(row.resolution->kind) : "") + '\n';
  }
  for (const auto& each : table.cohorts) all += std::to_string(each.first) + '=' + std::to_string(each.second) + ' ';
  return all + std::to_string(table.waiting) + ' ' + std::to_string(table.size());
}

int main(int, char** arguments) {
  Views views;
  views.predictions = read_plan();
  views.outcomes = read_plan();
  views.reporter = KEPT;
  Table table;
  table.rules = {1000, 3000, 10, 1 << 30, 5, 0, 1000};
  table.marks = {"E123456789", "J123456789", "R123456789"};
  table.topics = {{"shop.predictions", std::string("\0\2", 2)}, {"shop.outcomes", std::string("\0\4", 2)}};
  std::vector<std::pair<bool, std::vector<uint8_t>>> records;
  for (std::string kind, line; std::cin >> kind >> line;) records.emplace_back(kind == "p", octets_of(line));
  size_t seen = 0, taken = 0, entries = 0, dropped = 0;
  int64_t ts = 1 << 20;
  const long rounds = std::atol(arguments[1]);
  for (long round = 0; round < rounds;) {
    std::vector<std::unique_ptr<uint8_t[]>> blocks;
    std::vector<Input> inputs;
    for (size_t n = 1 + below(40); n > 0; --n, ++round) {
      const auto& [is_prediction, whole] = records[below(records.size())];
      const std::vector<uint8_t> data = below(3) ? damaged(whole) : whole;
      Input input;
      input.is_prediction = is_prediction;
      blocks.push_back(block_of(data));
      if (is_prediction ? !views.prediction(blocks.back().get(), data.size(), 10, input.prediction)
                        : !views.outcome(blocks.back().get(), data.size(), 10, input.outcome))
        continue;
      ++seen;
      ts += static_cast<int64_t>(below(300));
      (is_prediction ? input.prediction.ts : input.outcome.ts) = ts;
      input.at = {is_prediction ? 0 : 1, 0, round};
      input.arrived = ts;
      inputs.push_back(input);
    }
    const bool drop = below(4) == 0;
    const std::string before = drop ? state_of(table) : "";
    while (!inputs.empty()) {
      const size_t count = table.take(inputs);
      taken += count;
      entries += table.entries.size();
      inputs.erase(inputs.begin(), inputs.begin() + static_cast<long>(std::min(count + 1, inputs.size())));
    }
    std::string written;
    for (const Change& each : table.journal)
      if (each.row->second.status != GONE) table.written(each, written);
    if (drop) {
      ++dropped;
      table.rollback();
      if (state_of(table) != before) return 1;
    } else {
      table.commit();
    }
  }
  std::printf("%zu %zu %zu %zu\n", seen, taken, entries, dropped);
}
