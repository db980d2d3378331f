// Avro's binary primitives, written as schemas.codec.wire writes them: the shortest form of every number.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace riverloop {

class Writer {
 public:
  std::string out;

  void raw(std::string_view data) { out.append(data); }
  void byte(uint8_t value) { out.push_back(static_cast<char>(value)); }

  void whole(int64_t value) {
    uint64_t zigzag = (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
    while (zigzag > 127) {
      byte(static_cast<uint8_t>(zigzag | 128));
      zigzag >>= 7;
    }
    byte(static_cast<uint8_t>(zigzag));
  }

  void text(std::string_view data) {
    whole(static_cast<int64_t>(data.size()));
    raw(data);
  }

  void number(double value) {
    char eight[8];
    std::memcpy(eight, &value, 8);  // little endian, as the machines are that this is built for
    out.append(eight, 8);
  }

  void zeros(int count) { out.append(static_cast<size_t>(count), '\0'); }

  // The union of null and a long.
  void maybe(bool there, int64_t value) {
    byte(there ? 2 : 0);
    if (there) whole(value);
  }
};

}  // namespace riverloop
