// The kernels as operations of a loaded libtensorflow, by its C API (tensorflow/c/ops.h, kernels.h), whose functions are
// looked up by name: this library is built without it.
#include <stdlib.h>
#include <string.h>
#include "attention.h"
#include "gemm.h"
#include "layers.h"
#include "threads.h"

typedef void *Handle;  // TF_Status, TF_Tensor, TF_OpKernelContext and so on

enum { tf_float = 1, tf_int32 = 3, most_dims = 8 };
enum { tf_ok = 0, tf_invalid_argument = 3, tf_resource_exhausted = 8 };

// Every function that is called, with its type.
#define FUNCTIONS(X)                                                                                \
  X(Handle, NewStatus, (void))                                                                      \
  X(void, DeleteStatus, (Handle))                                                                   \
  X(int, GetCode, (Handle))                                                                         \
  X(void, SetStatus, (Handle, int, const char *))                                                   \
  X(Handle, NewOpDefinitionBuilder, (const char *))                                                 \
  X(void, OpDefinitionBuilderAddInput, (Handle, const char *))                                      \
  X(void, OpDefinitionBuilderAddOutput, (Handle, const char *))                                     \
  X(void, OpDefinitionBuilderAddAttr, (Handle, const char *))                                       \
  X(void, OpDefinitionBuilderSetShapeInferenceFunction, (Handle, void (*)(Handle, Handle)))         \
  X(void, ShapeInferenceContextSetUnknownShape, (Handle, Handle))                                   \
  X(void, RegisterOpDefinition, (Handle, Handle))                                                   \
  X(Handle, NewKernelBuilder,                                                                       \
    (const char *, const char *, void *(*)(Handle), void (*)(void *, Handle), void (*)(void *)))    \
  X(void, RegisterKernelBuilder, (const char *, Handle, Handle))                                    \
  X(void, OpKernelConstruction_GetAttrInt64, (Handle, const char *, int64_t *, Handle))             \
  X(void, OpKernelConstruction_GetAttrFloat, (Handle, const char *, float *, Handle))               \
  X(void, OpKernelConstruction_GetAttrBool, (Handle, const char *, unsigned char *, Handle))        \
  X(void, OpKernelContext_Failure, (Handle, Handle))                                                \
  X(void, GetInput, (Handle, int, Handle *, Handle))                                                \
  X(Handle, AllocateOutput, (Handle, int, int, const int64_t *, int, size_t, Handle))               \
  X(Handle, AllocateTensor, (int, const int64_t *, int, size_t))                                    \
  X(void *, TensorData, (Handle))                                                                   \
  X(int, NumDims, (Handle))                                                                         \
  X(int64_t, Dim, (Handle, int))                                                                    \
  X(void, DeleteTensor, (Handle))

#define POINTER(RESULT, NAME, PARAMETERS) RESULT(*NAME) PARAMETERS;
static struct {
  FUNCTIONS(POINTER)
} tf;

// The same of tensorflow/c/eager/c_api.h.
#define EAGER_FUNCTIONS(X)                               \
  X(void *, TensorHandleDevicePointer, (Handle, Handle)) \
  X(Handle, NewTensorHandle, (Handle, Handle))

static struct {
  EAGER_FUNCTIONS(POINTER)
} tfe;

typedef struct {
  float *data;
  int dims;
  int64_t dim[most_dims];
} Tensor;

static int64_t size_of(const Tensor *t) {
  int64_t size = 1;
  for (int i = 0; i < t->dims; i++) size *= t->dim[i];
  return size;
}

// The numbers that an operation was made with.
typedef struct {
  int64_t integers[3];
  float real;
  unsigned char flags[2];
} Attributes;

enum { most_inputs = 7 };

// One call of an operation.
typedef struct {
  Handle context, status;
  const Attributes *attributes;
  Tensor in[most_inputs];
} Call;

