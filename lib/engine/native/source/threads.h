// Threads for kernels, and memory for their intermediate values.
#pragma once
#include "simd.h"

// How many threads compute from now on, the caller included; no kernel may run meanwhile.
void set_threads(int count);

// Says that a kernel begins, or ends, on this thread. TensorFlow runs several at a time: then each computes alone.
void kernel_begins(void);
void kernel_ends(void);

// How many threads may share a kernel's work now: 1 while other kernels run or others' work is shared.
int idle_threads(void);

// Runs work(context, 0 … parts − 1), shared by all threads that are idle, and returns when all is done.
void in_parallel(void (*work)(void *context, long part), void *context, long parts);

// Memory of this thread for `bytes`, at a multiple of 64; what was written there before is lost. Kernels that call others
// take theirs from another number, below 4: 0 is gemm's.
void *scratch_of(int number, long bytes);
INLINE void *scratch(long bytes) { return scratch_of(0, bytes); }
