// What the programs under sanitizers share: plans and records from standard input, and damaged records.
//
// A plan is the number of nodes; each node as form, symbols, count of parts and parts; the node and the field of the
// features; the count of features and their kinds. Records are hexadecimal text, one a line.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

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

static Scanner read_plan() {
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
  return scanner;
}

static std::vector<uint8_t> octets_of(const std::string& line) {
  std::vector<uint8_t> record;
  for (size_t i = 0; i + 1 < line.size(); i += 2)
    record.push_back(static_cast<uint8_t>(std::stoul(line.substr(i, 2), nullptr, 16)));
  return record;
}

// A block of exactly its size, so that one byte too many is seen.
static std::unique_ptr<uint8_t[]> block_of(const std::vector<uint8_t>& data) {
  std::unique_ptr<uint8_t[]> block(new uint8_t[data.size()]);
  std::copy(data.begin(), data.end(), block.get());
  return block;
}
