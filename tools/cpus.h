// cpus.h - how many processors this process may use: those of its affinity, and no more than its control group's quota allows.
// Elsewhere than on Linux: those that are online. Every function is static.
#ifndef CPUS_H
#define CPUS_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Of a quota, "max 100000" or "150000 100000": microseconds in each so many. A part of a processor counts as one; 0 = no limit.
static int32_t cpus_of_quota(const char *text) {
    long long quota, period;
    if (sscanf(text, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0) return 0;
    return quota / period >= 1 << 20 ? 0 : (int32_t)((quota + period - 1) / period);
}

static int32_t cpus_of_quota_file(const char *path) {
    char text[80] = "";
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    fclose(f);
    return cpus_of_quota(text);
}

// The least that a group and those above it allow; 0 = no limit. Version 1 keeps quota and period in files of their own.
static int32_t cpus_of_group(void) {
    char line[1024], path[1200], text[80];
    int32_t least = 0;
    FILE *f = fopen("/proc/self/cgroup", "r"), *quota, *period;
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "0::", 3)) continue;
        for (line[strcspn(line, "\n")] = 0;;) {
            char *slash = strrchr(line + 3, '/');
            int32_t n;
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", line + 3);
            n = cpus_of_quota_file(path);
            if (n && (!least || n < least)) least = n;
            if (!slash) break;
            *slash = 0;
        }
    }
    if (f) fclose(f);
    quota = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
    period = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
    if (quota && period && fgets(path, 40, quota) && fgets(line, 40, period)) {
        int32_t n;
        snprintf(text, sizeof text, "%.30s %.30s", path, line);
        n = cpus_of_quota(text);
        if (n && (!least || n < least)) least = n;
    }
    if (quota) fclose(quota);
    if (period) fclose(period);
    return least;
}

// At least 1 and at most `most`.
static int32_t cpus_allowed(int32_t most) {
    long n = 1;
    int32_t limit = cpus_of_group();
#ifdef _SC_NPROCESSORS_ONLN
    n = sysconf(_SC_NPROCESSORS_ONLN);
#endif
#ifdef CPU_COUNT
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0) n = CPU_COUNT(&set);    // fails above 1024: all then
#endif
    if (limit && n > limit) n = limit;
    return n < 1 ? 1 : n > most ? most : (int32_t)n;
}

#endif // CPUS_H
