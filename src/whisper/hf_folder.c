/* SPDX-License-Identifier: MIT */
/*
 * A Hugging Face folder: config.json (dimensions), model.safetensors or the shards that model.safetensors.index.json
 * names, tokenizer.json or vocab.json (tokens written in GPT-2's alphabet of printable characters),
 * generation_config.json (alignment heads). Ids of special tokens follow from the size of the vocabulary; where a file
 * says otherwise the model is refused: it would be misunderstood without a word.
 *
 * A safetensors file is the length of a JSON header, the header (name: dtype, shape, offsets), and data. Names are
 * turned into OpenAI's by a table of replacements; what has no counterpart (a tied output matrix) is passed over by
 * name.
 */
#include "whisper/model_file_internal.h"
#include "whisper/tokenizer.h"

#include "base/io.h"
#include "base/str.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Real ones: a tokenizer.json of 4 MB, a safetensors header of 200 KB. What is parsed takes some twenty times as much.
 */
enum { JSON_MAX = 16 << 20, HEADER_MAX = 4 << 20, MAX_HEADS = 512 };

static const struct {
    const char *from, *to;
} renames[] = {
    {"encoder.layers.", "encoder.blocks."},
    {"decoder.layers.", "decoder.blocks."},
    {".encoder_attn_layer_norm.", ".cross_attn_ln."},
    {".self_attn_layer_norm.", ".attn_ln."},
    {".final_layer_norm.", ".mlp_ln."},
    {".encoder_attn.", ".cross_attn."},
    {".self_attn.", ".attn."},
    {".q_proj.", ".query."},
    {".k_proj.", ".key."},
    {".v_proj.", ".value."},
    {".out_proj.", ".out."},
    {".fc1.", ".mlp.0."},
    {".fc2.", ".mlp.2."},
    {"encoder.layer_norm.", "encoder.ln_post."},
    {"decoder.layer_norm.", "decoder.ln."},
    {"decoder.embed_tokens.", "decoder.token_embedding."},
    {"embed_positions.weight", "positional_embedding"},
};

/* "model.encoder.layers.0.fc1.weight" -> "encoder.blocks.0.mlp.0.weight"; false when it grows too long. */
static bool rename_tensor(const char *name, char ret[TENSOR_NAME_MAX])
{
    if (str_starts(name, "model."))
        name += strlen("model.");
    if (strlen(name) >= TENSOR_NAME_MAX)
        return false;
    memcpy(ret, name, strlen(name) + 1);
    for (size_t i = 0; i < ARRAY_LEN(renames); i++) {
        char *at = strstr(ret, renames[i].from);
        if (!at)
            continue;
        char rest[TENSOR_NAME_MAX];
        snprintf(rest, sizeof rest, "%s", at + strlen(renames[i].from));
        size_t room = TENSOR_NAME_MAX - (size_t)(at - ret);
        if ((size_t)snprintf(at, room, "%s%s", renames[i].to, rest) >= room)
            return false;
    }
    return true;
}

/* Reads folder/name as JSON. 1: *ret is the caller's, 0: no such file. */
static int load_json(const char *folder, const char *name, json_t **ret, struct err *err)
{
    CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
    CLEANUP(free_p) char *text = NULL;
    struct stat st;
    if (stat(path, &st) < 0)
        return 0;
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CORRUPT, "%s is no file", name);
    size_t len;
    int rc = io_read_file(path, JSON_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    json_error_t where;
    *ret = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    return *ret ? 1 : err_set(err, ERR_CORRUPT, "%s is not JSON (line %d: %s)", name, where.line, where.text);
}

static int64_t number(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= INT32_MAX
               ? json_integer_value(v)
               : -1;
}

int hf_read_config(struct model_file *f, const json_t *c, struct err *err)
{
    const char *type = json_string_value(json_object_get(c, "model_type"));
    struct whisper_dims d = {
        .n_vocab = (int)number(c, "vocab_size"),
        .n_mels = (int)number(c, "num_mel_bins"),
        .audio_ctx = (int)number(c, "max_source_positions"),
        .audio_state = (int)number(c, "d_model"),
        .audio_heads = (int)number(c, "encoder_attention_heads"),
        .audio_layers = (int)number(c, "encoder_layers"),
        .text_ctx = (int)number(c, "max_target_positions"),
        .text_state = (int)number(c, "d_model"),
        .text_heads = (int)number(c, "decoder_attention_heads"),
        .text_layers = (int)number(c, "decoder_layers"),
    };
    if (!type || strcmp(type, "whisper") != 0)
        return err_set(err, ERR_UNSUPPORTED, "config.json describes a '%.40s' model, not a Whisper", type ? type : "?");
    const char *activation = json_string_value(json_object_get(c, "activation_function"));
    if (activation && strcmp(activation, "gelu") != 0)
        return err_set(err, ERR_UNSUPPORTED, "config.json wants activation '%.40s'; Whisper's is gelu", activation);
    if (json_is_true(json_object_get(c, "scale_embedding")))
        return err_set(err, ERR_UNSUPPORTED, "config.json wants a scaled embedding; Whisper's is not");
    return model_file_expect(f, &d, err);
}

