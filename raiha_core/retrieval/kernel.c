/* Eqs. 3 and 5 for one query and many photos, by way of the gallery's index (gallery/bound.py).

   Of each photo all pairs of patches are bounded in whole numbers: patches of the query lie in the lanes of
   a register and the threshold is tested there, so that no score reaches memory but those of the few pairs
   that may reach it. These are decided on the stored float16 vectors: in float32, and in float64 where that
   is too close to the threshold (retrieval/exact.py says why both are exact). The answer is that of
   bounded_torch.py, bit for bit. A tie of two histograms, settled in fractions, is left to that file.

   One shared library without Python's headers, loaded by kernel.py; it keeps no state, so that threads may
   take ranges of photos. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAS_X86 1
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { LANES = 16, TILE = 8, CONTENT = 1, LIGHT = 2 };
enum { FAILS, QUALIFIES, UNDECIDED };

typedef struct {
    int64_t patches, dim, columns, bins; /* P, D, K, histogram bins */
    int64_t pairs;                       /* pairs of columns, K rounded up */
} Shape;

typedef struct { /* m patches of a query: its object, or its background */
    int64_t count, vectors; /* m, and how many times LANES that is, rounded up */
    const int16_t *numbers; /* (vectors, pairs, LANES, 2): their product with stored numbers is the score */
    const int32_t *least;   /* (vectors * LANES): a score below it cannot reach the threshold */
    const double *unit;     /* (m): no cosine exceeds score * unit + slack */
    const double *slack;    /* (m) */
    const float *exact;     /* (m, D) */
    const uint8_t *colours; /* (m, bins) */
    const double *squares;  /* (m): of the colours, summed */
} Side;

typedef struct {
    int64_t asked; /* CONTENT, LIGHT or both */
    double content_threshold, appearance_threshold;
    double band; /* float32 decides outside threshold +- band */
    double tie;  /* cosines of histograms closer to the threshold than this are ties */
} Question;

typedef struct {
    int32_t row, patch, score;
} Pair;

typedef struct { /* memory of one call, used again for every photo */
    int16_t *wide;   /* (P rounded up to TILE, 2 * pairs): one photo's numbers */
    Pair *pairs;     /* (m * P) */
    float *cosines;  /* (m * P): of the pairs that were read */
    int64_t *top;    /* (m): the pair of the largest score */
    char *found;     /* (m) */
    double *squares; /* (P): of a photo's colours, -1 where not computed */
    int64_t read;    /* stored vectors that were read to decide a pair: what the bound did not save */
} Room;

typedef struct { /* the inner loops, for one kind of processor */
    int64_t (*likely)(const Shape *, const Side *, const int8_t *, Room *);
    float (*dot)(const uint16_t *, const float *, int64_t);
    int64_t (*dot_bytes)(const uint8_t *, const uint8_t *, int64_t);
} Level;

/* ---- for any processor ---- */

static float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, rest = half & 1023, bits;
    float value;
    if (exponent == 0) { /* zero and subnormal: rest * 2^-24, exactly */
        value = (float)rest * 0x1p-24f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | rest << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double dot_exact(const uint16_t *stored, const float *row, int64_t dim) {
    double sum = 0;
    for (int64_t k = 0; k < dim; k++) sum += (double)half_to_float(stored[k]) * (double)row[k];
    return sum;
}

static float dot_plain(const uint16_t *stored, const float *row, int64_t dim) {
    float sum = 0;
    for (int64_t k = 0; k < dim; k++) sum += half_to_float(stored[k]) * row[k];
    return sum;
}

INLINE int64_t sum_bytes(const uint8_t *a, const uint8_t *b, int64_t n) {
    int32_t sum = 0; /* kernel.py refuses more than 2^31 / 255^2 bins */
    for (int64_t k = 0; k < n; k++) sum += (int32_t)a[k] * (int32_t)b[k];
    return sum;
}

static int64_t dot_bytes_plain(const uint8_t *a, const uint8_t *b, int64_t n) { return sum_bytes(a, b, n); }

INLINE void widen(const Shape *shape, const int8_t *photo, int16_t *wide) {
    int64_t step = 2 * shape->pairs;
    for (int64_t j = 0; j < shape->patches; j++)
        for (int64_t k = 0; k < shape->columns; k++) wide[j * step + k] = photo[j * shape->columns + k];
}

static int64_t likely_plain(const Shape *shape, const Side *side, const int8_t *photo, Room *room) {
    int64_t count = 0, step = 2 * shape->pairs;
    widen(shape, photo, room->wide);
    for (int64_t v = 0; v < side->vectors; v++)
        for (int64_t j = 0; j < shape->patches; j++) {
            int32_t sums[LANES] = {0};
            const int16_t *x = room->wide + j * step, *q = side->numbers + v * shape->pairs * LANES * 2;
            for (int64_t p = 0; p < shape->pairs; p++)
                for (int lane = 0; lane < LANES; lane++) {
                    const int16_t *two = q + (p * LANES + lane) * 2;
                    sums[lane] += (int32_t)two[0] * x[2 * p] + (int32_t)two[1] * x[2 * p + 1];
                }
            for (int lane = 0; lane < LANES; lane++)
                if (sums[lane] >= side->least[v * LANES + lane])
                    room->pairs[count++] = (Pair){(int32_t)(v * LANES + lane), (int32_t)j, sums[lane]};
        }
    return count;
}

/* ---- for x86-64, chosen at run time ---- */

#ifdef HAS_X86
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))

