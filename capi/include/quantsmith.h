/* quantsmith: a small C interface to GGUF files.
 *
 * Functions that return qs_status return QS_OK or say what kind of failure it was; qs_last_error() has the
 * message, of the calling thread's last failure. No function takes a string that it keeps, and none aborts: a
 * defect inside is QS_INTERNAL. Strings are UTF-8; paths are the system's bytes. A model may be used from many
 * threads at once. Nothing stands under the name of an output that is not complete.
 */
#ifndef QUANTSMITH_H
#define QUANTSMITH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum qs_status {
    QS_OK = 0,
    QS_IO = 1,         /* the system refused: no file, no permission, no space */
    QS_FORMAT = 2,     /* a file is malformed, incomplete or of an unsupported kind */
    QS_REQUEST = 3,    /* what was asked for cannot be done: an unknown name, lengths that do not fit */
    QS_NOT_FINITE = 4, /* a weight is NaN or infinite */
    QS_CANCELLED = 5,  /* the progress function said so */
    QS_INTERNAL = 6    /* a defect of this library */
} qs_status;

/* A model of one or many files, open for reading. */
typedef struct qs_model qs_model;

typedef struct qs_tensor {
    const char *name;  /* lives as long as the model */
    uint32_t type;     /* the id in GGUF files */
    uint32_t n_dims;
    uint64_t shape[8]; /* the row first */
    uint64_t n_weights;
    uint64_t n_bytes;
} qs_tensor;

/* Told of progress from working threads, one at a time; a value other than 0 ends the call. */
typedef int (*qs_progress)(uint64_t done, uint64_t total, void *user);

/* The version, as 0.1.0. */
const char *qs_version(void);

/* The message of the calling thread's last failure, "" before the first; until that thread's next call. */
const char *qs_last_error(void);

/* Opens a file, and with a first shard all the others. *model is NULL after a failure. */
qs_status qs_open(const char *path, qs_model **model);

/* Closes a model; NULL is allowed. */
void qs_close(qs_model *model);

size_t qs_tensor_count(const qs_model *model);

/* Describes a tensor by its place in the file, or finds it by its name. */
qs_status qs_tensor_at(const qs_model *model, size_t index, qs_tensor *tensor);
qs_status qs_tensor_find(const qs_model *model, const char *name, size_t *index);

/* Decodes a tensor to exactly n_weights numbers. */
qs_status qs_tensor_decode(const qs_model *model, size_t index, float *weights, size_t n_weights);

/* The id of a type such as "Q4_K", in any case. */
qs_status qs_type_from_name(const char *name, uint32_t *type);

/* The name of a type; NULL where there is none of this id. */
const char *qs_type_name(uint32_t type);

/* Bytes of a row of so many weights; 0 where they are no whole blocks or there is no such type. */
size_t qs_row_bytes(uint32_t type, size_t row_len);

/* Encodes rows of weights. importance is NULL or row_len numbers; n_bytes is n_rows * qs_row_bytes(type, row_len). */
qs_status qs_encode(uint32_t type, const float *weights, size_t n_rows, size_t row_len, const float *importance,
                    uint8_t *blocks, size_t n_bytes);

/* Decodes blocks to exactly as many weights as they hold. */
qs_status qs_decode(uint32_t type, const uint8_t *blocks, size_t n_bytes, float *weights, size_t n_weights);

/* Quantizes a GGUF file, or a Hugging Face directory, to a preset such as "Q4_K_M". imatrix and progress may be NULL;
 * threads 0 is as many as the machine runs at once. */
qs_status qs_quantize_file(const char *input, const char *output, const char *preset, const char *imatrix,
                           unsigned threads, qs_progress progress, void *user);

#ifdef __cplusplus
}
#endif

#endif