static float *output(Call *call, int index, int dims, const int64_t *dim) {
  int64_t size = 4;
  for (int i = 0; i < dims; i++) size *= dim[i];
  Handle made = tf.AllocateOutput(call->context, index, tf_float, dim, dims, (size_t)size, call->status);
  if (tf.GetCode(call->status) != 0) return 0;
  float *data = tf.TensorData(made);
  tf.DeleteTensor(made);  // the context holds it
  return data;
}

static float *like(Call *call, int index, const Tensor *t) { return output(call, index, t->dims, t->dim); }

static bool expect(Call *call, bool holds, const char *message) {
  if (!holds) tf.SetStatus(call->status, tf_invalid_argument, message);
  return holds;
}

// Whether an input is a matrix of so many rows and columns; −1 takes any number.
static bool is_matrix(Call *call, int index, int64_t rows, int64_t columns) {
  const Tensor *t = &call->in[index];
  const bool holds = t->dims == 2 && (rows < 0 || t->dim[0] == rows) && (columns < 0 || t->dim[1] == columns);
  return expect(call, holds, "a matrix has another shape than the kernel takes");
}

static bool is_vector(Call *call, int index, int64_t length) {
  const Tensor *t = &call->in[index];
  return expect(call, t->dims == 1 && t->dim[0] == length, "a vector has another length than the kernel takes");
}

// a[…, m, k] · b[…, k, n] (+ bias[n]); the leading dimensions of both are the same.
static void multiply(Call *call, const float *bias) {
  const Tensor *a = &call->in[0], *b = &call->in[1];
  const bool ta = call->attributes->flags[0], tb = call->attributes->flags[1];
  if (!expect(call, a->dims >= 2 && a->dims == b->dims, "two matrices are wanted, or as many in both")) return;
  Tensor c = *a;
  const int64_t rows = a->dim[a->dims - 2], columns = a->dim[a->dims - 1];
  const int64_t b_rows = b->dim[b->dims - 2], b_columns = b->dim[b->dims - 1];
  const int64_t m = ta ? columns : rows, k = ta ? rows : columns, n = tb ? b_rows : b_columns;
  int64_t batch = 1;
  for (int i = 0; i < a->dims - 2; i++) {
    if (!expect(call, a->dim[i] == b->dim[i], "leading dimensions differ")) return;
    batch *= a->dim[i];
  }
  if (!expect(call, k == (tb ? b_columns : b_rows), "inner dimensions differ")) return;
  c.dim[a->dims - 2] = m;
  c.dim[a->dims - 1] = n;
  float *to = like(call, 0, &c);
  if (to) gemm_batch(batch, m, n, k, a->data, ta, b->data, tb, to, bias);
}

static void compute_matmul(Call *call) { multiply(call, 0); }

static void compute_linear(Call *call) {
  const Tensor *b = &call->in[1];
  if (!is_matrix(call, 0, -1, -1) || !is_matrix(call, 1, -1, -1)) return;
  if (is_vector(call, 2, b->dim[call->attributes->flags[1] ? 0 : 1])) multiply(call, call->in[2].data);
}

static void compute_rms_norm(Call *call) {
  const Tensor *x = &call->in[0];
  if (!is_matrix(call, 0, -1, -1) || !is_vector(call, 1, x->dim[1])) return;
  float *y = like(call, 0, x);
  if (y) rms_norm(x->dim[0], x->dim[1], x->data, call->in[1].data, call->attributes->real, y);
}

static void compute_rms_norm_gradient(Call *call) {
  const Tensor *in = call->in, *dy = &in[0];
  if (!is_matrix(call, 0, -1, -1) || !is_matrix(call, 1, dy->dim[0], dy->dim[1]) || !is_vector(call, 2, dy->dim[1])) return;
  float *dx = like(call, 0, dy), *dw = output(call, 1, 1, dy->dim + 1);
  if (!dx || !dw) return;
  rms_norm_gradient(dy->dim[0], dy->dim[1], dy->data, in[1].data, in[2].data, call->attributes->real, dx, dw);
}