static int place(struct model_file *f, const char *name, const json_t *entry, const struct mapping *m, size_t data,
                 struct err *err)
{
    static const struct {
        const char *word;
        enum tensor_type type;
    } types[] = {{"F32", TENSOR_F32}, {"F16", TENSOR_F16}, {"BF16", TENSOR_BF16}};
    char ours[TENSOR_NAME_MAX];
    if (strcmp(name, "proj_out.weight") == 0)
        return 0; /* the output matrix, tied to the embedding */
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    size_t n_dims = json_array_size(shape);
    if (!rename_tensor(name, ours) || !dtype || n_dims < 1 || n_dims > 3 || json_array_size(offsets) != 2)
        return err_set(err, ERR_CORRUPT, "the entry of tensor '%.60s' is damaged", name);
    struct tensor_view v = {.n_dims = (int)n_dims};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(types) && !known; i++) {
        known = strcmp(types[i].word, dtype) == 0;
        v.type = types[i].type;
    }
    if (!known)
        return err_set(err, ERR_UNSUPPORTED, "tensor '%.60s' has type %.10s, which is not read here", name, dtype);
    for (size_t i = 0; i < n_dims; i++)
        v.dims[i] = json_integer_value(json_array_get(shape, i));
    json_int_t from = json_integer_value(json_array_get(offsets, 0)),
               to = json_integer_value(json_array_get(offsets, 1));
    int64_t room = (int64_t)(m->size - data);
    if (from < 0 || to < from || to > room || to - from != tensor_bytes(v.type, v.n_dims, v.dims))
        return err_set(err, ERR_CORRUPT,
                       "tensor '%.60s' does not lie where its entry says: the file is cut short or damaged", name);
    v.data = m->data + data + from;
    return model_file_place(f, ours, &v, (size_t)(to - from), err);
}

int hf_read_safetensors(struct model_file *f, struct mapping m, struct err *err)
{
    int rc = 0;
    uint64_t n = 0;
    if (m.size >= 8)
        memcpy(&n, m.data, 8);
    if (m.size < 8 || n > HEADER_MAX || n > m.size - 8)
        return err_set(err, ERR_CORRUPT, "a safetensors file is cut short inside its header");
    json_error_t where;
    json_t *header = json_loadb((const char *)m.data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(header)) {
        json_decref(header);
        return err_set(err, ERR_CORRUPT, "a safetensors header is not JSON (%s)", where.text);
    }
    const char *name;
    json_t *entry;
    json_object_foreach (header, name, entry) {
        if (rc == 0 && strcmp(name, "__metadata__") != 0)
            rc = place(f, name, entry, &m, 8 + (size_t)n, err);
    }
    json_decref(header);
    return rc;
}

static int map_safetensors(struct model_file *f, const char *path, struct err *err)
{
    struct mapping m;
    int rc = model_file_map(f, path, &m, err);
    return rc < 0 ? rc : hf_read_safetensors(f, m, err);
}

/* The files that the index names, each once. */
static int read_shards(struct model_file *f, const char *folder, const json_t *index, struct err *err)
{
    json_t *map = json_object_get(index, "weight_map");
    json_t *seen = json_object();
    const char *tensor;
    json_t *file;
    int rc =
        json_is_object(map) && seen ? 0 : err_set(err, ERR_CORRUPT, "model.safetensors.index.json has no weight_map");
    json_object_foreach (map, tensor, file) {
        const char *name = json_string_value(file);
        if (rc < 0 || (name && json_object_get(seen, name)))
            continue;
        if (!name || !name[0] || strchr(name, '/') || name[0] == '.') {
            rc = err_set(err, ERR_CORRUPT, "model.safetensors.index.json names no file for '%.60s'", tensor);
            continue;
        }
        json_object_set_new(seen, name, json_true());
        CLEANUP(free_p) char *path = xasprintf("%s/%s", folder, name);
        rc = map_safetensors(f, path, err);
    }
    json_decref(seen);
    return rc;
}

