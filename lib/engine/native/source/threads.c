#include "threads.h"
#include <pthread.h>
#include <sched.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

// A worker looks for work for about a millisecond before it sleeps, since the next kernel often comes soon and waking takes
// long; after a while it lets others have its core meanwhile.
enum { most_threads = 64, spins = 80000, spins_alone = 2000 };

static atomic_int threads = 1;    // that may compute, the caller included
static atomic_int started = 1;    // that there are
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

static void *worker(void *number) {
  unsigned seen = 0;
  for (;;) {
    for (int i = 0; i < spins && atomic_load(&job) == seen; i++) {
      pause_briefly();
      if (i > spins_alone && i % 64 == 0) sched_yield();
    }
    if (atomic_load(&job) == seen) {
      pthread_mutex_lock(&sleep_lock);
      while (atomic_load(&job) == seen) pthread_cond_wait(&wake, &sleep_lock);
      pthread_mutex_unlock(&sleep_lock);
    }
    atomic_fetch_add(&inside, 1);
    seen = atomic_load(&job);
    if ((intptr_t)number < atomic_load(&threads)) take_parts();
    atomic_fetch_sub(&inside, 1);
  }
  return 0;
}

void set_threads(int count) {
  const int wanted = count < 1 ? 1 : count > most_threads ? most_threads : count;
  pthread_mutex_lock(&pool);
  while (atomic_load(&started) < wanted) {
    pthread_t thread;
    if (pthread_create(&thread, 0, worker, (void *)(intptr_t)atomic_load(&started)) != 0) break;
    pthread_detach(thread);
    atomic_fetch_add(&started, 1);
  }
  atomic_store(&threads, wanted < atomic_load(&started) ? wanted : atomic_load(&started));
  pthread_mutex_unlock(&pool);
}

void kernel_begins(void) { atomic_fetch_add(&running, 1); }
void kernel_ends(void) { atomic_fetch_sub(&running, 1); }

int idle_threads(void) { return atomic_load(&running) > 1 ? 1 : atomic_load(&threads); }

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
