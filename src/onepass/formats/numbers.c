/* Rows of decimal numbers to float32, for text that is written as nearly all of it is; numbers.py
   calls it. What is not just as expected here is left where it is: the readers in Python take it,
   or say what is wrong with it. Every number is rounded to the nearest double, then to the nearest
   float, as they do. Nothing is read or written beyond what is given. Little-endian processors
   only, whose doubles are not wider in registers. */

#define _GNU_SOURCE /* strtod_l */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif
#ifdef __x86_64__
#include <immintrin.h>
#define WITH_SSE4 __attribute__((target("sse4.1")))
#endif

#if FLT_EVAL_METHOD != 0
#error "a product or quotient of doubles must be rounded once"
#endif

#define MOST_DIGITS 19    /* that any 64 bits hold */
#define MOST_OF_POWER 4   /* digits of an exponent: more are left to others */
#define LONGEST 512       /* characters of a number */
#define LEAST_POWER (-64) /* of ten, in the table */
#define LARGEST_POWER 40
#define EXACT_POWER 22    /* of ten, which a double holds to the last bit */
#define LEAST_NORMAL 0x1p-126
#define MOST_FINITE 0x1.fffffep127
#define INFINITE 0x7F800000u

#define INLINE static inline __attribute__((always_inline))

/* How the numbers of a text stand in it. */
typedef struct {
    const uint8_t *between; /* what stands between two rows, as a comma between two numbers */
    int64_t n_between;      /* zero where there is one row */
    int64_t n_columns;
    int64_t n_dropped; /* of them, the first of each row */
    int64_t lines;     /* whether a blank is no line end, but for CR before LF */
    int64_t lax;       /* whether numbers may be written like +1, .5, 5. and 007 */
    int64_t may_end;   /* whether what is between rows may be behind the last */
    int64_t plainly;   /* whether nothing that not all processors have shall be used */
} form;

static const uint64_t TENS[] = {1,      10,      100,      1000,     10000,
                                100000, 1000000, 10000000, 100000000};

static double POWERS[LARGEST_POWER - LEAST_POWER + 1]; /* the doubles nearest to those of ten */
static locale_t WITH_POINT; /* in which a number has a point, whatever the process has chosen */

__attribute__((constructor)) static void prepare(void)
{
    WITH_POINT = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    for (int power = LEAST_POWER; WITH_POINT && power <= LARGEST_POWER; power++) {
        char text[8];
        snprintf(text, sizeof text, "1e%d", power);
        POWERS[power - LEAST_POWER] = strtod_l(text, NULL, WITH_POINT);
    }
}

/* Returns how many of eight characters are digits, before the first that is none. */
static inline int count_digits(uint64_t some)
{
    some ^= 0x3030303030303030u; /* digits are 0 to 9 now */
    uint64_t others = (((some & 0x7F7F7F7F7F7F7F7Fu) + 0x7676767676767676u) | some)
                      & 0x8080808080808080u;
    return others ? __builtin_ctzll(others) >> 3 : 8;
}