static int read_weights(struct model_file *f, const char *folder, struct err *err)
{
    json_t *index = NULL;
    int rc = load_json(folder, "model.safetensors.index.json", &index, err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        rc = read_shards(f, folder, index, err);
        json_decref(index);
        return rc;
    }
    CLEANUP(free_p) char *path = xasprintf("%s/model.safetensors", folder);
    return map_safetensors(f, path, err);
}

/* "<|de|>" is token `id`, a file says: is it so in a vocabulary of this size? Names that are none of the known are
 * passed over. */
static int check_special(const struct model_file *f, const char *name, const json_t *id, struct err *err)
{
    struct tokenizer t = {.n_vocab = 0};
    tokenizer_special_ids(&t, f->dims.n_vocab);
    const struct {
        const char *name;
        int id;
    } known[] = {
        {"<|endoftext|>", t.eot},         {"<|startoftranscript|>", t.sot}, {"<|translate|>", t.translate},
        {"<|transcribe|>", t.transcribe}, {"<|startoflm|>", t.sot_lm},      {"<|startofprev|>", t.sot_prev},
        {"<|nospeech|>", t.no_speech},    {"<|nocaptions|>", t.no_speech},  {"<|notimestamps|>", t.no_timestamps},
        {"<|0.00|>", t.first_timestamp}};
    int want = -1;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0)
            want = known[i].id;
    char code[8];
    for (int i = 0; i < t.n_languages && want < 0; i++) {
        snprintf(code, sizeof code, "<|%s|>", whisper_language_code(i));
        if (strcmp(code, name) == 0)
            want = t.first_language + i;
    }
    if (want < 0 || (json_is_integer(id) && json_integer_value(id) == want))
        return 0;
    return err_set(err, ERR_UNSUPPORTED,
                   "it gives token '%s' another number than %d, which it has in Whisper's vocabulary of %d", name, want,
                   f->dims.n_vocab);
}

/* GPT-2's alphabet: bytes that print stand for themselves, the others for characters from U+0100 on. Returns -1 for a
 * stranger. */
static int byte_of(unsigned code)
{
    if ((code >= '!' && code <= '~') || (code >= 0xA1 && code <= 0xAC) || (code >= 0xAE && code <= 0xFF))
        return (int)code;
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        if (!prints && next++ == code)
            return (int)b;
    }
    return -1;
}

/* A token's characters (all below U+0800) to its bytes, in the file's arena. */
static int take_token(struct model_file *f, const char *text, int64_t id, struct err *err)
{
    size_t n = strlen(text), len = 0;
    char *bytes = arena_alloc(&f->arena, n + 1);
    if (!bytes)
        return err_set(err, ERR_NOMEM, "no memory for the vocabulary");
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)text[i];
        unsigned code = c < 0x80 ? c : ((c & 31u) << 6 | ((unsigned char)text[i + 1] & 63u));
        int b = c < 0x80 || (c & 0xE0) == 0xC0 ? byte_of(code) : -1;
        if (b < 0)
            return err_set(err, ERR_CORRUPT, "token %lld is not in GPT-2's alphabet", (long long)id);
        bytes[len++] = (char)b;
        i += c < 0x80 ? 1 : 2;
    }
    f->tokens[id] = bytes;
    f->token_lens[id] = (uint32_t)len;
    return 0;
}

int hf_read_vocabulary(struct model_file *f, json_t *vocab, struct err *err)
{
    size_t n = (size_t)f->dims.n_vocab;
    f->tokens = calloc(n, sizeof *f->tokens);
    f->token_lens = calloc(n, sizeof *f->token_lens);
    f->n_tokens = n;
    int rc = f->tokens && f->token_lens ? 0 : err_set(err, ERR_NOMEM, "no memory for the vocabulary");
    if (rc == 0 && !json_is_object(vocab))
        rc = err_set(err, ERR_CORRUPT, "its vocabulary is no table of tokens");
    const char *text;
    json_t *id;
    json_object_foreach (vocab, text, id) {
        if (rc == 0 && str_starts(text, "<|"))
            rc = check_special(f, text, id, err);
        if (rc < 0 || str_starts(text, "<|"))
            continue;
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= (json_int_t)n || f->tokens[v])
            rc = err_set(err, ERR_CORRUPT, "its vocabulary gives a token no number of its own");
        else
            rc = take_token(f, text, v, err);
    }
    return rc;
}

