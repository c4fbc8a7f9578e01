/* SPDX-License-Identifier: MIT */
/* The table, and looking things up in it. */
#include "cli/commands.h"

#include "base/macros.h"
#include "base/str.h"
#include "job/options.h"
#include "transcript/subtitles.h"

#include <limits.h>
#include <string.h>

#define JSON_FLAG                                \
    {                                            \
        "json", 0, NULL, "as JSON, for programs" \
    }
#define FORMAT_FLAG(help)                                                                    \
    {                                                                                        \
        "format", 'f', "FORMAT", help ": txt (default), json, verbose_json, srt, vtt or tsv" \
    }

/* A row of the table of a job's options as a flag. */
#define OPTION_FLAG(kind, name, flag, arg, min, max, choices, help) {flag, 0, arg, help},

#define SUBTITLE_FLAG(kind, name, flag, arg, min, max, help) {flag, 0, arg, help},

static const struct cmd_flag submit_flags[] = {
    {"wait", 'w', NULL, "wait for the job and print its transcript"},
    FORMAT_FLAG("with --wait, form of the transcript"),
    SUBTITLE_OPTIONS(SUBTITLE_FLAG) /* */
    {"output", 'o', "FILE", "with --wait, write the transcript to FILE; with several recordings: a folder"},
    {"engine", 0, "NAME", "engine for this job (default: the worker's choice)"},
    {"model", 0, "NAME", "model for this job"},
    {"language", 'l', "CODE", "language that is spoken, as a code such as en (default: detect)"},
    {"task", 0, "TASK", "transcribe (default) or translate"},
    {"queue", 0, "QUEUE", "high or normal (default)"},
    {"prompt", 0, "TEXT", "words and names that are likely to occur"},
    {"description", 0, "TEXT", "a note that is kept with the job"},
    JOB_OPTIONS(OPTION_FLAG) /* */
    JSON_FLAG,
    {0},
};

static const struct cmd_flag transcribe_flags[] = {
    FORMAT_FLAG("form of the transcript"),
    SUBTITLE_OPTIONS(SUBTITLE_FLAG) /* */
    {"output", 'o', "FILE", "write to FILE instead of standard output; with several recordings: a folder"},
    {"task", 0, "TASK", "transcribe (default) or translate"},
    {"prompt", 0, "TEXT", "words and names that are likely to occur"},
    JOB_OPTIONS_OF_ONE_JOB(OPTION_FLAG) /* the others are settings */
    {0},
};

static const struct cmd_flag json_flags[] = {JSON_FLAG, {0}};

static const struct cmd_flag wait_flags[] = {
    {"timeout", 't', "TIME", "give up after this time, such as 10m (default: wait for ever)"},
    {"quiet", 'q', NULL, "print nothing; the exit status tells"},
    JSON_FLAG,
    {0},
};

static const struct cmd_flag result_flags[] = {
    FORMAT_FLAG("form of the transcript"),
    SUBTITLE_OPTIONS(SUBTITLE_FLAG) /* */
    {"output", 'o', "FILE", "write to FILE instead of standard output"},
    {0},
};

static const struct cmd_flag jobs_flags[] = {
    {"status", 's', "STATE", "only jobs that are pending, processing, completed, failed or cancelled"},
    {"limit", 'n', "N", "at most N jobs (default 20)"},
    {"cursor", 0, "CURSOR", "go on after an earlier page, with what that one gave"},
    JSON_FLAG,
    {0},
};

static const struct cmd_flag cancel_flags[] = {
    {"purge", 0, NULL, "also remove the recording, the transcript and every trace of the job"},
    {0},
};

static const struct cmd_flag errors_list_flags[] = {
    {"all", 'a', NULL, "also failures that were retried or resolved"},
    {"job", 0, "ID", "only those of one job"},
    {"limit", 'n', "N", "at most N errors (default 20)"},
    {"cursor", 0, "CURSOR", "go on after an earlier page, with what that one gave"},
    JSON_FLAG,
    {0},
};

static const struct cmd_flag cleanup_flags[] = {
    {"older-than", 0, "TIME",
     "remove all jobs that ended longer ago than this, such as 30d; a bare number counts days"},
    {"dry-run", 0, NULL, "only say what would be removed"},
    {0},
};

static const struct cmd_flag openapi_flags[] = {
    {"direct", 0, NULL, "that of the direct service, which has a listener of its own"},
    {0},
};