/* Returns the value of the first n of eight characters, which are digits. */
static inline uint64_t value_of(uint64_t some, int n)
{
    /* In two steps, so that none is as wide as it all. Zeros come before them. */
    some = (some ^ 0x3030303030303030u) << (4 * (8 - n)) << (4 * (8 - n));
    some = some * 10 + (some >> 8); /* pairs of them, in every other byte */
    return (uint32_t)(((some & 0x000000FF000000FFu) * 0x000F424000000064u
                       + ((some >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u) >> 32);
}

/* Reads digits behind those that `value` has, and returns where they end. It is no value any more
   where there are more than MOST_DIGITS. */
static inline const uint8_t *read_digits(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    while (end - at >= 16) {
        uint64_t first, second;
        memcpy(&first, at, 8);
        memcpy(&second, at + 8, 8);
        int n = count_digits(first), m = count_digits(second);
        m = n == 8 ? m : 0;
        *value = (*value * TENS[n] + value_of(first, n)) * TENS[m] + value_of(second, m);
        at += n + m;
        if (n + m < 16)
            return at;
    }
    for (; at < end && (uint8_t)(*at - '0') < 10; at++)
        *value = *value * 10 + (uint64_t)(*at - '0');
    return at;
}

/* Finds value * 10^power, rounded to the nearest double and then to the nearest float; returns
   whether it is found here: not where it is about halfway between two floats, or none is normal. */
INLINE int scale(uint64_t value, int power, float *out)
{
    /* Three roundings, so that it is off by three units of the last bit at most. That does not
       matter to the float, unless it is about halfway between two. */
    double about = (double)value * POWERS[power - LEAST_POWER];
    uint64_t bits;
    memcpy(&bits, &about, 8);
    uint32_t from_half = ((uint32_t)bits & 0x1FFFFFFFu) - 0x0FFFFFF8u;
    *out = (float)about;
    return ((about >= LEAST_NORMAL && about <= MOST_FINITE) | !value) && from_half > 16;
}

/* As `scale`, where value and power are doubles: the only rounding is that of the result. */
static int scale_exactly(uint64_t value, int power, float *out)
{
    if (value > (uint64_t)1 << 53 || power < -EXACT_POWER || power > EXACT_POWER)
        return 0;
    double ten = POWERS[abs(power) - LEAST_POWER];
    *out = (float)(power < 0 ? (double)value / ten : (double)value * ten);
    return 1;
}

/* As `scale`, for every number and slowly. */
static int parse(const uint8_t *start, const uint8_t *end, float *out)
{
    char text[LONGEST + 1], *stop;
    if (end - start > LONGEST || !WITH_POINT)
        return 0;
    memcpy(text, start, (size_t)(end - start));
    text[end - start] = 0;
    *out = fabsf((float)strtod_l(text, &stop, WITH_POINT));
    return stop == text + (end - start);
}

static inline int is_digit(const uint8_t *at, const uint8_t *end)
{
    return at < end && (uint8_t)(*at - '0') < 10;
}

/* Reads the power behind an e, and returns where it ends, or NULL. */
static const uint8_t *read_power(const uint8_t *at, const uint8_t *end, int *power)
{
    int negative = at < end && *at == '-', value = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    const uint8_t *digits = at;
    for (; is_digit(at, end) && at - digits < MOST_OF_POWER; at++)
        value = value * 10 + (*at - '0');
    if (at == digits || is_digit(at, end))
        return NULL;
    *power = negative ? -value : value;
    return at;
}

/* Writes a number, which has no sign yet; returns whether it is finite. */
INLINE int store(float number, uint32_t negative, float *out)
{
    uint32_t bits;
    memcpy(&bits, &number, 4);
    bits |= negative << 31;
    memcpy(out, &bits, 4);
    return (bits & INFINITE) != INFINITE;
}

/* Reads one finite number and returns where it ends, or NULL. */
INLINE const uint8_t *read_number(const uint8_t *at, const uint8_t *end, int lax, float *out)
{
    const uint8_t *start = at;
    if (at == end)
        return NULL;
    uint32_t negative = *at == '-';
    at += negative | (uint32_t)(lax & (*at == '+'));
    uint64_t value = 0;
    const uint8_t *whole = at;
    while (is_digit(at, end) && at - whole < 8) /* few, mostly: one by one is fastest */
        value = value * 10 + (uint64_t)(*at++ - '0');
    if (at - whole == 8)
        at = read_digits(at, end, &value);
    int64_t n_digits = at - whole, n_behind = 0;
    if (!lax && (!n_digits || (n_digits > 1 && *whole == '0')))
        return NULL;
    if (at < end && *at == '.') {
        const uint8_t *fraction = ++at;
        at = read_digits(at, end, &value);
        n_behind = at - fraction;
        if (!lax && !n_behind)
            return NULL;
    }
    n_digits += n_behind;
    if (!n_digits || n_digits > LONGEST)
        return NULL;
    if (n_digits > MOST_DIGITS) /* zeros before them do not count */
        for (const uint8_t *zero = whole; zero < at && (*zero == '0' || *zero == '.'); zero++)
            n_digits -= *zero == '0';
    int power = 0;
    if (at < end && (*at | 0x20) == 'e' && !(at = read_power(at + 1, end, &power)))
        return NULL;
    float number;
    power -= (int)n_behind;
    int is_known = n_digits <= MOST_DIGITS && power >= LEAST_POWER && power <= LARGEST_POWER
                   && (scale(value, power, &number) || scale_exactly(value, power, &number));
    if (!is_known && !parse(start, at, &number))
        return NULL;
    return store(number, negative, out) ? at : NULL;
}

#ifdef WITH_SSE4
/* As `read_number`, for one without an exponent that ends within sixteen characters, or not much
   later: these are looked at together, and nothing waits for how many they are. Returns NULL where
   it is anything else, or is no matter of `scale`. */
WITH_SSE4 static inline const uint8_t *read_short(const uint8_t *at, const uint8_t *end, int lax,
                                                  float *out)
{
    if (end - at < 24)
        return NULL;
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i text = _mm_loadu_si128((const __m128i *)at);
    __m128i digits = _mm_sub_epi8(text, _mm_set1_epi8('0'));
    __m128i are_digits = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
    digits = _mm_and_si128(digits, are_digits); /* zero where there is none */
    uint32_t others = ~(uint32_t)_mm_movemask_epi8(are_digits);
    uint32_t negative = others & 1;
    if (negative & (uint32_t)(*at != '-')) /* not &&, as a sign cannot be foretold */
        return NULL;
    others &= ~(uint32_t)1;
    int stop = __builtin_ctz(others), n_behind = 0; /* there are sixteen more above them */
    int n_whole = stop - (int)negative, n = stop;
    if (stop < 16 && at[stop] == '.') { /* which is left out */
        __m128i are_behind = _mm_cmpgt_epi8(places, _mm_set1_epi8((char)(stop - 1)));
        digits = _mm_blendv_epi8(digits, _mm_srli_si128(digits, 1), are_behind);
        stop = __builtin_ctz(others & (others - 1));
        n_behind = stop - n - 1;
        n = stop - 1;
    }
    if (n_whole < 1 || (n != stop && !n_behind) || (!lax && n_whole > 1 && at[negative] == '0'))
        return NULL;
    uint64_t more = 0;
    int n_more = 0;
    if (stop == 16) {
        memcpy(&more, at + 16, 8);
        n_more = count_digits(more);
        if (n == 16 || n_more > 4) /* more than 64 bits may hold */
            return NULL;
        more = value_of(more, n_more);
        stop += n_more;
        n_behind += n_more;
    }
    if ((at[stop] | 0x20) == 'e')
        return NULL;
    /* Zeros come before them; then they are put together to pairs, fours and eights. */
    digits = _mm_shuffle_epi8(digits, _mm_add_epi8(places, _mm_set1_epi8((char)(n - 16))));
    digits = _mm_maddubs_epi16(digits, _mm_set1_epi16(0x010A));
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(0x00010064));
    digits = _mm_packus_epi32(digits, digits);
    digits = _mm_madd_epi16(digits, _mm_set1_epi32(0x00012710));
    uint64_t eights = (uint64_t)_mm_cvtsi128_si64(digits);
    uint64_t value = (eights & 0xFFFFFFFFu) * 100000000u + (eights >> 32);
    float number;
    if (!scale(value * TENS[n_more] + more, -n_behind, &number))
        return NULL;
    return store(number, negative, out) ? at + stop : NULL;
}
#endif

static inline int is_blank(const uint8_t *at, const uint8_t *end, int lines)
{
    if (*at == '\r')
        return !lines || (at + 1 < end && at[1] == '\n');
    return *at == ' ' || *at == '\t' || (*at == '\n' && !lines);
}

static inline const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end, int lines)
{
    while (at < end && *at <= ' ' && is_blank(at, end, lines))
        at++;
    return at;
}

