// The declarations of LiteRT's headers that the generated C++ code uses, so that a compiler can check the code: tflite/core/
// {interpreter,interpreter_builder,model_builder,signature_runner}.h and tflite/core/c/common.h of LiteRT at f674577 (2026-08-21),
// which TensorFlow 2.20 has in tensorflow/lite/, too.
#pragma once
#include <cstddef>
#include <memory>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
union TfLitePtrUnion {
  char* raw;
  const char* raw_const;
};
struct TfLiteTensor {
  TfLitePtrUnion data;
  std::size_t bytes;
};

namespace tflite {
class SignatureRunner {
 public:
  TfLiteTensor* input_tensor(const char* input_name);
  const TfLiteTensor* output_tensor(const char* output_name) const;
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
};
class Interpreter {
 public:
  SignatureRunner* GetSignatureRunner(const char* signature_key);
  TfLiteStatus SetNumThreads(int num_threads);
};
class FlatBufferModel {
 public:
  static std::unique_ptr<FlatBufferModel> BuildFromFile(const char* filename);
};
class OpResolver {};
class InterpreterBuilder {
 public:
  InterpreterBuilder(const FlatBufferModel& model, const OpResolver& op_resolver);
  TfLiteStatus operator()(std::unique_ptr<Interpreter>* interpreter);
};
namespace ops::builtin {
class BuiltinOpResolver : public OpResolver {};
}  // namespace ops::builtin
}  // namespace tflite