static const struct cmd_flag model_pull_flags[] = {
    {"sha256", 0, "SUM", "what the file's SHA-256 must be (default: what the server says, where it does)"},
    {"force", 0, NULL, "get it again although it is there"},
    {0},
};

static const struct cmd_flag bench_flags[] = {
    {"file", 'f', "FILE", "also transcribe this recording, from file to text"},
    {"repeat", 'n', "N", "run each part N times (default 5); the median counts"},
    JSON_FLAG,
    {0},
};

static const struct cmd_flag version_flags[] = {
    {"verbose", 'v', NULL, "also what it was built with"},
    {0},
};

#define INSPECT_MORE "What a worker tells is at most five seconds old, and a second when a job came or went."

/* In the order of --help. Commands of one group stand together. */
const struct cmd commands[] = {
    {"serve", "", "run the whole service: an api and a worker, restarted when they die", NEED_CONF | NEED_DATA, NULL,
     cmd_serve,
     "Prints the address it listens on. SIGTERM and Ctrl-C let running work finish or hand it back; a second one "
     "kills. "
     "SIGHUP reads the configuration again."},
    {"direct", "", "run the whole service with nothing but the direct service: a submission is answered with its text",
     NEED_CONF | NEED_DATA, NULL, cmd_direct,
     "Listens on `direct_listen`, or on 127.0.0.1:8001. In all else as serve, which runs the direct service beside its "
     "other routes when direct_listen is set."},
    {"api", "", "serve HTTP only",
     NEED_CONF | NEED_DATA | NEED_STORE | NEED_STORAGE | NEED_BROKER | NEED_EVENTS | CMD_ROLE, NULL, cmd_api, NULL},
    {"worker", "", "run jobs only",
     NEED_CONF | NEED_DATA | NEED_STORE | NEED_STORAGE | NEED_TOKENS | CMD_ROLE | CMD_ENGINE, NULL, cmd_worker,
     "SIGTERM lets running chunks finish for drain_timeout and hands the rest back; a second one hands back at once."},
    {"transcribe", "FILE...", "transcribe recordings right here, without a server (or, with --server, by one)",
     NEED_CONF | CMD_ENGINE, transcribe_flags, cmd_transcribe,
     "FILE '-' reads standard input. Plain text is printed as it is finished; a file given with --output appears whole "
     "or not at all. A recording that fails does not keep the others from being done; the exit status is 1 then. "
     "With the flag --server a server does it: recordings are sent there, their texts are printed as they are "
     "finished, and the jobs stay there like any others; Ctrl-C cancels those that have not ended. (The setting alone, "
     "in a file "
     "or in the environment, sends nothing away.)"},

    {"submit", "FILE...", "hand recordings to a server; prints the id of each job", NEED_CONF | NEED_SERVER,
     submit_flags, cmd_submit, NULL},
    {"status", "ID...", "show jobs", NEED_CONF | NEED_SERVER, json_flags, cmd_status, NULL},
    {"wait", "ID...", "wait until jobs have ended", NEED_CONF | NEED_SERVER, wait_flags, cmd_wait, NULL},
    {"result", "ID", "print the transcript of a job", NEED_CONF | NEED_SERVER, result_flags, cmd_result, NULL},
    {"jobs", "", "list jobs, newest first", NEED_CONF | NEED_SERVER, jobs_flags, cmd_jobs, NULL},
    {"cancel", "ID...", "cancel jobs", NEED_CONF | NEED_SERVER, cancel_flags, cmd_cancel, NULL},

    {"health", "", "show how the service and its parts are; exit status 1 when something is wrong",
     NEED_CONF | NEED_SERVER, json_flags, cmd_health,
     "Asks the server, which probes its database, storage, broker and disk, and knows the workers by their "
     "heartbeats."},
    {"inspect active", "", "show the jobs that workers have in work", NEED_CONF | NEED_SERVER, json_flags, cmd_inspect,
     INSPECT_MORE},
    {"inspect reserved", "", "show the jobs that workers have claimed and not begun", NEED_CONF | NEED_SERVER,
     json_flags, cmd_inspect, NULL},
    {"inspect registered", "", "show the engines, models and tasks of the workers", NEED_CONF | NEED_SERVER, json_flags,
     cmd_inspect, NULL},
    {"inspect conf", "", "show the settings that are in force in the workers", NEED_CONF | NEED_SERVER, json_flags,
     cmd_inspect,
     "Numbers, times, sizes and choices only: whoever reaches the server may ask. 'steno config print' shows the rest, "
     "where it is run."},
    {"inspect active_queues", "", "show which queues each worker takes jobs from, in which order",
     NEED_CONF | NEED_SERVER, json_flags, cmd_inspect, NULL},
    {"inspect stats", "", "show what workers have counted since they were started", NEED_CONF | NEED_SERVER, json_flags,
     cmd_inspect, NULL},
    {"inspect pool", "", "show how often models were in memory, loaded, put out, or did not fit",
     NEED_CONF | NEED_SERVER, json_flags, cmd_inspect, NULL},
    {"inspect models", "", "show the models that workers have in memory", NEED_CONF | NEED_SERVER, json_flags,
     cmd_inspect, "Other models are loaded when a job asks for them: 'steno inspect registered' shows all."},
    {"inspect workers", "", "show the workers and when they last gave a sign of life", NEED_CONF | NEED_SERVER,
     json_flags, cmd_inspect, NULL},
    {"inspect queues", "", "show how many jobs wait in each queue, and for how long", NEED_CONF | NEED_SERVER,
     json_flags, cmd_inspect_queues, NULL},
    {"queue list", "", "list the queues, what waits in them, and which are paused", NEED_CONF | NEED_SERVER, json_flags,
     cmd_queue_list, NULL},
    {"queue pause", "QUEUE...", "begin no more jobs of these queues: high, normal or retry", NEED_CONF | NEED_SERVER,
     NULL, cmd_queue_pause,
     "For all workers of the service, until 'steno queue resume'. Jobs are accepted all the same, and wait; those in "
     "work go on."},
    {"queue resume", "QUEUE...", "begin jobs of these queues again", NEED_CONF | NEED_SERVER, NULL, cmd_queue_resume,
     NULL},
    {"errors list", "", "list dead letters: failures that nobody has seen to", NEED_CONF | NEED_STORE,
     errors_list_flags, cmd_errors_list, NULL},
    {"errors show", "ID", "show all that is known about a failure", NEED_CONF | NEED_STORE, json_flags, cmd_errors_show,
     NULL},
    {"errors retry", "ID...", "try failed jobs again; ID is of the error or of the job",
     NEED_CONF | NEED_STORE | NEED_BROKER, NULL, cmd_errors_retry, NULL},
    {"errors resolve", "ID...", "mark failures as seen to", NEED_CONF | NEED_STORE, NULL, cmd_errors_resolve, NULL},

    {"migrate up", "", "bring the database schema up to date", NEED_CONF | NEED_DB, NULL, cmd_migrate_up,
     "Every command that uses jobs does this by itself."},
    {"migrate status", "", "show which migrations were applied; exit status 1 when some are missing",
     NEED_CONF | NEED_DB, NULL, cmd_migrate_status, NULL},

    {"config print", "", "print every setting and where it comes from; secrets are masked", NEED_CONF, NULL,
     cmd_config_print, NULL},
    {"config check", "", "check the configuration and say what settings of other systems came to mean", NEED_CONF, NULL,
     cmd_config_check, NULL},
    {"config sample", "", "print a configuration file with every setting at its default", 0, NULL, cmd_config_sample,
     NULL},
    {"config docs", "", "make docs/configuration.md", CMD_HIDDEN, NULL, cmd_config_docs, NULL},

    {"cleanup", "", "remove what was kept long enough, and files that belong to no job",
     NEED_CONF | NEED_STORE | NEED_STORAGE, cleanup_flags, cmd_cleanup,
     "Does now, and to the end, what workers do by themselves: recordings, transcripts and jobs go that are older than "
     "keep_audio, keep_results and keep_jobs."},
    {"model list", "", "list the models in the model folder", NEED_CONF, json_flags, cmd_model_list, NULL},
    {"model info", "MODEL", "show what a model is, by name or path", NEED_CONF, json_flags, cmd_model_info,
     "MODEL is a name such as base.en, looked up in the model folder (setting model_path), or a path with a '/'."},
    {"model pull", "NAME", "download a model, such as base.en", NEED_CONF, model_pull_flags, cmd_model_pull,
     "Gets ggml-NAME.bin from the setting model_url into the model folder. A download that was cut off goes on where "
     "it ended when the command is given again. The model appears under its name once its checksum is right and it can "
     "be opened."},
    {"model verify", "MODEL...", "check every byte of models", NEED_CONF, NULL, cmd_model_verify,
     "Compares the file's SHA-256 with the sum that was noted when it was downloaded, and looks for damaged weights."},
    {"bench", "[MODEL...]", "measure how fast models are on this machine", NEED_CONF | CMD_ENGINE, bench_flags,
     cmd_bench,
     "MODEL is a name such as base.en, looked up in the model folder (setting model_path), or a path with a '/'; "
     "without "
     "one every model in the folder is measured. Run it on an idle machine."},
    {"openapi", "", "print the OpenAPI document of the HTTP API", 0, openapi_flags, cmd_openapi,
     "The same that a server gives out at /openapi.json."},
    {"version", "", "print the version", 0, version_flags, cmd_version, NULL},
    {"help", "[COMMAND] [SUBCOMMAND]", "explain a command; 'steno help settings' explains all settings", 0, NULL,
     cmd_help, NULL},

    {"__decode", "", "a decode child", CMD_HIDDEN | CMD_RAW, NULL, cmd_decode_child, NULL},
    {"__engine", "", "an engine child", CMD_HIDDEN | CMD_RAW, NULL, cmd_engine_child, NULL},
    {"__faults", "", "list the fault points", CMD_HIDDEN, NULL, cmd_faults, NULL},
    {"__man", "", "make the man page", CMD_HIDDEN, NULL, cmd_man, NULL},
    {"__docs", "", "make docs/commands.md", CMD_HIDDEN, NULL, cmd_docs, NULL},
    {"__api", "", "make docs/api.md", CMD_HIDDEN, NULL, cmd_api_docs, NULL},
    {"__metrics", "", "make docs/metrics.md", CMD_HIDDEN, NULL, cmd_metrics_docs, NULL},
    {"__completion", "SHELL", "make the shell completion", CMD_HIDDEN, NULL, cmd_completion, NULL},
    {0},
};

