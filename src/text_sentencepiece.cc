// text_sentencepiece.cc -- the one C++ file: seven functions over libsentencepiece, declared a second time in
// lua/datamux/text/sentencepiece.lua, since the library is optional; no exception leaves this file.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <unordered_map>
#include <vector>

#ifdef DM_HAVE_SENTENCEPIECE
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#endif

#pragma GCC visibility push(default)
extern "C" {

// A loaded model from its bytes, or NULL with the reason in `why` (at least 256 bytes).
void *dm_spm_open(const char *bytes, double size, char *why);
void dm_spm_close(void *model);

// Ids of a text, at most `room`; returns how many there are, or -1.
int32_t dm_spm_encode(void *model, const char *text, double size, int32_t *ids, int32_t room);

// Number of pieces, and the piece of an id (valid until the next call); NULL past the end.
int32_t dm_spm_size(void *model);
const char *dm_spm_piece(void *model, int32_t id);

// Trains a unigram model on `n` texts that lie one after the other (offset[n + 1]). Returns its bytes in *out (to be
// given back with dm_spm_free) and their number, or -1 with the reason in `why`.
double dm_spm_train(char **out, const char *text, const double *offset, double n, int32_t vocab_size, char *why);
void dm_spm_free(char *bytes);

}
#pragma GCC visibility pop

static void explain(char *why, const std::string &text) { snprintf(why, 256, "%s", text.c_str()); }

#ifdef DM_HAVE_SENTENCEPIECE

namespace {

struct Model {
  sentencepiece::SentencePieceProcessor processor;
  std::string piece;
};

// The texts as the trainer wants to see them.
class Texts : public sentencepiece::SentenceIterator {
 public:
  Texts(const char *text, const double *offset, size_t n) : text_(text), offset_(offset), n_(n) { load(); }
  bool done() const override { return at_ >= n_; }
  void Next() override {
    at_++;
    load();
  }
  const std::string &value() const override { return value_; }
  sentencepiece::util::Status status() const override { return sentencepiece::util::Status(); }

 private:
  void load() {
    if (at_ < n_) value_.assign(text_ + (size_t)offset_[at_], (size_t)(offset_[at_ + 1] - offset_[at_]));
  }
  const char *text_;
  const double *offset_;
  size_t n_, at_ = 0;
  std::string value_;
};

}  // namespace

void *dm_spm_open(const char *bytes, double size, char *why) {
  try {
    Model *m = new Model;
    auto status = m->processor.LoadFromSerializedProto(std::string(bytes, (size_t)size));
    if (status.ok()) return m;
    explain(why, status.ToString());
    delete m;
  } catch (const std::exception &e) {
    explain(why, e.what());
  }
  return nullptr;
}

void dm_spm_close(void *model) { delete static_cast<Model *>(model); }

int32_t dm_spm_encode(void *model, const char *text, double size, int32_t *ids, int32_t room) {
  try {
    std::vector<int> out;
    auto status = static_cast<Model *>(model)->processor.Encode(std::string(text, (size_t)size), &out);
    if (!status.ok()) return -1;
    for (size_t i = 0; i < out.size() && i < (size_t)room; i++) ids[i] = out[i];
    return (int32_t)out.size();
  } catch (const std::exception &) {
    return -1;
  }
}

int32_t dm_spm_size(void *model) { return static_cast<Model *>(model)->processor.GetPieceSize(); }

const char *dm_spm_piece(void *model, int32_t id) {
  Model *m = static_cast<Model *>(model);
  if (id < 0 || id >= m->processor.GetPieceSize()) return nullptr;
  m->piece = m->processor.IdToPiece(id);
  return m->piece.c_str();
}

double dm_spm_train(char **out, const char *text, const double *offset, double n, int32_t vocab_size, char *why) {
  try {
    Texts texts(text, offset, (size_t)n);
    std::string bytes;
    const std::unordered_map<std::string, std::string> args = {
      {"model_type", "unigram"}, {"hard_vocab_limit", "false"}, {"num_threads", "1"}, {"minloglevel", "3"},
      {"normalization_rule_name", "nmt_nfkc_cf"}, {"character_coverage", "0.9995"}, {"pad_id", "0"}, {"unk_id", "1"},
      {"bos_id", "2"}, {"eos_id", "3"}, {"shuffle_input_sentence", "false"},
      {"vocab_size", std::to_string(vocab_size)},
    };
    auto status = sentencepiece::SentencePieceTrainer::Train(args, &texts, &bytes);
    if (!status.ok()) {
      explain(why, status.ToString());
      return -1;
    }
    *out = new char[bytes.size()];
    memcpy(*out, bytes.data(), bytes.size());
    return (double)bytes.size();
  } catch (const std::exception &e) {
    explain(why, e.what());
    return -1;
  }
}

void dm_spm_free(char *bytes) { delete[] bytes; }

#else

static const char *const ABSENT = "this build has no libsentencepiece (Debian: libsentencepiece-dev, then build again)";

void *dm_spm_open(const char *, double, char *why) {
  explain(why, ABSENT);
  return nullptr;
}
void dm_spm_close(void *) {}
int32_t dm_spm_encode(void *, const char *, double, int32_t *, int32_t) { return -1; }
int32_t dm_spm_size(void *) { return 0; }
const char *dm_spm_piece(void *, int32_t) { return nullptr; }
double dm_spm_train(char **, const char *, const double *, double, int32_t, char *why) {
  explain(why, ABSENT);
  return -1;
}
void dm_spm_free(char *) {}

#endif