static void compute_swi_glu(Call *call) {
  if (!is_matrix(call, 0, -1, -1)) return;
  const int64_t dim[] = {call->in[0].dim[0], call->in[0].dim[1] / 2};
  float *y = output(call, 0, 2, dim);
  if (y) swi_glu(dim[0], dim[1], call->in[0].data, y);
}

static void compute_swi_glu_gradient(Call *call) {
  const Tensor *dy = &call->in[0];
  if (!is_matrix(call, 0, -1, -1) || !is_matrix(call, 1, dy->dim[0], 2 * dy->dim[1])) return;
  float *to = like(call, 0, &call->in[1]);
  if (to) swi_glu_gradient(dy->dim[0], dy->dim[1], dy->data, call->in[1].data, to);
}

// Inputs in the order qkv, cos, sin, tokens, from `first` on.
static bool heads_of(Call *call, int first, Heads *heads) {
  const Tensor *in = call->in + first;
  if (!is_matrix(call, first, -1, -1) || !is_matrix(call, first + 1, -1, -1)) return false;
  const long H = call->attributes->integers[0], K = call->attributes->integers[1], rows = in[0].dim[0];
  const long T = in[1].dim[0], Dh = 2 * in[1].dim[1];
  *heads = (Heads){T > 0 ? rows / T : 0, T, H, K, Dh, in[0].data, in[1].data, in[2].data, (const int32_t *)in[3].data};
  return is_matrix(call, first, heads->B * T, (H + 2 * K) * Dh) && is_matrix(call, first + 2, T, Dh / 2) &&
         expect(call, K > 0 && H % K == 0 && size_of(&in[3]) == rows, "heads or tokens do not fit the rows");
}

static void compute_attention(Call *call) {
  Heads heads;
  if (!heads_of(call, 0, &heads)) return;
  const int64_t rows = call->in[0].dim[0], dim[] = {rows, heads.H * heads.Dh}, sums[] = {rows, heads.H};
  float *out = output(call, 0, 2, dim), *log_sums = output(call, 1, 2, sums);
  if (out && log_sums) attention(&heads, out, log_sums);
}

static void compute_attention_gradient(Call *call) {
  const Tensor *in = call->in;
  Heads heads;
  if (!heads_of(call, 3, &heads)) return;
  const int64_t rows = in[3].dim[0], width = heads.H * heads.Dh;
  if (!is_matrix(call, 0, rows, width) || !is_matrix(call, 1, rows, width) || !is_matrix(call, 2, rows, heads.H)) return;
  float *dqkv = like(call, 0, &in[3]);
  if (dqkv) attention_gradient(&heads, in[0].data, in[1].data, in[2].data, dqkv);
}

static void compute_token_logprobs(Call *call) {
  const Tensor *logits = &call->in[0];
  if (!is_matrix(call, 0, -1, -1) || !is_vector(call, 1, logits->dim[0])) return;
  const int32_t *targets = (const int32_t *)call->in[1].data;
  for (int64_t i = 0; i < logits->dim[0]; i++) {
    if (!expect(call, targets[i] >= 0 && targets[i] < logits->dim[1], "a target is not in the vocabulary")) return;
  }
  float *logp = output(call, 0, 1, logits->dim), *log_sums = output(call, 1, 1, logits->dim);
  if (!logp || !log_sums) return;
  token_logprobs(logits->dim[0], logits->dim[1], logits->data, targets, call->attributes->real, logp, log_sums);
}

// The gradients take what the forward kernels gave: dy, logits, then two vectors of as many numbers as there are rows.
static bool is_token_gradient(Call *call) {
  const int64_t rows = call->in[1].dim[0];
  return is_matrix(call, 1, -1, -1) && is_vector(call, 0, rows) && is_vector(call, 2, rows) && is_vector(call, 3, rows);
}