AVX2 static float dot_avx2(const uint16_t *stored, const float *row, int64_t dim) {
    __m256 a = _mm256_setzero_ps(), b = a;
    int64_t k = 0;
    for (; k + 16 <= dim; k += 16) {
        __m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(stored + k)));
        __m256 y = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(stored + k + 8)));
        a = _mm256_fmadd_ps(x, _mm256_loadu_ps(row + k), a);
        b = _mm256_fmadd_ps(y, _mm256_loadu_ps(row + k + 8), b);
    }
    float parts[8], sum = 0;
    _mm256_storeu_ps(parts, _mm256_add_ps(a, b));
    for (int lane = 0; lane < 8; lane++) sum += parts[lane];
    return sum + dot_plain(stored + k, row + k, dim - k);
}

AVX2 static int64_t dot_bytes_avx2(const uint8_t *a, const uint8_t *b, int64_t n) { return sum_bytes(a, b, n); }

AVX2 static int64_t likely_avx2(const Shape *shape, const Side *side, const int8_t *photo, Room *room) {
    int64_t count = 0, step = 2 * shape->pairs;
    widen(shape, photo, room->wide);
    for (int64_t half = 0; half < 2 * side->vectors; half++) {
        const int16_t *q = side->numbers + (half / 2) * shape->pairs * LANES * 2 + (half % 2) * LANES;
        const int32_t *least = side->least + half * 8;
        __m256i before = _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)least), _mm256_set1_epi32(1));
        for (int64_t j = 0; j < shape->patches; j += TILE) {
            const int16_t *x = room->wide + j * step;
            __m256i sums[TILE];
            for (int t = 0; t < TILE; t++) sums[t] = _mm256_setzero_si256();
            for (int64_t p = 0; p < shape->pairs; p++) {
                __m256i lanes = _mm256_loadu_si256((const __m256i *)(q + p * LANES * 2));
#pragma GCC unroll 8
                for (int t = 0; t < TILE; t++) {
                    int32_t two;
                    memcpy(&two, x + t * step + 2 * p, sizeof two);
                    sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(lanes, _mm256_set1_epi32(two)));
                }
            }
            for (int t = 0; t < TILE && j + t < shape->patches; t++) {
                __m256i over = _mm256_cmpgt_epi32(sums[t], before);
                unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(over));
                int32_t scores[8];
                if (!mask) continue;
                _mm256_storeu_si256((__m256i *)scores, sums[t]);
                for (; mask; mask &= mask - 1) {
                    int lane = __builtin_ctz(mask);
                    room->pairs[count++] = (Pair){(int32_t)(half * 8 + lane), (int32_t)(j + t), scores[lane]};
                }
            }
        }
    }
    return count;
}

AVX512 static float dot_avx512(const uint16_t *stored, const float *row, int64_t dim) {
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t k = 0;
    for (; k + 32 <= dim; k += 32) {
        __m512 x = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(stored + k)));
        __m512 y = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(stored + k + 16)));
        a = _mm512_fmadd_ps(x, _mm512_loadu_ps(row + k), a);
        b = _mm512_fmadd_ps(y, _mm512_loadu_ps(row + k + 16), b);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b)) + dot_plain(stored + k, row + k, dim - k);
}

AVX512 static int64_t dot_bytes_avx512(const uint8_t *a, const uint8_t *b, int64_t n) { return sum_bytes(a, b, n); }

