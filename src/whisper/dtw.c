/* SPDX-License-Identifier: MIT */
/* Dynamic time warping as in OpenAI's timing.py: ties go to the step in time, so that paths are the same to the frame.
 */
#include "whisper/dtw.h"

#include "whisper/kern.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MEDIAN = 7, HALF = MEDIAN / 2 };

static void standardise(float *scores, size_t tokens, size_t stride, size_t frames)
{
    for (size_t f = 0; f < frames; f++) {
        double sum = 0, square = 0;
        for (size_t t = 0; t < tokens; t++)
            sum += (double)scores[t * stride + f];
        double mean = sum / (double)tokens;
        for (size_t t = 0; t < tokens; t++) {
            double d = (double)scores[t * stride + f] - mean;
            square += d * d;
        }
        /* All equal but for rounding: nothing to tell tokens apart by. */
        double deviation = sqrt(square / (double)tokens), least = 1e-7 * fabs(mean);
        for (size_t t = 0; t < tokens; t++)
            scores[t * stride + f] =
                deviation > least ? (float)(((double)scores[t * stride + f] - mean) / deviation) : 0.0f;
    }
}

static float median(const float *x)
{
    float v[MEDIAN];
    memcpy(v, x, sizeof v);
    for (int i = 1; i < MEDIAN; i++)
        for (int k = i; k > 0 && v[k - 1] > v[k]; k--) {
            float swap = v[k];
            v[k] = v[k - 1];
            v[k - 1] = swap;
        }
    return v[HALF];
}

/* Reflected at both ends; a line no longer than the reflection stays as it is. `padded`: frames + 6. */
static void smooth(float *line, size_t frames, float *padded)
{
    if (frames <= HALF)
        return;
    for (size_t i = 0; i < frames + 2 * HALF; i++) {
        long at = (long)i - HALF, last = (long)frames - 1;
        padded[i] = line[at < 0 ? -at : at > last ? 2 * last - at : at];
    }
    for (size_t i = 0; i < frames; i++)
        line[i] = median(padded + i);
}

int dtw_matrix(float *scores, size_t heads, size_t tokens, size_t stride, size_t frames, float *ret, struct err *err)
{
    float *padded = malloc((frames + 2 * HALF) * sizeof *padded);
    if (!padded)
        return err_set(err, ERR_NOMEM, "no memory for word times");
    const struct kern *kern = kern_best();
    memset(ret, 0, tokens * frames * sizeof *ret);
    for (size_t h = 0; h < heads; h++) {
        float *head = scores + h * tokens * stride;
        for (size_t t = 0; t < tokens; t++)
            kern->softmax(head + t * stride, frames, head + t * stride);
        standardise(head, tokens, stride, frames);
        for (size_t t = 0; t < tokens; t++) {
            smooth(head + t * stride, frames, padded);
            for (size_t f = 0; f < frames; f++)
                ret[t * frames + f] += head[t * stride + f] / (float)heads;
        }
    }
    free(padded);
    return 0;
}

int dtw_path(const float *matrix, size_t tokens, size_t frames, int *ret_start, struct err *err)
{
    enum { DIAGONAL, TOKEN, TIME };
    size_t rows = tokens + 1, columns = frames + 1;
    float *cost = calloc(rows * columns, sizeof *cost);
    uint8_t *trace = malloc(rows * columns);
    if (!cost || !trace) {
        free(cost);
        free(trace);
        return err_set(err, ERR_NOMEM, "no memory for word times");
    }
    for (size_t i = 0; i < rows * columns; i++)
        cost[i] = INFINITY;
    cost[0] = 0;
    memset(trace, TIME, columns);
    for (size_t i = 1; i < rows; i++) {
        trace[i * columns] = TOKEN;
        for (size_t j = 1; j < columns; j++) {
            float both = cost[(i - 1) * columns + j - 1], token = cost[(i - 1) * columns + j],
                  time = cost[i * columns + j - 1];
            uint8_t from = both < token && both < time ? DIAGONAL : token < both && token < time ? TOKEN : TIME;
            cost[i * columns + j] = (from == DIAGONAL ? both
                                     : from == TOKEN  ? token
                                                      : time) -
                                    matrix[(i - 1) * frames + j - 1];
            trace[i * columns + j] = from;
        }
    }
    for (size_t i = tokens, j = frames; i > 0;) {
        ret_start[i - 1] = j > 0 ? (int)j - 1 : 0; /* going back in time: the last one written is the first frame */
        uint8_t from = trace[i * columns + j];
        i -= from != TIME;
        j -= from != TOKEN && j > 0;
    }
    free(cost);
    free(trace);
    return 0;
}