enum exit_status exit_status_of(int err_code)
{
    switch (err_code) {
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_UNSUPPORTED:
        return STATUS_USAGE;
    case ERR_UNAVAILABLE:
    case ERR_BUSY:
    case ERR_TIMEOUT:
        return STATUS_UNAVAILABLE;
    case ERR_CANCELLED:
        return STATUS_INTERRUPTED;
    default:
        return STATUS_FAILED;
    }
}

/* Length of the first word of a two-word name, 0 when it has one. */
static size_t group_len(const char *name)
{
    const char *blank = strchr(name, ' ');
    return blank ? (size_t)(blank - name) : 0;
}

const struct cmd *cmd_find(int argc, char **argv, int *ret_words)
{
    if (argc < 1)
        return NULL;
    for (const struct cmd *c = commands; c->name; c++) {
        size_t group = group_len(c->name);
        if (!group && strcmp(c->name, argv[0]) == 0) {
            *ret_words = 1;
            return c;
        }
        if (group && argc > 1 && strncmp(c->name, argv[0], group) == 0 && !argv[0][group] &&
            strcmp(c->name + group + 1, argv[1]) == 0) {
            *ret_words = 2;
            return c;
        }
    }
    return NULL;
}

int cmd_is_group(const char *word)
{
    size_t n = strlen(word);
    for (const struct cmd *c = commands; c->name; c++)
        if (n && group_len(c->name) == n && strncmp(c->name, word, n) == 0)
            return 1;
    return 0;
}

/* Edit distance of two short words; long ones count as far apart. */
static int distance(const char *a, const char *b)
{
    enum { MOST = 32 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MOST || m >= MOST)
        return INT_MAX;
    int row[MOST];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

const char *cmd_nearest(const char *word)
{
    const char *best = NULL;
    int best_distance = 3; /* further away is not a typing error */
    for (const struct cmd *c = commands; c->name; c++) {
        if (c->needs & CMD_HIDDEN)
            continue;
        int d = distance(word, c->name);
        if (d < best_distance && d < (int)strlen(word)) {
            best = c->name;
            best_distance = d;
        }
    }
    return best;
}

void cmd_arg_range(const char *args, int *ret_min, int *ret_max)
{
    int min = 0, max = 0;
    for (const char *p = args; *p;) {
        size_t n = strcspn(p, " ");
        if (*p != '[')
            min++;
        if (max >= 0)
            max++;
        for (size_t i = 0; i + 3 <= n; i++)
            if (strncmp(p + i, "...", 3) == 0)
                max = -1;
        p += n;
        p += strspn(p, " ");
    }
    *ret_min = min;
    *ret_max = max;
}