/* One or two registers of query patches (`both` is known when this is compiled) against TILE patches. */
AVX512 INLINE int64_t tile_avx512(
    const Shape *shape, const Side *side, int64_t v, const int both, int64_t j, Room *room, int64_t count) {
    int64_t step = 2 * shape->pairs;
    const int16_t *x = room->wide + j * step;
    const int16_t *q = side->numbers + v * shape->pairs * LANES * 2, *r = q + shape->pairs * LANES * 2;
    __m512i sums[2][TILE];
    for (int t = 0; t < TILE; t++) sums[0][t] = sums[1][t] = _mm512_setzero_si512();
    for (int64_t p = 0; p < shape->pairs; p++) {
        __m512i first = _mm512_loadu_si512(q + p * LANES * 2), second = first;
        if (both) second = _mm512_loadu_si512(r + p * LANES * 2);
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++) {
            int32_t two;
            memcpy(&two, x + t * step + 2 * p, sizeof two);
            __m512i same = _mm512_set1_epi32(two);
            sums[0][t] = _mm512_dpwssd_epi32(sums[0][t], first, same);
            if (both) sums[1][t] = _mm512_dpwssd_epi32(sums[1][t], second, same);
        }
    }
    for (int side_by_side = 0; side_by_side <= both; side_by_side++) {
        int64_t rows = (v + side_by_side) * LANES;
        __m512i least = _mm512_loadu_si512(side->least + rows);
        for (int t = 0; t < TILE && j + t < shape->patches; t++) {
            unsigned mask = _mm512_cmpge_epi32_mask(sums[side_by_side][t], least);
            int32_t scores[LANES];
            if (!mask) continue;
            _mm512_storeu_si512(scores, sums[side_by_side][t]);
            for (; mask; mask &= mask - 1) {
                int lane = __builtin_ctz(mask);
                room->pairs[count++] = (Pair){(int32_t)(rows + lane), (int32_t)(j + t), scores[lane]};
            }
        }
    }
    return count;
}

AVX512 static int64_t likely_avx512(const Shape *shape, const Side *side, const int8_t *photo, Room *room) {
    int64_t count = 0, v = 0;
    widen(shape, photo, room->wide);
    for (; v + 2 <= side->vectors; v += 2)
        for (int64_t j = 0; j < shape->patches; j += TILE) count = tile_avx512(shape, side, v, 1, j, room, count);
    for (; v < side->vectors; v++)
        for (int64_t j = 0; j < shape->patches; j += TILE) count = tile_avx512(shape, side, v, 0, j, room, count);
    return count;
}
#endif

static const Level LEVELS[] = {
    {likely_plain, dot_plain, dot_bytes_plain},
#ifdef HAS_X86
    {likely_avx2, dot_avx2, dot_bytes_avx2},
    {likely_avx512, dot_avx512, dot_bytes_avx512},
#endif
};

/* The best level that this processor has: 0 plain, 1 AVX2, 2 AVX-512 with VNNI. */
EXPORT int64_t raiha_best_level(void) {
#ifdef HAS_X86
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C)) return 0;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni"))
        return 2;
    return 1;
#else
    return 0;
#endif
}

/* ---- exact decisions ---- */

static int reaches(float cosine, const uint16_t *stored, const float *row, int64_t dim, const Question *question) {
    if (fabs((double)cosine - question->content_threshold) > question->band)
        return (double)cosine >= question->content_threshold;
    return dot_exact(stored, row, dim) >= question->content_threshold;
}

/* Eq. 3: how many patches of the object are found again, and the best cosine, from the likely pairs. */
static int32_t match_content(const Level *level, const Shape *shape, const Side *side, const Question *question,
                             const uint16_t *photo, int64_t count, Room *room, double *best) {
    const int64_t dim = shape->dim;
    const double band = question->band;
    float largest = -INFINITY;
    int32_t found = 0;
    for (int64_t i = 0; i < side->count; i++) room->top[i] = -1, room->found[i] = 0;
    for (int64_t p = 0; p < count; p++) {
        int64_t *top = room->top + room->pairs[p].row;
        room->cosines[p] = -INFINITY;
        if (*top < 0 || room->pairs[p].score > room->pairs[*top].score) *top = p;
    }
    /* The most promising pair of each row first: it nearly always decides the row. */
    for (int64_t i = 0; i < side->count; i++) {
        if (room->top[i] < 0) continue;
        const uint16_t *stored = photo + room->pairs[room->top[i]].patch * dim;
        float cosine = level->dot(stored, side->exact + i * dim, dim);
        room->read++;
        room->cosines[room->top[i]] = cosine;
        if (cosine > largest) largest = cosine;
        if (reaches(cosine, stored, side->exact + i * dim, dim, question)) room->found[i] = 1, found++;
    }
    for (int64_t p = 0; p < count; p++) {
        int32_t i = room->pairs[p].row;
        if (p == room->top[i]) continue;
        double above = room->pairs[p].score * side->unit[i] + side->slack[i];
        if (room->found[i] && above <= (double)largest - band) continue; /* neither decides nor is the best */
        const uint16_t *stored = photo + room->pairs[p].patch * dim;
        float cosine = level->dot(stored, side->exact + i * dim, dim);
        room->read++;
        room->cosines[p] = cosine;
        if (cosine > largest) largest = cosine;
        if (!room->found[i] && reaches(cosine, stored, side->exact + i * dim, dim, question))
            room->found[i] = 1, found++;
    }
    if (!found) return 0;
    *best = -INFINITY;
    for (int64_t p = 0; p < count; p++) {
        if ((double)room->cosines[p] < (double)largest - 2 * band) continue;
        const uint16_t *stored = photo + room->pairs[p].patch * dim;
        double cosine = dot_exact(stored, side->exact + room->pairs[p].row * dim, dim);
        if (cosine > *best) *best = cosine;
    }
    return found;
}

