/* Lets the N-th call of a function of the C library fail, in a program that preloads this.
 *
 * gcc -shared -fPIC -O1 -o fail_nth.so fail_nth.c -ldl; LD_PRELOAD=./fail_nth.so program. The
 * program looks fail_nth_arm up and calls it; until then nothing fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char armed[16];    /* name of the function that fails; "" while nothing does */
static volatile long left; /* calls until it does */
static int cause;         /* the error */
static int lasting;       /* whether all calls after it fail too */
static volatile long count;

/* Lets call number `nth` (from 1) of a function fail, and all after it if `last`. */
void fail_nth_arm(const char *function, long nth, int error, int last)
{
    armed[0] = '\0';
    left = nth;
    cause = error;
    lasting = last;
    count = 0;
    strncpy(armed, function, sizeof armed - 1);
}

/* How often the function was called since then; nothing fails any more. */
long fail_nth_disarm(void)
{
    armed[0] = '\0';
    return count;
}

static int fails(const char *function)
{
    if (armed[0] != function[0] || strcmp(armed, function) != 0) return 0;
    count++;
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    if (left < 0 && !lasting) return 0;
    errno = cause;
    return 1;
}

#define REAL(result, name, ...)                                   \
    static result (*real)(__VA_ARGS__);                           \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t write(int descriptor, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    if (descriptor > 2 && fails("write")) return -1;
    return real(descriptor, data, size);
}

int fsync(int descriptor)
{
    REAL(int, fsync, int);
    return fails("fsync") ? -1 : real(descriptor);
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    return fails("rename") ? -1 : real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(int, link, const char *, const char *);
    return fails("link") ? -1 : real(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    return fails("link") ? -1 : real(a, from, b, to, flags);
}

int ftruncate(int descriptor, off_t size)
{
    REAL(int, ftruncate, int, off_t);
    return fails("ftruncate") ? -1 : real(descriptor, size);
}

int ftruncate64(int descriptor, off_t size)
{
    REAL(int, ftruncate64, int, off_t);
    return fails("ftruncate") ? -1 : real(descriptor, size);
}

int close(int descriptor)
{
    REAL(int, close, int);
    if (descriptor > 2 && fails("close")) {
        real(descriptor); /* as on Linux: the descriptor is gone all the same */
        errno = cause;
        return -1;
    }
    return real(descriptor);
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    return fails("open") ? -1 : real(path, flags, mode);
}

#define DEFINE_OPEN(name)                                                       \
    int name(const char *path, int flags, ...)                                  \
    {                                                                           \
        va_list more;                                                           \
        mode_t mode;                                                            \
        REAL(int, name, const char *, int, ...);                                \
        va_start(more, flags);                                                  \
        mode = va_arg(more, mode_t);                                            \
        va_end(more);                                                           \
        return opened(real, path, flags, mode);                                 \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

void *mmap(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    REAL(void *, mmap, void *, size_t, int, int, int, off_t);
    if (fails("mmap")) return (void *)-1;
    return real(address, size, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    REAL(void *, mmap64, void *, size_t, int, int, int, off_t);
    if (fails("mmap")) return (void *)-1;
    return real(address, size, protection, flags, descriptor, offset);
}

/* dlsym may allocate, so that memory comes from glibc's own names. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

/* Small pieces are left out when all calls are to fail: without them no interpreter gets far. */
enum { LARGE = 512 };

static int memory_fails(size_t size)
{
    if (armed[0] != 'm' || armed[1] != 'a' || (lasting && size < LARGE)) return 0;
    return fails("malloc");
}

void *malloc(size_t size) { return memory_fails(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t number, size_t size)
{
    return memory_fails(size ? number * size : 0) ? NULL : __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
    return memory_fails(size) ? NULL : __libc_realloc(memory, size);
}