static void compute_token_logprobs_gradient(Call *call) {
  const Tensor *in = call->in;
  if (!is_token_gradient(call)) return;
  float *to = like(call, 0, &in[1]);
  if (!to) return;
  token_logprobs_gradient(in[1].dim[0], in[1].dim[1], in[1].data, (const int32_t *)in[2].data, in[3].data, in[0].data,
                          call->attributes->real, to);
}

static void compute_token_entropies(Call *call) {
  const Tensor *logits = &call->in[0];
  if (!is_matrix(call, 0, -1, -1)) return;
  float *entropies = output(call, 0, 1, logits->dim), *log_sums = output(call, 1, 1, logits->dim);
  if (!entropies || !log_sums) return;
  token_entropies(logits->dim[0], logits->dim[1], logits->data, call->attributes->real, entropies, log_sums);
}

static void compute_token_entropies_gradient(Call *call) {
  const Tensor *in = call->in;
  if (!is_token_gradient(call)) return;
  float *to = like(call, 0, &in[1]);
  if (!to) return;
  token_entropies_gradient(in[1].dim[0], in[1].dim[1], in[1].data, in[2].data, in[3].data, in[0].data,
                           call->attributes->real, to);
}

static void compute_column_sums(Call *call) {
  const Tensor *x = &call->in[0];
  if (!is_matrix(call, 0, -1, -1)) return;
  float *sums = output(call, 0, 1, x->dim + 1);
  if (sums) column_sums(x->dim[0], x->dim[1], x->data, sums);
}

static void compute_adamw(Call *call) {
  const Tensor *in = call->in;
  const int64_t size = size_of(&in[0]);
  for (int i = 1; i < 4; i++) {
    if (!expect(call, size_of(&in[i]) == size, "a parameter and its moments differ in size")) return;
  }
  if (!is_vector(call, 4, 7)) return;
  float *out[3];
  for (int i = 0; i < 3; i++) {
    out[i] = like(call, i, &in[0]);
    if (!out[i]) return;
  }
  adamw(size, in[0].data, in[1].data, in[2].data, in[3].data, in[4].data, out[0], out[1], out[2]);
}

// An operation: its inputs and outputs in the words of ops.h, its attributes, and what computes it.
typedef struct {
  const char *name;
  const char *inputs[most_inputs + 1], *outputs[4], *integers[4], *flags[3], *real;
  void (*compute)(Call *);
} Operation;

static const Operation operations[] = {
    {"SearchE1MatMul", {"a: float", "b: float"}, {"c: float"}, {0}, {"transpose_a", "transpose_b"}, 0, compute_matmul},
    {"SearchE1Linear", {"a: float", "b: float", "bias: float"}, {"c: float"}, {0}, {"transpose_a", "transpose_b"}, 0,
     compute_linear},
    {"SearchE1RmsNorm", {"x: float", "w: float"}, {"y: float"}, {0}, {0}, "epsilon", compute_rms_norm},
    {"SearchE1RmsNormGrad", {"dy: float", "x: float", "w: float"}, {"dx: float", "dw: float"}, {0}, {0}, "epsilon",
     compute_rms_norm_gradient},
    {"SearchE1SwiGlu", {"gate_up: float"}, {"y: float"}, {0}, {0}, 0, compute_swi_glu},
    {"SearchE1SwiGluGrad", {"dy: float", "gate_up: float"}, {"d_gate_up: float"}, {0}, {0}, 0,
     compute_swi_glu_gradient},
    {"SearchE1Attention", {"qkv: float", "cos: float", "sin: float", "tokens: int32"}, {"out: float", "log_sums: float"},
     {"heads", "kv_heads"}, {0}, 0, compute_attention},
    {"SearchE1AttentionGrad",
     {"dout: float", "out: float", "log_sums: float", "qkv: float", "cos: float", "sin: float", "tokens: int32"},
     {"dqkv: float"},
     {"heads", "kv_heads"}, {0}, 0, compute_attention_gradient},
    {"SearchE1TokenLogprobs", {"logits: float", "targets: int32"}, {"logp: float", "log_sums: float"}, {0}, {0},
     "scale", compute_token_logprobs},
    {"SearchE1TokenLogprobsGrad", {"dlogp: float", "logits: float", "targets: int32", "log_sums: float"},
     {"dlogits: float"}, {0}, {0}, "scale", compute_token_logprobs_gradient},
    {"SearchE1TokenEntropies", {"logits: float"}, {"entropies: float", "log_sums: float"}, {0}, {0}, "scale",
     compute_token_entropies},
    {"SearchE1TokenEntropiesGrad", {"dentropies: float", "logits: float", "entropies: float", "log_sums: float"},
     {"dlogits: float"}, {0}, {0}, "scale", compute_token_entropies_gradient},
    {"SearchE1ColumnSums", {"x: float"}, {"sums: float"}, {0}, {0}, 0, compute_column_sums},
    {"SearchE1AdamW", {"value: float", "gradient: float", "m: float", "v: float", "scalars: float"},
     {"new_value: float", "new_m: float", "new_v: float"}, {0}, {0}, 0, compute_adamw},
};

