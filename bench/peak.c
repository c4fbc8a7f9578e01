/* SPDX-License-Identifier: MIT */
/*
 * What this processor can do at most: products of floats, bfloat16 and bytes from registers only, and reading memory.
 * What an engine reaches is a share of these. usage: peak (threads: OMP_NUM_THREADS); a line for each figure.
 */
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Twelve chains hide the latency of one product. The empty statements keep the compiler from computing ahead. */
#define CHAINS(type, op, start)                                                                      \
    do {                                                                                             \
        type a = start, b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a; \
        for (long left = n; left; left--) {                                                          \
            a = op(a), b = op(b), c = op(c), d = op(d), e = op(e), f = op(f);                        \
            g = op(g), h = op(h), i = op(i), j = op(j), k = op(k), l = op(l);                        \
            __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f));             \
            __asm__ volatile("" : "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k), "+v"(l));             \
        }                                                                                            \
    } while (0)

__attribute__((target("avx2,fma"))) static void fma_256(long n)
{
    const __m256 x = _mm256_set1_ps(0.5f);
#define OP(v) _mm256_fmadd_ps(v, x, x)
    CHAINS(__m256, OP, _mm256_set1_ps(1));
#undef OP
}

__attribute__((target("avx512f"))) static void fma_512(long n)
{
    const __m512 x = _mm512_set1_ps(0.5f);
#define OP(v) _mm512_fmadd_ps(v, x, x)
    CHAINS(__m512, OP, _mm512_set1_ps(1));
#undef OP
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) static void bf16_512(long n)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f00);
#define OP(v) _mm512_dpbf16_ps(v, x, x)
    CHAINS(__m512, OP, _mm512_set1_ps(0));
#undef OP
}

__attribute__((target("avx512f,avx512vnni"))) static void int8_512(long n)
{
    const __m512i x = _mm512_set1_epi8(1);
#define OP(v) _mm512_dpbusd_epi32(v, x, x)
    CHAINS(__m512i, OP, _mm512_setzero_si512());
#undef OP
}

/* Four result tiles from two and two: as many loads as products would be the next limit. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_a_row[16];
    uint8_t rows[16];
};

__attribute__((target("amx-tile"))) static void tiles_on(void)
{
    static struct tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.bytes_a_row[i] = 64;
        c.rows[i] = 16;
    }
    /* gcc 12 takes the load for one of 8 bytes, and would drop the stores of the rest. */
    __asm__ volatile("" : : "r"(&c) : "memory");
    _tile_loadconfig(&c);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

__attribute__((target("amx-tile,amx-bf16"))) static void bf16_amx(long n)
{
    tiles_on();
    for (long i = 0; i < n; i++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
}

__attribute__((target("amx-tile,amx-int8"))) static void int8_amx(long n)
{
    tiles_on();
    for (long i = 0; i < n; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
}

/* The kernel gives tiles to those who ask. */
static int has_amx(void)
{
    return __builtin_cpu_supports("avx512f") && syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

static void rate(const char *name, void (*fn)(long), long n, double operations)
{
    double best = 0;
    for (int k = 0; k < 4; k++) {
        double started = now();
#pragma omp parallel
        fn(n);
        double r = omp_get_max_threads() * (double)n * operations / (now() - started) * 1e-9;
        best = r > best ? r : best;
    }
    printf("%-28s %10.0f GFLOP/s\n", name, best);
}

static void read_rate(size_t megabytes)
{
    size_t threads = (size_t)omp_get_max_threads(), each = (megabytes << 20) / threads / 4096 * 4096;
    unsigned char *all = aligned_alloc(4096, each * threads);
    if (!all) {
        printf("read %5zu MiB                 no memory\n", megabytes);
        return;
    }
    memset(all, 1, each * threads);
    size_t loops = 1 + ((size_t)400 << 20) / each;
    double best = 0;
    for (int k = 0; k < 4; k++) {
        double started = now();
#pragma omp parallel
        {
            const uint64_t *p = (const uint64_t *)(const void *)(all + (size_t)omp_get_thread_num() * each);
            uint64_t sum = 0;
            for (size_t l = 0; l < loops; l++)
                for (size_t i = 0; i < each / sizeof *p; i++)
                    sum ^= p[i];
            __asm__ volatile("" : : "r"(sum));
        }
        double r = 1e-9 * (double)(each * threads * loops) / (now() - started);
        best = r > best ? r : best;
    }
    free(all);
    printf("read %5zu MiB %24.1f GB/s\n", megabytes, best);
}

int main(void)
{
    printf("threads %31d\n", omp_get_max_threads());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        rate("f32, AVX2", fma_256, 20000000, 12 * 16);
    if (__builtin_cpu_supports("avx512f"))
        rate("f32, AVX-512", fma_512, 20000000, 12 * 32);
    if (__builtin_cpu_supports("avx512bf16"))
        rate("bf16, AVX-512", bf16_512, 20000000, 12 * 64);
    if (__builtin_cpu_supports("avx512vnni"))
        rate("int8, AVX-512 VNNI", int8_512, 20000000, 12 * 128);
    if (has_amx()) {
        rate("bf16, AMX", bf16_amx, 4000000, 4 * 16384.0);
        rate("int8, AMX", int8_amx, 4000000, 4 * 32768.0);
    }
    read_rate(2);
    read_rate(32);
    read_rate(1024);
    return 0;
}
