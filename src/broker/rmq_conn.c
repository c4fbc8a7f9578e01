/* SPDX-License-Identifier: MIT */
/*
 * What librabbitmq 0.11 leaves to its user, and is done here:
 *
 * - A channel that the server closed must be confirmed by the client before its number can be opened again, also when
 *   the close was the answer to a call.
 * - Heartbeats are only sent and checked inside its wait functions: rmq_conn_next is one with no time to wait.
 * - Its host name check knows no addresses, and it loads no certificates by itself: both are left to OpenSSL.
 * - A write has no time limit: rmq_conn_abort shuts the socket down under it.
 */
#include "broker/rmq_conn.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { CHANNEL_MAX = 16, FRAME_MAX = 131072, HEARTBEAT_S = 10, HEARTBEAT_MIN_S = 2, HEARTBEAT_MAX_S = 600 };

static struct timeval in_ms(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
}

/* ---- address ---- */

static int parse_heartbeat(const struct link_addr *url, int *ret, struct err *err)
{
    CLEANUP(free_p) char *text = NULL;
    int64_t s = HEARTBEAT_S;
    int rc = link_addr_option(url, "heartbeat", &text, err);
    if (rc < 0)
        return rc;
    if (text && (!str_to_i64(text, &s) || s < HEARTBEAT_MIN_S || s > HEARTBEAT_MAX_S))
        return err_set(err, ERR_INVALID, "the heartbeat in the broker URL is %d to %d seconds", HEARTBEAT_MIN_S,
                       HEARTBEAT_MAX_S);
    *ret = (int)s;
    return 0;
}

int rmq_address_parse(const char *url, struct rmq_address *ret, struct err *err)
{
    static const char *const options[] = {"cacertfile", "heartbeat", NULL};
    struct rmq_address a = {.ca = NULL};
    int rc = link_addr_parse(url, &a.url, err);
    if (rc < 0)
        return rc;
    a.tls = str_eq(a.url.scheme, "amqps");
    rc = link_addr_check_options(&a.url, options, err);
    if (rc >= 0)
        rc = link_addr_option(&a.url, "cacertfile", &a.ca, err);
    if (rc >= 0)
        rc = parse_heartbeat(&a.url, &a.heartbeat_s, err);
    if (rc >= 0 && a.ca && !a.tls)
        rc = err_set(err, ERR_INVALID, "the broker URL has a cacertfile, but only amqps: is encrypted");
    if (rc < 0) {
        rmq_address_clear(&a);
        return rc;
    }
    *ret = a;
    return 0;
}

void rmq_address_clear(struct rmq_address *a)
{
    link_addr_clear(&a->url);
    free(a->ca);
    *a = (struct rmq_address){.ca = NULL};
}

static const char *host_of(const struct rmq_address *a)
{
    return a->url.host ? a->url.host : "localhost";
}

static int port_of(const struct rmq_address *a)
{
    return a->url.port ? a->url.port : a->tls ? 5671 : 5672;
}

/* ---- the object ---- */

void rmq_conn_init(struct rmq_conn *c)
{
    *c = (struct rmq_conn){.fd = -1};
    pthread_mutex_init(&c->mu, NULL);
}

void rmq_conn_clear(struct rmq_conn *c)
{
    rmq_conn_close(c, false);
    pthread_mutex_destroy(&c->mu);
}

/* ---- what went wrong ---- */

int rmq_conn_status(int status, const char *what, struct err *err)
{
    return status == AMQP_STATUS_OK ? 0 : err_set(err, ERR_UNAVAILABLE, "%s: %s", what, amqp_error_string2(status));
}

/* Text of the server, made fit for a sentence. */
static int server_says(struct err *err, const char *what, int code, amqp_bytes_t text)
{
    CLEANUP(buf_clear) struct buf raw = BUF_INIT(256), clean = BUF_INIT(1100);
    buf_add(&raw, text.bytes, text.len);
    str_add_printable(&clean, buf_str(&raw));
    return err_set(err, ERR_UNAVAILABLE, "%s: RabbitMQ says %d %.300s", what, code, buf_str(&clean));
}

