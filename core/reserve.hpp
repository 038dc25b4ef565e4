#pragma once
// Room on the disk kept for bad times: a file that is given up when the disk is full, so that what is under way
// (acknowledgements, the ledger, deletes) still finishes.

#include <filesystem>

namespace diot {

class Reserve {
 public:
  /// Takes the room if it is there.
  Reserve(std::filesystem::path file, std::size_t bytes) : file_(std::move(file)), bytes_(bytes) { take(); }
  /// The room is kept. False also when the disk had none to take.
  bool held() const { return held_; }
  /// Tries to take it (again); held() says whether it did.
  void take();
  /// Gives it to whoever writes next.
  void give_up();

 private:
  std::filesystem::path file_;
  std::size_t bytes_;
  bool held_ = false;
};

}  // namespace diot