/* Eq. 5: the best cosine of histograms among the likely pairs that reach both thresholds. */
static int match_light(const Level *level, const Shape *shape, const Side *side, const Question *question,
                       const uint16_t *photo, const uint8_t *colours, int64_t count, Room *room, double *light) {
    const int64_t dim = shape->dim, bins = shape->bins;
    double best = -1;
    for (int64_t j = 0; j < shape->patches; j++) room->squares[j] = -1;
    for (int64_t p = 0; p < count; p++) {
        int64_t i = room->pairs[p].row, j = room->pairs[p].patch;
        const uint8_t *theirs = colours + j * bins;
        if (room->squares[j] < 0) room->squares[j] = (double)level->dot_bytes(theirs, theirs, bins);
        double root = sqrt(side->squares[i] * room->squares[j]);
        double cosine = (double)level->dot_bytes(side->colours + i * bins, theirs, bins) / (root < 1 ? 1 : root);
        if (fabs(cosine - question->appearance_threshold) <= question->tie) return UNDECIDED;
        if (cosine < question->appearance_threshold || cosine <= best) continue;
        const uint16_t *stored = photo + j * dim;
        const float *row = side->exact + i * dim;
        room->read++;
        if (reaches(level->dot(stored, row, dim), stored, row, dim, question)) best = cosine;
    }
    if (best < 0) return FAILS;
    *light = best;
    return QUALIFIES;
}

static int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

static int make_room(Room *room, const Shape *shape, int64_t most) {
    size_t wide = (size_t)(round_up(shape->patches, TILE) * 2 * shape->pairs) * sizeof(int16_t);
    size_t pairs = (size_t)(round_up(most, LANES) * shape->patches);
    room->wide = malloc(wide + 64);
    room->pairs = malloc((pairs + 1) * sizeof(Pair));
    room->cosines = malloc((pairs + 1) * sizeof(float));
    room->top = malloc((size_t)(most + 1) * sizeof(int64_t));
    room->found = malloc((size_t)(most + 1));
    room->squares = malloc((size_t)(shape->patches + 1) * sizeof(double));
    if (!room->wide || !room->pairs || !room->cosines || !room->top || !room->found || !room->squares) return 0;
    memset(room->wide, 0, wide); /* what lies beyond K and P is never written */
    return 1;
}

static void free_room(Room *room) {
    free(room->wide), free(room->pairs), free(room->cosines);
    free(room->top), free(room->found), free(room->squares);
}

/* One query and `photos` photos, of which only the addresses are given.

   Writes for each: state (FAILS, QUALIFIES, UNDECIDED); how many patches of the object are found and the
   best cosine where content is asked; the light where it is asked.
   Returns: how many stored vectors were read, or -1 where memory ends. */
EXPORT int64_t raiha_search(int64_t level_number, const Shape *shape, const Side *object, const Side *behind,
                            const Question *question, int64_t photos, const int8_t *const *numbers,
                            const uint16_t *const *content, const uint8_t *const *colours, uint8_t *state,
                            int32_t *found, double *best, double *light) {
    const Level *level = LEVELS + level_number;
    Room room = {0};
    if (!make_room(&room, shape, object->count > behind->count ? object->count : behind->count)) {
        free_room(&room);
        return -1;
    }
    for (int64_t r = 0; r < photos; r++) {
        state[r] = QUALIFIES;
        if (question->asked & CONTENT) {
            int64_t count = level->likely(shape, object, numbers[r], &room);
            found[r] = match_content(level, shape, object, question, content[r], count, &room, best + r);
            if (!found[r]) state[r] = FAILS;
        }
        if (state[r] == QUALIFIES && question->asked & LIGHT) {
            int64_t count = level->likely(shape, behind, numbers[r], &room);
            state[r] = (uint8_t)match_light(level, shape, behind, question, content[r], colours[r], count, &room,
                                            light + r);
        }
    }
    free_room(&room);
    return room.read;
}
