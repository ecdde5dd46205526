/* The passes of a residual block over memory, for one type of stored number: included once for each, by build_fused.py.
 *
 * NUMBER is that type, LOAD and STORE turn it into a float and back, NAME(x) is the name of function x for it.
 * Channels are innermost: maps are (clip, frame, channel), so that every inner loop runs over channels and vectorizes.
 * `of` is (8, channel): scale, shift, slope, zeta, mean, 1 / standard deviation, and the means of the last two sums of
 * gradient_sums. `at` is (5, channel): 1 / standard deviation and minus mean / standard deviation of x, its threshold, and the
 * means of both sums of gather.
 * Sums over many rows are taken ROWS at a time in float, then in double.
 */

/* What the convolution multiplies with: columns (clip, frame, tap, channel), tap j of frame t from frame t - j * dilation. */
CLONED static void NAME(columns)(const struct maps *maps, const float *restrict x, const float *restrict at,
    NUMBER *restrict columns, int32_t binary) {
    const size_t frames = maps->frames, channels = maps->channels, taps = maps->taps, dilation = maps->dilation;
    const float *restrict gain = at, *restrict add = at + channels, *restrict threshold = at + 2 * channels;
    const NUMBER before = STORE(binary ? -1.0f : 0.0f);
    for (size_t row = 0; row < maps->clips * frames; row++) {
        const size_t t = row % frames;
        NUMBER *restrict newest = columns + row * taps * channels;
        for (size_t c = 0; c < channels; c++) {
            float shifted = gain[c] * x[row * channels + c] + add[c] - threshold[c];
            float hard = shifted >= 0 ? 1.0f : -1.0f;
            float soft = shifted < -1 ? -1.0f : shifted > 1 ? 1.0f : shifted;
            newest[c] = STORE(binary ? hard : soft);
        }
        for (size_t j = 1; j < taps; j++) {
            if (t + j * dilation < frames) {
                memcpy(newest + (j * dilation * taps + j) * channels, newest, channels * sizeof(NUMBER));
            }
            for (size_t c = 0; t < j * dilation && c < channels; c++) {
                newest[j * channels + c] = before;
            }
        }
    }
}

/* Sum and sum of squares a channel of y (row, channel): sums (2, channel). `room` holds as many floats. */
CLONED static void NAME(moments)(const struct maps *maps, const NUMBER *restrict y, double *restrict sums,
    float *restrict room) {
    const size_t rows = maps->clips * maps->frames, channels = maps->channels;
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (size_t begin = 0; begin < rows; begin += ROWS) {
        memset(room, 0, 2 * channels * sizeof *room);
        for (size_t row = begin; row < rows && row < begin + ROWS; row++) {
            for (size_t c = 0; c < channels; c++) {
                float value = LOAD(y[row * channels + c]);
                room[c] += value;
                room[channels + c] += value * value;
            }
        }
        for (size_t i = 0; i < 2 * channels; i++) {
            sums[i] += room[i];
        }
    }
}

/* out = shortcut * x + prelu(scale * y + shift) + zeta. */
CLONED static void NAME(activate)(const struct maps *maps, const float *restrict x, const NUMBER *restrict y,
    const float *restrict of, float shortcut, float *restrict out) {
    const size_t rows = maps->clips * maps->frames, channels = maps->channels;
    const float *restrict scale = of, *restrict shift = of + channels, *restrict slope = of + 2 * channels,
        *restrict zeta = of + 3 * channels;
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < channels; c++) {
            float u = scale[c] * LOAD(y[row * channels + c]) + shift[c], sloped = slope[c] * u;
            out[row * channels + c] = shortcut * x[row * channels + c] + (u < 0 ? sloped : u) + zeta[c];
        }
    }
}

/* From the gradient of `out`, sums (4, channel): of it; of it times u where u < 0; of the gradient of u; of that times the
 * normalized y. `room` holds as many floats. */
