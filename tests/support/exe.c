/* The dynamic loader of a hostile image: it runs as part of whatever program is executed there, and looks at that.

   Made without a C library, as a loader has none; it executes /then with the program's file open, as 99. */

#if defined(__x86_64__)
enum { OPENAT = 257, READLINKAT = 267, WRITE = 1, DUP3 = 292, EXECVE = 59, EXIT = 231 };
static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}
__asm__(".globl _start\n_start: and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
enum { OPENAT = 56, READLINKAT = 78, WRITE = 64, DUP3 = 24, EXECVE = 221, EXIT = 94 };
static long call(long number, long a, long b, long c, long d)
{
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: b begin\n");
#endif

enum { AT_FDCWD = -100, O_WRONLY = 1, O_PATH = 010000000 };

static void say(const char *text, long length)
{
    call(WRITE, 1, (long)text, length, 0);
}

void begin(void)
{
    static const char itself[] = "/proc/self/exe";
    char name[256];
    char *volatile words[3];
    char *volatile environment[2];
    long length = call(READLINKAT, AT_FDCWD, (long)itself, (long)name, sizeof name);
    say("loaded into ", 12);
    if (length > 0)
        say(name, length);
    say("\n", 1);
    if (call(OPENAT, AT_FDCWD, (long)itself, O_WRONLY, 0) >= 0)
        say("opened for writing\n", 19);
    call(DUP3, call(OPENAT, AT_FDCWD, (long)itself, O_PATH, 0), 99, 0, 0);
    words[0] = "sh";
    words[1] = "/then";
    words[2] = 0;
    environment[0] = "PATH=/bin";
    environment[1] = 0;
    call(EXECVE, (long)"/bin/sh", (long)words, (long)environment, 0);
    call(EXIT, 1, 0, 0, 0);
}