enum { operation_count = sizeof operations / sizeof *operations };

typedef struct {
  const Operation *operation;
  Attributes attributes;
} Kernel;

static void *create_kernel(const Operation *operation, Handle construction) {
  Kernel *kernel = calloc(1, sizeof(Kernel));
  Handle status = tf.NewStatus();
  kernel->operation = operation;
  for (int i = 0; operation->integers[i]; i++) {
    tf.OpKernelConstruction_GetAttrInt64(construction, operation->integers[i], &kernel->attributes.integers[i], status);
  }
  for (int i = 0; operation->flags[i]; i++) {
    tf.OpKernelConstruction_GetAttrBool(construction, operation->flags[i], &kernel->attributes.flags[i], status);
  }
  if (operation->real) {
    tf.OpKernelConstruction_GetAttrFloat(construction, operation->real, &kernel->attributes.real, status);
  }
  tf.DeleteStatus(status);
  return kernel;
}

// The C API hands a creating function nothing but the construction: there is one function for every operation.
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)
#define CREATE(I) \
  static void *create_##I(Handle construction) { return create_kernel(&operations[I], construction); }
#define NAME(I) create_##I,
#define ONE(I) +1
_Static_assert(operation_count == 0 EACH(ONE), "EACH lists every operation's number");
EACH(CREATE)
static void *(*const creators[operation_count])(Handle) = {EACH(NAME)};

static bool take(Call *call, int index, Handle tensor) {
  Tensor *t = &call->in[index];
  t->data = tf.TensorData(tensor);
  t->dims = tf.NumDims(tensor);
  if (!expect(call, t->dims <= most_dims, "too many dimensions")) return false;
  for (int i = 0; i < t->dims; i++) t->dim[i] = tf.Dim(tensor, i);
  return true;
}

static void compute(void *made, Handle context) {
  const Kernel *kernel = made;
  Handle tensors[most_inputs] = {0};
  Call call = {.context = context, .status = tf.NewStatus(), .attributes = &kernel->attributes};
  bool ready = true;
  int count = 0;
  for (; kernel->operation->inputs[count] && ready; count++) {
    tf.GetInput(context, count, &tensors[count], call.status);
    ready = tf.GetCode(call.status) == 0;
    if (!ready) break;
    ready = take(&call, count, tensors[count]);
  }
  if (ready) {
    kernel_begins();
    kernel->operation->compute(&call);
    kernel_ends();
  }
  if (tf.GetCode(call.status) != 0) tf.OpKernelContext_Failure(context, call.status);
  for (int i = 0; i < count; i++) tf.DeleteTensor(tensors[i]);
  tf.DeleteStatus(call.status);
}