/* Reads a row and returns where it ends, or NULL. */
INLINE const uint8_t *read_row(const uint8_t *at, const uint8_t *end, const form *how, int lax,
                               int with_sse4, float *out)
{
    int lines = how->lines != 0;
    float dropped;
    for (int64_t column = 0; column < how->n_columns; column++) {
        if (column) {
            if (at == end || *at != ',')
                return NULL;
            at++;
        }
        float *to = column < how->n_dropped ? &dropped : out + (column - how->n_dropped);
        const uint8_t *start = skip_blanks(at, end, lines);
        at = NULL;
#ifdef WITH_SSE4
        if (with_sse4)
            at = read_short(start, end, lax, to);
#endif
        if (!at && !(at = read_number(start, end, lax, to)))
            return NULL;
        at = skip_blanks(at, end, lines);
    }
    return at;
}

INLINE int64_t read_rows(const uint8_t *text, int64_t n_bytes, const form *how, int64_t n_rows,
                         int lax, int with_sse4, float *out)
{
    const uint8_t *at = text, *end = text + n_bytes;
    int64_t n_features = how->n_columns - how->n_dropped;
    for (int64_t row = 0; row < n_rows; row++, out += n_features) {
        at = read_row(at, end, how, lax, with_sse4, out);
        if (!at)
            return -1;
        if (at == end)
            return row + 1;
        if (!how->n_between || end - at < how->n_between
            || memcmp(at, how->between, (size_t)how->n_between))
            return -1;
        at += how->n_between;
        if (at == end && how->may_end)
            return row + 1;
    }
    return -1;
}

#ifdef WITH_SSE4
WITH_SSE4 static int64_t read_with_sse4(const uint8_t *text, int64_t n_bytes, const form *how,
                                        int64_t n_rows, float *out)
{
    return how->lax ? read_rows(text, n_bytes, how, n_rows, 1, 1, out)
                    : read_rows(text, n_bytes, how, n_rows, 0, 1, out);
}
#endif

/* Reads a text that is rows of numbers to its end. Returns the number of rows; -1 where it is
   anything else, or has more than n_rows. */
int64_t onepass_numbers(const uint8_t *text, int64_t n_bytes, const form *how, int64_t n_rows,
                        float *out)
{
#ifdef WITH_SSE4
    if (__builtin_cpu_supports("sse4.1") && !how->plainly)
        return read_with_sse4(text, n_bytes, how, n_rows, out);
#endif
    return how->lax ? read_rows(text, n_bytes, how, n_rows, 1, 0, out)
                    : read_rows(text, n_bytes, how, n_rows, 0, 0, out);
}