static int closed_by_server(struct rmq_conn *c, const amqp_connection_close_t *m, const char *what, struct err *err)
{
    amqp_connection_close_ok_t ok = {0};
    /* Best effort: the connection ends in any case. */
    (void)amqp_send_method(c->c, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    return server_says(err, what, m->reply_code, m->reply_text);
}

static int channel_closed(struct rmq_conn *c, amqp_channel_t channel, const amqp_channel_close_t *m, const char *what,
                          int *ret_code, struct err *err)
{
    amqp_channel_close_ok_t ok = {0};
    *ret_code = m->reply_code;
    server_says(err, what, m->reply_code, m->reply_text);
    /* When this fails, so does the next call. */
    (void)amqp_send_method(c->c, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    return ERR_UNAVAILABLE;
}

int rmq_conn_channel_closed(struct rmq_conn *c, const amqp_frame_t *f, int *ret_code, struct err *err)
{
    return channel_closed(c, f->channel, f->payload.method.decoded, "a channel was closed", ret_code, err);
}

int rmq_conn_reply(struct rmq_conn *c, amqp_channel_t channel, amqp_rpc_reply_t r, const char *what, int *ret_code,
                   struct err *err)
{
    *ret_code = 0;
    switch (r.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return 0;
    case AMQP_RESPONSE_NONE:
        return err_set(err, ERR_UNAVAILABLE, "%s: the connection ended", what);
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return rmq_conn_status(r.library_error, what, err);
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        break;
    }
    if (r.reply.id == AMQP_CHANNEL_CLOSE_METHOD)
        return channel_closed(c, channel, r.reply.decoded, what, ret_code, err);
    if (r.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
        return closed_by_server(c, r.reply.decoded, what, err);
    return err_set(err, ERR_UNAVAILABLE, "%s: an answer that is none", what);
}

/* ---- connecting ---- */

/* Peer and name are checked by OpenSSL, by address too; librabbitmq then looks at the result. */
static int prepare_tls(amqp_socket_t *s, const struct rmq_address *a, struct err *err)
{
    SSL_CTX *ctx = amqp_ssl_socket_get_context(s);
    const char *host = host_of(a);
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    unsigned char address[sizeof(struct in6_addr)];
    bool numeric = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    amqp_ssl_socket_set_verify_peer(s, 1);
    amqp_ssl_socket_set_verify_hostname(s, 0);
    int good = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;
    if (good)
        good = numeric ? X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1
                       : X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
    if (!good)
        return err_set(err, ERR_UNAVAILABLE, "cannot set up TLS");
    if (a->ca && SSL_CTX_load_verify_locations(ctx, a->ca, NULL) != 1)
        return err_set(err, ERR_UNAVAILABLE, "cannot read certificates from '%s' (cacertfile)", a->ca);
    if (!a->ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
        return err_set(err, ERR_UNAVAILABLE, "cannot read the system's certificates; name a file with cacertfile");
    return 0;
}

static int connect_socket(struct rmq_conn *c, const struct rmq_address *a, struct err *err)
{
    amqp_socket_t *s = a->tls ? amqp_ssl_socket_new(c->c) : amqp_tcp_socket_new(c->c);
    if (!s)
        return err_set(err, ERR_UNAVAILABLE, "cannot make a socket");
    int rc = a->tls ? prepare_tls(s, a, err) : 0;
    if (rc < 0)
        return rc;
    struct timeval limit = in_ms(RMQ_CONNECT_MS);
    int status = amqp_socket_open_noblock(s, host_of(a), port_of(a), &limit);
    if (status == AMQP_STATUS_SSL_PEER_VERIFY_FAILED)
        return err_set(err, ERR_UNAVAILABLE,
                       "the certificate of '%s' is not trusted or names another host (?cacertfile=PATH behind "
                       "the broker URL names the certificates to trust)",
                       host_of(a));
    if (status == AMQP_STATUS_SOCKET_ERROR) /* the library does not keep which */
        return err_set(err, ERR_UNAVAILABLE, "%s port %d refuses the connection or cannot be reached", host_of(a),
                       port_of(a));
    if (status != AMQP_STATUS_OK)
        return err_set(err, ERR_UNAVAILABLE, "connecting to %s port %d: %s", host_of(a), port_of(a),
                       amqp_error_string2(status));
    return 0;
}

/* Says what the server may send us: who is not told of a blocked connection just hangs. */
static int login(struct rmq_conn *c, const struct rmq_address *a, const char *name, struct err *err)
{
    amqp_table_entry_t can[] = {
        {amqp_cstring_bytes("connection.blocked"), {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}},
        {amqp_cstring_bytes("consumer_cancel_notify"), {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}},
        {amqp_cstring_bytes("publisher_confirms"), {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}},
        {amqp_cstring_bytes("basic.nack"), {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}},
    };
    amqp_table_entry_t says[] = {
        {amqp_cstring_bytes("connection_name"),
         {.kind = AMQP_FIELD_KIND_UTF8, .value = {.bytes = amqp_cstring_bytes(name)}}},
        {amqp_cstring_bytes("capabilities"),
         {.kind = AMQP_FIELD_KIND_TABLE, .value = {.table = {.num_entries = ARRAY_LEN(can), .entries = can}}}},
    };
    amqp_table_t properties = {.num_entries = ARRAY_LEN(says), .entries = says};
    struct timeval limit = in_ms(RMQ_CONNECT_MS), rpc = in_ms(RMQ_RPC_MS);
    int rc = rmq_conn_status(amqp_set_handshake_timeout(c->c, &limit), "preparing the login", err);
    if (rc == 0)
        rc = rmq_conn_status(amqp_set_rpc_timeout(c->c, &rpc), "preparing the login", err);
    if (rc < 0)
        return rc;
    /* RabbitMQ's own defaults; its "guest" may log in from the same machine only. */
    const char *user = a->url.user ? a->url.user : "guest";
    const char *password = a->url.password ? a->url.password : a->url.user ? "" : "guest";
    const char *vhost = a->url.path && *a->url.path ? a->url.path : "/";
    int code;
    return rmq_conn_reply(c, 0,
                          amqp_login_with_properties(c->c, vhost, CHANNEL_MAX, FRAME_MAX, a->heartbeat_s, &properties,
                                                     AMQP_SASL_METHOD_PLAIN, user, password),
                          "logging in", &code, err);
}

int rmq_conn_open(struct rmq_conn *c, const struct rmq_address *a, const char *name, struct err *err)
{
    c->heartbeat_s = a->heartbeat_s;
    c->c = amqp_new_connection();
    if (!c->c)
        return err_set(err, ERR_UNAVAILABLE, "no memory for a connection");
    int rc = connect_socket(c, a, err);
    if (rc == 0) {
        pthread_mutex_lock(&c->mu);
        c->fd = amqp_get_sockfd(c->c);
        pthread_mutex_unlock(&c->mu);
        rc = login(c, a, name, err);
    }
    if (rc < 0)
        rmq_conn_close(c, false);
    return rc;
}

void rmq_conn_close(struct rmq_conn *c, bool polite)
{
    if (!c->c)
        return;
    if (polite) {
        struct timeval limit = in_ms(LINK_PATIENCE_MS);
        if (amqp_set_rpc_timeout(c->c, &limit) == AMQP_STATUS_OK)
            (void)amqp_connection_close(c->c, AMQP_REPLY_SUCCESS);
    }
    pthread_mutex_lock(&c->mu);
    c->fd = -1;
    pthread_mutex_unlock(&c->mu);
    amqp_destroy_connection(c->c);
    c->c = NULL;
}

void rmq_conn_abort(struct rmq_conn *c)
{
    pthread_mutex_lock(&c->mu);
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&c->mu);
}

int rmq_conn_channel(struct rmq_conn *c, amqp_channel_t channel, struct err *err)
{
    int code;
    amqp_channel_open(c->c, channel);
    return rmq_conn_reply(c, channel, amqp_get_rpc_reply(c->c), "opening a channel", &code, err);
}

/* ---- frames ---- */

int rmq_conn_next(struct rmq_conn *c, amqp_frame_t *ret, struct err *err)
{
    struct timeval now = {0, 0};
    int status = amqp_simple_wait_frame_noblock(c->c, ret, &now);
    if (status == AMQP_STATUS_TIMEOUT)
        return 0;
    if (status == AMQP_STATUS_HEARTBEAT_TIMEOUT)
        return err_set(err, ERR_UNAVAILABLE, "RabbitMQ was silent for %d s", 2 * c->heartbeat_s);
    if (status != AMQP_STATUS_OK)
        return rmq_conn_status(status, "the connection is lost", err);
    if (ret->channel == 0 && ret->frame_type == AMQP_FRAME_METHOD &&
        ret->payload.method.id == AMQP_CONNECTION_CLOSE_METHOD)
        return closed_by_server(c, ret->payload.method.decoded, "the connection was closed", err);
    return 1;
}

void rmq_conn_drained(struct rmq_conn *c)
{
    amqp_maybe_release_buffers(c->c);
}
