/* A program of 32-bit x86 without a C library: which families of sockets does it get, by socket and by socketcall?
 *
 * Lines "socket FAMILY ERRNO" and "socketcall FAMILY ERRNO", and "echo 0" when a message went through a pair of its own.
 */
static long call3(long number, long first, long second, long third)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}

static void put(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    call3(4, 1, (long)text, length);
}

static void put_number(long value)
{
    char digits[12];
    int at = 11;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    put(digits + at);
}

static void say(const char *name, long number, long result)
{
    put(name);
    put(" ");
    put_number(number);
    put(" ");
    put_number(result < 0 ? -result : 0);
    put("\n");
    if (result >= 0)
        call3(6, result, 0, 0);
}

void _start(void)
{
    for (long family = 0; family <= 45; family++) {
        unsigned long arguments[3] = {(unsigned long)family, family == 38 || family == 16 ? (family == 38 ? 5 : 3) : 2, 0};
        say("socket", family, call3(359, (long)arguments[0], (long)arguments[1], 0));
        say("socketcall", family, call3(102, 1, (long)arguments, 0));
    }
    call3(1, 0, 0, 0);
}