#define EXPORT __attribute__((visibility("default")))

// The product of two tensors of an eager context, matrices (rank 2) or `batch` of them (rank 3), as the operation gives it.
// TensorFlow takes a hundred microseconds to run an operation whose code and data a large product has driven out of the
// caches; this goes past it. Null where it fails, and the status says why.
EXPORT Handle eager_matmul(Handle a, Handle b, int rank, int batch, int m, int n, int k, int transpose_a, int transpose_b,
                           Handle status) {
  const float *left = tfe.TensorHandleDevicePointer(a, status);
  if (tf.GetCode(status) != 0) return 0;
  const float *right = tfe.TensorHandleDevicePointer(b, status);
  if (tf.GetCode(status) != 0) return 0;
  const int64_t dim[] = {batch, m, n};
  const size_t size = 4 * (size_t)batch * (size_t)m * (size_t)n;
  Handle c = tf.AllocateTensor(tf_float, dim + 3 - rank, rank, size), result = 0;
  float *to = tf.TensorData(c);
  if (to || size == 0) {
    kernel_begins();
    gemm_batch(batch, m, n, k, left, transpose_a, right, transpose_b, to, 0);
    kernel_ends();
    result = tfe.NewTensorHandle(c, status);
  } else {
    tf.SetStatus(status, tf_resource_exhausted, "out of memory for the result");
  }
  tf.DeleteTensor(c);
  return result;
}

// Registers all operations, once a process; `lookup` is dlsym and `library` its handle of libtensorflow. Returns how many
// there are, or minus the number of the first that failed; −1000 where a function is missing.
EXPORT int register_operations(void *(*lookup)(void *, const char *), void *library) {
  static bool done;
  if (done) return operation_count;
#define LOOK_UP(RESULT, NAME, PARAMETERS) \
  if (!(*(void **)&tf.NAME = lookup(library, "TF_" #NAME))) return -1000;
  FUNCTIONS(LOOK_UP)
#define LOOK_UP_EAGER(RESULT, NAME, PARAMETERS) \
  if (!(*(void **)&tfe.NAME = lookup(library, "TFE_" #NAME))) return -1000;
  EAGER_FUNCTIONS(LOOK_UP_EAGER)
  Handle status = tf.NewStatus();
  int registered = 0;
  for (; registered < operation_count; registered++) {
    const Operation *o = &operations[registered];
    Handle definition = tf.NewOpDefinitionBuilder(o->name);
    for (int i = 0; o->inputs[i]; i++) tf.OpDefinitionBuilderAddInput(definition, o->inputs[i]);
    for (int i = 0; o->outputs[i]; i++) tf.OpDefinitionBuilderAddOutput(definition, o->outputs[i]);
    char text[64];
    for (int i = 0; o->integers[i]; i++) tf.OpDefinitionBuilderAddAttr(definition, strcat(strcpy(text, o->integers[i]), ": int"));
    for (int i = 0; o->flags[i]; i++) tf.OpDefinitionBuilderAddAttr(definition, strcat(strcpy(text, o->flags[i]), ": bool"));
    if (o->real) tf.OpDefinitionBuilderAddAttr(definition, strcat(strcpy(text, o->real), ": float"));
    // What shapes they make, ../../fused_kernels.ts tells who builds a graph.
    tf.OpDefinitionBuilderSetShapeInferenceFunction(definition, tf.ShapeInferenceContextSetUnknownShape);
    tf.RegisterOpDefinition(definition, status);
    if (tf.GetCode(status) != 0) break;
    Handle kernel = tf.NewKernelBuilder(o->name, "CPU", creators[registered], compute, free);
    tf.RegisterKernelBuilder(o->name, kernel, status);
    if (tf.GetCode(status) != 0) break;
  }
  tf.DeleteStatus(status);
  done = registered == operation_count;
  return done ? registered : -registered - 1;
}
