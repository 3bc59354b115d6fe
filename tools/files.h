// files.h - files as the tools read and write them; every function is static. POSIX.1-2008 (elsewhere files are just opened).
//
// What is read whole, or by place, must be a regular file: opening a pipe waits for somebody to write to it, without end. What
// is written appears whole or not at all, and replaces nothing but a regular file, whose permissions it keeps; a symbolic link
// is followed. An unfinished output has a name that no other program uses, and goes when the program is stopped.
#ifndef FILES_H
#define FILES_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#ifndef _WIN32
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#define FILES_MAX_PATH 4096

#if defined(__GNUC__) || defined(__clang__)
#define FILES_UNUSED __attribute__((unused))
#else
#define FILES_UNUSED
#endif

// ---- reading ---------------------------------------------------------------------------------------------------------

// A regular file to be read, or NULL; *why then says what is wrong.
FILES_UNUSED static FILE *files_open(const char *path, const char **why) {
#ifdef _WIN32
    FILE *f = fopen(path, "rb");
    *why = f ? NULL : strerror(errno);
    return f;
#else
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat st;
    FILE *f = NULL;
    *why = NULL;
    if (fd >= 0 && !fstat(fd, &st) && !S_ISREG(st.st_mode)) *why = "is not a regular file";
    else if (fd >= 0) f = fdopen(fd, "rb");
    if (!f && !*why) *why = strerror(errno);
    if (!f && fd >= 0) close(fd);
    return f;
#endif
}

#ifndef _WIN32

// ---- writing ---------------------------------------------------------------------------------------------------------

typedef struct files_output {
    FILE *file;
    char target[FILES_MAX_PATH], temp[FILES_MAX_PATH + 16];
} files_output;

// What files_interrupted removes: two outputs of a command, or one of each stage that runs. A pointer is stored in one piece.
enum { FILES_PENDING = 32 };
static const char *volatile files_pending[FILES_PENDING];

// Puts a path in place of another; NULL is of a free place.
static void files_remember(const char *before, const char *path) {
    int i = 0;
    while (i < FILES_PENDING && files_pending[i] != before) i++;
    if (i < FILES_PENDING) files_pending[i] = path;
}

// Follows the link that a path may be, to what writing there would write to.
static bool files_target(const char *path, char out[FILES_MAX_PATH]) {
    char link[FILES_MAX_PATH];
    if (strlen(path) >= FILES_MAX_PATH) return false;
    strcpy(out, path);
    for (int i = 0; i < 40; i++) {
        const char *slash = strrchr(out, '/');
        ssize_t n = readlink(out, link, sizeof link - 1);
        size_t folder = slash && n > 0 && link[0] != '/' ? (size_t)(slash + 1 - out) : 0;
        if (n < 0) return true;
        if (folder + (size_t)n >= FILES_MAX_PATH) return false;
        memcpy(out + folder, link, (size_t)n);
        out[folder + (size_t)n] = 0;
    }
    return false;
}

// Why nothing can be written to a path, NULL if it seems that it can. mode = that of the file there, 0 = there is none.
static const char *files_cannot_write(const char *path, char target[FILES_MAX_PATH], mode_t *mode) {
    struct stat st;
    *mode = 0;
    if (!files_target(path, target)) return "a path that is too long, or a link that leads to itself";
    if (stat(target, &st)) return NULL;
    *mode = st.st_mode & 0777;
    return S_ISREG(st.st_mode) ? NULL : "it exists and is not a regular file";
}

// Begins a file beside the path. Returns NULL, or why not.
FILES_UNUSED static const char *files_begin(files_output *o, const char *path) {
    mode_t mode;
    const char *why = files_cannot_write(path, o->target, &mode);
    int fd = -1;
    o->file = NULL;
    if (why) return why;
    for (int i = 0; fd < 0 && i < 10000; i++) {
        snprintf(o->temp, sizeof o->temp, "%s.%d.tmp", o->target, i);
        fd = open(o->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode ? mode : 0666);
        if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0) return strerror(errno);
    files_remember(NULL, o->temp);
    if (mode) fchmod(fd, mode);                 // what the process's mask took away; what a file system lacks it cannot keep
    o->file = fdopen(fd, "wb");
    if (o->file) return NULL;
    why = strerror(errno);
    close(fd);
    remove(o->temp);
    files_remember(o->temp, NULL);
    return why;
}

// Nothing of it remains; what was at its path does.
static void files_abandon(files_output *o) {
    if (!o->file) return;
    fclose(o->file);
    remove(o->temp);
    files_remember(o->temp, NULL);
    o->file = NULL;
}

// Puts what was written, and flushed, into its place; errno says why not.
FILES_UNUSED static bool files_commit(files_output *o) {
    bool ok = !fsync(fileno(o->file));
    int error = errno;
    if (!ok) { files_abandon(o); errno = error; return false; }
    ok = !fclose(o->file) && !rename(o->temp, o->target);
    error = errno;
    o->file = NULL;
    if (!ok) remove(o->temp);
    files_remember(o->temp, NULL);
    errno = error;
    return ok;
}

// ---- signals ---------------------------------------------------------------------------------------------------------

static const int FILES_SIGNALS[] = {SIGINT, SIGTERM, SIGHUP};
enum { FILES_N_SIGNALS = sizeof FILES_SIGNALS / sizeof *FILES_SIGNALS };

// Removes unfinished outputs, says so, and ends the program as the signal does.
static void files_interrupted(int number) {
    static const char said[] = "\nkpd: stopped; nothing was written\n";
    bool any = false;
    for (int i = 0; i < FILES_PENDING; i++) {
        const char *path = files_pending[i];
        if (path) unlink(path);
        any = any || path;
    }
    if (any && write(STDERR_FILENO, said, sizeof said - 1) < 0) {}
    raise(number);                              // its action is the default again
}

// For signals that are not ignored.
FILES_UNUSED static void files_catch(void (*handler)(int)) {
    for (int i = 0; i < FILES_N_SIGNALS; i++) {
        struct sigaction a, before;
        memset(&a, 0, sizeof a);
        a.sa_handler = handler;
        a.sa_flags = handler == files_interrupted ? (int)SA_RESETHAND : 0;
        if (!sigaction(FILES_SIGNALS[i], NULL, &before) && before.sa_handler != SIG_IGN) sigaction(FILES_SIGNALS[i], &a, NULL);
    }
}

// Around a save of the library's: a signal waits until there is a file and nothing beside it.
FILES_UNUSED static void files_hold_signals(bool hold) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < FILES_N_SIGNALS; i++) sigaddset(&set, FILES_SIGNALS[i]);
    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

// ---- locks -----------------------------------------------------------------------------------------------------------

// Waits until this program alone may read, change and replace the file at a path; the lock ends with the returned descriptor.
// -1: it cannot be opened. A lock is of a file, not of a name: who got that of a file which was replaced meanwhile tries again.
FILES_UNUSED static int files_lock(const char *path) {
    for (;;) {
        struct stat locked, there;
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) return -1;
#ifdef LOCK_EX
        while (flock(fd, LOCK_EX) && errno == EINTR) {}     // where a file system has no locks, there is none
#endif
        if (!fstat(fd, &locked) && !stat(path, &there) && locked.st_dev == there.st_dev && locked.st_ino == there.st_ino)
            return fd;
        close(fd);
        if (access(path, F_OK)) return -1;
    }
}

#endif // _WIN32
#endif // FILES_H
