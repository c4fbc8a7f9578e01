/* SPDX-License-Identifier: MIT */
/*
 * The answer is asked for as a JSON object with the language and the text: so silence has a form of its own (an empty
 * text, where a model that may write freely would write "[silence]"), and nothing can stand around the transcript.
 * Its own idea of times is not asked for: it drifts, and goes beyond the end of the sound.
 *
 * Temperature is only sent when a job names one: newer models do worse below their default. The filters for offensive
 * speech are off: a transcript is what was said.
 */
#include "engine/gemini_json.h"

#include "base/languages.h"
#include "base/str.h"
#include "engine/place.h"
#include "engine/remote_sound.h"

#include <jansson.h>
#include <string.h>

/* ---- the request ---- */

static void add_task(struct buf *text, const struct engine_request *r)
{
    const char *name = r->language ? language_name(r->language) : NULL;
    if (str_eq(r->task, "translate"))
        buf_adds(text,
                 "Translate the speech in this recording to English, sentence by sentence and completely. Put the "
                 "English translation into \"text\". ");
    else
        buf_adds(text,
                 "Transcribe the speech in this recording word for word, in the language that is spoken and in its "
                 "usual script, with punctuation. Do not translate, summarise or correct. Put it into \"text\". ");
    if (r->language)
        buf_addf(text, "The language is %s. ", name ? name : r->language);
    buf_adds(text,
             "Write neither times nor names of speakers, and nothing about noises or music. The recording is a piece "
             "of a longer one: it may begin or end in the middle of a sentence; add nothing to it. When nobody "
             "speaks, \"text\" is empty. Put the ISO 639-1 code of the spoken language into \"language\".");
    if (r->hotwords)
        buf_addf(text, "\nThese names and terms may occur: %s", r->hotwords);
    if (r->prompt)
        buf_addf(text, "\nWhat is known about the recording, as a hint for spelling and style, not to be repeated: %s",
                 r->prompt);
}

void gemini_add_request(struct buf *b, const struct engine_request *r, const struct engine_chunk *c)
{
    static const char *const filters[] = {"HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT"};
    CLEANUP(buf_clear) struct buf text = BUF_INIT(b->max);
    add_task(&text, r);
    buf_adds(b, "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":");
    str_add_json(b, buf_str(&text));
    buf_adds(b, "},{\"inlineData\":{\"mimeType\":\"audio/wav\",\"data\":\"");
    sound_add_wav_base64(b, c);
    buf_adds(b,
             "\"}}]}],\"generationConfig\":{\"responseMimeType\":\"application/json\",\"responseSchema\":{"
             "\"type\":\"OBJECT\",\"properties\":{\"language\":{\"type\":\"STRING\"},\"text\":{\"type\":\"STRING\"}},"
             "\"required\":[\"language\",\"text\"],\"propertyOrdering\":[\"language\",\"text\"]}");
    if (r->n_temperatures)
        buf_addf(b, ",\"temperature\":%.3f", (double)r->temperatures[0]);
    if (r->seed)
        buf_addf(b, ",\"seed\":%lld", (long long)(r->seed & INT32_MAX));
    buf_adds(b, "},\"safetySettings\":[");
    for (size_t i = 0; i < ARRAY_LEN(filters); i++)
        buf_addf(b, "%s{\"category\":\"HARM_CATEGORY_%s\",\"threshold\":\"BLOCK_NONE\"}", i ? "," : "", filters[i]);
    buf_adds(b, "]}");
    if (!buf_ok(&text))
        b->failed = true;
}

/* ---- the answer ---- */

static void free_json(json_t **j)
{
    json_decref(*j);
}

static int nonsense(const char *what, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "the answer makes no sense: %s", what);
}

/* Why an answer ended, when it is not because it was complete. */
static int ended_early(const char *reason, const char *message, struct err *err)
{
    /* What is here is decided about the words themselves: a second try asks the same question. */
    static const char *const refusals[] = {"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE"};
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (strcmp(reason, refusals[i]) == 0)
            return err_set(err, ERR_UNSUPPORTED, "it refuses a chunk: finishReason %s%s%.200s", reason,
                           *message ? ", " : "", message);
    return err_set(err, ERR_UNAVAILABLE, "it did not finish a chunk: finishReason %.60s%s%.200s", reason,
                   *message ? ", " : "", message);
}

static const char *string_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

/* The text parts joined; what the model thought on its way is no answer. */
static void add_parts(struct buf *b, const json_t *candidate)
{
    size_t i;
    const json_t *part;
    json_array_foreach (json_object_get(json_object_get(candidate, "content"), "parts"), i, part)
        if (!json_is_true(json_object_get(part, "thought")))
            buf_adds(b, string_of(part, "text"));
}

static int read_text(const char *json, size_t n, const struct engine_chunk *c, struct arena *a, struct segments *ret,
                     struct err *err)
{
    json_error_t e;
    CLEANUP(free_json) json_t *o = json_loadb(json, n, 0, &e);
    const char *text = json_string_value(json_object_get(o, "text"));
    if (!text)
        return nonsense(o ? "there is no \"text\" in it" : "the text is not JSON", err);
    int rc = place_text(text, c, a, ret, err);
    if (rc == 0 && ret->n)
        ret->language = language_code(string_of(o, "language"));
    return rc;
}

int gemini_read_answer(const char *body, size_t n, const struct engine_chunk *c, struct arena *a, struct segments *ret,
                       struct err *err)
{
    json_error_t e;
    CLEANUP(free_json) json_t *o = json_loadb(body, n, 0, &e);
    if (!json_is_object(o))
        return nonsense("it is no JSON object", err);
    const char *blocked = string_of(json_object_get(o, "promptFeedback"), "blockReason");
    const json_t *candidate = json_array_get(json_object_get(o, "candidates"), 0);
    if (*blocked)
        return err_set(err, ERR_UNSUPPORTED, "it refuses a chunk: blockReason %.60s", blocked);
    if (!candidate)
        return nonsense("there is no candidate", err);
    const char *reason = string_of(candidate, "finishReason");
    if (strcmp(reason, "STOP") != 0)
        return ended_early(*reason ? reason : "missing", string_of(candidate, "finishMessage"), err);
    CLEANUP(buf_clear) struct buf text = BUF_INIT(n + 1);
    add_parts(&text, candidate);
    int rc = buf_check(&text, "the text of a chunk", err);
    return rc < 0 ? rc : read_text(buf_str(&text), text.len, c, a, ret, err);
}
