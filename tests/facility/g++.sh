# g++: exceptions that pass through libraries, threads, the file system library, templates
cat >p.cc <<'C'
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <thread>
#include <vector>
extern "C" void *dlopen(const char *, int); extern "C" void *dlsym(void *, const char *);
int main() { std::ofstream("made") << "text\n"; std::vector<std::thread> t; std::vector<int> sums(4);
  for (int i = 0; i < 4; i++) t.emplace_back([&, i] { try { for (int k = 0;; k++) { sums[i] += k; if (k == 100 + i) throw std::runtime_error("in a thread"); } } catch (std::exception &) {} });
  for (auto &x : t) x.join(); for (int s : sums) std::cout << s << ' ';
  std::map<std::string, bool> names; for (auto &e : std::filesystem::directory_iterator(".")) names[e.path().filename()] = e.is_directory(); for (auto &[n, d] : names) std::cout << n << d << ' ';
  std::cout << std::filesystem::file_size("made") << std::filesystem::exists("nope"); try { std::filesystem::file_size("nope"); } catch (std::filesystem::filesystem_error &e) { std::cout << ' ' << e.what() << '\n'; }
  try { reinterpret_cast<void (*)()>(dlsym(dlopen("./libthrows.so", 2), "throws"))(); } catch (int x) { std::cout << "caught " << x << '\n'; } }
C
echo 'extern "C" void throws() { throw 42; }' >l.cc; g++ -shared -fPIC -o libthrows.so l.cc; g++ -std=c++17 -O1 -pthread -o p p.cc -ldl && ./p; echo $?
