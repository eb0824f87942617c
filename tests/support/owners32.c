/* A program of 32-bit x86 without a C library that gives /srv away and sets its ids: a number a line for each answer. */
static long call3(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}

static void say(long value)
{
    char digits[12];
    int at = 11, negative = value < 0;
    digits[at] = '\n';
    value = negative ? -value : value;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    if (negative)
        digits[--at] = '-';
    call3(4, 1, (long)(digits + at), 12 - at);
}

void _start(void)
{
    unsigned int ids[3] = {9, 9, 9};
    say(call3(212, (long)"/srv", 5, 6));  /* chown32 */
    say(call3(198, (long)"/srv", 7, 8));  /* lchown32 */
    say(call3(208, 50, 51, 52));          /* setresuid32 */
    say(call3(199, 0, 0, 0));             /* getuid32 */
    say(call3(201, 0, 0, 0));             /* geteuid32 */
    say(call3(209, (long)ids, (long)(ids + 1), (long)(ids + 2))); /* getresuid32 */
    say(ids[0] * 10000 + ids[1] * 100 + ids[2]);
    say(call3(212, (long)"/srv", 9, 9));
    call3(1, 0, 0, 0);
}
