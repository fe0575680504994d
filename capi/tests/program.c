/* A program against the header: every function, its results and its failures. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quantsmith.h"

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #condition, qs_last_error());                             \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

static int count(uint64_t done, uint64_t total, void *user) {
    uint64_t *last = user;
    CHECK(done <= total);
    if (done > *last) *last = done;
    return 0;
}

static int stop(uint64_t done, uint64_t total, void *user) {
    (void)done, (void)total, (void)user;
    return 1;
}

static void codecs(void) {
    uint32_t type;
    CHECK(qs_type_from_name("q4_k", &type) == QS_OK && type == 12);
    CHECK(strcmp(qs_type_name(type), "q4_K") == 0 && qs_type_name(9999) == NULL);
    CHECK(qs_type_from_name("Q4_X", &type) == QS_REQUEST && strstr(qs_last_error(), "Q4_X"));
    CHECK(qs_row_bytes(12, 256) == 144 && qs_row_bytes(12, 100) == 0 && qs_row_bytes(9999, 256) == 0);

    enum { ROWS = 3, LEN = 256 };
    float weights[ROWS * LEN], back[ROWS * LEN];
    uint8_t blocks[ROWS * 144];
    for (int i = 0; i < ROWS * LEN; i++) weights[i] = sinf((float)i * 0.1f);
    CHECK(qs_encode(12, weights, ROWS, LEN, NULL, blocks, sizeof blocks) == QS_OK);
    CHECK(qs_decode(12, blocks, sizeof blocks, back, ROWS * LEN) == QS_OK);
    for (int i = 0; i < ROWS * LEN; i++) CHECK(fabsf(weights[i] - back[i]) < 0.1f);
    CHECK(qs_encode(12, weights, ROWS, LEN, NULL, blocks, sizeof blocks - 1) == QS_REQUEST);
    CHECK(qs_encode(12, NULL, ROWS, LEN, NULL, blocks, sizeof blocks) == QS_REQUEST);
    CHECK(qs_encode(12, weights, SIZE_MAX, LEN, NULL, blocks, sizeof blocks) == QS_REQUEST);
    CHECK(qs_decode(9999, blocks, sizeof blocks, back, ROWS * LEN) == QS_REQUEST);
    /* IQ2_XXS cannot do without importance. */
    uint8_t small[ROWS * 66];
    CHECK(qs_encode(16, weights, ROWS, LEN, NULL, small, sizeof small) == QS_REQUEST);
    CHECK(qs_encode(16, weights, ROWS, LEN, weights, small, sizeof small) == QS_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    const char *directory = argv[1], *output = argv[2];
    CHECK(strcmp(qs_last_error(), "") == 0);
    printf("%s\n", qs_version());
    codecs();

    uint64_t last = 0;
    CHECK(qs_quantize_file(directory, output, "Q4_K_M", NULL, 0, count, &last) == QS_OK && last > 5000000);
    qs_model *model;
    CHECK(qs_open(output, &model) == QS_OK && model != NULL);
    CHECK(qs_tensor_count(model) > 10 && qs_tensor_count(NULL) == 0);
    size_t index;
    CHECK(qs_tensor_find(model, "token_embd.weight", &index) == QS_OK);
    CHECK(qs_tensor_find(model, "none", &index) == QS_REQUEST && strstr(qs_last_error(), "'none'"));
    CHECK(qs_tensor_find(model, "token_embd.weight", NULL) == QS_REQUEST);
    qs_tensor tensor;
    CHECK(qs_tensor_at(model, index, &tensor) == QS_OK);
    CHECK(strcmp(tensor.name, "token_embd.weight") == 0 && tensor.n_dims == 2);
    CHECK(tensor.n_weights == tensor.shape[0] * tensor.shape[1] && tensor.shape[2] == 1);
    CHECK(tensor.n_bytes == tensor.shape[1] * qs_row_bytes(tensor.type, tensor.shape[0]));
    CHECK(qs_tensor_at(model, 100000, &tensor) == QS_REQUEST);
    float *weights = malloc(tensor.n_weights * sizeof *weights);
    CHECK(qs_tensor_decode(model, index, weights, tensor.n_weights) == QS_OK);
    double squares = 0;
    for (uint64_t i = 0; i < tensor.n_weights; i++) squares += (double)weights[i] * weights[i];
    CHECK(squares > 0 && isfinite(squares));
    CHECK(qs_tensor_decode(model, index, weights, tensor.n_weights - 1) == QS_REQUEST);
    free(weights);
    qs_close(model);
    qs_close(NULL);

    CHECK(qs_open("absent.gguf", &model) == QS_IO && model == NULL && strstr(qs_last_error(), "absent.gguf"));
    CHECK(qs_open(__FILE__, &model) == QS_FORMAT && model == NULL);
    CHECK(qs_open(NULL, &model) == QS_REQUEST && qs_open(output, NULL) == QS_REQUEST);
    char stopped[4096];
    snprintf(stopped, sizeof stopped, "%s.stopped", output);
    CHECK(qs_quantize_file(directory, stopped, "Q4_K_M", NULL, 1, stop, NULL) == QS_CANCELLED);
    CHECK(qs_quantize_file(directory, stopped, "Q9", NULL, 0, NULL, NULL) == QS_REQUEST);
    FILE *file = fopen(stopped, "rb");
    CHECK(file == NULL);
    return 0;
}
