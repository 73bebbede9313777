#include "threads.h"
#include <pthread.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { most_threads = 64, spins = 4000 };

static int threads = 1;
static atomic_int running;        // kernels that run now
static pthread_mutex_t pool = PTHREAD_MUTEX_INITIALIZER;  // held while work is shared
static pthread_mutex_t sleep_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

// The work that is shared now: a new number in `job` starts it.
static void (*job_work)(void *, long);
static void *job_context;
static long job_parts;
static atomic_long next_part, parts_done;
static atomic_uint job;
static atomic_int inside;  // workers that look at the job

static void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void take_parts(void) {
  for (;;) {
    const long part = atomic_fetch_add(&next_part, 1);
    if (part >= job_parts) return;
    job_work(job_context, part);
    atomic_fetch_add(&parts_done, 1);
  }
}

static void *worker(void *unused) {
  unsigned seen = 0;
  for (;;) {
    for (int i = 0; i < spins && atomic_load(&job) == seen; i++) pause_briefly();
    if (atomic_load(&job) == seen) {
      pthread_mutex_lock(&sleep_lock);
      while (atomic_load(&job) == seen) pthread_cond_wait(&wake, &sleep_lock);
      pthread_mutex_unlock(&sleep_lock);
    }
    atomic_fetch_add(&inside, 1);
    seen = atomic_load(&job);
    take_parts();
    atomic_fetch_sub(&inside, 1);
  }
  return unused;
}

void set_threads(int count) {
  if (threads > 1) return;
  threads = count < 1 ? 1 : count > most_threads ? most_threads : count;
  for (int i = 1; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, 0, worker, 0) != 0) {
      threads = i;
      return;
    }
    pthread_detach(thread);
  }
}

void kernel_begins(void) { atomic_fetch_add(&running, 1); }
void kernel_ends(void) { atomic_fetch_sub(&running, 1); }

int idle_threads(void) { return atomic_load(&running) > 1 ? 1 : threads; }

void in_parallel(void (*work)(void *, long), void *context, long parts) {
  if (parts <= 1 || idle_threads() == 1 || pthread_mutex_trylock(&pool) != 0) {
    for (long part = 0; part < parts; part++) work(context, part);
    return;
  }
  // Nobody may still look at the job before this one; who comes late to it finds no part left until the new one stands.
  atomic_store(&next_part, LONG_MAX / 2);
  while (atomic_load(&inside) != 0) pause_briefly();
  job_work = work;
  job_context = context;
  job_parts = parts;
  atomic_store(&parts_done, 0);
  atomic_store(&next_part, 0);
  pthread_mutex_lock(&sleep_lock);
  atomic_fetch_add(&job, 1);
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&sleep_lock);
  take_parts();
  while (atomic_load(&parts_done) < parts) pause_briefly();
  pthread_mutex_unlock(&pool);
}

void *scratch_of(int number, long bytes) {
  static __thread void *memory[4];
  static __thread long size[4];
  if (size[number] < bytes) {
    free(memory[number]);
    size[number] = round_up(bytes + bytes / 4, 4096);
    memory[number] = aligned_alloc(64, size[number]);
    if (!memory[number]) abort();
  }
  return memory[number];
}
