// What fuzz targets share: a time limit, a seed of their own, and a file for readers that take only paths. fuzz_one is theirs.
#ifndef FUZZ_H
#define FUZZ_H
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int fuzz_one(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int random);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

// Reading takes time in proportion to what is read: some microseconds a byte under the sanitizers, with some seconds of room
// for what a target does besides. Of the processor's time, since the machine may have other work.
#define FUZZ_SECONDS_ALWAYS 4.0
#define FUZZ_SECONDS_A_BYTE 100e-6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    clock_t start = clock();
    int out = fuzz_one(data, size);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds <= FUZZ_SECONDS_ALWAYS + FUZZ_SECONDS_A_BYTE * (double)size) return out;
    fprintf(stderr, "%zu bytes took %.1f seconds\n", size, seconds);
    abort();
}

// A corpus that holds nothing begins with the target's seed as it is: inputs of almost nothing become it.
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size, const void *seed, size_t seed_size) {
    if (size > 8 || seed_size > max_size) return LLVMFuzzerMutate(data, size, max_size);
    memcpy(data, seed, seed_size);
    return seed_size;
}

static char fuzz_folder[64];

static inline const char *fuzz_path(const char *name) {
    static char path[4][400];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", fuzz_folder, name);
    return path[next];
}

static inline void fuzz_remove_folder(void) {
    DIR *d = opendir(fuzz_folder);
    struct dirent *x;
    while (d && (x = readdir(d)) != NULL) remove(fuzz_path(x->d_name));     // of . and .. it refuses to
    if (d) closedir(d);
    rmdir(fuzz_folder);
}

// A folder of this process, in memory where there is such a place. After a crash it stays, with the input in it.
static inline void fuzz_make_folder(void) {
    if (fuzz_folder[0]) return;
    snprintf(fuzz_folder, sizeof fuzz_folder, "%s/kpd_fuzz.XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(fuzz_folder) || atexit(fuzz_remove_folder)) abort();
}

static inline void fuzz_write(const char *path, const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}
#endif