/* tokenizer.json lists special tokens apart: [{"id": 50257, "content": "<|endoftext|>"}, ...]. */
static int check_added(const struct model_file *f, const json_t *added, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < json_array_size(added) && rc == 0; i++) {
        const json_t *one = json_array_get(added, i);
        const char *name = json_string_value(json_object_get(one, "content"));
        if (name)
            rc = check_special(f, name, json_object_get(one, "id"), err);
    }
    return rc;
}

/* Optional, each of them. */
static int check_generation(const struct model_file *f, json_t *c, struct err *err)
{
    static const struct {
        const char *key, *token;
    } single[] = {{"no_timestamps_token_id", "<|notimestamps|>"}, {"prev_sot_token_id", "<|startofprev|>"}};
    const char *name;
    json_t *id;
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(single) && rc == 0; i++)
        if ((id = json_object_get(c, single[i].key)))
            rc = check_special(f, single[i].token, id, err);
    json_object_foreach (json_object_get(c, "lang_to_id"), name, id)
        rc = rc < 0 ? rc : check_special(f, name, id, err);
    json_object_foreach (json_object_get(c, "task_to_id"), name, id) {
        CLEANUP(free_p) char *token = xasprintf("<|%s|>", name);
        rc = rc < 0 ? rc : check_special(f, token, id, err);
    }
    return rc;
}

/* Optional: without heads in it, words.c chooses some. */
int hf_read_generation(struct model_file *f, json_t *c, struct err *err)
{
    const json_t *list = json_object_get(c, "alignment_heads");
    size_t n = json_array_size(list);
    int rc = n > MAX_HEADS ? err_set(err, ERR_CORRUPT, "it names %zu alignment heads", n) : check_generation(f, c, err);
    if (rc == 0 && n) {
        f->heads = calloc(n, sizeof *f->heads);
        if (!f->heads)
            rc = err_set(err, ERR_NOMEM, "no memory for alignment heads");
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *pair = json_array_get(list, i), *layer = json_array_get(pair, 0), *head = json_array_get(pair, 1);
        json_int_t l = json_is_integer(layer) ? json_integer_value(layer) : -1,
                   h = json_is_integer(head) ? json_integer_value(head) : -1;
        if (l < 0 || l >= f->dims.text_layers || h < 0 || h >= f->dims.text_heads)
            rc = err_set(err, ERR_CORRUPT, "alignment head %zu is none of this model's", i);
        else
            f->heads[f->n_heads++] = (struct head){(int)l, (int)h};
    }
    return rc;
}

static int read_vocabulary(struct model_file *f, const char *folder, struct err *err)
{
    json_t *file = NULL;
    int rc = load_json(folder, "vocab.json", &file, err);
    json_t *vocab = file;
    if (rc == 0) {
        rc = load_json(folder, "tokenizer.json", &file, err);
        vocab = json_object_get(json_object_get(file, "model"), "vocab");
    }
    if (rc > 0 && check_added(f, json_object_get(file, "added_tokens"), err) < 0) {
        json_decref(file);
        return err->code;
    }
    if (rc <= 0)
        return rc < 0 ? rc : err_set(err, ERR_NOT_FOUND, "the folder has neither vocab.json nor tokenizer.json");
    rc = hf_read_vocabulary(f, vocab, err);
    json_decref(file);
    return rc;
}

int hf_read(struct model_file *f, const char *folder, struct err *err)
{
    json_t *config = NULL, *generation = NULL;
    int rc = load_json(folder, "config.json", &config, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, "the folder has no config.json");
    if (rc > 0)
        rc = hf_read_config(f, config, err);
    json_decref(config);
    if (rc == 0)
        rc = read_weights(f, folder, err);
    if (rc == 0)
        rc = read_vocabulary(f, folder, err);
    if (rc == 0 && (rc = load_json(folder, "generation_config.json", &generation, err)) > 0)
        rc = hf_read_generation(f, generation, err);
    json_decref(generation);
    if (rc < 0)
        return rc;
    f->mel_filters = malloc((size_t)f->dims.n_mels * 201 * sizeof(float));
    if (!f->mel_filters)
        return err_set(err, ERR_NOMEM, "no memory for mel filters");
    mel_filters_slaney(f->dims.n_mels, f->mel_filters);
    const struct tensor_view *t = model_file_tensor(f, "decoder.token_embedding.weight");
    snprintf(f->type, sizeof f->type, "safetensors %s",
             t->type == TENSOR_F32   ? "f32"
             : t->type == TENSOR_F16 ? "f16"
                                     : "bf16");
    return 0;
}