CLONED static void NAME(gradient_sums)(const struct maps *maps, const float *restrict gradient, const NUMBER *restrict y,
    const float *restrict of, double *restrict sums, float *restrict room) {
    const size_t rows = maps->clips * maps->frames, channels = maps->channels;
    const float *restrict scale = of, *restrict shift = of + channels, *restrict slope = of + 2 * channels,
        *restrict mean = of + 4 * channels, *restrict rstd = of + 5 * channels;
    float *restrict all = room, *restrict below = room + channels, *restrict through = room + 2 * channels,
        *restrict along = room + 3 * channels;
    memset(sums, 0, 4 * channels * sizeof *sums);
    for (size_t begin = 0; begin < rows; begin += ROWS) {
        memset(room, 0, 4 * channels * sizeof *room);
        for (size_t row = begin; row < rows && row < begin + ROWS; row++) {
            for (size_t c = 0; c < channels; c++) {
                float g = gradient[row * channels + c], value = LOAD(y[row * channels + c]);
                float u = scale[c] * value + shift[c], sloped = slope[c] * g, product = g * u;
                float gu = u < 0 ? sloped : g;
                all[c] += g;
                below[c] += u < 0 ? product : 0.0f;
                through[c] += gu;
                along[c] += gu * ((value - mean[c]) * rstd[c]);
            }
        }
        for (size_t i = 0; i < 4 * channels; i++) {
            sums[i] += room[i];
        }
    }
}

/* The gradient of y, through PReLU and batch norm. */
CLONED static void NAME(gradient)(const struct maps *maps, const float *restrict gradient, const NUMBER *restrict y,
    const float *restrict of, NUMBER *restrict out) {
    const size_t rows = maps->clips * maps->frames, channels = maps->channels;
    const float *restrict scale = of, *restrict shift = of + channels, *restrict slope = of + 2 * channels,
        *restrict mean = of + 4 * channels, *restrict rstd = of + 5 * channels, *restrict mean_through = of + 6 * channels,
        *restrict mean_along = of + 7 * channels;
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < channels; c++) {
            float g = gradient[row * channels + c], value = LOAD(y[row * channels + c]);
            float u = scale[c] * value + shift[c], sloped = slope[c] * g;
            float gu = u < 0 ? sloped : g;
            float normalized = (value - mean[c]) * rstd[c];
            out[row * channels + c] = STORE(scale[c] * (gu - mean_through[c] - normalized * mean_along[c]));
        }
    }
}

/* The gradient of the normalized x: through the convolution and the straight-through estimator, from that of the columns.
 * sums (2, channel): of it, and of it times the normalized x. `room` holds as many floats. */
CLONED static void NAME(gather)(const struct maps *maps, const float *restrict x, const float *restrict at,
    const NUMBER *restrict columns, float *restrict out, double *restrict sums, float *restrict room) {
    const size_t frames = maps->frames, channels = maps->channels, taps = maps->taps, dilation = maps->dilation;
    const float *restrict gain = at, *restrict add = at + channels, *restrict threshold = at + 2 * channels;
    float *restrict whole = room, *restrict along = room + channels;
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (size_t clip = 0; clip < maps->clips; clip++) {
        memset(room, 0, 2 * channels * sizeof *room);
        for (size_t t = 0; t < frames; t++) {
            const size_t row = clip * frames + t;
            float *restrict to = out + row * channels;
            memset(to, 0, channels * sizeof *to);
            for (size_t j = 0; j < taps && t + j * dilation < frames; j++) {
                const NUMBER *restrict from = columns + ((row + j * dilation) * taps + j) * channels;
                for (size_t c = 0; c < channels; c++) {
                    to[c] += LOAD(from[c]);
                }
            }
            for (size_t c = 0; c < channels; c++) {
                float normalized = gain[c] * x[row * channels + c] + add[c], shifted = normalized - threshold[c];
                float passed = shifted >= -1 && shifted <= 1 ? to[c] : 0.0f;
                whole[c] += passed;
                along[c] += passed * normalized;
                to[c] = passed;
            }
        }
        for (size_t i = 0; i < 2 * channels; i++) {
            sums[i] += room[i];
        }
    }
}

/* The gradient of x: past the block, and through its normalization from what gather left in `out`. */
CLONED static void NAME(spread)(const struct maps *maps, const float *restrict gradient, const float *restrict x,
    const float *restrict at, float shortcut, float *restrict out) {
    const size_t rows = maps->clips * maps->frames, channels = maps->channels;
    const float *restrict gain = at, *restrict add = at + channels, *restrict mean_whole = at + 3 * channels,
        *restrict mean_along = at + 4 * channels;
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < channels; c++) {
            float normalized = gain[c] * x[row * channels + c] + add[c];
            float passed = gain[c] * (out[row * channels + c] - mean_whole[c] - normalized * mean_along[c]);
            out[row * channels + c] = shortcut * gradient[row * channels + c] + passed;
        }
    }
}

#undef NUMBER
#undef LOAD
#undef STORE
#undef NAME
